from __future__ import annotations

from collections.abc import Callable

import pytest

from flight_server import errors
from flight_server.audit.events import Event, Outcome
from flight_server.service.auditing import AuditOptions, Auditor
from flight_server.service.recording import Circumstances, Effect, Record
from policies.names import TableRef
from tests.clocks import StandingClock

WHO = Circumstances(
    request_id="r1",
    method="do_get",
    user_id="u1",
    username="ann",
    session_id="s1",
    purpose="research",
    address="127.0.0.1",
    user_agent="test",
)


class Kept:
    """A log in memory, which can be told to fail."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.synced = 0
        self.fails = False
        self.is_asked = False

    def append(self, event: Event) -> int:
        self._check()
        self.events.append(event)
        return len(self.events)

    def sync_soon(self) -> None:
        self.is_asked = True

    def wait(self, sequence: int) -> None:
        self._check()
        self.synced = max(self.synced, sequence)

    def _check(self) -> None:
        if self.fails:
            raise errors.Unavailable("the disk is full", code="audit_unavailable")


@pytest.fixture
def log() -> Kept:
    return Kept()


@pytest.fixture
def record(log: Kept) -> Record:
    return _auditor(log).open(WHO)


def _auditor(log: Kept, *, lenient: bool = False, waits: bool = False) -> Auditor:
    return Auditor(
        log,
        StandingClock(),
        policy_version=lambda: "book-1",
        options=AuditOptions(reads_without_record=lenient, reads_wait_for_disk=waits),
    )


def test_a_read_is_an_intent_and_an_outcome_with_all_that_is_known(
    log: Kept, record: Record
) -> None:
    ref = TableRef("primary", "sales", "orders")
    record.note(tables={ref: 7})
    record.intend("query", str(ref), effect=Effect.READ, details={"statement": "SELECT ?"})
    assert (log.is_asked, log.synced) == (False, 0)
    record.confirm()
    assert (log.is_asked, log.synced) == (True, 0)
    record.note(rows=3, byte_count=100)
    record.note(engine_seconds=0.25)
    record.settle()
    record.settle(ValueError())
    intent, outcome = log.events
    assert (intent.outcome, outcome.outcome) == (Outcome.INTENT, Outcome.SUCCESS)
    assert (intent.row_count, intent.duration_ms) == (None, None)
    assert (outcome.row_count, outcome.byte_count, outcome.engine_ms) == (3, 100, 250.0)
    assert outcome.duration_ms == 0
    for event in log.events:
        assert event.action == "query"
        assert event.resource == "primary.sales.orders"
        assert event.table_versions == {"primary.sales.orders": 7}
        assert event.details == {"statement": "SELECT ?"}
        assert (event.user_id, event.username, event.session_id) == ("u1", "ann", "s1")
        assert (event.purpose, event.policy_version) == ("research", "book-1")
        assert (event.ip_address, event.user_agent, event.request_id) == ("127.0.0.1", "test", "r1")


def test_a_change_is_on_the_disk_before_the_deed_and_after_it(log: Kept, record: Record) -> None:
    record.intend("table.drop", "a.b.c", effect=Effect.CHANGE)
    assert log.synced == 1
    record.intend("table.create", "x", effect=Effect.CHANGE)
    record.settle()
    assert log.synced == 2
    assert [event.action for event in log.events] == ["table.drop"] * 2


def test_what_intends_nothing_leaves_nothing_unless_it_is_refused(
    log: Kept, record: Record
) -> None:
    record.about("query", "SELECT * FROM t WHERE name = 'Ann'")
    record.settle()
    assert log.events == []
    record.settle(errors.NotFound("no", code="table_not_found"))
    (event,) = log.events
    assert (event.action, event.outcome) == ("query", Outcome.REFUSED)
    assert event.details == {
        "statement": "SELECT * FROM t WHERE name = ?",
        "code": "table_not_found",
    }


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (errors.PermissionDenied("no"), Outcome.REFUSED, "permission_denied"),
        (errors.Unauthenticated("no", code="token_revoked"), Outcome.REFUSED, "token_revoked"),
        (errors.LimitExceeded("no"), Outcome.REFUSED, "limit_exceeded"),
        (errors.Cancelled("stop"), Outcome.CANCELLED, "cancelled"),
        (errors.Conflict("later"), Outcome.FAILED, "conflict"),
        (RuntimeError("a cell: 42"), Outcome.FAILED, "internal"),
        (KeyboardInterrupt(), Outcome.FAILED, "internal"),
    ],
)
def test_how_a_call_ended(
    log: Kept, record: Record, error: BaseException, outcome: Outcome, code: str
) -> None:
    record.intend("query", effect=Effect.READ)
    record.settle(error)
    assert (log.events[-1].outcome, log.events[-1].details) == (outcome, {"code": code})


def _read(record: Record) -> None:
    record.intend("query", effect=Effect.READ)


def _read_and_confirm(record: Record) -> None:
    record.intend("query", effect=Effect.READ)
    record.confirm()


def _change(record: Record) -> None:
    record.intend("table.drop", effect=Effect.CHANGE)


@pytest.mark.parametrize("does", [_read, _read_and_confirm, _change])
def test_without_a_record_nothing_is_done(log: Kept, does: Callable[[Record], None]) -> None:
    log.fails = True
    record = _auditor(log).open(WHO)
    with pytest.raises(errors.Unavailable) as caught:
        does(record)
    assert caught.value.code == "audit_unavailable"
    record.settle(caught.value)
    assert log.events == []


def test_reads_may_be_let_through_and_changes_never(log: Kept) -> None:
    log.fails = True
    auditor = _auditor(log, lenient=True)
    reader = auditor.open(WHO)
    _read_and_confirm(reader)
    reader.settle()
    with pytest.raises(errors.Unavailable):
        _change(auditor.open(WHO))


def test_a_read_may_wait_for_the_disk(log: Kept) -> None:
    record = _auditor(log, waits=True).open(WHO)
    _read(record)
    assert log.synced == 0
    record.confirm()
    assert log.synced == 1


def test_an_intent_that_cannot_be_synced_stops_the_read(log: Kept) -> None:
    record = _auditor(log, waits=True).open(WHO)
    _read(record)
    log.fails = True
    with pytest.raises(errors.Unavailable):
        record.confirm()


def test_a_purpose_of_the_session_counts_more_than_that_of_the_header(
    log: Kept, record: Record
) -> None:
    record.note(purpose="analytics")
    _read(record)
    assert log.events[0].purpose == "analytics"
