"""`lakeflight policy`: what the rules show to whom, and how they changed."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flight_server.cli.accounts import Format, Listing, open_folder
from flight_server.cli.options import (
    ConfigOption,
    FolderOption,
    existing_lakehouse,
    load_settings,
)

if TYPE_CHECKING:
    from flight_server.catalog.editions import Editions, Since
    from flight_server.ops.settings import Settings

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Explain what somebody sees and why, now or then; change the key of hashes.\n\n"
    "A running server is not disturbed.",
)

VERSIONS_EXAMPLES = """\b
Examples:
  lakeflight policy versions --dir ./lakehouse
  lakeflight policy versions --from 2026-02-01 --to 2026-03-01 --format json
"""
EXPLAIN_EXAMPLES = """\b
Examples:
  lakeflight policy explain primary.public.candidates --user alice --dir ./lakehouse
  lakeflight policy explain primary.public.candidates --user alice --at 2026-03-01
  lakeflight policy explain primary.public.candidates --user alice --purpose research --format json
"""
DIFF_EXAMPLES = """\b
Examples:
  lakeflight policy diff 2026-02-01 2026-03-01 --dir ./lakehouse
  lakeflight policy diff g4-f0-m2-l0-v1-s5fc20af14b1f7d26 --format json
"""
ROTATE_EXAMPLES = """\b
Examples:
  lakeflight policy rotate-key --dir ./lakehouse
"""
FormatOption = Annotated[Format, typer.Option("--format", help="How to print it.")]


@app.callback()
def _policy() -> None:
    """Explain what somebody sees and why, now or then."""


@app.command(epilog=EXPLAIN_EXAMPLES)
def explain(
    table: Annotated[str, typer.Argument(help="bucket.schema.table; the bucket may be left out.")],
    *,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="A user, by name or id.")],
    purpose: Annotated[
        str | None, typer.Option(help="The purpose that a session would state.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="The moment, in UTC; none is now.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="The version of the rules, as the audit log has it.")
    ] = None,
    output: FormatOption = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Explain what somebody sees of a table and why, in sentences or as JSON."""
    from flight_server.clock import SystemClock  # noqa: PLC0415 - keeps `--help` quick
    from flight_server.ops.policy_reading import open_explainer, table_named  # noqa: PLC0415 - as above
    from flight_server.service.explaining import Question  # noqa: PLC0415 - as above
    from flight_server.service.explanations import as_json  # noqa: PLC0415 - as above

    explainer = open_explainer(_settings(config, folder), SystemClock())
    question = Question(table_named(table), user, purpose=purpose, at=_moment(at), version=version)
    answer = as_json(explainer.explain(question), is_full=True)
    _print(answer, output)


@app.command(epilog=DIFF_EXAMPLES)
def diff(
    first: Annotated[
        str, typer.Argument(metavar="FROM", help="A version as the audit log has it, or a time.")
    ],
    second: Annotated[
        str | None, typer.Argument(metavar="TO", help="Another one; none is now.")
    ] = None,
    *,
    output: FormatOption = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare the rules of two versions or moments, in sentences or as JSON."""
    from flight_server.service.policy_changes import difference  # noqa: PLC0415 - quick help

    _print(difference(_editions(config, folder), first, second).as_json(), output)


@app.command(epilog=VERSIONS_EXAMPLES)
def versions(
    *,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="The first moment, in UTC.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="The last moment, in UTC.")
    ] = None,
    output: FormatOption = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List the versions of the rules, newest first, with the moment from which each one held."""
    from flight_server.service.periods import period  # noqa: PLC0415 - keeps `--help` quick

    asked = period(since, until)
    found = _editions(config, folder).list(asked.since, asked.before, limit=_VERSIONS_MAX)
    _VERSIONS.show(found, output, nothing="there were no rules at that time")


@app.command("rotate-key", epilog=ROTATE_EXAMPLES)
def rotate_key(*, folder: FolderOption = None, config: ConfigOption = None) -> None:
    """Make another key for the hashes of all views and masks.

    From the next query on, also of a running server, hashes are others. What was stored by the old
    ones no longer joins with them.
    """
    from flight_server.ops.rights import open_hash_key  # noqa: PLC0415 - keeps `--help` quick

    opened = open_folder(config, folder)
    key = open_hash_key(opened.settings)
    with opened.on_record("view.rotate_key", ""):
        key.rotate()
    typer.echo("hashes have another key now")


def _settings(config: Path | None, folder: str | None) -> Settings:
    settings = load_settings(config, folder)
    existing_lakehouse(settings)
    return settings


def _editions(config: Path | None, folder: str | None) -> Editions:
    from flight_server.ops.policy_reading import open_editions  # noqa: PLC0415 - quick help

    return open_editions(_settings(config, folder))


def _moment(text: str | None) -> datetime | None:
    from flight_server.sql.names import parse_time  # noqa: PLC0415 - keeps `--help` quick

    return None if text is None else parse_time(text).time


def _print(answer: dict[str, Any], output: Format) -> None:
    """Print an answer; what others have written may hold what moves a cursor."""
    if output is Format.JSON:
        typer.echo(json.dumps(answer, indent=2))
        return
    for sentence in answer["summary"]:
        typer.echo("".join(each if each.isprintable() else "?" for each in sentence))


def _time(each: Since) -> str:
    return each.since.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_VERSIONS_MAX = 1000
_VERSIONS: Listing[Since] = Listing(
    ("since", "version"),
    lambda each: (_time(each), each.version),
    lambda each: {"version": each.version, "since": _time(each)},
)
