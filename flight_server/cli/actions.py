"""`lakeflight actions`: lists what a server of this version does beside SQL."""

from __future__ import annotations

import typer

EXAMPLES = """\b
Examples:
  lakeflight actions
"""


def actions() -> None:
    """List the actions (DoAction) that a server takes, with who may call them and their bodies."""
    from flight_server.rpc.server import action_descriptions  # noqa: PLC0415 - keeps `--help` quick

    described = action_descriptions()
    width = max(len(name) for name, _ in described)
    for name, text in described:
        typer.echo(f"{name.ljust(width)}  {text}")
