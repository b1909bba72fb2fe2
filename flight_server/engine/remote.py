"""The engine as the gateway sees it: each query runs in a worker borrowed from the pool."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from flight_server import errors
from flight_server.clock import Clock
from flight_server.engine import messages, wire
from flight_server.engine.account import Account
from flight_server.engine.base import Description, Query, WriteTarget, Written
from flight_server.engine.cache import ENTRY_BYTES_MAX, Result, ResultCache
from flight_server.engine.pool import WorkerPool
from flight_server.engine.process import Ended, WorkerProcess
from flight_server.engine.wire import Kind
from flight_server.engine.worker_log import relay
from flight_server.telemetry.meters import Meters

_log = logging.getLogger(__name__)

_ATTEMPTS = 2


class _WorkerDied(Exception):
    """The worker ended under its query.

    ``error`` is what the caller is told when nothing more is tried.
    """

    def __init__(self, error: errors.LakeflightError, *, may_retry: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.may_retry = may_retry


class RemoteEngine:
    """``engine.base.Engine`` over a pool of processes.

    A worker that dies costs the query it ran. A read that had sent nothing yet is tried once more,
    unless the worker fell by what the query itself did.
    """

    def __init__(
        self,
        pool: WorkerPool,
        clock: Clock,
        *,
        result_cache_bytes_max: int = 0,
        meters: Meters | None = None,
    ) -> None:
        self._lane = _Lane(pool, clock, meters or Meters())
        self.results = ResultCache(result_cache_bytes_max)

    def describe(self, query: Query, *, is_cancelled: Callable[[], bool]) -> Description:
        """Plan a query in a worker."""
        request = messages.encode_query(query)
        for attempt in range(1, _ATTEMPTS + 1):
            run = _Run(self._lane, "describe", is_cancelled)
            try:
                return self._described(query, run, request)
            except _WorkerDied as died:
                if attempt < _ATTEMPTS and died.may_retry:
                    continue
                raise died.error from None
            finally:
                run.close()
        raise AssertionError("unreachable")

    def _described(self, query: Query, run: _Run, request: bytes) -> Description:
        """Ask for a description; rows that come with it are kept for who will ask for them."""
        kind, payload = run.ask(Kind.DESCRIBE, request)
        if kind is not Kind.DESCRIPTION:
            raise messages.WorkerFault(f"a worker answered {kind.name} to DESCRIBE")
        description = messages.decode_description(payload)
        batches, size = [], 0
        while True:
            kind, payload = run.receive()
            if kind is Kind.END:
                break
            batches.append(run.read(kind, payload, description.schema))
            size += len(payload)
        if messages.decode_end(payload):
            result = Result(description.schema, tuple(batches), size)
            self.results.put(replace(query, pins=description.pins), result)
        return description

    def stream(
        self, query: Query, *, is_cancelled: Callable[[], bool]
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Run a query in a worker; returns once the first batch, or the end, is there.

        A small result that is known already comes without a worker: that the caller may still see
        its tables is for the caller of this method to ask.
        """
        known = self.results.get(query)
        if known is not None:
            return known.schema, iter(known.batches)
        stream = ResultStream(self._lane, query, is_cancelled, self.results)
        return stream.schema, stream

    def write(
        self, query: Query, target: WriteTarget, *, is_cancelled: Callable[[], bool]
    ) -> Written:
        """Run a statement that changes rows in a worker, up to data files on disk; never twice.

        Raises Unavailable when the worker is gone; the files that it had begun then stay in the
        folder, where nothing refers to them.
        """
        run = _Run(self._lane, "write", is_cancelled)
        try:
            kind, payload = run.ask(Kind.WRITE, messages.encode_write(query, target))
            if kind is not Kind.WRITTEN:
                raise messages.WorkerFault(f"a worker answered {kind.name} to WRITE")
            written = messages.decode_written(payload)
            run.receive()
        except _WorkerDied as died:
            if died.may_retry:
                raise errors.Unavailable(
                    "the worker that ran the statement is gone; nothing was written; try again",
                    retry_after_seconds=1.0,
                ) from None
            raise died.error from None
        else:
            return written
        finally:
            run.close()


class ResultStream:
    """The batches of one running query.

    Closing it, or dropping it, ends the work and frees the worker.
    """

    def __init__(
        self, lane: _Lane, query: Query, is_cancelled: Callable[[], bool], results: ResultCache
    ) -> None:
        self._lane = lane
        self._is_cancelled = is_cancelled
        self._results = results
        self._query = query
        self._small: list[pa.RecordBatch] | None = []  # the rows so far, while they are few
        self._run: _Run | None = None
        self._ready: deque[pa.RecordBatch] = deque()
        self._failure: Exception | None = None
        self._request = messages.encode_query(query)
        self.schema, self._small_bytes = pa.schema([]), 0
        self._open()

    def __iter__(self) -> ResultStream:
        return self

    def __next__(self) -> pa.RecordBatch:
        if not self._ready and self._run is not None:
            try:
                if self._failure is not None:
                    raise self._failure
                self._take(self._run)
            except _WorkerDied as died:
                self.close()
                raise died.error from None
            except BaseException:
                self.close()
                raise
        if not self._ready:
            raise StopIteration
        return self._ready.popleft()

    def close(self) -> None:
        """End the query if it still runs, and give the worker back."""
        self._ready.clear()
        self._end()

    def _take(self, run: _Run) -> None:
        """Take in the next frame, and those that came with it.

        A result that is here as a whole keeps its worker no longer, however slow its reader is.
        """
        while True:
            try:
                kind, payload = run.receive()
            except Exception as error:
                if not self._ready:
                    raise
                self._failure = error  # the rows that came before it go out before it
                return
            if kind is Kind.END:
                self._end()
                self._keep(payload)
                return
            batch = run.read(kind, payload, self.schema)
            self._ready.append(batch)
            self._remember(kind, batch, len(payload))
            if not run.has_frame():
                return

    def _remember(self, kind: Kind, batch: pa.RecordBatch, size: int) -> None:
        # A batch in a slot must give its slot back, so it is never kept.
        if kind is not Kind.INLINE:
            self._small = None
        if self._small is None:
            return
        self._small.append(batch)
        self._small_bytes += size
        if self._small_bytes > ENTRY_BYTES_MAX:
            self._small = None

    def _keep(self, end: bytes) -> None:
        # Only a version of a Delta table is there for good; other files may have been replaced.
        is_lasting = all(pin.version is not None for pin in self._query.pins)
        if self._small is not None and is_lasting and messages.decode_end(end):
            result = Result(self.schema, tuple(self._small), self._small_bytes)
            self._results.put(self._query, result)

    def _end(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.close()

    def __del__(self) -> None:
        self.close()

    def _open(self) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            self._run = run = _Run(self._lane, "stream", self._is_cancelled)
            try:
                kind, payload = run.ask(Kind.STREAM, self._request)
                if kind is not Kind.SCHEMA:
                    raise messages.WorkerFault(f"a worker answered {kind.name} to STREAM")
                self.schema = pa.ipc.read_schema(pa.py_buffer(payload))
                self._take(run)
            except _WorkerDied as died:
                self.close()
                if attempt == _ATTEMPTS or not died.may_retry:
                    raise died.error from None
            except BaseException:
                self.close()
                raise
            else:
                return


@dataclass(frozen=True, slots=True)
class _Lane:
    """Where requests run, by which clock, and where their cost is counted."""

    pool: WorkerPool
    clock: Clock
    meters: Meters


class _Run:
    """One request to one borrowed worker, from the first frame to the last."""

    def __init__(self, lane: _Lane, what: str, is_cancelled: Callable[[], bool]) -> None:
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

        Raises what the worker raised, Cancelled, DeadlineExceeded or _WorkerDied.
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

    def _died(self, worker: WorkerProcess) -> _WorkerDied:
        self._finished = False
        if worker.is_out_of_time:
            return _WorkerDied(self._too_late(), may_retry=False)
        if worker.died_of_its_query():
            worker.ended_by = Ended.QUERY
            return _WorkerDied(
                errors.LimitExceeded(
                    "the query is too large or too complex for one worker; ask for less, or in"
                    " smaller steps; limit=memory_bytes_max"
                ),
                may_retry=False,
            )
        _log.warning("worker %d ended while it ran a query", worker.pid)
        return _WorkerDied(
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
