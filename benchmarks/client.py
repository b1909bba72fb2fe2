"""A process of clients: many connections that send the smallest query for a while.

Reads one ``Order`` as JSON from standard input, writes the latencies as JSON to standard output.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import pyarrow as pa
from adbc_driver_flightsql import dbapi
from adbc_driver_manager import AdbcStatement
from datafusion import SessionContext

from benchmarks.data import Dataset
from benchmarks.processes import cpu_seconds_of
from benchmarks.session import batches, open_session
from benchmarks.targets import Login, connect

SQL = "SELECT 1"
_WARM_UP = 3
# Each process of clients starts elsewhere, so that no two ever send the same text.
_NUMBERS = itertools.count(os.getpid() * 1_000_000)


@dataclass(frozen=True, slots=True)
class Order:
    """What to do. ``mode`` is a key of ``MODES``; without ``login.uri`` DataFusion runs here.

    ``pid`` is the server's process, whose processor time is read around the load."""

    login: Login
    pid: int | None
    root: str
    mode: str
    connections: int
    seconds: float


def direct(connection: dbapi.Connection) -> Callable[[], int]:
    """Send the statement as it is: GetFlightInfo, DoGet."""

    return lambda: _rows(connection, SQL)


def fresh(connection: dbapi.Connection) -> Callable[[], int]:
    """As ``direct``, with a text that was never sent before: nothing that is kept can answer."""
    return lambda: _rows(connection, f"{SQL} + {next(_NUMBERS)}")


def _rows(connection: dbapi.Connection, sql: str) -> int:
    with AdbcStatement(connection.adbc_connection) as statement:
        statement.set_sql_query(sql)
        stream, _ = statement.execute_query()
        with pa.RecordBatchReader._import_from_c(stream.address) as reader:  # noqa: SLF001 - the only way in
            return sum(batch.num_rows for batch in reader)


def cursor(connection: dbapi.Connection) -> Callable[[], int]:
    """Take a new cursor each time: prepare, GetFlightInfo, DoGet, close."""

    def once() -> int:
        with connection.cursor() as each:
            each.execute(SQL)
            return len(each.fetchall())

    return once


def prepared(connection: dbapi.Connection) -> Callable[[], int]:
    """Keep one cursor, which keeps its prepared statement: GetFlightInfo, DoGet."""
    kept = connection.cursor()

    def once() -> int:
        kept.execute(SQL)
        return len(kept.fetchall())

    return once


MODES = {"direct": direct, "fresh": fresh, "cursor": cursor, "prepared": prepared}


def _local(session: SessionContext) -> Callable[[], int]:
    def once() -> int:
        return sum(batch.num_rows for batch in batches(session.sql(SQL)))

    return once


def _load(calls: list[Callable[[], int]], *, seconds: float, pid: int | None) -> dict[str, object]:
    """Run each call in its own thread, again and again until the time is up.

    All times are in seconds; ``cpu`` is that of the server process ``pid`` and its descendants.
    """
    start = threading.Barrier(len(calls) + 1)
    latencies: list[list[float]] = [[] for _ in calls]
    errors: list[str] = []

    def work(call: Callable[[], int], mine: list[float]) -> None:
        start.wait()
        began = perf_counter()
        try:
            while began < until[0]:
                if call() != 1:
                    raise RuntimeError("not one row")
                ended = perf_counter()
                mine.append(ended - began)
                began = ended
        except Exception as error:  # noqa: BLE001 - reported to the parent
            errors.append(str(error))

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(calls, latencies, strict=True)
    ]
    for thread in threads:
        thread.start()
    cpu = None if pid is None else cpu_seconds_of(pid)
    began = perf_counter()
    until = [began + seconds]
    start.wait()
    for thread in threads:
        thread.join()
    elapsed = perf_counter() - began
    used = None if pid is None or cpu is None else cpu_seconds_of(pid) - cpu
    flat = [latency for each in latencies for latency in each]
    return {"latencies": flat, "elapsed": elapsed, "cpu": used, "errors": errors}


def main() -> None:
    """Obey one order."""
    said = json.load(sys.stdin)
    order = Order(**said | {"login": Login(**said["login"])})
    with ExitStack() as stack:
        if order.login.uri is None:
            session = open_session(Dataset(Path(order.root), scale=0))
            calls = [_local(session)] * order.connections
        else:
            open_call = MODES[order.mode]
            calls = [
                open_call(stack.enter_context(connect(order.login)))
                for _ in range(order.connections)
            ]
        for call in calls:
            for _ in range(_WARM_UP):
                call()
        json.dump(_load(calls, seconds=order.seconds, pid=order.pid), sys.stdout)


def as_json(order: Order) -> str:
    """Write an order as the process reads it."""
    return json.dumps(dataclasses.asdict(order))


if __name__ == "__main__":
    main()
