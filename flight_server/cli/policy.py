"""`lakeflight policy`: what the rules show to whom, and how they changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.accounts import Format, Listing
from flight_server.cli.options import (
    ConfigOption,
    FolderOption,
    existing_lakehouse,
    load_settings,
)

if TYPE_CHECKING:
    from flight_server.catalog.editions import Editions, Since

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Explain what somebody sees and why, now or then.\n\nA running server is not disturbed.",
)

VERSIONS_EXAMPLES = """\b
Examples:
  lakeflight policy versions --dir ./lakehouse
  lakeflight policy versions --from 2026-02-01 --to 2026-03-01 --format json
"""
FormatOption = Annotated[Format, typer.Option("--format", help="How to print it.")]


@app.callback()
def _policy() -> None:
    """Explain what somebody sees and why, now or then."""


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


def _editions(config: Path | None, folder: str | None) -> Editions:
    from flight_server.catalog.editions import Editions  # noqa: PLC0415 - keeps `--help` quick

    settings = load_settings(config, folder)
    root = existing_lakehouse(settings)
    return Editions(root, settings.policy_book().grants)


def _time(each: Since) -> str:
    return each.since.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_VERSIONS_MAX = 1000
_VERSIONS: Listing[Since] = Listing(
    ("since", "version"),
    lambda each: (_time(each), each.version),
    lambda each: {"version": each.version, "since": _time(each)},
)
