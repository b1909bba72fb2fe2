"""A client that stops wanting its result: the work stops within two seconds, however it says so."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import adbc_driver_flightsql.dbapi as flightsql
import pytest
from adbc_driver_flightsql import ConnectionOptions
from adbc_driver_manager import Error

from tests.faults.processes import busy_worker, cores_used, has_ended, is_idle
from tests.faults.test_bombs import BOMBS
from tests.rpc.failures import failure_in
from tests.servers import ADMIN_PASSWORD, Server, running, wait_until

STOP_SECONDS_MAX = 2.0
EXPORT = "SELECT value, repeat('x', 500) AS s FROM generate_series(1, 1000000000)"
QUERIES = {
    "aggregation": BOMBS["endless series"][0],
    "sort": "SELECT value FROM generate_series(1, 2000000000) ORDER BY value % 1003 LIMIT 9",
    "cross join": BOMBS["cross join"][0],
    "skewed hash join": BOMBS["skewed hash join"][0],
    "planning": BOMBS["doubling CTEs"][0],
}
_CLIENT = """
import sys
import adbc_driver_flightsql.dbapi as flightsql
uri, password, sql = sys.argv[1:]
connection = flightsql.connect(uri, db_kwargs={"username": "admin", "password": password})
cursor = connection.cursor()
cursor.execute(sql)
reader = cursor.fetch_record_batch()
reader.read_next_batch()
print("first batch", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def generous(lakehouse: Path) -> Iterator[Server]:
    """Return a server with the limits of a fresh installation."""
    with running(lakehouse, read_only=True) as server:
        yield server


class Background:
    """A connection of the official driver with one query that runs in a thread."""

    def __init__(self, server: Server, sql: str, **options: str) -> None:
        self.connection: flightsql.Connection = server.connect(**options)
        self.cursor = self.connection.cursor()
        self.error: Error | None = None
        self.rows: list[tuple[object, ...]] = []
        self._sql = sql
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.cursor.execute(self._sql)
            self.rows = self.cursor.fetchall()
        except Error as error:
            self.error = error

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.cursor.close()
        self.connection.close()

    def ended(self) -> Error:
        """Wait for the end, which must be an error."""
        self.join()
        assert self.error is not None
        return self.error


def assert_stops(server: Server, worker: int) -> None:
    """Fail unless the worker stops within the time, and the server is idle soon after."""

    def has_stopped() -> bool:
        return has_ended(worker) or cores_used([worker], seconds=0.2) < 0.1

    wait_until(has_stopped, seconds_max=STOP_SECONDS_MAX, what="the end of the work")
    # A worker that had to be killed is replaced, which takes the processor for a moment.
    wait_until(lambda: is_idle(server), seconds_max=8, what="an idle server")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUERIES)
def test_cancel(generous: Server, name: str) -> None:
    running_query = Background(generous, QUERIES[name])
    worker = busy_worker(generous)
    running_query.cursor.adbc_cancel()
    assert_stops(generous, worker)
    assert "CANCEL" in str(running_query.ended()).upper()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sort", "planning"])
def test_the_deadline_of_the_client(generous: Server, name: str) -> None:
    options = {
        option.value: "0.8"
        for option in (
            ConnectionOptions.TIMEOUT_FETCH,
            ConnectionOptions.TIMEOUT_QUERY,
            ConnectionOptions.TIMEOUT_UPDATE,
        )
    }
    running_query = Background(generous, QUERIES[name], **options)
    worker = busy_worker(generous)
    error = running_query.ended()
    assert "DEADLINE" in str(error).upper().replace("TIMEOUT", "DEADLINE")
    assert_stops(generous, worker)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skewed hash join"])
def test_a_client_that_is_killed(generous: Server, name: str) -> None:
    client = _client(generous, QUERIES[name])
    worker = busy_worker(generous)
    client.kill()
    client.communicate()
    assert_stops(generous, worker)


def test_a_client_that_is_killed_within_an_export(generous: Server) -> None:
    client = _client(generous, EXPORT)
    assert client.stdout is not None
    assert client.stdout.readline() == b"first batch\n"
    pids = generous.worker_pids()
    # It does not read on, so the server comes to rest with the query still open.
    wait_until(lambda: is_idle(generous), what="a server that waits for its reader")
    client.kill()
    client.communicate()
    wait_until(lambda: is_idle(generous), seconds_max=STOP_SECONDS_MAX + 1.5, what="idle")
    assert generous.worker_pids() == pids
    assert generous.fetch("SELECT 1 AS n").to_pylist() == [{"n": 1}]


@pytest.mark.parametrize("close", ["reader", "cursor", "connection"])
def test_a_client_that_closes_within_an_export(generous: Server, close: str) -> None:
    connection = generous.connect()
    cursor = connection.cursor()
    cursor.execute(EXPORT)
    reader = cursor.fetch_record_batch()
    reader.read_next_batch()
    closing: dict[str, list[Callable[[], None]]] = {
        "reader": [reader.close],
        "cursor": [cursor.close],
        "connection": [cursor.close, connection.close],
    }
    for step in closing[close]:
        step()
    start = time.monotonic()
    wait_until(lambda: is_idle(generous), seconds_max=5, what="an idle server")
    assert time.monotonic() - start < STOP_SECONDS_MAX + 1.5  # the measurement takes a second
    cursor.close()
    connection.close()


def test_the_time_limit_of_the_server_is_no_cancel(patient: Server) -> None:
    start = time.monotonic()
    failure = failure_in(Background(patient, QUERIES["aggregation"]).ended())
    assert failure.code == "deadline_exceeded"
    assert "query_seconds_max=1" in failure.message
    assert time.monotonic() - start < 1 + STOP_SECONDS_MAX


def test_a_reader_that_stalls_loses_its_worker_when_the_time_is_up(patient: Server) -> None:
    with patient.connect() as connection, connection.cursor() as cursor:
        before = set(patient.worker_pids())
        cursor.execute(EXPORT.replace("500", "2000"))  # more than the driver reads ahead
        reader = cursor.fetch_record_batch()
        reader.read_next_batch()
        wait_until(lambda: not before <= set(patient.worker_pids()), what="a killed worker")
        # Its place is free while the reader still stalls.
        assert patient.fetch("SELECT 1 AS n").to_pylist() == [{"n": 1}]
        with pytest.raises((Error, OSError)):
            reader.read_all()


def _client(server: Server, sql: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _CLIENT, server.uri, ADMIN_PASSWORD, sql],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
