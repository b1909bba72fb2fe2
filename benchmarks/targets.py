"""What is measured: Lakeflight, two bare Flight servers, and DataFusion in this process."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from adbc_driver_flightsql import dbapi
from datafusion import SessionContext

from benchmarks.data import Dataset
from benchmarks.processes import cpu_seconds_of, running
from benchmarks.session import batches, open_session

LAKEFLIGHT = "lakeflight"
BARE = "bare"
MEMORY = "memory"
IN_PROCESS = "in-process"
ALL = (LAKEFLIGHT, BARE, MEMORY, IN_PROCESS)

# A bucket of the server for tables that are written; it goes with the server.
SCRATCH = "scratch"
_USER = "admin"


@dataclass(frozen=True, slots=True)
class Login:
    """How another process reaches a target; without ``uri`` it opens the dataset itself."""

    uri: str | None
    user: str | None = None
    password: str | None = None


def connect(login: Login) -> dbapi.Connection:
    """Open an ADBC connection as any user would."""
    assert login.uri is not None
    given = {"username": login.user, "password": login.password}
    credentials = {name: value for name, value in given.items() if value is not None}
    return dbapi.connect(login.uri, db_kwargs=credentials, autocommit=True)


class Target(Protocol):
    """Something that answers SQL."""

    name: str
    login: Login
    pid: int | None

    def cpu_seconds(self) -> float | None:
        """Return the processor time that the server has used; None without a server."""
        ...

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Run a statement and yield its batches; nothing is collected on the way."""
        ...


class Served:
    """A Flight SQL server in its own process, asked over one ADBC connection."""

    def __init__(self, name: str, login: Login, *, pid: int) -> None:
        self.name = name
        self.login = login
        self.pid: int | None = pid
        self._connection = connect(login)

    def cpu_seconds(self) -> float | None:
        return None if self.pid is None else cpu_seconds_of(self.pid)

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            yield from cursor.fetch_record_batch()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class InProcess:
    """DataFusion in this process: what one user on one machine would have without a server."""

    name = IN_PROCESS
    login = Login(None)
    pid: int | None = None

    def __init__(self, session: SessionContext) -> None:
        self._session = session

    def cpu_seconds(self) -> float | None:
        return None

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        return batches(self._session.sql(sql))


@contextlib.contextmanager
def started(names: Sequence[str], dataset: Dataset) -> Iterator[list[Target]]:
    """Start the targets of these names, in this order; end them on leaving."""
    with contextlib.ExitStack() as stack:
        targets: list[Target] = []
        for name in names:
            if name == IN_PROCESS:
                targets.append(InProcess(open_session(dataset)))
                continue
            login, pid = stack.enter_context(_serving(name, dataset))
            served = Served(name, login, pid=pid)
            stack.callback(served.close)
            targets.append(served)
        yield targets


@contextlib.contextmanager
def serving_lakeflight(
    dataset: Dataset, program: Sequence[str] = (), **settings: str
) -> Iterator[tuple[Login, int]]:
    """Start Lakeflight, or a ``program`` like it, with these variables as settings."""
    password = secrets.token_urlsafe(16)
    installed = str(Path(sysconfig.get_path("scripts")) / "lakeflight")
    # Its own state goes elsewhere, so that the data can be shared and kept.
    with tempfile.TemporaryDirectory(prefix="lakeflight-bench-") as state:
        environment = {
            "LAKEFLIGHT_ADMIN__PASSWORD": password,
            "LAKEFLIGHT_STORAGE__SYSTEM": f"{state}/system",
            "LAKEFLIGHT_STORAGE__BUCKETS": json.dumps({SCRATCH: f"{state}/{SCRATCH}"}),
            **settings,
        }
        Path(state, SCRATCH).mkdir()
        command = [*(program or [installed, "serve"]), str(dataset.root), "--port", "0"]
        with running(command, environment=environment) as server:
            yield Login(server.uri, _USER, password), server.pid


@contextlib.contextmanager
def _serving(name: str, dataset: Dataset) -> Iterator[tuple[Login, int]]:
    if name == LAKEFLIGHT:
        with serving_lakeflight(dataset) as served:
            yield served
    else:
        command = [sys.executable, "-m", "benchmarks.bare", str(dataset.root)]
        if name == MEMORY:
            command.append("--memory")
        with running(command, environment={}) as server:
            yield Login(server.uri), server.pid
