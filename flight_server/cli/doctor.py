"""`lakeflight doctor`: tells whether this installation is fit to serve that lakehouse."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from flight_server.cli.options import ConfigOption, FolderArgument, load_settings
from flight_server.errors import InvalidRequest

EXAMPLES = """\b
Examples:
  lakeflight doctor ./lakehouse
  lakeflight doctor --config lakeflight.toml
"""
_COLORS = {"green": typer.colors.GREEN, "yellow": typer.colors.YELLOW, "red": typer.colors.RED}


def doctor(
    folder: FolderArgument = None,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    config: ConfigOption = None,
) -> None:
    """Check settings, storage, port, versions and limits; exit 1 when anything is red."""
    from flight_server.clock import SystemClock  # noqa: PLC0415 - keeps `--help` quick
    from flight_server.ops.checks import Finding, Light, examine  # noqa: PLC0415 - as above

    findings: Iterable[Finding]
    try:
        settings = load_settings(config, folder, flags={"server.host": host, "server.port": port})
    except InvalidRequest as error:
        findings = [Finding("settings", Light.RED, error.message)]
    else:
        valid = Finding("settings", Light.GREEN, "are valid")
        findings = itertools.chain([valid], examine(settings, SystemClock()))
    worst = 0
    is_terminal = sys.stdout.isatty()
    for finding in findings:
        mark = finding.light.value.ljust(6)
        if is_terminal:
            mark = typer.style(mark, fg=_COLORS[finding.light])
        typer.echo(f"{mark}  {finding.subject.ljust(14)}  {finding.text}")
        worst = max(worst, finding.light is Light.RED)
    raise typer.Exit(worst)
