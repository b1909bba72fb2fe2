"""The template and what is forked from it, with real processes."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.engine.forking import ManyThreads, check_one_thread
from flight_server.engine.pool import WorkerPool
from flight_server.engine.remote import RemoteEngine
from flight_server.engine.template import Template
from tests.engine.workers import BURN, has_ended, never, pool_of, query, when_ready
from tests.lakehouse import ORDERS_ROWS, build_lakehouse, write
from tests.servers import wait_until

COUNTS = {
    "SELECT 1": 1,
    "SELECT * FROM sales.orders ORDER BY note, order_id": ORDERS_ROWS,
    "SELECT * FROM sales.orders VERSION AS OF 0": ORDERS_ROWS // 2,
    "SELECT * FROM sales.regions": 4,
    "SELECT * FROM files.cities": 2,
    # More partitions than are scanned natively: this one goes through the Delta library's runtime.
    "SELECT o.order_id, m.part FROM many m JOIN sales.orders o ON o.order_id = m.part + 1": 300,
    "SELECT DISTINCT table_name FROM information_schema.tables WHERE table_name = 'orders'": 1,
}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    with pool_of(tmp_path) as made:
        yield made


def template_of(pool: WorkerPool) -> Template:
    assert pool._template is not None
    return pool._template


def rows_of(pool: WorkerPool, sql: str) -> int:
    _, batches = RemoteEngine(pool, pool._clock).stream(query(sql), is_cancelled=never)
    return sum(batch.num_rows for batch in batches)


def tasks_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.mark.parametrize("forks", [28, pytest.param(200, marks=pytest.mark.slow)])
def test_every_fork_answers_every_kind_of_query(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, forks: int
) -> None:
    lakehouse = tmp_path_factory.mktemp("lakehouse")  # its own: other tests add to the shared one
    build_lakehouse(lakehouse)
    parts = pa.table({"part": range(300), "x": range(300)})
    write(lakehouse / "many", parts, partition_by=("part",))
    queries = [sql for _ in range(forks // len(COUNTS) + 1) for sql in COUNTS][:forks]
    options = {"count_max": 4, "concurrent_queries_max": 4, "queries_max": 1}
    with pool_of(lakehouse, spill_directory=tmp_path, **options) as pool:
        first = set(pool.worker_pids())
        with ThreadPoolExecutor(4) as threads:
            counted = list(threads.map(lambda sql: rows_of(pool, sql), queries, timeout=120))
        assert counted == [COUNTS[sql] for sql in queries]
        assert tasks_of(template_of(pool).pid) == 1
        assert not first & set(pool.worker_pids())  # each served one query


def test_it_is_told_apart_who_ended_a_worker(pool: WorkerPool) -> None:
    fates = {signal.SIGABRT: True, signal.SIGSEGV: True, signal.SIGKILL: False}
    for number, is_own_fault in fates.items():
        worker = pool.borrow(is_cancelled=never)
        os.kill(worker.pid, number)
        assert worker.died_of_its_query() is is_own_fault
        assert not worker.is_alive()
        assert has_ended(worker.pid)  # collected, not only dead
        worker.kill()  # nobody is harmed
        pool.give_back(worker, healthy=False)


def test_without_its_template_a_worker_ends_and_the_pool_makes_others(tmp_path: Path) -> None:
    with pool_of(tmp_path, count_min=2) as pool:
        pids = when_ready(pool, 2)
        worker = pool.borrow(is_cancelled=never)
        before = template_of(pool).pid
        os.kill(before, signal.SIGKILL)
        assert worker.channel.poll(10)  # the end of it
        assert not worker.died_of_its_query()
        pool.give_back(worker, healthy=False)
        wait_until(lambda: len(set(pool.worker_pids()) - set(pids)) == 2, seconds_max=20)
        assert template_of(pool).pid != before
        assert rows_of(pool, "SELECT 1") == 1


def test_a_query_that_loses_its_template_is_tried_again(pool: WorkerPool) -> None:
    with ThreadPoolExecutor(1) as thread:
        counted = thread.submit(rows_of, pool, "SELECT count(*) FROM generate_series(1, 50000000)")
        wait_until(lambda: len(pool._loans) == 1)
        os.kill(template_of(pool).pid, signal.SIGKILL)
        assert counted.result(30) == 1


def test_it_ends_with_the_thread_that_started_it_and_workers_with_it() -> None:
    over = threading.Event()
    made: list[Template] = []

    def start() -> None:
        made.append(Template(os.environ))
        over.wait(30)

    thread = threading.Thread(target=start)
    thread.start()
    wait_until(lambda: bool(made) and made[0].is_ready(), seconds_max=20)
    read, write_end = os.pipe()
    forked = made[0].fork([read, read, read])
    os.close(read)
    os.close(write_end)
    over.set()
    thread.join()
    wait_until(lambda: not made[0].is_alive() and not forked.is_alive())
    made[0].close()


def test_a_worker_has_its_own_descriptors_and_no_others(tmp_path: Path) -> None:
    with pool_of(tmp_path, count_min=3, count_max=3) as pool:
        for pid in when_ready(pool, 3):
            descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
            names = [str(path.readlink()) for path in descriptors]
            shared = {
                path.stat().st_ino for path in descriptors if "memfd:" in str(path.readlink())
            }
            assert len([name for name in names if name.startswith("socket:")]) == 1
            assert len(shared) == 1
            assert not [name for name in names if "pidfd" in name]


def test_the_environment_of_workers_holds_no_secrets(tmp_path: Path) -> None:
    os.environ["LAKEFLIGHT_AUTH__SECRET"] = "not for workers, but long enough for a secret"
    try:
        with pool_of(tmp_path) as pool:
            for pid in [template_of(pool).pid, *pool.worker_pids()]:
                assert b"not for workers" not in Path(f"/proc/{pid}/environ").read_bytes()
    finally:
        del os.environ["LAKEFLIGHT_AUTH__SECRET"]


def test_workers_come_and_go_without_a_trace(tmp_path: Path) -> None:
    def open_in(pid: int | str) -> int:
        gc.collect()
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))

    def replace() -> None:
        worker = made.borrow(is_cancelled=never)
        made.give_back(worker, healthy=False)
        wait_until(lambda: has_ended(worker.pid) and len(made._idle) == 1)

    with pool_of(tmp_path, count_max=1) as made:
        replace()
        before = open_in("self"), open_in(template_of(made).pid)
        for _ in range(10):
            replace()
        assert (open_in("self"), open_in(template_of(made).pid)) == before


def test_a_process_with_more_than_one_thread_does_not_fork() -> None:
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    with pytest.raises(ManyThreads):
        check_one_thread()
    over.set()
    other.join()


def test_two_queries_at_a_time_do_not_wait_for_each_other(pool: WorkerPool) -> None:
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        burning = thread.submit(
            RemoteEngine(pool, pool._clock).stream, query(BURN), is_cancelled=cancelled.is_set
        )
        wait_until(lambda: len(pool._loans) == 1)
        assert rows_of(pool, "SELECT 1") == 1
        cancelled.set()
        assert burning.exception(10) is not None
