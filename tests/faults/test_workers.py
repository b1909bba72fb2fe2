"""Workers and gateways that are killed: what it costs, and what is left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pyarrow.flight as fl
import pytest

from tests.faults.background import Bare
from tests.faults.processes import busy_worker, has_ended, works_no_more, zombies_of
from tests.faults.test_ends import EXPORT, QUERIES, Background
from tests.rpc.failures import failure_in
from tests.servers import Server, running, wait_until

SLOW = "SELECT count(*) AS n FROM generate_series(1, 150000000)"


def test_a_killed_worker_costs_only_its_own_query(patient: Server) -> None:
    """A result that had begun fails; one in another worker comes out whole."""
    with patient.connect() as one, one.cursor() as cursor, patient.connect() as two:
        before = set(patient.worker_pids())
        cursor.execute(EXPORT)
        reader = cursor.fetch_record_batch()
        reader.read_next_batch()
        mine = _holder_of_a_result(patient)
        with two.cursor() as other:
            other.execute("SELECT order_id FROM sales.orders ORDER BY order_id")
            os.kill(mine, signal.SIGKILL)
            rows = other.fetch_arrow_table()
        assert rows.column("order_id").to_pylist() == list(range(1, 10_001))
        with pytest.raises(OSError, match="worker that ran the query is gone"):
            reader.read_all()
    wait_until(lambda: len(set(patient.worker_pids()) - {mine}) >= 2, what="a full pool")
    assert before - {mine} <= set(patient.worker_pids())
    assert not zombies_of(patient)


def _holder_of_a_result(server: Server) -> int:
    """Return the worker that holds a query which waits for its reader."""
    # Each is measured once: one that works on touches more meanwhile.
    return max(server.worker_pids(), key=_writes_of)


def _writes_of(pid: int) -> int:
    """The shared memory of results that a process has touched, in bytes."""
    size = 0
    is_segment = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            is_segment = "lakeflight-batches" in line
        elif is_segment and line.startswith("Rss:"):
            size += int(line.split()[1])
    return size


def test_a_read_that_had_sent_nothing_is_answered_all_the_same(lakehouse: Path) -> None:
    with running(lakehouse, read_only=True) as server:
        query = Background(server, SLOW)
        pid = busy_worker(server)
        os.kill(pid, signal.SIGKILL)
        query.join()
        assert query.error is None
        assert query.rows == [(150_000_000,)]
        wait_until(lambda: has_ended(pid) and not zombies_of(server), what="no zombies")


def test_a_query_whose_workers_are_killed_again_and_again_is_given_up(lakehouse: Path) -> None:
    with running(lakehouse, read_only=True) as server:
        query = Background(server, QUERIES["aggregation"])
        for _ in range(2):
            os.kill(busy_worker(server), signal.SIGKILL)
        failure = failure_in(query.ended())
        assert failure.code == "unavailable"
        assert failure.body["retryable"] is True
        assert failure.body["retry_after_seconds"] > 0
        assert server.fetch("SELECT 1 AS n").to_pylist() == [{"n": 1}]


def test_a_killed_gateway_takes_its_workers_along_and_the_next_cleans_up(
    lakehouse: Path, tmp_path: Path
) -> None:
    variables = {
        "LAKEFLIGHT_WORKERS__SPILL_DIRECTORY": str(tmp_path),
        "LAKEFLIGHT_WORKERS__COUNT_MIN": "2",
    }
    with running(lakehouse, read_only=True, environment=variables) as server:
        query = Bare(server, QUERIES["sort"])
        busy_worker(server)
        wait_until(lambda: len(server.worker_pids()) >= 2, what="two workers")
        pids = server.worker_pids()
        server.process.kill()
        # Whoever has inherited them collects them at once or later; a zombie works no more.
        wait_until(lambda: all(map(works_no_more, pids)), seconds_max=1.5, what="their end")
        server.process.wait()
        with pytest.raises(fl.FlightError):
            query.result()
    (left,) = tmp_path.iterdir()
    with running(lakehouse, read_only=True, environment=variables) as server:
        assert not left.exists()
        assert server.fetch("SELECT 1 AS n").to_pylist() == [{"n": 1}]
    assert list(tmp_path.iterdir()) == []
