"""Worker processes: forked when needed, lent to one query at a time, replaced when they die or age.

One thread, the supervisor, starts and ends all workers; the threads that answer calls only lend and
return. A query waits in a bounded queue for a bounded time. While there are fewer workers than
cores, whoever waits gets a new one at once. Beyond that, another one is started when queries have
waited a while and none came free, up to a maximum, so that a few slow readers do not stop everybody
else.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from flight_server import errors
from flight_server.clock import Clock
from flight_server.engine import wire
from flight_server.engine.lending import Loan, PoolCensus, PoolOptions, Waiter
from flight_server.engine.process import Ended, WorkerProcess
from flight_server.engine.spill import SpillFolder
from flight_server.engine.template import Template
from flight_server.telemetry.meters import Meters

__all__ = ["PoolCensus", "PoolOptions", "WorkerPool"]

_log = logging.getLogger(__name__)

_SLOTS = 6
_POLL_SECONDS = 0.05
_POLL_STARTING_SECONDS = 0.003
_GROW_AFTER_SECONDS = 0.25
_SHRINK_AFTER_SECONDS = 30.0
_MEASURE_EVERY_QUERIES = 32
_MEASURE_AFTER_SECONDS = 0.05
_START_AGAIN_SECONDS = 1.0
_RETURN_SECONDS_MAX = 0.5
_CLOSE_SECONDS_MAX = 20.0


class WorkerPool:
    """The workers of one gateway. ``start`` before use, ``close`` at the end."""

    def __init__(
        self,
        options: PoolOptions,
        configuration: Mapping[str, Any],
        *,
        environment: Mapping[str, str],
        clock: Clock,
        meters: Meters | None = None,
    ) -> None:
        self.options = options
        self._meters = meters or Meters()
        self._meters.workers_ended.expect((reason,) for reason in Ended)
        self._configuration = configuration
        self._environment = environment
        self._clock = clock
        self._lock = threading.Lock()
        self._returned = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._idle: list[tuple[WorkerProcess, float]] = []
        self._loans: dict[WorkerProcess, Loan] = {}
        self._waiting: deque[Waiter] = deque()
        self._discarded: list[WorkerProcess] = []
        # Only the supervisor's: workers that do not answer yet, each with the end of its patience.
        self._starting: list[tuple[WorkerProcess, float]] = []
        self._start_after = 0.0
        self._template: Template | None = None
        self._template_deadline = 0.0
        self._spill: SpillFolder | None = None
        self._closing = False
        self._supervisor = threading.Thread(target=self._supervise, name="pool", daemon=True)
        self._first_ready = threading.Event()

    def start(self) -> None:
        """Start the supervisor and wait for the first worker.

        Raises InvalidRequest when the folder for spilling cannot be used, Unavailable when no
        worker comes up.
        """
        try:
            self._spill = SpillFolder(self.options.spill_directory)
        except OSError as error:
            raise errors.InvalidRequest(
                f"workers.spill_directory: {error.strerror or 'cannot be used'}",
                code="invalid_settings",
            ) from None
        self._supervisor.start()
        if not self._first_ready.wait(self.options.start_seconds_max):
            self.close()
            raise errors.Unavailable("no query worker came up; see the log")

    def close(self) -> None:
        """End all workers; queries still running fail as unavailable."""
        with self._lock:
            self._closing = True
        self._wake.set()
        if self._supervisor.is_alive():
            self._supervisor.join(timeout=_CLOSE_SECONDS_MAX)
        if self._spill is not None:
            self._spill.close()

    def census(self) -> PoolCensus:
        """Count the workers and those who wait for one."""
        with self._lock:
            return PoolCensus(
                len(self._idle), len(self._loans), len(self._starting), len(self._waiting)
            )

    def resident_bytes(self) -> int:
        """Return the resident memory of all workers; what they share counts for each."""
        with self._lock:
            workers = [worker for worker, _ in self._idle] + list(self._loans)
        return sum(worker.resident_bytes() for worker in workers)

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
            # Who waits already comes first.
            worker = None if self._waiting else self._take_idle()
            if worker is not None:
                self._lend(worker)
                return worker
            if len(self._waiting) >= self.options.queue_length_max:
                raise errors.LimitExceeded(
                    "too many queries are waiting;"
                    f" queue_length_max={self.options.queue_length_max}",
                    retry_after_seconds=1.0,
                )
            waiter = Waiter(now)
            self._waiting.append(waiter)
            may_grow_at_once = self._total() < self.options.cores
        if may_grow_at_once:
            self._wake.set()
        try:
            return self._await(waiter, is_cancelled)
        finally:
            self._meters.queue_seconds.observe(self._clock.monotonic() - now)

    def give_back(self, worker: WorkerProcess, *, healthy: bool) -> None:
        """Return a worker; an unhealthy, aged or grown one is replaced."""
        now = self._clock.monotonic()
        worker.queries += 1
        with self._lock:
            loan = self._loans.pop(worker, None)
            if loan is None:
                return  # its time was up, and the supervisor took it back
            self._returned.notify_all()
            keep = healthy and self._may_stay(worker, ran_seconds=now - loan.since)
            if keep:
                self._idle.append((worker, now))
            else:
                self._discarded.append(worker)
            self._serve_queue()
        if not keep:
            self._wake.set()

    def _await(self, waiter: Waiter, is_cancelled: Callable[[], bool]) -> WorkerProcess:
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
        now = self._clock.monotonic()
        self._loans[worker] = Loan(now, now + self.options.query_seconds_max)

    def _serve_queue(self) -> None:
        while self._waiting:
            worker = self._take_idle()
            if worker is None:
                return
            waiter = self._waiting.popleft()
            self._lend(worker)
            waiter.worker = worker
            waiter.ready.set()

    def _may_stay(self, worker: WorkerProcess, *, ran_seconds: float) -> bool:
        if self._closing:
            worker.ended_by = Ended.CLOSE
            return False
        if worker.queries >= self.options.queries_max:
            worker.ended_by = Ended.AGE
            return False
        if ran_seconds < _MEASURE_AFTER_SECONDS and worker.queries % _MEASURE_EVERY_QUERIES:
            return True
        if worker.has_grown(self.options.growth_bytes_max):
            worker.ended_by = Ended.GROWTH
            return False
        return True

    def _supervise(self) -> None:
        while not self._closing:
            is_starting = self._starting or not self._may_fork()
            self._wake.wait(_POLL_STARTING_SECONDS if is_starting else _POLL_SECONDS)
            self._wake.clear()
            try:
                self._end_expired()
                self._collect()
                self._welcome()
                self._keep_template()
                while self._may_fork() and self._wants_another():
                    self._start_one()
            except Exception:  # noqa: BLE001  the workers die with this thread, so it must live
                _log.exception("the supervisor of the workers met an error")
        self._end_all()

    def _end_all(self) -> None:
        with self._lock:
            lent = list(self._loans)
            workers = [worker for worker, _ in self._idle + self._starting] + self._discarded
            self._idle, self._starting, self._discarded = [], [], []
            for worker in lent:
                worker.kill()
            self._returned.wait_for(lambda: not self._loans, _RETURN_SECONDS_MAX)
        for worker in [*workers, *lent]:
            worker.dispose()
        if self._template is not None:
            self._template.close()

    def _may_fork(self) -> bool:
        return self._template is not None and self._template_deadline == 0.0

    def _end_expired(self) -> None:
        """Take back, and kill, workers whose time is over and whose reader is not even looking."""
        limit = self._clock.monotonic() - 2 * self.options.cancel_grace_seconds_max
        with self._lock:
            for worker in [worker for worker, loan in self._loans.items() if loan.deadline < limit]:
                # A reader that has stalled must not keep the place of the worker.
                del self._loans[worker]
                worker.is_out_of_time = True
                worker.ended_by = Ended.TIME
                worker.kill()
                self._discarded.append(worker)
            self._serve_queue()

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
                    worker.ended_by = Ended.IDLE
                    gone.append(worker)
            self._idle = [(worker, since) for worker, since in self._idle if worker not in gone]
        for worker in gone:
            self._meters.workers_ended.add((worker.ended_by,))
            worker.dispose()

    def _wants_another(self) -> bool:
        now = self._clock.monotonic()
        with self._lock:
            lent_soon = len(self._loans) + len(self._starting)
            total = self._total()
            if self._closing or now < self._start_after:
                return False
            if total < self.options.count_min:
                return True
            if len(self._waiting) <= len(self._starting) or total >= self.options.count_max:
                return False
            if lent_soon >= self.options.concurrent_queries_max:
                return False  # it could not be lent
            if total < self.options.cores:
                return True
            return not self._starting and now - self._waiting[0].since > _GROW_AFTER_SECONDS

    def _total(self) -> int:
        return len(self._idle) + len(self._loans) + len(self._starting)

    def _keep_template(self) -> None:
        """Start the template when there is none; its workers ended with the one before."""
        # Only this thread starts it: it asks the kernel to die with the thread that started it.
        now = self._clock.monotonic()
        if now < self._start_after:
            return
        try:
            if self._template is None:
                self._template = Template(self._environment)
                self._template_deadline = now + self.options.start_seconds_max
            elif self._template.is_ready():
                self._template_deadline = 0.0
            elif now > self._template_deadline:
                raise errors.Unavailable("the template of the query workers did not start in time")
        except (errors.Unavailable, OSError):
            # One that did start is replaced at once; what cannot start is not tried all the time.
            self._give_up_template(pause_seconds=0 if self._may_fork() else _START_AGAIN_SECONDS)

    def _give_up_template(self, *, pause_seconds: float) -> None:
        _log.exception("the template of the query workers is given up")
        self._start_after = self._clock.monotonic() + pause_seconds
        template, self._template = self._template, None
        if template is not None:
            template.close()

    def _start_one(self) -> None:
        assert self._spill is not None  # noqa: S101  made before this thread
        assert self._template is not None  # noqa: S101  or nothing may be forked
        now = self._clock.monotonic()
        try:
            worker = WorkerProcess(
                self._configuration,
                self._template,
                slots=_SLOTS,
                slot_bytes=self.options.batch_bytes_max + wire.SLOT_OVERHEAD_BYTES,
                spill_directory=self._spill.for_worker(),
            )
        except errors.Unavailable:
            self._give_up_template(pause_seconds=_START_AGAIN_SECONDS)
            return
        except OSError:
            _log.exception("a query worker could not be started")
            self._start_after = now + _START_AGAIN_SECONDS
            return
        self._meters.workers_started.add()
        with self._lock:
            self._starting.append((worker, now + self.options.start_seconds_max))

    def _welcome(self) -> None:
        """Take in the started workers that answer now, and give up those that never will."""
        now = self._clock.monotonic()
        for worker, deadline in list(self._starting):
            is_ready = False
            try:
                is_ready = worker.is_ready()
                if not is_ready and now < deadline:
                    continue
                if not is_ready:
                    raise errors.Unavailable("a query worker did not start in time")
            except errors.Unavailable:
                _log.exception("a query worker is given up")
                worker.ended_by = Ended.START
                self._start_after = now + _START_AGAIN_SECONDS
            with self._lock:
                self._starting.remove((worker, deadline))
                if is_ready:
                    self._idle.append((worker, now))
                    self._serve_queue()
                else:
                    self._discarded.append(worker)
            if is_ready:
                self._first_ready.set()
