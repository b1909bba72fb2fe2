"""`lakeflight audit`: the audit log of a lakehouse, also while a server runs on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flight_server.cli.options import (
    ConfigOption,
    FolderOption,
    align,
    existing_lakehouse,
    load_settings,
)
from flight_server.errors import InvalidRequest

if TYPE_CHECKING:
    from flight_server.audit.heads import SignedHead
    from flight_server.ops.audit_reading import FolderLog

EXIT_DAMAGED = 1
_HEAD_CHARACTERS_MAX = 64 * 1024

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Check the audit log, and read what it says.\n\nA running server is not disturbed.",
)

VERIFY_EXAMPLES = """\b
Examples:
  lakeflight audit verify --dir ./lakehouse
  lakeflight audit verify --dir ./lakehouse --head head-of-march.json
"""
HEAD_EXAMPLES = """\b
Examples:
  lakeflight audit head --dir ./lakehouse > head-of-march.json
"""
ACTIVITY_EXAMPLES = """\b
Examples:
  lakeflight audit activity --dir ./lakehouse --limit 20
  lakeflight audit activity --user alice --from 2026-03-01 --outcome refused --format json
"""
BILLING_EXAMPLES = """\b
Examples:
  lakeflight audit billing --dir ./lakehouse --from 2026-03-01 --to 2026-03-31
  lakeflight audit billing --from 2026-03-01 --to 2026-03-31 --user alice --format json
"""


class Format(StrEnum):
    """How answers are printed; json is one object in each line."""

    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="How to print them.")]
UserOption = Annotated[
    str | None, typer.Option("--user", metavar="NAME", help="Only this user, by name or id.")
]
_FROM = "The first moment: a date or a time in UTC."
_TO = "The last moment, which is included: a date or a time in UTC."


@app.command(epilog=VERIFY_EXAMPLES)
def verify(
    *,
    head: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A head that was kept elsewhere; - is standard input."),
    ] = None,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Check the hash chain; exit with 1 and name the first bad record when it is broken."""
    from flight_server.rpc.audit_actions import verdict_as_json  # noqa: PLC0415 - quick help

    log = _open(config, folder)
    verdict = log.verify(None if head is None else _read_head(head))
    typer.echo(json.dumps(verdict_as_json(verdict.to_json())))
    if not verdict.is_intact:
        raise typer.Exit(EXIT_DAMAGED)


@app.command(epilog=HEAD_EXAMPLES)
def head(*, folder: FolderOption = None, config: ConfigOption = None) -> None:
    """Print the newest signed head, to be kept elsewhere; a server signs one with each flush."""
    typer.echo(json.dumps(_open(config, folder).head().to_json()))


@app.command(epilog=ACTIVITY_EXAMPLES)
def activity(  # noqa: PLR0913  one for each option
    *,
    user: UserOption = None,
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help=_FROM)] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help=_TO)] = None,
    action: Annotated[str | None, typer.Option(help="Only this action.")] = None,
    outcome: Annotated[
        str | None, typer.Option(help="Only this outcome; none is all but intent.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most, 1 to 1000.")] = 100,
    output: FormatOption = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List what was done, newest first."""
    from flight_server.rpc.audit_actions import as_json  # noqa: PLC0415 - keeps `--help` quick
    from flight_server.service.periods import period  # noqa: PLC0415 - as above
    from flight_server.service.usage import Asked  # noqa: PLC0415 - as above

    asked = Asked(period(since, until), user=user, action=action, outcome=outcome, limit=limit)
    rows = [as_json(row) for row in _open(config, folder).activity(asked)]
    columns = ("timestamp", "username", "action", "resource", "outcome", "row_count", "byte_count")
    _print(rows, columns, output=output)


@app.command(epilog=BILLING_EXAMPLES)
def billing(
    *,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help=_FROM)],
    until: Annotated[str, typer.Option("--to", metavar="TIME", help=_TO)],
    user: UserOption = None,
    output: FormatOption = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Count what each user did and used on each day."""
    from flight_server.rpc.audit_actions import bill_as_json  # noqa: PLC0415 - quick help
    from flight_server.service.periods import period  # noqa: PLC0415 - as above

    bills = _open(config, folder).bills(period(since, until), user)
    columns = ("day", "username", "action_count", "queries", "refused", "rows", "bytes",
               "engine_seconds")  # fmt: skip
    _print([bill_as_json(bill) for bill in bills], columns, output=output)


def _open(config: Path | None, folder: str | None) -> FolderLog:
    from flight_server.ops.audit_reading import FolderLog  # noqa: PLC0415 - keeps `--help` quick

    settings = load_settings(config, folder)
    existing_lakehouse(settings)
    return FolderLog(settings)


def _read_head(path: Path) -> SignedHead:
    from flight_server.audit.heads import SignedHead  # noqa: PLC0415 - keeps `--help` quick

    try:
        if str(path) == "-":
            text = sys.stdin.read(_HEAD_CHARACTERS_MAX)
        else:
            with path.open(encoding="utf-8") as file:
                text = file.read(_HEAD_CHARACTERS_MAX)
        value = json.loads(text)
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror or 'cannot be read'}") from None
    except ValueError:  # UnicodeDecodeError is one
        raise InvalidRequest(f"{path}: this is no signed head of an audit log") from None
    return SignedHead.from_json(value)


def _print(rows: list[dict[str, Any]], columns: Iterable[str], *, output: Format) -> None:
    if output is Format.JSON:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    names = tuple(columns)
    lines = [tuple(_cell(row[name]) for name in names) for row in rows]
    for line in align([tuple(name.replace("_", " ") for name in names), *lines]):
        typer.echo(line)


def _cell(value: object) -> str:
    """Return a value as a cell; what others have written may hold what moves a cursor."""
    text = "-" if value is None else str(value)
    return "".join(each if each.isprintable() else "?" for each in text)
