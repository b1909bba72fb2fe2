"""One request to one worker: sent, waited for, its errors told, and the worker given back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from flight_server import errors
from flight_server.clock import Clock
from flight_server.engine import messages, wire
from flight_server.engine.account import Account
from flight_server.engine.pool import WorkerPool
from flight_server.engine.process import Ended, WorkerProcess
from flight_server.engine.wire import Kind
from flight_server.engine.worker_log import relay
from flight_server.telemetry.meters import Meters

_log = logging.getLogger(__name__)


class WorkerDied(Exception):
    """The worker ended under its query.

    ``error`` is what the caller is told when nothing more is tried.
    """

    def __init__(self, error: errors.LakeflightError, *, may_retry: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.may_retry = may_retry


@dataclass(frozen=True, slots=True)
class Lane:
    """Where requests run, by which clock, and where their cost is counted."""

    pool: WorkerPool
    clock: Clock
    meters: Meters


class Run:
    """One request to one borrowed worker, from the first frame to the last."""

    def __init__(self, lane: Lane, what: str, is_cancelled: Callable[[], bool]) -> None:
        self._lane = lane
        self._pool = pool = lane.pool
        self._clock = clock = lane.clock
        self._is_cancelled = is_cancelled
        self._account = Account(what, now=clock.monotonic())
        self._worker: WorkerProcess | None = pool.borrow(is_cancelled=is_cancelled)
        now = clock.monotonic()
        self._account.lent(self._worker.pid, now=now)
        self._deadline = now + pool.options.query_seconds_max
        self._finished = True
        self._faulted = False

    def ask(self, kind: Kind, payload: bytes) -> tuple[Kind, bytes]:
        """Send the request and return the first frame of the answer."""
        worker = self._borrowed()
        self._finished = False
        try:
            worker.channel.send(kind, payload)
        except wire.ChannelClosed:
            raise self._died(worker) from None
        return self.receive()

    def receive(self) -> tuple[Kind, bytes]:
        """Return the next frame.

        Raises what the worker raised, Cancelled, DeadlineExceeded or WorkerDied.
        """
        worker = self._borrowed()
        try:
            kind, payload = self._next(worker)
            while kind is Kind.LOG:
                relay(payload, pid=worker.pid)
                kind, payload = self._next(worker)
        except wire.ChannelClosed:
            raise self._died(worker) from None
        self._finish(kind, payload)
        if kind is Kind.ERROR:
            error = messages.decode_error(payload)
            # After a panic nobody knows what state its engine is in.
            self._faulted = isinstance(error, messages.WorkerFault)
            raise error
        return kind, payload

    def _next(self, worker: WorkerProcess) -> tuple[Kind, bytes]:
        while not worker.channel.wait():
            self._account.waited += wire.MOMENT_SECONDS
            if self._is_cancelled():
                raise errors.Cancelled("the call was cancelled")
            if self._clock.monotonic() > self._deadline:
                raise self._too_late()
        return worker.channel.receive()

    def _finish(self, kind: Kind, payload: bytes) -> None:
        """Take in the end of the work, if a frame is that."""
        if kind is Kind.END:
            self._finished = True
            self._account.work = messages.work_at_end(payload)
        elif kind is Kind.ERROR:
            self._finished = True
            self._account.work = messages.work_at_error(payload)

    def has_frame(self) -> bool:
        """Whether the next frame is here already."""
        return self._borrowed().channel.has_frame()

    def read(self, kind: Kind, payload: bytes, schema: pa.Schema) -> pa.RecordBatch:
        """Return the batch of a BATCH or INLINE frame."""
        if kind is Kind.INLINE:
            return wire.read_inline(payload)
        if kind is Kind.BATCH:
            return self._borrowed().reader.read(payload, schema)
        raise messages.WorkerFault(f"a worker sent {kind.name} within a result")

    def close(self) -> None:
        """Stop the worker if it still works, first by asking, then by force, and give it back."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        healthy = False
        try:
            healthy = not self._faulted and (self._finished or self._stop(worker))
        finally:
            if self._faulted:
                worker.ended_by = Ended.FAULT
            self._pool.give_back(worker, healthy=healthy)
            self._account.settle(self._lane.meters, clock=self._clock)

    def _stop(self, worker: WorkerProcess) -> bool:
        deadline = self._clock.monotonic() + self._pool.options.cancel_grace_seconds_max
        try:
            worker.channel.send(Kind.CANCEL)
            while (left := deadline - self._clock.monotonic()) > 0 and worker.channel.poll(left):
                kind, payload = worker.channel.receive()
                if kind is Kind.BATCH:
                    worker.reader.discard(payload)
                self._finish(kind, payload)
                if self._finished:
                    return True
        except wire.ChannelClosed:
            return False
        worker.ended_by = Ended.CANCEL
        worker.kill()
        return False

    def _died(self, worker: WorkerProcess) -> WorkerDied:
        self._finished = False
        if worker.is_out_of_time:
            return WorkerDied(self._too_late(), may_retry=False)
        if worker.died_of_its_query():
            worker.ended_by = Ended.QUERY
            return WorkerDied(
                errors.LimitExceeded(
                    "the query is too large or too complex for one worker; ask for less, or in"
                    " smaller steps; limit=memory_bytes_max"
                ),
                may_retry=False,
            )
        _log.warning("worker %d ended while it ran a query", worker.pid)
        return WorkerDied(
            errors.Unavailable(
                "the worker that ran the query is gone; try again", retry_after_seconds=1.0
            ),
            may_retry=True,
        )

    def _too_late(self) -> errors.DeadlineExceeded:
        limit = self._pool.options.query_seconds_max
        return errors.DeadlineExceeded(
            f"the query ran longer than allowed; query_seconds_max={limit:g}"
        )

    def _borrowed(self) -> WorkerProcess:
        if self._worker is None:
            raise messages.WorkerFault("a closed run was used")
        return self._worker
