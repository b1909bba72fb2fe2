"""Pools of real worker processes over an empty lakehouse, for tests."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flight_server.app import _pool_options, _worker_configuration
from flight_server.clock import SystemClock
from flight_server.engine.base import Query
from flight_server.engine.pool import WorkerPool
from flight_server.engine.process import WorkerProcess
from flight_server.ops.settings import Settings, load
from policies.names import Principal, Role
from tests.servers import wait_until

ADMIN = Principal(user_id="u1", username="admin", role=Role.ADMIN)
BURN = "SELECT count(*) FROM generate_series(1, 10000000000000)"


def never() -> bool:
    """Say that nobody cancelled."""
    return False


def query(sql: str) -> Query:
    """Return a query of an administrator."""
    return Query(sql=sql, principal=ADMIN, bucket="primary", schema="public")


@contextmanager
def pool_of(directory: Path, **options: Any) -> Iterator[WorkerPool]:
    """Run a pool of one or two workers; ``options`` are those of ``PoolOptions``."""
    settings: Settings = load(None, {"storage.primary": str(directory)})
    spill = directory / "spill"
    spill.mkdir(exist_ok=True)
    small: dict[str, Any] = {
        "count_min": 1,
        "count_max": 2,
        "concurrent_queries_max": 2,
        "query_seconds_max": 30.0,
        "cancel_grace_seconds_max": 0.3,
        "spill_directory": spill,
    }
    pool = WorkerPool(
        replace(_pool_options(settings), **{**small, **options}),
        _worker_configuration(settings),
        environment=dict(os.environ),
        clock=SystemClock(),
    )
    pool.start()
    try:
        yield pool
    finally:
        pool.close()


def has_ended(pid: int) -> bool:
    """Whether a process is gone, its entry in the table of processes included."""
    return not Path(f"/proc/{pid}").exists()


def when_ready(pool: WorkerPool, count: int) -> list[int]:
    """Wait until a pool has so many workers, and return their process ids."""
    wait_until(lambda: len(pool.worker_pids()) == count, seconds_max=20, what=f"{count} workers")
    return pool.worker_pids()


class Borrower(threading.Thread):
    """Borrows a worker in a thread of its own; ``worker`` or ``error`` is set at the end."""

    def __init__(self, pool: WorkerPool, order: list[str], name: str) -> None:
        super().__init__(name=name)
        self._pool = pool
        self._order = order
        self.worker: WorkerProcess | None = None
        self.error: Exception | None = None
        self.cancelled = False

    def run(self) -> None:
        """Borrow."""
        try:
            self.worker = self._pool.borrow(is_cancelled=lambda: self.cancelled)
        except Exception as error:  # noqa: BLE001  the test looks at it
            self.error = error
        self._order.append(self.name)

    @classmethod
    def queued(cls, pool: WorkerPool, order: list[str], name: str) -> Borrower:
        """Start one and wait until it stands in the queue."""
        before = len(pool._waiting)
        made = cls(pool, order, name)
        made.start()
        wait_until(lambda: len(pool._waiting) > before, what="the borrower in the queue")
        return made
