"""Worker processes: started ahead, lent to one query at a time, replaced when they die or age.

One thread, the supervisor, starts and ends all workers; the threads that answer calls only lend and
return. A query waits in a bounded queue for a bounded time. When queries have waited a while and no
worker came free, another one is started, up to a maximum, so that a few slow readers do not stop
everybody else.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flight_server import errors
from flight_server.clock import Clock
from flight_server.engine import wire
from flight_server.engine.process import WorkerProcess

_log = logging.getLogger(__name__)

_SLOTS = 8
_POLL_SECONDS = 0.05
_GROW_AFTER_SECONDS = 0.25
_SHRINK_AFTER_SECONDS = 30.0
_MEASURE_EVERY_QUERIES = 32


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """The limits of the pool; ``ops.settings`` documents each of them."""

    count_min: int
    count_max: int
    concurrent_queries_max: int
    queue_length_max: int
    queue_seconds_max: float
    query_seconds_max: float
    queries_max: int
    growth_bytes_max: int
    start_seconds_max: float
    cancel_grace_seconds_max: float
    batch_bytes_max: int
    spill_directory: Path | None = None


class _Waiter:
    """A query in the queue; ``worker`` is set before ``ready``."""

    __slots__ = ("ready", "since", "worker")

    def __init__(self, since: float) -> None:
        self.since = since
        self.ready = threading.Event()
        self.worker: WorkerProcess | None = None


@dataclass(slots=True)
class _Loan:
    deadline: float
    expired: bool = False


class WorkerPool:
    """The workers of one gateway. ``start`` before use, ``close`` at the end."""

    def __init__(
        self,
        options: PoolOptions,
        configuration: Mapping[str, Any],
        *,
        environment: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self.options = options
        self._configuration = configuration
        self._environment = environment
        self._clock = clock
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle: list[tuple[WorkerProcess, float]] = []
        self._loans: dict[WorkerProcess, _Loan] = {}
        self._waiting: deque[_Waiter] = deque()
        self._discarded: list[WorkerProcess] = []
        self._closing = False
        self._supervisor = threading.Thread(target=self._supervise, name="pool", daemon=True)
        self._first_ready = threading.Event()

    def start(self) -> None:
        """Start the supervisor and wait for the first worker.

        Raises Unavailable when none comes up.
        """
        self._supervisor.start()
        if not self._first_ready.wait(self.options.start_seconds_max):
            self.close()
            raise errors.Unavailable("no query worker came up; see the log")

    def close(self) -> None:
        """End all workers; queries still running fail as unavailable."""
        with self._lock:
            self._closing = True
            workers = [worker for worker, _ in self._idle] + list(self._loans) + self._discarded
            self._idle.clear()
            self._discarded.clear()
        self._wake.set()
        for worker in workers:
            worker.dispose()
        if self._supervisor.is_alive():
            self._supervisor.join(timeout=self.options.start_seconds_max)

    def worker_pids(self) -> list[int]:
        """Return the process ids of all workers, for measuring."""
        with self._lock:
            return [worker.pid for worker in [w for w, _ in self._idle] + list(self._loans)]

    def borrow(self, *, is_cancelled: Callable[[], bool]) -> WorkerProcess:
        """Take a worker for one query, waiting for one within the limits of the queue.

        Raises LimitExceeded when the queue is full or the wait was too long, Cancelled, Unavailable
        when closing.
        """
        now = self._clock.monotonic()
        with self._lock:
            if self._closing:
                raise errors.Unavailable("the server is stopping")
            worker = self._take_idle()
            if worker is not None:
                self._lend(worker)
                return worker
            if len(self._waiting) >= self.options.queue_length_max:
                raise errors.LimitExceeded(
                    "too many queries are waiting;"
                    f" queue_length_max={self.options.queue_length_max}",
                    retry_after_seconds=1.0,
                )
            waiter = _Waiter(now)
            self._waiting.append(waiter)
        self._wake.set()
        return self._await(waiter, is_cancelled)

    def give_back(self, worker: WorkerProcess, *, healthy: bool) -> None:
        """Return a worker; an unhealthy, aged or grown one is replaced."""
        worker.queries += 1
        keep = healthy and worker.queries < self.options.queries_max and not self._has_grown(worker)
        with self._lock:
            self._loans.pop(worker, None)
            if not keep or self._closing:
                self._discarded.append(worker)
            else:
                self._idle.append((worker, self._clock.monotonic()))
                self._serve_queue()
        if not keep:
            self._wake.set()

    def has_expired(self, worker: WorkerProcess) -> bool:
        """Whether the supervisor ended this loan because its time was up."""
        with self._lock:
            loan = self._loans.get(worker)
            return loan is not None and loan.expired

    def _await(self, waiter: _Waiter, is_cancelled: Callable[[], bool]) -> WorkerProcess:
        while not waiter.ready.wait(_POLL_SECONDS):
            waited = self._clock.monotonic() - waiter.since
            cancelled = is_cancelled()
            if not (cancelled or self._closing or waited > self.options.queue_seconds_max):
                continue
            with self._lock:
                if waiter.worker is not None:
                    break
                self._waiting.remove(waiter)
            if cancelled:
                raise errors.Cancelled("the call was cancelled while its query waited")
            if self._closing:
                raise errors.Unavailable("the server is stopping")
            raise errors.LimitExceeded(
                "the query waited too long for a worker;"
                f" queue_seconds_max={self.options.queue_seconds_max:g}",
                retry_after_seconds=1.0,
            )
        assert waiter.worker is not None  # noqa: S101  set before ready
        return waiter.worker

    def _take_idle(self) -> WorkerProcess | None:
        # The worker used last comes first: it has the most in its caches, and the others may age
        # and go.
        if len(self._loans) >= self.options.concurrent_queries_max:
            return None
        while self._idle:
            worker, _ = self._idle.pop()
            if worker.is_alive():
                return worker
            self._discarded.append(worker)
        return None

    def _lend(self, worker: WorkerProcess) -> None:
        self._loans[worker] = _Loan(self._clock.monotonic() + self.options.query_seconds_max)

    def _serve_queue(self) -> None:
        while self._waiting:
            worker = self._take_idle()
            if worker is None:
                return
            waiter = self._waiting.popleft()
            self._lend(worker)
            waiter.worker = worker
            waiter.ready.set()

    def _has_grown(self, worker: WorkerProcess) -> bool:
        if worker.queries % _MEASURE_EVERY_QUERIES:
            return False
        return worker.resident_bytes() - worker.idle_bytes > self.options.growth_bytes_max

    def _supervise(self) -> None:
        while not self._closing:
            self._wake.wait(_POLL_SECONDS)
            self._wake.clear()
            self._end_expired()
            self._collect()
            if self._wants_another():
                self._start_one()

    def _end_expired(self) -> None:
        """Kill workers whose query is over its time and whose reader is not even looking."""
        limit = self._clock.monotonic() - 2 * self.options.cancel_grace_seconds_max
        with self._lock:
            late = [worker for worker, loan in self._loans.items() if loan.deadline < limit]
            for worker in late:
                self._loans[worker].expired = True
        for worker in late:
            worker.kill()

    def _collect(self) -> None:
        """Dispose of what was given back unfit, found dead, or idle for long beyond the minimum."""
        now = self._clock.monotonic()
        with self._lock:
            gone, self._discarded = self._discarded, []
            gone += [worker for worker, _ in self._idle if not worker.is_alive()]
            self._idle = [(worker, since) for worker, since in self._idle if worker not in gone]
            spare = len(self._idle) + len(self._loans) - self.options.count_min
            for worker, since in self._idle[: max(spare, 0)]:
                if now - since > _SHRINK_AFTER_SECONDS:
                    gone.append(worker)
            self._idle = [(worker, since) for worker, since in self._idle if worker not in gone]
        for worker in gone:
            worker.dispose()

    def _wants_another(self) -> bool:
        now = self._clock.monotonic()
        with self._lock:
            total = len(self._idle) + len(self._loans)
            if total < self.options.count_min:
                return True
            if not self._waiting or total >= self.options.count_max:
                return False
            return now - self._waiting[0].since > _GROW_AFTER_SECONDS

    def _start_one(self) -> None:
        # Only this thread starts workers: they ask the kernel to die with the thread that started
        # them.
        worker = None
        try:
            worker = WorkerProcess(
                self._configuration,
                self._environment,
                slots=_SLOTS,
                slot_bytes=self.options.batch_bytes_max + wire.SLOT_OVERHEAD_BYTES,
                spill_directory=self.options.spill_directory,
            )
            worker.wait_until_ready(self.options.start_seconds_max)
        except (errors.Unavailable, OSError, wire.ChannelClosed):
            _log.exception("a query worker did not start")
            if worker is not None:
                worker.dispose()
            return
        with self._lock:
            if not self._closing:
                self._idle.append((worker, self._clock.monotonic()))
                self._serve_queue()
                worker = None
        self._first_ready.set()
        if worker is not None:
            worker.dispose()
