"""The pool, with real processes: who gets a worker, and what becomes of workers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flight_server import errors
from flight_server.engine.pool import WorkerPool
from flight_server.engine.remote import RemoteEngine
from tests.engine.workers import BURN, Borrower, has_ended, never, pool_of, query, when_ready
from tests.servers import wait_until


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    with pool_of(tmp_path, count_max=1) as made:
        yield made


def test_who_waits_first_is_served_first(pool: WorkerPool) -> None:
    order: list[str] = []
    worker = pool.borrow(is_cancelled=never)
    waiting = [Borrower.queued(pool, order, name) for name in "abc"]
    for borrower in waiting:
        pool.give_back(worker, healthy=True)
        borrower.join(10)
        assert borrower.worker is worker
    assert order == ["a", "b", "c"]
    pool.give_back(worker, healthy=True)


def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    with pool_of(tmp_path, count_max=1, queue_length_max=1) as pool:
        worker = pool.borrow(is_cancelled=never)
        waiting = Borrower.queued(pool, [], "a")
        with pytest.raises(errors.LimitExceeded, match="queue_length_max=1") as caught:
            pool.borrow(is_cancelled=never)
        assert caught.value.retry_after_seconds is not None
        pool.give_back(worker, healthy=True)
        waiting.join(10)
        assert waiting.worker is worker
        pool.give_back(worker, healthy=True)


def test_a_wait_ends_when_its_time_is_up(tmp_path: Path) -> None:
    with pool_of(tmp_path, count_max=1, queue_seconds_max=0.2) as pool:
        worker = pool.borrow(is_cancelled=never)
        with pytest.raises(errors.LimitExceeded, match=r"queue_seconds_max=0\.2"):
            pool.borrow(is_cancelled=never)
        pool.give_back(worker, healthy=True)
        pool.give_back(pool.borrow(is_cancelled=never), healthy=True)


def test_a_cancelled_wait_leaves_the_queue(pool: WorkerPool) -> None:
    worker = pool.borrow(is_cancelled=never)
    waiting = Borrower.queued(pool, [], "a")
    waiting.cancelled = True
    waiting.join(10)
    assert isinstance(waiting.error, errors.Cancelled)
    assert not pool._waiting
    pool.give_back(worker, healthy=True)


def test_the_pool_grows_for_who_waits_but_not_beyond_its_maximum(tmp_path: Path) -> None:
    with pool_of(tmp_path, count_max=2, concurrent_queries_max=4) as pool:
        first, second = pool.borrow(is_cancelled=never), pool.borrow(is_cancelled=never)
        assert first is not second
        waiting = Borrower.queued(pool, [], "a")
        waiting.join(1)
        assert waiting.is_alive()
        assert len(pool.worker_pids()) == 2
        pool.give_back(first, healthy=True)
        waiting.join(10)
        assert waiting.worker is first
        pool.give_back(first, healthy=True)
        pool.give_back(second, healthy=True)


def test_concurrent_queries_are_bounded_and_no_worker_is_started_in_vain(tmp_path: Path) -> None:
    with pool_of(tmp_path, count_max=2, concurrent_queries_max=1) as pool:
        worker = pool.borrow(is_cancelled=never)
        waiting = Borrower.queued(pool, [], "a")
        waiting.join(1)
        assert waiting.is_alive()
        assert pool.worker_pids() == [worker.pid]
        pool.give_back(worker, healthy=True)
        waiting.join(10)
        pool.give_back(worker, healthy=True)


def test_who_waits_gets_an_idle_worker_when_a_sick_one_comes_back(tmp_path: Path) -> None:
    with pool_of(tmp_path, count_min=2, concurrent_queries_max=1) as pool:
        when_ready(pool, 2)
        worker = pool.borrow(is_cancelled=never)
        waiting = Borrower.queued(pool, [], "a")
        pool.give_back(worker, healthy=False)
        waiting.join(10)
        assert waiting.worker is not None
        assert waiting.worker is not worker
        pool.give_back(waiting.worker, healthy=True)


def test_idle_workers_beyond_the_minimum_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flight_server.engine.pool._SHRINK_AFTER_SECONDS", 0.2)
    with pool_of(tmp_path) as pool:
        lent = [pool.borrow(is_cancelled=never) for _ in range(2)]
        for worker in lent:
            pool.give_back(worker, healthy=True)
        when_ready(pool, 1)
        wait_until(lambda: sum(has_ended(worker.pid) for worker in lent) == 1)


def test_a_dead_idle_worker_is_replaced(pool: WorkerPool) -> None:
    (pid,) = pool.worker_pids()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: has_ended(pid))
    wait_until(lambda: pool.worker_pids() not in ([], [pid]), seconds_max=20)


def test_an_unhealthy_worker_is_replaced_and_its_folder_removed(pool: WorkerPool) -> None:
    worker = pool.borrow(is_cancelled=never)
    folder = worker._spill
    (folder / "part").write_bytes(b"x")
    pool.give_back(worker, healthy=False)
    wait_until(lambda: has_ended(worker.pid) and not folder.exists())
    assert pool.borrow(is_cancelled=never) is not worker


def test_a_worker_is_replaced_after_its_last_query(tmp_path: Path) -> None:
    with pool_of(tmp_path, count_max=1, queries_max=2) as pool:
        worker = pool.borrow(is_cancelled=never)
        pool.give_back(worker, healthy=True)
        assert pool.borrow(is_cancelled=never) is worker
        pool.give_back(worker, healthy=True)
        assert pool.borrow(is_cancelled=never) is not worker


def test_a_worker_that_grew_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flight_server.engine.pool._MEASURE_EVERY_QUERIES", 1)
    with pool_of(tmp_path, count_max=1, growth_bytes_max=50 * 1024**2) as pool:
        engine = RemoteEngine(pool, pool._clock)
        (before,) = pool.worker_pids()
        assert _run(engine, "SELECT 1") == 1
        assert pool.worker_pids() == [before]
        pool.options = replace(pool.options, growth_bytes_max=-(1024**4))
        assert _run(engine, "SELECT 1") == 1
        wait_until(lambda: has_ended(before))


def _run(engine: RemoteEngine, sql: str) -> int:
    _, batches = engine.stream(query(sql), is_cancelled=never)
    return sum(batch.num_rows for batch in batches)


def test_a_query_over_its_time_is_taken_from_a_reader_that_does_not_look(tmp_path: Path) -> None:
    with pool_of(
        tmp_path, count_max=1, query_seconds_max=0.3, cancel_grace_seconds_max=0.1
    ) as pool:
        worker = pool.borrow(is_cancelled=never)  # and never looked at again
        wait_until(lambda: has_ended(worker.pid))
        assert worker.is_out_of_time
        other = pool.borrow(is_cancelled=never)  # the place is free, though nobody gave it back
        assert other is not worker
        pool.give_back(worker, healthy=True)  # too late to matter
        pool.give_back(other, healthy=True)
        assert pool.borrow(is_cancelled=never) is other


def test_closing_ends_all_workers_and_refuses_who_waits(tmp_path: Path) -> None:
    with pool_of(tmp_path, count_max=1) as pool:
        worker = pool.borrow(is_cancelled=never)
        waiting = Borrower.queued(pool, [], "a")
        closing = threading.Thread(target=pool.close)
        closing.start()
        waiting.join(10)
        assert isinstance(waiting.error, errors.Unavailable)
        closing.join(10)
        assert has_ended(worker.pid)
        with pytest.raises(errors.Unavailable):
            pool.borrow(is_cancelled=never)
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_running_query_fails_as_unavailable_when_the_pool_closes(tmp_path: Path) -> None:
    with pool_of(tmp_path, count_max=1) as pool:
        engine = RemoteEngine(pool, pool._clock)
        caught: list[BaseException] = []

        def run() -> None:
            try:
                engine.stream(query(BURN), is_cancelled=never)
            except BaseException as error:  # noqa: BLE001  the test looks at it
                caught.append(error)

        running = threading.Thread(target=run)
        running.start()
        wait_until(lambda: len(pool._loans) == 1)
        pool.close()
        running.join(10)
        assert [type(error) for error in caught] == [errors.Unavailable]


def test_a_folder_for_spilling_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    with (
        pytest.raises(errors.InvalidRequest, match="spill_directory") as caught,
        pool_of(tmp_path, spill_directory=tmp_path / "nowhere"),
    ):
        pass
    assert caught.value.code == "invalid_settings"
    assert str(tmp_path) not in caught.value.message


def test_workers_that_cannot_start_are_given_up(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable), pool_of(tmp_path, start_seconds_max=0.01):
        pass
    assert list((tmp_path / "spill").iterdir()) == []
