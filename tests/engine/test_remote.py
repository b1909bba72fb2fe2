"""Queries in workers: ends of every kind, and what the next query finds."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server import errors
from flight_server.clock import SystemClock
from flight_server.engine import messages, wire
from flight_server.engine.base import WriteTarget
from flight_server.engine.pool import PoolOptions, WorkerPool
from flight_server.engine.remote import RemoteEngine
from tests.engine.workers import BURN, has_ended, never, pool_of, query, when_ready
from tests.servers import wait_until

STREAMING = "SELECT value, repeat('x', 500) AS s FROM generate_series(1, 200000)"
# Aborts its worker: one allocation above any limit.
LETHAL = "SELECT lpad('a', 2000000000)"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    with pool_of(tmp_path_factory.mktemp("remote"), count_max=1) as made:
        yield made


@pytest.fixture
def engine(pool: WorkerPool) -> RemoteEngine:
    when_ready(pool, 1)
    return RemoteEngine(pool, pool._clock)


def fetch(engine: RemoteEngine, sql: str) -> pa.Table:
    schema, batches = engine.stream(query(sql), is_cancelled=never)
    # Copied as they come: to keep a batch is to keep its slot.
    copies = [pa.ipc.read_record_batch(batch.serialize(), schema) for batch in batches]
    return pa.Table.from_batches(copies, schema)


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run in a thread; the list holds the result or the error at its end."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001  the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_a_query_and_its_description_agree(engine: RemoteEngine) -> None:
    description = engine.describe(query("SELECT 1 AS n"), is_cancelled=never)
    assert fetch(engine, "SELECT 1 AS n") == pa.table({"n": pa.array([1])}, description.schema)


def test_rows_that_came_with_a_description_need_no_worker(pool: WorkerPool) -> None:
    when_ready(pool, 1)
    engine = RemoteEngine(pool, pool._clock, result_cache_bytes_max=1 << 20)
    described = query("SELECT 40 + 2 AS n")
    engine.describe(described, is_cancelled=never)
    only = pool.borrow(is_cancelled=never)
    try:
        schema, batches = engine.stream(described, is_cancelled=never)
        assert pa.Table.from_batches(batches, schema).to_pylist() == [{"n": 42}]
    finally:
        pool.give_back(only, healthy=True)


def test_many_batches_come_whole_and_in_order(engine: RemoteEngine) -> None:
    table = fetch(engine, "SELECT value FROM generate_series(1, 3000000) ORDER BY value")
    assert table.column("value").to_pylist() == list(range(1, 3_000_001))


def test_errors_of_the_worker_come_as_they_were_raised(engine: RemoteEngine) -> None:
    with pytest.raises(errors.NotFound) as caught:
        engine.describe(query("SELECT * FROM nothing"), is_cancelled=never)
    assert caught.value.code == "table_not_found"


def test_a_result_dropped_at_any_point_leaves_the_worker_as_it_was(
    engine: RemoteEngine, pool: WorkerPool
) -> None:
    pids = pool.worker_pids()
    # More often than there are slots, so that one lost each time would be noticed.
    for read in [0] * 12 + [1] * 12 + [3] * 12:
        _, batches = engine.stream(query(STREAMING), is_cancelled=never)
        for _ in range(read):
            next(batches)
        del batches
    assert fetch(engine, STREAMING).num_rows == 200_000
    assert pool.worker_pids() == pids


def test_a_cancel_that_crosses_the_end_does_not_reach_the_next_query(
    engine: RemoteEngine, pool: WorkerPool
) -> None:
    pids = pool.worker_pids()
    for rows in range(1, 200):
        _, batches = engine.stream(query(f"SELECT {rows} AS n"), is_cancelled=never)
        next(batches)  # the end is on its way, or not yet
        del batches
        assert fetch(engine, f"SELECT {rows} AS m").to_pylist() == [{"m": rows}]
    assert pool.worker_pids() == pids


def test_a_cancelled_query_ends_soon_and_its_worker_with_it(
    engine: RemoteEngine, pool: WorkerPool
) -> None:
    (pid,) = pool.worker_pids()
    cancelled = threading.Event()
    thread, outcome = in_background(
        lambda: engine.stream(query(BURN), is_cancelled=cancelled.is_set)
    )
    wait_until(lambda: len(pool._loans) == 1)
    cancelled.set()
    start = time.monotonic()
    thread.join(10)
    assert isinstance(outcome[0], errors.Cancelled)
    assert time.monotonic() - start < 2
    wait_until(lambda: has_ended(pid), seconds_max=2)


def test_the_time_limit_names_itself_and_is_no_cancel(tmp_path: Path) -> None:
    with pool_of(tmp_path, query_seconds_max=0.5) as pool:
        engine = RemoteEngine(pool, pool._clock)
        with pytest.raises(errors.DeadlineExceeded, match=r"query_seconds_max=0\.5"):
            engine.stream(query(BURN), is_cancelled=never)


def test_a_reader_that_slept_over_the_time_limit_is_told_so(tmp_path: Path) -> None:
    with pool_of(tmp_path, query_seconds_max=0.5, cancel_grace_seconds_max=0.1) as pool:
        engine = RemoteEngine(pool, pool._clock)
        (pid,) = pool.worker_pids()
        _, batches = engine.stream(query(STREAMING), is_cancelled=never)
        wait_until(lambda: has_ended(pid))
        with pytest.raises(errors.DeadlineExceeded, match="query_seconds_max"):
            for _ in batches:
                pass


def test_a_query_that_kills_its_worker_is_not_tried_again(
    engine: RemoteEngine, pool: WorkerPool
) -> None:
    (pid,) = pool.worker_pids()
    with pytest.raises(errors.LimitExceeded, match="memory_bytes_max"):
        fetch(engine, LETHAL)
    wait_until(lambda: has_ended(pid))
    assert fetch(engine, "SELECT 1 AS n").to_pylist() == [{"n": 1}]


def test_a_read_whose_worker_was_killed_before_its_first_batch_is_tried_once_more(
    engine: RemoteEngine, pool: WorkerPool
) -> None:
    (pid,) = pool.worker_pids()
    slow = "SELECT count(*) AS n FROM generate_series(1, 100000000)"
    thread, outcome = in_background(lambda: fetch(engine, slow).to_pylist())
    wait_until(lambda: len(pool._loans) == 1)
    os.kill(pid, signal.SIGKILL)
    thread.join(30)
    assert outcome == [[{"n": 100_000_000}]]


def test_a_read_whose_workers_are_killed_twice_is_given_up(
    engine: RemoteEngine, pool: WorkerPool
) -> None:
    thread, outcome = in_background(lambda: fetch(engine, BURN))
    killed: set[int] = set()

    def kill_the_next() -> bool:
        for worker in list(pool._loans):
            os.kill(worker.pid, signal.SIGKILL)
            killed.add(worker.pid)
        return len(killed) == 2

    wait_until(kill_the_next, seconds_max=20)
    thread.join(10)
    assert isinstance(outcome[0], errors.Unavailable)
    assert outcome[0].retry_after_seconds is not None


def test_a_result_already_begun_is_not_tried_again(engine: RemoteEngine, pool: WorkerPool) -> None:
    (pid,) = pool.worker_pids()
    _, batches = engine.stream(query(STREAMING), is_cancelled=never)
    first = next(batches)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(errors.Unavailable):
        for _ in batches:
            pass
    assert first.num_rows > 0  # what was read stays readable


def test_after_a_panic_the_worker_is_replaced(engine: RemoteEngine, pool: WorkerPool) -> None:
    (pid,) = pool.worker_pids()
    worker = pool.borrow(is_cancelled=never)
    pool.give_back(worker, healthy=True)
    worker.channel.send(wire.Kind.DESCRIBE, b"not a query")  # what it cannot work on, as a panic
    assert worker.channel.poll(10)
    with pytest.raises(messages.WorkerFault):
        engine.describe(query("SELECT 1"), is_cancelled=never)
    wait_until(lambda: has_ended(pid))
    assert fetch(engine, "SELECT 1 AS n").num_rows == 1


def test_two_thousand_queries_leave_nothing_behind(engine: RemoteEngine, pool: WorkerPool) -> None:
    def state() -> tuple[int, int]:
        gc.collect()  # or descriptors of earlier pools go meanwhile
        mine = len(list(Path("/proc/self/fd").iterdir()))
        return mine, len(list(Path(f"/proc/{pool.worker_pids()[0]}/fd").iterdir()))

    for i in range(50):
        fetch(engine, f"SELECT {i} AS n")
    before, (pid,) = state(), pool.worker_pids()
    worker = next(iter(pool._idle))[0]
    resident = worker.resident_bytes()
    for i in range(2000):
        fetch(engine, f"SELECT {i} AS n, 'x' AS s")
    assert state() == before
    assert pool.worker_pids() == [pid]
    assert worker.resident_bytes() - resident < 50 * 1024**2


class _Said:
    """A pool of one worker that has said everything already; it plays both parts of the pool."""

    def __init__(self, frames: list[tuple[wire.Kind, bytes]], options: PoolOptions) -> None:
        ours, theirs = socket.socketpair()
        self.channel, self._worker = wire.Channel(ours), wire.Channel(theirs)
        self._worker.send_all(frames)
        self.options = options
        self.healthy: bool | None = None
        self.pid = 0

    def borrow(self, *, is_cancelled: Callable[[], bool]) -> _Said:
        return self

    def give_back(self, worker: _Said, *, healthy: bool) -> None:
        self.healthy = healthy


def test_rows_that_came_before_an_error_go_out_before_it(pool: WorkerPool) -> None:
    rows = pa.record_batch({"x": [1, 2]})
    failure = errors.LimitExceeded("too much")
    said = _Said(
        [
            (wire.Kind.SCHEMA, rows.schema.serialize().to_pybytes()),
            (wire.Kind.INLINE, wire.write_inline(rows)),
            (wire.Kind.ERROR, messages.encode_error(failure)),
        ],
        pool.options,
    )
    schema, batches = RemoteEngine(said, SystemClock()).stream(  # type: ignore[arg-type]  # as above
        query("SELECT 1"), is_cancelled=never
    )
    assert schema == rows.schema
    assert next(batches) == rows
    with pytest.raises(errors.LimitExceeded, match="too much"):
        next(batches)
    assert said.healthy is True


def test_a_write_leaves_files_that_its_report_names(engine: RemoteEngine, tmp_path: Path) -> None:
    target = WriteTarget(str(tmp_path), None)
    made = engine.write(query("CREATE TABLE x AS SELECT 1 AS a"), target, is_cancelled=never)
    (report,) = made.files
    assert isinstance(report, dict)
    assert made.inserted == report["rows"] == 1
    assert pq.read_table(tmp_path / report["path"]).to_pylist() == [{"a": 1}]


def test_a_write_that_fails_leaves_nothing(engine: RemoteEngine, tmp_path: Path) -> None:
    target = WriteTarget(str(tmp_path), pa.schema([pa.field("a", pa.int64(), nullable=False)]))
    with pytest.raises(errors.SchemaMismatch, match='"a" cannot be NULL'):
        engine.write(query("INSERT INTO x VALUES (1), (NULL)"), target, is_cancelled=never)
    assert list(tmp_path.iterdir()) == []
    assert fetch(engine, "SELECT 1 AS a").num_rows == 1


def test_a_write_whose_worker_is_killed_is_not_done_again(
    pool: WorkerPool, engine: RemoteEngine, tmp_path: Path
) -> None:
    (pid,) = when_ready(pool, 1)
    target = WriteTarget(str(tmp_path), None)
    sql = f"CREATE TABLE x AS SELECT * FROM ({BURN}) AS burnt(n)"
    thread, outcome = in_background(lambda: engine.write(query(sql), target, is_cancelled=never))
    wait_until(lambda: not pool._idle, what="the write in its worker")
    os.kill(pid, signal.SIGKILL)
    thread.join(10)
    (error,) = outcome
    assert isinstance(error, errors.Unavailable)
    assert "nothing was written" in error.message


def test_a_write_can_be_cancelled_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    folder.mkdir()
    target = WriteTarget(str(folder), None)
    asked = iter([False, False, False])
    sql = "CREATE TABLE x AS SELECT value FROM generate_series(1, 10000000000000)"
    # Only a worker that ends in time removes its files; one that is killed leaves them.
    with pool_of(tmp_path, count_max=1, cancel_grace_seconds_max=30.0) as pool:
        engine = RemoteEngine(pool, pool._clock)
        with pytest.raises(errors.Cancelled):
            engine.write(query(sql), target, is_cancelled=lambda: next(asked, True))
        assert list(folder.iterdir()) == []
        assert fetch(engine, "SELECT 2 AS a").num_rows == 1
