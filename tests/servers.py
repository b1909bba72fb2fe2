"""Starts real servers for tests: the installed command in a process of its own, on a free port."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import adbc_driver_flightsql.dbapi as flightsql

ADMIN_PASSWORD = "correct horse battery"
READY_SECONDS_MAX = 60.0
_CHEAP_HASHES = {
    "LAKEFLIGHT_AUTH__ARGON2_TIME_COST": "1",
    "LAKEFLIGHT_AUTH__ARGON2_MEMORY_KIB": "64",
}

# Tests share servers, and many of them fail to sign in on purpose.
_MANY_FAILURES = {
    "LAKEFLIGHT_AUTH__FAILURES_MAX": "1000",
    "LAKEFLIGHT_AUTH__FAILURES_PER_ADDRESS_MAX": "100000",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it is, and what it wrote to standard error."""

    uri: str
    directory: Path
    process: subprocess.Popen[bytes]
    log: BinaryIO

    def connect(
        self, username: str = "admin", password: str = ADMIN_PASSWORD, **options: str
    ) -> flightsql.Connection:
        """Open a connection of the official ADBC driver."""
        return flightsql.connect(
            self.uri,
            db_kwargs={"username": username, "password": password, **options},
            autocommit=True,
        )

    def fetch(self, sql: str) -> Any:
        """Return a query's result as an Arrow table, as the administrator."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetch_arrow_table()

    def worker_pids(self) -> list[int]:
        """Return the process ids of the server's workers."""
        return [pid for template in children(self.process.pid) for pid in children(template)]

    def errors(self) -> str:
        """Return what the server has logged so far."""
        self.log.flush()
        return Path(self.log.name).read_text(encoding="utf-8", errors="replace")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the process is going
            found += map(int, path.read_text().split())
    return found


@contextmanager
def running(
    directory: Path,
    *,
    environment: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
    read_only: bool = False,
) -> Iterator[Server]:
    """Serve a folder until the block ends; ``environment`` holds settings as variables.

    One server writes a folder at a time: beside another one it must be ``read_only``.
    """
    with tempfile.NamedTemporaryFile(prefix="lakeflight-test-", suffix=".log") as log:
        process = launch(
            directory,
            environment=environment,
            arguments=arguments,
            read_only=read_only,
            log=log,  # type: ignore[arg-type]  # a wrapped BinaryIO
        )
        try:
            uri = _ready(process, Path(log.name))
            yield Server(uri, directory, process, log)  # type: ignore[arg-type]  # a wrapped BinaryIO
        finally:
            _end(process)


def launch(
    directory: Path,
    *,
    environment: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
    read_only: bool = False,
    log: BinaryIO,
) -> subprocess.Popen[bytes]:
    """Start the process of a server and return at once; its end is the caller's."""
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("LAKEFLIGHT_")
    }
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "flight_server",
            "serve",
            str(directory),
            "--port",
            "0",
            *arguments,
        ],
        env={
            **variables,
            **_CHEAP_HASHES,
            **_MANY_FAILURES,
            "LAKEFLIGHT_ADMIN__PASSWORD": ADMIN_PASSWORD,
            "LAKEFLIGHT_SERVER__DRAIN_SECONDS_MAX": "2",
            "LAKEFLIGHT_STORAGE__READ_ONLY": str(read_only).lower(),
            **(environment or {}),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
    )


def wait_until(condition: Any, *, seconds_max: float = 10.0, what: str = "the condition") -> None:
    """Wait for a condition to become true; fails the test when it does not."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds_max:g} s")
        select.select([], [], [], 0.02)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        if select.select([process.stdout], [], [], 0.1)[0]:
            line = process.stdout.readline().decode()
            if line.startswith("ready "):
                return line.split()[1]
            if not line:
                break
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()
