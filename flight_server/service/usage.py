"""What the audit log tells: who did what, what it cost, and that nothing of it was changed.

Records are counted and sorted by workers: the log may have millions, and none of them is loaded
here but those of the answer, whose number is bounded.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import date
from typing import Any, Protocol

from flight_server.audit.events import Event, Outcome
from flight_server.audit.heads import SignedHead
from flight_server.audit.verification import Verdict
from flight_server.clock import Clock
from flight_server.engine.base import Engine, Query
from flight_server.errors import InvalidRequest, LimitExceeded, NotFound, PermissionDenied
from flight_server.service.audit_views import MEASURES
from flight_server.service.log_entries import LogEntry
from flight_server.service.periods import ALWAYS, Period
from flight_server.service.request import Request
from flight_server.service.running import Kind, Running
from flight_server.sql.names import literal, quoted
from policies.names import Principal, Role
from policies.records import AUDIT_LOG, reads_everybody

ACTIVITY_DEFAULT, ACTIVITY_MAX = 100, 1000
# Rows of one summary: of a day, a user and an action each.
BILLING_ROWS_MAX = 20_000
OUTCOMES = tuple(outcome.value for outcome in Outcome)
_NAME_CHARACTERS_MAX = 256
_SYSTEM = Principal("", "lakeflight", Role.ADMIN)
_RECORD = (
    *("timestamp", "audit_id", "sequence", "user_id", "username", "session_id", "action"),
    *("resource", "purpose", "outcome", "details", "row_count", "byte_count", "engine_ms"),
    *("duration_ms", "table_versions", "policy_version", "request_id", "ip_address"),
    "user_agent",
)
_JSON_COLUMNS = ("details", "table_versions")


class Log(Protocol):
    """What is asked of the log itself."""

    def append(self, event: Event) -> int:
        """Write an event and return its number; raises Unavailable."""
        ...

    def wait(self, sequence: int) -> None:
        """Return once an event would survive a power cut; raises Unavailable."""
        ...

    def flush(self) -> None:
        """Bring what was written so far into the audit table; raises Unavailable."""
        ...

    def head(self) -> SignedHead:
        """Return the signed end of the log; raises Unavailable."""
        ...

    def verify(self, head: SignedHead | None = None) -> Verdict:
        """Check every record, and that the log holds what a head was signed for."""
        ...


class Account(Protocol):
    """A user."""

    @property
    def user_id(self) -> str:
        """Its id."""
        ...


class Accounts(Protocol):
    """What is asked of the users."""

    def find(self, username: str) -> Account | None:
        """Return the user of that name, or None."""
        ...

    def get(self, user_id: str) -> Account:
        """Return the user of that id; NotFound when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """Which records somebody asks for; ``user`` is a name or an id, None everybody one may see."""

    period: Period = ALWAYS
    user: str | None = None
    action: str | None = None
    outcome: str | None = None
    limit: int = ACTIVITY_DEFAULT


@dataclass(slots=True)
class Bill:
    """What one user did and used on one day of UTC; refused calls are counted apart."""

    day: date
    user_id: str
    username: str | None
    actions: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    rows: int = 0
    bytes: int = 0
    engine_seconds: float = 0.0

    @property
    def action_count(self) -> int:
        """How many calls were let in."""
        return sum(self.actions.values())

    def add(self, other: Bill) -> None:
        """Take in what is counted elsewhere of the same day and user."""
        for action, calls in other.actions.items():
            self.actions[action] = self.actions.get(action, 0) + calls
        self.refused += other.refused
        self.rows += other.rows
        self.bytes += other.bytes
        self.engine_seconds += other.engine_seconds


class Records:
    """Reads of the audit table, by SQL of our own that runs as the system itself.

    ``last`` is the number of the last record that is read, None is all there are.
    """

    def __init__(self, engine: Engine, *, last: int | None = None) -> None:
        self._engine = engine
        self._until = "TRUE" if last is None else f"sequence <= {last}"

    def activity(
        self, asked: Asked, user_id: str | None, *, is_cancelled: Callable[[], bool]
    ) -> list[dict[str, Any]]:
        """Return records, newest first, with JSON read; of one user or of everybody."""
        conditions = [asked.period.condition(), self._until]
        if user_id is not None:
            conditions.append(f"user_id = {literal(user_id)}")
        if asked.action is not None:
            conditions.append(f"action = {literal(asked.action)}")
        outcome = f"outcome = {literal(asked.outcome)}" if asked.outcome else "outcome <> 'intent'"
        sql = _select(
            ", ".join(map(quoted, _RECORD)),
            " AND ".join((*conditions, outcome)),
            f'ORDER BY "timestamp" DESC, sequence DESC LIMIT {asked.limit}',
        )
        rows = list(self._rows(sql, is_cancelled))
        for row in rows:
            row.update((name, json.loads(row[name])) for name in _JSON_COLUMNS if row[name])
        return rows

    def bills(
        self, period: Period, user_id: str | None, *, is_cancelled: Callable[[], bool]
    ) -> list[Bill]:
        """Return what users used by day and name; of one user or of everybody.

        Raises LimitExceeded for more than BILLING_ROWS_MAX rows.
        """
        measures = ", ".join(f"{text} AS {quoted(name)}" for name, (text, _) in MEASURES.items())
        whose = "user_id IS NOT NULL" if user_id is None else f"user_id = {literal(user_id)}"
        sql = _select(
            "date_partition AS day, user_id, max(username) AS username, action,"
            " count(*) FILTER (WHERE outcome <> 'refused') AS calls,"
            f" count(*) FILTER (WHERE outcome = 'refused') AS refused, {measures}",
            f"outcome <> 'intent' AND {whose} AND {period.condition()} AND {self._until}",
            "GROUP BY date_partition, user_id, action"
            f" ORDER BY day, username, user_id, action LIMIT {BILLING_ROWS_MAX + 1}",
        )
        bills: dict[tuple[date, str], Bill] = {}
        for number, row in enumerate(self._rows(sql, is_cancelled)):
            if number == BILLING_ROWS_MAX:
                raise LimitExceeded(
                    "the summary is too long: ask for fewer days or one user, or query the view"
                    f" system.usage.billing_summary; billing_rows_max={BILLING_ROWS_MAX}"
                )
            _count(bills, row)
        return list(bills.values())

    def _rows(self, sql: str, is_cancelled: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        query = Query(sql, _SYSTEM, AUDIT_LOG.bucket, AUDIT_LOG.schema)
        # A query without pins would be remembered as if its tables never changed.
        pins = self._engine.describe(query, is_cancelled=is_cancelled).pins
        _, batches = self._engine.stream(changed(query, pins=pins), is_cancelled=is_cancelled)
        for batch in batches:
            yield from batch.to_pylist()


def _select(columns: str, condition: str, rest: str) -> str:
    return " ".join(("SELECT", columns, "FROM", str(AUDIT_LOG), "WHERE", condition, rest))


def _count(bills: dict[tuple[date, str], Bill], row: Mapping[str, Any]) -> None:
    key = (row["day"], row["user_id"])
    bill = bills.setdefault(key, Bill(*key, row["username"]))
    if row["calls"]:
        bill.actions[row["action"]] = row["calls"]
    bill.refused += row["refused"]
    bill.rows += row["rows"]
    bill.bytes += row["bytes"]
    bill.engine_seconds += row["engine_seconds"]


class Usage:
    """The use cases of reading the audit log, and of adding to it.

    Everybody but those who wait for approval reads what they did themselves; administrators and
    auditors read everything. What was recorded before is flushed first, one's own last call
    included.
    """

    def __init__(
        self,
        records: Records,
        log: Log,
        accounts: Accounts,
        *,
        running: Running,
        clock: Clock,
    ) -> None:
        self._records = records
        self._log = log
        self._accounts = accounts
        self._running = running
        self._clock = clock
        self._verifying = threading.Lock()

    def activity(self, request: Request, asked: Asked) -> list[dict[str, Any]]:
        """Return records, newest first.

        Raises InvalidRequest for a limit or an outcome that cannot be, PermissionDenied, NotFound
        (``user_not_found``), Unavailable.
        """
        check(asked)
        user_id = self._whose(request.principal, asked.user)
        self._log.flush()
        with self._running.enter(request, "audit.activity", kind=Kind.QUERY) as run:
            rows = self._records.activity(asked, user_id, is_cancelled=run.is_cancelled)
        request.record.note(rows=len(rows))
        return rows

    def bills(self, request: Request, period: Period, user: str | None = None) -> list[Bill]:
        """Return what was used, by day and user; raises as ``activity``, and LimitExceeded."""
        user_id = self._whose(request.principal, user)
        self._log.flush()
        with self._running.enter(request, "audit.billing_summary", kind=Kind.QUERY) as run:
            bills = self._records.bills(period, user_id, is_cancelled=run.is_cancelled)
        request.record.note(rows=len(bills))
        return bills

    def log(self, request: Request, entry: LogEntry) -> str:
        """Put an entry of the caller's own on record, durable; return the action that it is under.

        Raises PermissionDenied for those who wait for approval, Unavailable.
        """
        _admit(request.principal)
        event = Event(
            timestamp=self._clock.now(),
            action=entry.action,
            outcome=Outcome.SUCCESS,
            # That of the call is shared by the intent and the outcome of the call itself.
            request_id=f"{request.request_id}.log",
            user_id=request.principal.user_id,
            username=request.principal.username,
            session_id=request.session_id,
            resource=entry.resource,
            purpose=request.purpose,
            details=entry.details,
            ip_address=request.address or None,
            user_agent=request.user_agent or None,
        )
        self._log.wait(self._log.append(event))
        return entry.action

    def head(self, request: Request) -> SignedHead:
        """Return the signed end of the log; PermissionDenied for others than auditors."""
        _check_auditor(request.principal)
        return self._log.head()

    def verify(self, request: Request, head: SignedHead | None = None) -> Verdict:
        """Check the whole chain, and that it still holds what a head was signed for.

        Raises PermissionDenied for others than auditors, LimitExceeded while another verification
        runs, Unavailable.
        """
        _check_auditor(request.principal)
        if not self._verifying.acquire(blocking=False):
            raise LimitExceeded(
                "the log is being verified already; verifications_max=1", retry_after_seconds=5.0
            )
        try:
            return self._log.verify(head)
        finally:
            self._verifying.release()

    def _whose(self, principal: Principal, user: str | None) -> str | None:
        """Return whose records are read, None for everybody's."""
        _admit(principal)
        if not reads_everybody(principal):
            if user in (None, principal.username, principal.user_id):
                return principal.user_id
            # The same for users who do not exist: who does is nobody's business.
            raise PermissionDenied("you may read your own records, not those of others")
        return None if user is None else user_named(self._accounts, user)


def check(asked: Asked) -> None:
    """Raise InvalidRequest for a limit, an action or an outcome that cannot be."""
    if not 1 <= asked.limit <= ACTIVITY_MAX:
        raise InvalidRequest(f"'limit' is a number from 1 to {ACTIVITY_MAX}")
    if asked.outcome is not None and asked.outcome not in OUTCOMES:
        raise InvalidRequest(f"'outcome' is one of {', '.join(OUTCOMES)}")
    if asked.action is not None and len(asked.action) > _NAME_CHARACTERS_MAX:
        raise InvalidRequest(f"'action' is too long; characters_max={_NAME_CHARACTERS_MAX}")


def user_named(accounts: Accounts, user: str) -> str:
    """Return the id of a user, by name or by id; NotFound (``user_not_found``)."""
    missing = NotFound("there is no user of this name or id", code="user_not_found")
    if len(user) > _NAME_CHARACTERS_MAX:
        raise missing
    found = accounts.find(user)
    try:
        return (found or accounts.get(user)).user_id
    except NotFound:
        raise missing from None


def _admit(principal: Principal) -> None:
    if principal.role is Role.PENDING:
        raise PermissionDenied("the account is not approved")


def _check_auditor(principal: Principal) -> None:
    _admit(principal)
    if not reads_everybody(principal):
        raise PermissionDenied("this is for administrators and auditors")
