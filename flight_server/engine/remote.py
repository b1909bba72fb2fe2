"""The engine as the gateway sees it: each query runs in a worker borrowed from the pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa

from flight_server import errors
from flight_server.clock import Clock
from flight_server.engine import messages
from flight_server.engine.asking import Lane, Run, WorkerDied
from flight_server.engine.base import Description, FileScan, Query, WriteTarget, Written
from flight_server.engine.cache import ENTRY_BYTES_MAX, Result, ResultCache
from flight_server.engine.pool import WorkerPool
from flight_server.engine.wire import Kind
from flight_server.telemetry.meters import Meters

_ATTEMPTS = 2


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
        self._lane = Lane(pool, clock, meters or Meters())
        self.results = ResultCache(result_cache_bytes_max)

    def describe(self, query: Query, *, is_cancelled: Callable[[], bool]) -> Description:
        """Plan a query in a worker."""
        request = messages.encode_query(query)
        for attempt in range(1, _ATTEMPTS + 1):
            run = Run(self._lane, "describe", is_cancelled)
            try:
                return self._described(query, run, request)
            except WorkerDied as died:
                if attempt < _ATTEMPTS and died.may_retry:
                    continue
                raise died.error from None
            finally:
                run.close()
        raise AssertionError("unreachable")

    def _described(self, query: Query, run: Run, request: bytes) -> Description:
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
        request = messages.encode_write(query, target)
        return messages.decode_written(self._once(Kind.WRITE, request, Kind.WRITTEN, is_cancelled))

    def count_refused(
        self, scan: FileScan, checks: tuple[str, ...], *, is_cancelled: Callable[[], bool]
    ) -> int:
        """Count rows that do not meet what they are held to in a worker; raises as ``write``."""
        request = messages.encode_check(scan, checks)
        return messages.decode_count(self._once(Kind.CHECK, request, Kind.COUNT, is_cancelled))

    def _once(
        self, kind: Kind, request: bytes, answer: Kind, is_cancelled: Callable[[], bool]
    ) -> bytes:
        """Ask a worker for one frame; what is part of a write is never asked for twice."""
        run = Run(self._lane, "write", is_cancelled)
        try:
            found, payload = run.ask(kind, request)
            if found is not answer:
                raise messages.WorkerFault(f"a worker answered {found.name} to {kind.name}")
            run.receive()
        except WorkerDied as died:
            if died.may_retry:
                raise errors.Unavailable(
                    "the worker that ran the statement is gone; nothing was written; try again",
                    retry_after_seconds=1.0,
                ) from None
            raise died.error from None
        else:
            return payload
        finally:
            run.close()


class ResultStream:
    """The batches of one running query.

    Closing it, or dropping it, ends the work and frees the worker.
    """

    def __init__(
        self, lane: Lane, query: Query, is_cancelled: Callable[[], bool], results: ResultCache
    ) -> None:
        self._lane = lane
        self._is_cancelled = is_cancelled
        self._results = results
        self._query = query
        self._small: list[pa.RecordBatch] | None = []  # the rows so far, while they are few
        self._run: Run | None = None
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
            except WorkerDied as died:
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

    def _take(self, run: Run) -> None:
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
            self._run = run = Run(self._lane, "stream", self._is_cancelled)
            try:
                kind, payload = run.ask(Kind.STREAM, self._request)
                if kind is not Kind.SCHEMA:
                    raise messages.WorkerFault(f"a worker answered {kind.name} to STREAM")
                self.schema = pa.ipc.read_schema(pa.py_buffer(payload))
                self._take(run)
            except WorkerDied as died:
                self.close()
                if attempt == _ATTEMPTS or not died.may_retry:
                    raise died.error from None
            except BaseException:
                self.close()
                raise
            else:
                return
