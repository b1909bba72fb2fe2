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

from flight_server import errors, footprint
from flight_server.ops.settings import Settings, inherited_environment, load

EXAMPLES = """Examples:

  lakeflight serve ./lakehouse

  lakeflight serve ./lakehouse --host 0.0.0.0 --port 443 --config lakeflight.toml

  LAKEFLIGHT_ADMIN__PASSWORD=… lakeflight serve ./lakehouse --port 0

  LAKEFLIGHT_STORAGE__READ_ONLY=true lakeflight serve ./lakehouse --port 31338
"""


def serve(
    directory: Annotated[
        Path | None,
        typer.Argument(help="The lakehouse: every table below it is served, and written."),
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
    footprint.leave_out_unused_libraries()
    footprint.return_large_blocks()
    from flight_server.app import Gateway  # noqa: PLC0415  loads Arrow, which --help need not wait for
    from flight_server.ops.logs import configure  # noqa: PLC0415  as above

    configure(settings.log)
    stop = threading.Event()

    _stop_on_signals(stop)
    gateway = Gateway(settings, environment=inherited_environment())
    gateway.start()
    # After the workers were started, which have a bound of their own.
    footprint.bound_data(settings.server.memory_bytes_max)
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


def _stop_on_signals(stop: threading.Event) -> None:
    """Set ``stop`` at the first SIGTERM or SIGINT, and end the process at the second.

    The operator who asks twice does not want to wait. The kernel may give a signal to any thread,
    and Python runs handlers only in the main one, which may be asleep, or hold the very lock that
    the event needs; so a thread of its own reads the numbers of the signals from a pipe.
    """
    numbers, write_end = os.pipe()
    os.set_blocking(write_end, False)

    def follow() -> None:
        os.read(numbers, 1)
        stop.set()
        os._exit(128 + os.read(numbers, 1)[0])

    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # without a handler it would not get that far
    threading.Thread(target=follow, name="signals", daemon=True).start()


def _say(line: str, stream: TextIO) -> None:
    print(line, file=stream, flush=True)
