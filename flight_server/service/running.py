"""What runs right now: each query and write, whose it is, and how it is stopped from outside."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from flight_server.clock import Clock
from flight_server.errors import Cancelled, DeadlineExceeded, InvalidRequest, LakeflightError
from flight_server.service.limits import Limits, Place
from flight_server.service.remembered import Remembered
from flight_server.service.request import Need, Request
from flight_server.sql import lexer
from policies.names import Principal, Privilege, TableRef

STATEMENT_CHARACTERS_MAX = 1000
# How many queries are remembered as cancelled, and as finished. A ticket that was cancelled and is
# forgotten may be used again; its caller would have to cancel that many others first.
REMEMBERED_MAX = 10_000
_LOOKED_INTO_CHARACTERS_MAX = 8192
_HIDDEN = frozenset({lexer.Kind.STRING, lexer.Kind.NUMBER})


class Kind(StrEnum):
    """What is done with a statement."""

    DESCRIBE = "describe"
    QUERY = "query"
    WRITE = "write"
    SESSION = "session"


# What users run; all else prepares for it.
_LIMITED = frozenset({Kind.QUERY, Kind.WRITE})


class State(StrEnum):
    """How far it is: ``running`` before the first rows, also while it waits for a worker."""

    RUNNING = "running"
    STREAMING = "streaming"


@dataclass(frozen=True, slots=True)
class Listed:
    """A running query as it is shown; ``rows`` went out so far. No value of a literal is in it."""

    query_id: str
    user_id: str
    username: str
    kind: Kind
    state: State
    statement: str
    query_tag: str | None
    started_at: datetime
    rows: int


class Run:
    """One query or write while it runs; as a context it is listed until the block ends.

    A block that made a stream of it leaves it to the stream instead.

    In the block, ``is_cancelled`` is to be used in place of the request's: it turns true as well
    when somebody cancels the query, and when the session's time for it is over. An error Cancelled
    that leaves the block for the latter reason is DeadlineExceeded instead.
    """

    __slots__ = (
        "_deadline",
        "_reason",
        "_registry",
        "_stream",
        "kind",
        "needs",
        "place",
        "query_id",
        "request",
        "rows",
        "started_at",
        "state",
        "statement",
    )

    def __init__(
        self, registry: Running, request: Request, statement: str, *, kind: Kind, query_id: str
    ) -> None:
        self._registry = registry
        self.request = request
        self.statement = statement
        self.kind = kind
        self.query_id = query_id
        self.place: Place | None = None
        self.state = State.RUNNING
        self.rows = 0
        self.started_at = registry.clock.now()
        # What it was let begin with, and what others are asked whether it may go on.
        self.needs: tuple[Need, ...] = ()
        self._reason: LakeflightError | None = None
        # Weak: who drops the stream ends it.
        self._stream: weakref.ref[Stream] | None = None
        timeout = request.timeout_seconds
        self._deadline = None if timeout is None else registry.clock.monotonic() + timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None or self._stream is None:
            self.leave()
        if error is not None and self.place is not None:
            self.place.refused(error)
        if isinstance(error, Cancelled):
            raise self.ended() or error from None

    def is_cancelled(self) -> bool:
        """Whether the work is to end."""
        return self._reason is not None or self._is_late() or self.request.is_cancelled()

    @property
    def is_stopped(self) -> bool:
        """Whether somebody ended it from outside."""
        return self._reason is not None

    def ended(self) -> LakeflightError | None:
        """Return why the work was ended from outside; None when nobody but its client did."""
        if self._reason is not None:
            return copy.copy(self._reason)  # a traceback belongs to one thread
        if self._is_late():
            return DeadlineExceeded(
                "the query ran longer than its session allows;"
                f" query_timeout_seconds={self.request.timeout_seconds:g}"
            )
        return None

    def rely_on(self, privilege: Privilege, ref: TableRef) -> None:
        """Take note of a right that it goes on with."""
        if (privilege, ref) not in self.needs:
            self.needs = (*self.needs, (privilege, ref))

    def mark(self, reason: LakeflightError) -> None:
        """Say that the work is to end with this error; the first one counts."""
        self._reason = self._reason or reason

    def stop(self, reason: LakeflightError | None = None) -> None:
        """End the work from outside; what streams to a reader that does not read ends as well.

        Its client hears ``reason``, and without one that it was cancelled.
        """
        self.mark(reason or Cancelled("the query was cancelled"))
        stream = None if self._stream is None else self._stream()
        if stream is not None:
            stream.stop()

    def leave(self) -> None:
        """Be listed no longer; safe to call again."""
        self._registry.leave(self)

    def stream(self, batches: Iterator[pa.RecordBatch]) -> Stream:
        """Return the batches as a stream that ends this run when it ends or is closed."""
        self.state = State.STREAMING
        stream = Stream(self, batches)
        self._stream = weakref.ref(stream)
        return stream

    def _is_late(self) -> bool:
        return self._deadline is not None and self._registry.clock.monotonic() > self._deadline


class Stream:
    """The rows of a run on their way out.

    Its run may be stopped by another thread at any moment: while the reader waits for the engine,
    the engine notices by itself; while the reader is busy elsewhere, the other thread closes the
    engine's side. The lock tells the two apart.
    """

    def __init__(self, run: Run, batches: Iterator[pa.RecordBatch]) -> None:
        self._run = run
        self._batches: Iterator[pa.RecordBatch] | None = batches
        self._lock = threading.Lock()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> pa.RecordBatch:
        with self._lock:
            if self._batches is None:
                raise self._run.ended() or StopIteration
            try:
                batch = next(self._batches)
                # Who stopped the run meanwhile found the lock taken, and left the rest to us.
                if (ended := self._run.ended()) is not None:
                    raise ended
            except Cancelled as error:
                self._close()
                raise self._run.ended() or error from None
            except BaseException:
                self._close()
                raise
        self._run.rows += batch.num_rows
        return batch

    def close(self) -> None:
        """End the stream and the work behind it."""
        with self._lock:
            self._close()

    def stop(self) -> None:
        """Close it, unless somebody waits for the next rows: they notice themselves."""
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _close(self) -> None:
        batches, self._batches = self._batches, None
        try:
            close: Callable[[], Any] | None = getattr(batches, "close", None)
            if close is not None:
                close()
        finally:
            self._run.leave()

    def __del__(self) -> None:
        self._close()


def _nothing() -> None:
    """Do nothing: nobody waits for what begins."""


class Running:
    """All that runs in this process; safe to use from many threads.

    To be entered costs an entry in a dictionary, and what ``limits`` count; all else is done when
    somebody asks.
    """

    def __init__(self, clock: Clock, limits: Limits | None = None) -> None:
        self.clock = clock
        self._limits = limits
        self._runs: dict[Run, None] = {}
        self._cancelled = Remembered(REMEMBERED_MAX)
        self._finished = Remembered(REMEMBERED_MAX)
        self._on_enter: Callable[[], None] = _nothing

    def when_entered(self, callback: Callable[[], None]) -> None:
        """Have this called for all that begins; it is quick and raises nothing."""
        self._on_enter = callback

    def runs(self) -> list[Run]:
        """Return all that runs now."""
        return list(self._runs)

    def enter(
        self, request: Request, statement: str, *, kind: Kind, query_id: str | None = None
    ) -> Run:
        """List something that starts now; without an id of its own it has that of the request.

        Raises Cancelled when a query of this id was cancelled before, LimitExceeded when the tier
        of its user allows no more queries and changes.
        """
        run = Run(self, request, statement, kind=kind, query_id=query_id or request.request_id)
        self._runs[run] = None
        self._on_enter()
        # Who cancels marks first and looks for runs then, so one of the two sees the other.
        try:
            self.check(run.query_id)
            if self._limits is not None and kind in _LIMITED:
                run.place = self._limits.enter(request.principal.user_id, request.tier)
        except BaseException:
            del self._runs[run]
            raise
        return run

    @contextmanager
    def writing(self, request: Request, what: str, *, kind: Kind = Kind.WRITE) -> Iterator[Request]:
        """List a write for the block; return its request, which others can cancel as well."""
        with self.enter(request, what, kind=kind) as run:
            yield replace(request, is_cancelled=run.is_cancelled, rely_on=run.rely_on)

    def leave(self, run: Run) -> None:
        """List it no longer."""
        if run.place is not None:
            run.place.leave()
        if self._runs.pop(run, self) is None and run.kind is Kind.QUERY:
            self._finished.add(run.query_id)

    def check(self, query_id: str) -> None:
        """Raise Cancelled when a query of this id was cancelled before."""
        if query_id in self._cancelled:
            raise Cancelled("the query was cancelled")

    def listed(self, principal: Principal) -> list[Listed]:
        """Return what somebody may see of it, oldest first: their own, administrators all."""
        runs = [run for run in list(self._runs) if _may_touch(principal, run)]
        return sorted((_listed(run) for run in runs), key=lambda listed: listed.started_at)

    def cancel(self, principal: Principal, query_id: str) -> bool:
        """End what runs under an id; False when nothing of it that the caller may touch runs."""
        return self._stop(
            [
                run
                for run in list(self._runs)
                if run.query_id == query_id and _may_touch(principal, run)
            ]
        )

    def cancel_ticket(self, query_id: str) -> bool:
        """End the query of a ticket, whose caller may do so, and refuse the ticket from now on.

        False when it has run to its end already.
        """
        is_running = any(run.query_id == query_id for run in list(self._runs))
        has_ended = query_id in self._finished and query_id not in self._cancelled
        if has_ended and not is_running:
            return False
        self._cancelled.add(query_id)
        self._stop([run for run in list(self._runs) if run.query_id == query_id])
        return True

    def _stop(self, runs: list[Run]) -> bool:
        for run in runs:
            run.stop()
        return bool(runs)


@lru_cache(maxsize=1024)
def _remembered(sql: str) -> str:
    return without_values(sql)


def on_record(sql: str) -> str:
    """Return a statement as ``without_values`` does, in little time for any: this is done for all.

    Long ones are not looked into.
    """
    if len(sql) > _LOOKED_INTO_CHARACTERS_MAX:
        return f"(a statement of {len(sql)} characters)"
    return _remembered(sql)


def without_values(sql: str) -> str:
    """Return a statement as it may be shown: cut, no comments, ``?`` for every literal."""
    try:
        found = lexer.tokens(sql)
    except InvalidRequest:
        return "(a statement that cannot be read)"
    parts = []
    for token in found:
        if token.kind in _HIDDEN:
            parts.append("?")
        elif token.kind in lexer.SILENT:
            parts.append(" ")
        else:
            parts.append(token.text)
    text = " ".join("".join(parts).split())
    if len(text) <= STATEMENT_CHARACTERS_MAX:
        return text
    return text[: STATEMENT_CHARACTERS_MAX - 1] + "…"


def _may_touch(principal: Principal, run: Run) -> bool:
    return principal.is_admin or run.request.principal.user_id == principal.user_id


def _listed(run: Run) -> Listed:
    caller = run.request.principal
    return Listed(
        query_id=run.query_id,
        user_id=caller.user_id,
        username=caller.username,
        kind=run.kind,
        state=run.state,
        statement=without_values(run.statement),
        query_tag=run.request.query_tag,
        started_at=run.started_at,
        rows=run.rows,
    )
