"""``lakeflight serve``: run the server in this process until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TextIO

import typer

from flight_server import errors
from flight_server.ops.settings import Settings, inherited_environment, load

EXAMPLES = """Examples:

  lakeflight serve ./lakehouse

  lakeflight serve ./lakehouse --host 0.0.0.0 --port 443 --config lakeflight.toml

  LAKEFLIGHT_ADMIN__PASSWORD=… lakeflight serve ./lakehouse --port 0
"""


def serve(
    directory: Annotated[
        Path | None, typer.Argument(help="The lakehouse: every table below it is served.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
) -> None:
    """Serve a folder of Delta and Parquet tables over Flight SQL."""
    settings = load(
        config,
        {
            "storage.primary": None if directory is None else str(directory.absolute()),
            "server.host": host,
            "server.port": port,
        },
    )
    primary = settings.storage.primary_path
    if primary is not None and not primary.is_dir():
        raise errors.NotFound("the lakehouse is not a folder that exists; see lakeflight demo")
    serve_lakehouse(settings)


def serve_lakehouse(settings: Settings, announce: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain and end the process; does not return.

    ``announce`` is called with the URI once calls are answered, after the line ``ready URI`` went
    out.
    """
    from flight_server.app import Gateway  # noqa: PLC0415  loads Arrow, which --help need not wait for
    from flight_server.ops.logs import configure  # noqa: PLC0415  as above

    configure(settings.log)
    stop = threading.Event()

    def on_signal(number: int, frame: object) -> None:  # noqa: ARG001  the shape of a handler
        if stop.is_set():
            os._exit(128 + number)  # asked twice: the operator does not want to wait
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    gateway = Gateway(settings, environment=inherited_environment())
    gateway.start()
    if gateway.first_password is not None:
        _say(f"administrator admin, password {gateway.first_password} (shown only now)", sys.stderr)
    _say(f"ready {gateway.uri}", sys.stdout)
    if announce is not None:
        announce(gateway.uri)
    stop.wait()
    if not gateway.stop():
        _say("stopped; calls that were still running were cut off", sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # The Flight server itself would wait without limit for a reader that has stalled.
    os._exit(0)


def _say(line: str, stream: TextIO) -> None:
    print(line, file=stream, flush=True)
