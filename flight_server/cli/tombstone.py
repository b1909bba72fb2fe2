"""`lakeflight tombstone`: which rows of tables are hidden, also while a server runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.accounts import Folder, Format, Listing, open_folder, time_text
from flight_server.cli.options import ConfigOption, FolderOption
from flight_server.errors import InvalidRequest

if TYPE_CHECKING:
    from flight_server.ops.hiding import TombstonesAtHand
    from flight_server.service.keyed_tombstones import Outcome, Tombstone

# So many of the values that were refused are shown, and the rest counted.
_REFUSED_SHOWN_MAX = 20
_LINE_BYTES_MAX = 16_384

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Hide rows of tables by their keys.\n\nA running server sees it at the next query.",
)

ADD_EXAMPLES = """\b
Examples:
  lakeflight tombstone add people 4711 4712 --key person_id --reason "asked on 2026-03-01"
  lakeflight tombstone add sales.people --key person_id --file gone.txt --reason GDPR
"""
REMOVE_EXAMPLES = """\b
Examples:
  lakeflight tombstone remove people 4712 --dir ./lakehouse
  lakeflight tombstone remove people --file back.txt --reason "a mistake"
"""
LIST_EXAMPLES = """\b
Examples:
  lakeflight tombstone list people --dir ./lakehouse
  lakeflight tombstone list people --limit 10000 --format json
"""

TableArgument = Annotated[str, typer.Argument(help="The table, named as in SQL.")]
ValuesArgument = Annotated[
    list[str] | None, typer.Argument(help="Keys of rows, written as the column shows them.")
]
FileOption = Annotated[
    Path | None, typer.Option("--file", help="A file of keys, one in each line, in their place.")
]


@app.command(epilog=ADD_EXAMPLES)
def add(
    table: TableArgument,
    values: ValuesArgument = None,
    *,
    key: Annotated[str, typer.Option("--key", help="The column of the keys.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    actor: Annotated[str | None, typer.Option("--actor", help="Who asked for it.")] = None,
    file: FileOption = None,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Hide the rows that have some keys, from everybody and in all versions."""
    opened = open_folder(config, folder)
    tombstones = _open(opened)
    found = tombstones.find(table)
    details = {"row_key_column": key, "reason": reason, "actor": actor}
    with opened.on_record("tombstone.add", str(found.ref), details):
        _each_part(
            values,
            file,
            lambda part: tombstones.keyed.add(found, key, part, actor=actor, reason=reason),
        )


@app.command(epilog=REMOVE_EXAMPLES)
def remove(
    table: TableArgument,
    values: ValuesArgument = None,
    *,
    reason: Annotated[str | None, typer.Option("--reason", help="Why.")] = None,
    file: FileOption = None,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Let rows be seen again, unless a compaction has removed them."""
    opened = open_folder(config, folder)
    tombstones = _open(opened)
    found = tombstones.find(table)
    with opened.on_record("tombstone.remove", str(found.ref), {"reason": reason}):
        _each_part(
            values,
            file,
            lambda part: tombstones.keyed.remove(found, part, actor=None, reason=reason),
        )


@app.command("list", epilog=LIST_EXAMPLES)
def list_tombstones(
    table: TableArgument,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 1000,
    output: Annotated[Format, typer.Option("--format", help="How to list them.")] = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List the keys that hide rows of a table, oldest first."""
    tombstones = _open(open_folder(config, folder))
    page = tombstones.keyed.page(tombstones.find(table), after=0, limit=limit)
    _LISTING.show(page.tombstones or (), output, nothing="no tombstones")
    if page.next_after is not None:
        typer.echo(f"and {page.count - limit} more", err=True)


def _open(opened: Folder) -> TombstonesAtHand:
    from flight_server.ops.hiding import open_tombstones  # noqa: PLC0415 - keeps `--help` quick

    return open_tombstones(opened.settings, opened.clock)


def _each_part(
    values: list[str] | None, file: Path | None, change: Callable[[Sequence[str]], list[Outcome]]
) -> None:
    """Change the tombstones of values or of a file's lines, and say what became of them."""
    from flight_server.service.keyed_tombstones import VALUES_MAX  # noqa: PLC0415 - quick `--help`

    if bool(values) is (file is not None):
        raise InvalidRequest("give keys, or a file of keys with --file")
    counts: Counter[str] = Counter()
    refused: list[str] = []
    with _lines(file) as lines:
        source = iter(values or ()) if lines is None else lines
        while part := list(islice(source, VALUES_MAX)):
            first = sum(counts.values()) + 1
            for number, outcome in enumerate(change(part), first):
                counts[outcome.status.value] += 1
                if outcome.message is not None and len(refused) < _REFUSED_SHOWN_MAX:
                    refused.append(f"value {number}: {outcome.message}")
    for text in refused:
        typer.echo(text, err=True)
    typer.echo(", ".join(f"{status} {count}" for status, count in sorted(counts.items())))
    if counts["refused"]:
        raise typer.Exit(1)


@contextmanager
def _lines(path: Path | None) -> Iterator[Iterator[str] | None]:
    """Give the lines of a file that are not empty, with a bar that tells how far they are read."""
    if path is None:
        yield None
        return
    from rich.console import Console  # noqa: PLC0415  --help need not wait for it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415  as above

    columns = (TextColumn("{task.description:10}"), BarColumn(), TimeElapsedColumn())
    try:
        with (
            path.open(encoding="utf-8", newline="\n") as file,
            Progress(*columns, console=Console(stderr=True), transient=True) as bars,
        ):
            task = bars.add_task("keys", total=path.stat().st_size)

            def read() -> Iterator[str]:
                while line := file.readline(_LINE_BYTES_MAX):
                    bars.advance(task, len(line.encode()))
                    if key := line.rstrip("\r\n"):
                        yield key

            yield read()
    except (OSError, UnicodeDecodeError):
        raise InvalidRequest(f"the file {path} cannot be read as text in UTF-8") from None


def _as_json(tombstone: Tombstone) -> dict[str, object]:
    return {
        "row_key_value": tombstone.value,
        "actor": tombstone.actor,
        "reason": tombstone.reason,
        "added_at": time_text(tombstone.added_at),
        "final": tombstone.is_final,
    }


def _as_row(tombstone: Tombstone) -> tuple[str, ...]:
    return (
        str(tombstone.value),
        time_text(tombstone.added_at),
        tombstone.actor or "-",
        tombstone.reason or "-",
    )


_LISTING = Listing(("key", "added", "actor", "reason"), _as_row, _as_json)
