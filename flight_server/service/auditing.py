"""Calls to audit records: an event for the intent and one for the outcome, in the audit log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from flight_server.audit.events import Event, Outcome
from flight_server.clock import Clock
from flight_server.errors import (
    Cancelled,
    LakeflightError,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from flight_server.service.recording import Circumstances, Detail, Effect, Record
from flight_server.service.running import on_record
from policies.names import TableRef

# Errors that say no to somebody; all others are failures of what was allowed.
_REFUSALS = (Unauthenticated, PermissionDenied, NotFound, LimitExceeded)
_log = logging.getLogger(__name__)


class Log(Protocol):
    """What is asked of the audit log."""

    def append(self, event: Event) -> int:
        """Write an event and return its number; raises Unavailable when it cannot be written."""
        ...

    def sync_soon(self) -> None:
        """Have what was appended survive a power cut soon, without waiting for it."""
        ...

    def wait(self, sequence: int) -> None:
        """Return once an event would survive a power cut; raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """How surely reads are on record; everything else is, or is refused.

    ``reads_without_record`` lets them through when they cannot be. ``reads_wait_for_disk`` makes
    their first row wait until the intent would survive a power cut; it outlives the end of the
    process before that in any case.
    """

    reads_without_record: bool = False
    reads_wait_for_disk: bool = False


class Auditor:
    """Implements ``Recorder`` over the audit log; safe to use from many threads.

    ``policy_version`` names the rules in force now.
    """

    def __init__(
        self,
        log: Log,
        clock: Clock,
        *,
        policy_version: Callable[[], str],
        options: AuditOptions | None = None,
    ) -> None:
        self.log = log
        self.clock = clock
        self.policy_version = policy_version
        self.options = options or AuditOptions()

    def open(self, circumstances: Circumstances) -> Record:
        """Return the record of a call that starts now."""
        return CallRecord(self, circumstances)


class CallRecord:
    """Implements ``Record``."""

    __slots__ = (
        "_action",
        "_auditor",
        "_circumstances",
        "_details",
        "_effect",
        "_engine_seconds",
        "_is_settled",
        "_noted",
        "_purpose",
        "_resource",
        "_sequence",
        "_since",
        "_statement",
        "_tables",
    )

    def __init__(self, auditor: Auditor, circumstances: Circumstances) -> None:
        self._auditor = auditor
        self._circumstances = circumstances
        self._since = auditor.clock.monotonic()
        self._action = circumstances.method
        self._statement = ""
        self._resource = ""
        self._details: Mapping[str, Detail] = {}
        self._purpose = circumstances.purpose
        self._noted: tuple[int | None, int | None] = (None, None)
        self._tables: Mapping[TableRef, int | None] = {}
        self._engine_seconds: float | None = None
        self._effect: Effect | None = None
        self._sequence: int | None = None
        self._is_settled = False

    def identify(self, user_id: str, username: str, session_id: str) -> None:
        """Keep it for the outcome."""
        self._circumstances = replace(
            self._circumstances, user_id=user_id, username=username, session_id=session_id
        )

    def about(self, action: str, statement: str = "") -> None:
        """Remember it for a refusal."""
        if self._effect is None:
            self._action, self._statement = action, statement

    def intend(
        self,
        action: str,
        resource: str = "",
        *,
        effect: Effect,
        details: Mapping[str, Detail] | None = None,
    ) -> None:
        """Write the intent; wait for the disk when something is about to change."""
        if self._effect is not None:
            return
        self._action, self._resource, self._details = action, resource, details or {}
        try:
            self._sequence = self._auditor.log.append(self._event(Outcome.INTENT))
            if effect is Effect.CHANGE:
                self._auditor.log.wait(self._sequence)
        except Unavailable:
            if effect is Effect.CHANGE or not self._auditor.options.reads_without_record:
                raise
        self._effect = effect

    def confirm(self) -> None:
        """Wait for the disk where that is asked for, unless nothing could be written."""
        if self._sequence is None:
            return
        if self._effect is Effect.READ and not self._auditor.options.reads_wait_for_disk:
            self._auditor.log.sync_soon()
            return
        try:
            self._auditor.log.wait(self._sequence)
        except Unavailable:
            if not self._auditor.options.reads_without_record:
                raise

    def note(
        self,
        *,
        purpose: str | None = None,
        rows: int | None = None,
        byte_count: int | None = None,
        tables: Mapping[TableRef, int | None] | None = None,
        engine_seconds: float | None = None,
    ) -> None:
        """Keep it for the outcome."""
        if purpose is not None:
            self._purpose = purpose
        if rows is not None or byte_count is not None:
            known_rows, known_bytes = self._noted
            self._noted = (
                known_rows if rows is None else rows,
                known_bytes if byte_count is None else byte_count,
            )
        if tables is not None:
            self._tables = tables
        if engine_seconds is not None:
            self._engine_seconds = engine_seconds

    def settle(self, error: BaseException | None = None) -> None:
        """Write the outcome, once; of what intended nothing, only a refusal or failure."""
        if self._is_settled or (error is None and self._effect is None):
            return
        self._is_settled = True
        try:
            if self._effect is None and self._statement:
                self._details = {**self._details, "statement": on_record(self._statement)}
            if error is not None:
                code = error.code if isinstance(error, LakeflightError) else "internal"
                self._details = {**self._details, "code": code}
            sequence = self._auditor.log.append(self._event(_outcome(error)))
            if self._effect is Effect.CHANGE:
                self._auditor.log.wait(sequence)
            else:
                self._auditor.log.sync_soon()
        except Unavailable:
            # The intent is there; the next start of the log tells that its outcome is not.
            _log.error("an outcome is not on record: the audit log cannot be written")

    def _event(self, outcome: Outcome) -> Event:
        known, is_over = self._circumstances, outcome is not Outcome.INTENT
        clock = self._auditor.clock
        rows, byte_count = self._noted if is_over else (None, None)
        seconds = self._engine_seconds
        return Event(
            timestamp=clock.now(),
            action=self._action,
            outcome=outcome,
            request_id=known.request_id,
            user_id=known.user_id,
            username=known.username,
            session_id=known.session_id,
            resource=self._resource or None,
            purpose=self._purpose,
            details=self._details,
            row_count=rows,
            byte_count=byte_count,
            engine_ms=round(seconds * 1000, 3) if is_over and seconds is not None else None,
            duration_ms=round((clock.monotonic() - self._since) * 1000, 3) if is_over else None,
            table_versions={str(ref): version for ref, version in self._tables.items()},
            policy_version=self._auditor.policy_version(),
            ip_address=known.address,
            user_agent=known.user_agent,
        )


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return Outcome.SUCCESS
    if isinstance(error, Cancelled):
        return Outcome.CANCELLED
    return Outcome.REFUSED if isinstance(error, _REFUSALS) else Outcome.FAILED
