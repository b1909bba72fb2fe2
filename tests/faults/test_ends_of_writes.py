"""Writes that are cut off by a worker's end, a cancel, the client's death: nothing is seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, Literal

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pytest
from adbc_driver_manager import Error

from tests.faults.lanes import cursor_of
from tests.faults.processes import busy_worker
from tests.faults.test_ends import Background
from tests.faults.writing import Watched, held
from tests.rpc.failures import failure_in
from tests.servers import ADMIN_PASSWORD, Server, running, wait_until

ROWS = 1_500_000
# Takes some seconds for all rows of the table, and much longer for the series.
SLOW = "md5(repeat(CAST({} AS VARCHAR), 200))"
SERIES = f"SELECT value AS id, {SLOW.format('value')} AS text FROM generate_series(1, 100000000)"
STATEMENTS = {
    "insert": f"INSERT INTO s.t {SERIES}",
    "update": f"UPDATE s.t SET text = {SLOW.format('id')}",
    "delete": f"DELETE FROM s.t WHERE {SLOW.format('id')} LIKE '%0'",
    "merge": f"MERGE INTO s.t USING (SELECT value AS id FROM generate_series(1, {2 * ROWS})) n"
    f" ON t.id = n.id WHEN MATCHED THEN UPDATE SET text = {SLOW.format('n.id')}"
    f" WHEN NOT MATCHED THEN INSERT (id, text) VALUES (n.id, {SLOW.format('n.id')})",
    "rename": "ALTER TABLE s.t RENAME COLUMN text TO words",
    "optimize": "OPTIMIZE s.t ZORDER BY (text)",
    "create": f"CREATE TABLE s.made AS {SERIES}",
}
Mode = Literal["append", "create", "replace"]
_CLIENT = """
import itertools, sys
import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
uri, password, sql = sys.argv[1:]
connection = flightsql.connect(uri, db_kwargs={"username": "admin", "password": password})
cursor = connection.cursor()
if sql:
    cursor.execute(sql)
batch = pa.RecordBatch.from_pydict({"id": range(50000), "text": ["x"] * 50000})
reader = pa.RecordBatchReader.from_batches(batch.schema, itertools.repeat(batch))
cursor.adbc_ingest("t", reader, mode="append", db_schema_name="s")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # A worker that is not given the time to end by itself leaves its files to VACUUM.
    environment = {"LAKEFLIGHT_WORKERS__CANCEL_GRACE_SECONDS_MAX": "20"}
    with running(tmp_path_factory.mktemp("cut-off"), environment=environment) as server:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA s")
        yield server


@pytest.fixture
def table(server: Server) -> Watched:
    """Return a table of ROWS rows."""
    if not (server.directory / "s" / "t").exists():
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE s.t AS SELECT value AS id, CAST(value * 7919 % 1000003 AS VARCHAR)"
                f" AS text FROM generate_series(1, {ROWS})"
            )
    return Watched(server, "s", "t")


def assert_as_before(table: Watched) -> None:
    """Fail unless the table is as it was, and can be written."""
    table.assert_untouched()
    assert not (table.path.parent / "made").exists()
    with table.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT id), sum(id) FROM s.t")
        assert cursor.fetchall() == [(ROWS, ROWS, ROWS * (ROWS + 1) // 2)]
        cursor.execute("INSERT INTO s.t VALUES (0, 'next')")
        assert cursor.rowcount == 1
        cursor.execute("DELETE FROM s.t WHERE id = 0")
        assert cursor.rowcount == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", STATEMENTS)
def test_a_worker_that_is_killed_in_a_write(table: Watched, kind: str) -> None:
    write = Background(table.server, STATEMENTS[kind])
    worker = busy_worker(table.server)
    table.wait_for_files()
    os.kill(worker, signal.SIGKILL)
    failure = failure_in(write.ended())
    assert failure.code == "unavailable"
    assert "nothing was written" in failure.message
    assert failure.body["retry_after_seconds"] > 0
    assert table.staged() == []
    assert_as_before(table)
    table.vacuum()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["insert", "update", "merge", "create"])
def test_a_statement_that_is_cancelled(table: Watched, kind: str) -> None:
    write = Background(table.server, STATEMENTS[kind])
    table.wait_for_files()
    write.cursor.adbc_cancel()
    assert "CANCEL" in str(write.ended()).upper()
    table.wait_for_nothing()
    assert_as_before(table)


@pytest.mark.slow
def test_a_client_that_is_killed_in_a_statement(table: Watched) -> None:
    client = start_client(table.server, STATEMENTS["insert"])
    table.wait_for_files()
    client.kill()
    client.wait()
    table.wait_for_nothing()
    assert_as_before(table)


class Loading:
    """A load in a thread that ends only when it is cut off."""

    def __init__(self, server: Server, *, mode: Mode, table: str) -> None:
        self.ends = threading.Event()
        self.error: Exception | None = None
        self.connection = server.connect()
        self._mode, self._table = mode, table
        self.started = threading.Event()
        self.cursor: flightsql.Cursor | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.started.wait(10)

    def _run(self) -> None:
        values: Any = {"id": range(50_000), "text": ["x"] * 50_000}
        batch = pa.RecordBatch.from_pydict(values)

        def batches() -> Iterator[pa.RecordBatch]:
            while not self.ends.wait(0.01):
                yield batch

        reader = pa.RecordBatchReader.from_batches(batch.schema, batches())
        with cursor_of(self.connection) as self.cursor:
            self.started.set()
            try:
                self.cursor.adbc_ingest(self._table, reader, mode=self._mode, db_schema_name="s")
            except (Error, OSError) as error:
                self.error = error

    def cancel(self) -> None:
        assert self.cursor is not None
        self.cursor.adbc_cancel()

    def join(self) -> None:
        self._thread.join(20)
        self.ends.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "name"), [("append", "t"), ("replace", "t"), ("create", "made")])
def test_a_load_that_is_cancelled(table: Watched, mode: Mode, name: str) -> None:
    load = Loading(table.server, mode=mode, table=name)
    table.wait_for_files()
    load.cancel()
    load.join()
    assert load.error is not None
    assert "CANCEL" in str(load.error).upper()
    table.wait_for_nothing()
    assert_as_before(table)


def cancelled_load(table: Watched) -> None:
    load = Loading(table.server, mode="append", table="t")
    table.wait_for_files()
    load.cancel()
    load.join()
    table.wait_for_nothing()


def load_of_a_killed_client(table: Watched) -> None:
    client = start_client(table.server, "")
    table.wait_for_files()
    client.kill()
    client.wait()
    table.wait_for_nothing()


@pytest.mark.slow
def test_a_client_that_is_killed_in_a_load(table: Watched) -> None:
    load_of_a_killed_client(table)
    assert_as_before(table)


@pytest.mark.slow
def test_what_is_cut_off_again_and_again_leaves_nothing_open(table: Watched) -> None:
    cancelled_load(table)
    load_of_a_killed_client(table)
    descriptors, threads = held(table.server)
    for _ in range(3):
        cancelled_load(table)
        load_of_a_killed_client(table)
    # The library keeps some threads and connections of its own, a few more or less.
    wait_until(lambda: held(table.server)[0] <= descriptors + 2, what="no more descriptors")
    wait_until(lambda: held(table.server)[1] <= threads + 4, what="no more threads")


def start_client(server: Server, sql: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _CLIENT, server.uri, ADMIN_PASSWORD, sql]
    )
