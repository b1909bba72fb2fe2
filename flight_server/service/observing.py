"""Counts, times and traces every call, by standing between a call and its record.

What a call says of itself for the audit log (what it is about, what it did, how it ended) is all
that is known for the numbers as well, so nothing is said twice. The engine time of a call goes the
other way: workers add it up in ``telemetry.current``, and here it is put on record.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Protocol

from flight_server.clock import Clock
from flight_server.errors import (
    Cancelled,
    Conflict,
    DeadlineExceeded,
    Internal,
    LakeflightError,
    LimitExceeded,
    Unavailable,
)
from flight_server.service.recording import Circumstances, Detail, Effect, Record, Recorder
from flight_server.service.running import on_record
from flight_server.telemetry import current
from flight_server.telemetry.current import Attribute, CurrentCall, Trace
from flight_server.telemetry.instruments import OTHER
from flight_server.telemetry.meters import OK, Meters
from policies.names import TableRef

_log = logging.getLogger(__name__)

# Those that a server answers, in snake case.
METHODS = (
    "do_action",
    "do_get",
    "do_put",
    "get_flight_info",
    "get_schema",
    "handshake",
    "list_actions",
)
QUERY = "query"
LOGIN = "auth.login"
_WRONG_PASSWORD = "invalid_credentials"  # noqa: S105  the code of an error
_LIMIT = re.compile(r"[a-z_]+_max\b")
_SERVICE = "arrow.flight.protocol.FlightService"
# By these a span is marked as failed: the server, or what it stands on, did not do what it should.
_FAULTS = (Internal, Unavailable, DeadlineExceeded, Conflict)


class Traces(Protocol):
    """Where traces start."""

    def start(
        self,
        name: str,
        *,
        start: float,
        parent: Mapping[str, str],
        attributes: Mapping[str, Attribute],
    ) -> Trace | None:
        """Return the trace of a call that starts now; None when nobody will look at it."""
        ...

    def close(self) -> None:
        """Send off what is left."""
        ...


class Observing:
    """Implements ``Recorder`` around another one; safe to use from many threads.

    ``limits`` are the settings that refusals are counted by; ``log_calls`` writes a line to the log
    for each call that ends.
    """

    def __init__(
        self,
        recorder: Recorder,
        meters: Meters,
        *,
        clock: Clock,
        traces: Traces | None = None,
        limits: frozenset[str] = frozenset(),
        log_calls: bool = False,
    ) -> None:
        self._recorder = recorder
        self._meters = meters
        self._clock = clock
        self._traces = traces
        self._limits = limits
        self._log_calls = log_calls
        meters.calls.expect((method, Internal.default_code) for method in METHODS)
        meters.actions.expect([(QUERY, OK)])
        meters.limits_reached.expect((limit,) for limit in sorted(limits))
        meters.logins.expect([(OK,), (_WRONG_PASSWORD,)])

    def open(self, circumstances: Circumstances) -> Record:
        """Return the record of a call that starts now; it is the current one of this thread."""
        now = self._clock.monotonic()
        call = CurrentCall(circumstances.request_id)
        if self._traces is not None:
            call.trace = self._trace(self._traces, circumstances, now)
        current.enter(call)
        return ObservedRecord(
            self, self._recorder.open(circumstances), call, method=circumstances.method, since=now
        )

    def _trace(self, traces: Traces, circumstances: Circumstances, now: float) -> Trace | None:
        method = "".join(part.capitalize() for part in circumstances.method.split("_"))
        return traces.start(
            f"{_SERVICE}/{method}",
            start=now,
            parent=circumstances.trace_headers,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": _SERVICE,
                "rpc.method": method,
                "lakeflight.request_id": circumstances.request_id,
            },
        )

    def first_rows(self, record: ObservedRecord) -> None:
        """Take in that the first rows of a result are about to leave."""
        if record.action == QUERY:
            seconds = self._clock.monotonic() - record.since
            self._meters.query_seconds.observe(seconds, ("first_batch",))

    def ended(self, record: ObservedRecord, error: BaseException | None) -> None:
        """Take in how a call ended."""
        now = self._clock.monotonic()
        seconds, code = now - record.since, code_of(error)
        self._count(record, seconds, code)
        if isinstance(error, LimitExceeded):
            self._meters.limits_reached.add((self._limit_of(error),))
        if (trace := record.call.trace) is not None:
            _end(trace, record, error, now)
        if self._log_calls:
            _log.info(
                "call",
                extra={
                    "request_id": record.call.request_id,
                    "method": record.method,
                    "action": record.action,
                    "code": code,
                    "seconds": round(seconds, 6),
                    "engine_seconds": round(record.call.engine_seconds, 6),
                    "rows": record.rows,
                    "bytes": record.bytes,
                },
            )

    def _limit_of(self, error: LimitExceeded) -> str:
        """Return the setting that a refusal names; nothing else of its message becomes a label."""
        named = [name for name in _LIMIT.findall(error.message) if name in self._limits]
        return named[-1] if named else OTHER

    def _count(self, record: ObservedRecord, seconds: float, code: str) -> None:
        meters, action, effect = self._meters, record.action, record.effect
        meters.calls.add((record.method, code))
        meters.call_seconds.observe(seconds, (record.method,))
        if action and (effect is not None or code != OK):
            meters.actions.add((action, code))
        if action == LOGIN or code == _WRONG_PASSWORD:
            meters.logins.add((code,))
        elif action == QUERY and code == OK:
            phase = "describe" if effect is None else "whole"
            meters.query_seconds.observe(seconds, (phase,))
        is_change = effect is Effect.CHANGE
        if record.rows:
            (meters.rows_changed if is_change else meters.rows_sent).add((), record.rows)
        if record.bytes:
            (meters.bytes_received if is_change else meters.bytes_sent).add((), record.bytes)


class ObservedRecord:
    """Implements ``Record`` around another one."""

    __slots__ = (
        "_inner",
        "_is_settled",
        "_observing",
        "action",
        "bytes",
        "call",
        "effect",
        "method",
        "rows",
        "since",
    )

    def __init__(
        self, observing: Observing, inner: Record, call: CurrentCall, *, method: str, since: float
    ) -> None:
        self._observing = observing
        self._inner = inner
        self._is_settled = False
        self.call = call
        self.method = method
        self.since = since
        self.action = ""
        self.effect: Effect | None = None
        self.rows = 0
        self.bytes = 0

    def identify(self, user_id: str, username: str, session_id: str) -> None:
        """Pass it on."""
        self._inner.identify(user_id, username, session_id)

    def about(self, action: str, statement: str = "") -> None:
        """Pass it on."""
        if self.effect is None:
            self.action = action
        if statement and self.call.trace is not None:
            self.call.trace.describe({"db.query.text": on_record(statement)})
        self._inner.about(action, statement)

    def intend(
        self,
        action: str,
        resource: str = "",
        *,
        effect: Effect,
        details: Mapping[str, Detail] | None = None,
    ) -> None:
        """Pass it on."""
        if self.effect is None:
            self.action = action
            if self.call.trace is not None and details and "statement" in details:
                self.call.trace.describe({"db.query.text": str(details["statement"])})
        self._inner.intend(action, resource, effect=effect, details=details)
        self.effect = self.effect or effect

    def confirm(self) -> None:
        """Pass it on; what follows are the first rows."""
        self._inner.confirm()
        self._observing.first_rows(self)

    def note(
        self,
        *,
        purpose: str | None = None,
        rows: int | None = None,
        byte_count: int | None = None,
        tables: Mapping[TableRef, int | None] | None = None,
        engine_seconds: float | None = None,
    ) -> None:
        """Pass it on."""
        if rows is not None:
            self.rows = max(rows, 0)
        if byte_count is not None:
            self.bytes = byte_count
        self._inner.note(
            purpose=purpose,
            rows=rows,
            byte_count=byte_count,
            tables=tables,
            engine_seconds=engine_seconds,
        )

    def settle(self, error: BaseException | None = None) -> None:
        """Pass it on, with the time of the engine, and count it; once."""
        if self._is_settled:
            return
        self._is_settled = True
        if self.call.engine_seconds:
            self._inner.note(engine_seconds=self.call.engine_seconds)
        self._inner.settle(error)
        self._observing.ended(self, error)


def code_of(error: BaseException | None) -> str:
    """Return ``ok``, or the code that the caller gets."""
    if error is None:
        return OK
    return error.code if isinstance(error, LakeflightError) else Internal.default_code


def _end(trace: Trace, record: ObservedRecord, error: BaseException | None, now: float) -> None:
    attributes: dict[str, Attribute] = {"lakeflight.action": record.action}
    if record.rows:
        attributes["lakeflight.rows"] = record.rows
    if record.call.engine_seconds:
        attributes["lakeflight.engine_seconds"] = record.call.engine_seconds
    code = code_of(error)
    if error is not None and not isinstance(error, Cancelled):
        attributes["error.type"] = code
    trace.describe(attributes)
    is_fault = isinstance(error, _FAULTS) or not isinstance(error, LakeflightError | None)
    trace.end(now, error=code if is_fault else None)
