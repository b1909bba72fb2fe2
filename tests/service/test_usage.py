"""What the audit log tells, to whom: activity, bills, entries of one's own, and the proof."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.audit.events import Event, Outcome
from flight_server.audit.log import AuditLog
from flight_server.audit.verification import Verdict
from flight_server.auth.users import UserStore
from flight_server.engine.base import BatchLimits
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.errors import (
    InvalidRequest,
    LakeflightError,
    LimitExceeded,
    NotFound,
    PermissionDenied,
)
from flight_server.service import usage as usage_module
from flight_server.service.log_entries import (
    DETAIL_CHARACTERS_MAX,
    DETAILS_MAX,
    PREFIX,
    LogEntry,
    log_entry,
)
from flight_server.service.periods import ALWAYS, Period, period
from flight_server.service.request import Request
from flight_server.service.running import Running
from flight_server.service.usage import ACTIVITY_MAX, Asked, Records, Usage
from policies.names import Principal, Role
from tests.auth.test_users import open_users
from tests.clocks import StandingClock
from tests.service.opened import Lakehouse
from tests.service.requests import request

PASSWORD = "quite another horse"


class House:
    """A log that is written and read, with three users."""

    def __init__(self, folder: Path) -> None:
        system = folder / "sys"
        for path in (system, folder / "p"):
            path.mkdir()
        self.clock = StandingClock()
        self.users: UserStore = open_users(system)
        lake = Lakehouse({"primary": folder / "p", "system": system})
        engine = LocalEngine(lake.tables, BatchLimits(), EngineOptions(target_partitions=2))
        self.log = AuditLog(system / "audit", clock=self.clock, random_bytes=os.urandom)
        self.log.start()
        self.usage = Usage(
            Records(engine), self.log, self.users, running=Running(self.clock), clock=self.clock
        )
        self.people = {
            "bob": self.add("bob"),
            "ann": self.add("ann", role="trader"),
            "aud": self.add("aud", custom_roles=["auditor"]),
            "root": self.add("root", role="admin"),
            "lyn": self.add("lyn", custom_roles=["audit_analyst"]),
            "eve": self.add("eve", role="pending"),
            "gus": self.add("gus", role="guest"),
        }
        self._number = 0

    def add(self, name: str, *, role: str = "registered", **values: Any) -> Principal:
        return self.users.add(name, PASSWORD, role=role, **values).as_principal()

    def by(self, name: str, **changes: Any) -> Request:
        return request(self.people[name], mark=name, **changes)

    def record(self, name: str | None, action: str = "query", **values: Any) -> Event:
        """Append an event of a user, by default of a call that went well at this very moment."""
        self._number += 1
        who = None if name is None else self.people[name]
        event = Event(
            timestamp=self.clock.now(),
            action=action,
            outcome=Outcome.SUCCESS,
            request_id=f"r{self._number}",
            user_id=None if who is None else who.user_id,
            username=None if who is None else who.username,
            row_count=2,
            byte_count=100,
            engine_ms=500.0,
        )
        event = replace(event, **values)
        self.log.append(event)
        return event

    def seen(self, name: str, **asked: Any) -> list[str]:
        rows = self.usage.activity(self.by(name), replace(Asked(), **asked))
        return [row["request_id"] for row in rows]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.log.close()


def refusal(call: Any, *arguments: Any, **named: Any) -> LakeflightError:
    with pytest.raises(LakeflightError) as raised:
        call(*arguments, **named)
    return raised.value


def test_everybody_reads_their_own_last_call_at_once(house: House) -> None:
    house.record("bob", outcome=Outcome.INTENT)
    house.record("bob")
    house.clock.advance(1)
    house.record("ann")
    house.record(None, "handshake", outcome=Outcome.REFUSED)
    assert house.seen("bob") == ["r2"]
    assert house.seen("bob", user="bob") == house.seen("bob", user=house.people["bob"].user_id)
    assert house.seen("ann") == ["r3"]
    assert house.seen("gus") == house.seen("lyn") == []
    for auditor in ("aud", "root"):
        assert house.seen(auditor) == ["r4", "r3", "r2"]
        assert house.seen(auditor, user="ann") == ["r3"]
        assert house.seen(auditor, user=house.people["bob"].user_id) == ["r2"]
    house.record("bob")
    assert house.seen("bob") == ["r5", "r2"]


def test_a_record_in_full(house: House) -> None:
    house.record(
        "bob",
        resource="primary.public.t",
        purpose="research",
        details={"statement": "SELECT ?", "n": 1},
        table_versions={"primary.public.t": 3},
        ip_address="203.0.113.7",
        duration_ms=1.5,
    )
    (row,) = house.usage.activity(house.by("bob"), Asked())
    assert row["details"] == {"statement": "SELECT ?", "n": 1}
    assert row["table_versions"] == {"primary.public.t": 3}
    assert row["timestamp"] == house.clock.now()
    assert (row["ip_address"], row["purpose"], row["duration_ms"]) == (
        "203.0.113.7",
        "research",
        1.5,
    )
    assert not {"hash", "prev_hash"} & row.keys()


def test_which_records(house: House) -> None:
    house.record("bob", outcome=Outcome.INTENT)
    house.record("bob", "table.append")
    house.record("bob", outcome=Outcome.REFUSED)
    for number in range(5):
        house.clock.advance(60)
        house.record("bob", "query")
        assert number >= 0
    assert house.seen("bob", outcome="intent") == ["r1"]
    assert house.seen("bob", outcome="refused") == ["r3"]
    assert house.seen("bob", action="table.append") == ["r2"]
    assert house.seen("bob", action="x' OR 'x' = 'x") == []
    assert house.seen("bob", limit=2) == ["r8", "r7"]
    assert house.seen("bob", period=period("2026-03-01T12:02:00Z", "2026-03-01T12:03:00Z")) == [
        "r6",
        "r5",
    ]
    assert len(house.seen("bob", period=period("2026-03-01", "2026-03-01"))) == 7
    assert house.seen("bob", period=period("2026-03-02", None)) == []
    assert house.seen("bob", period=period(None, "2026-02-28")) == []


@pytest.mark.parametrize(
    ("who", "asked", "error", "code"),
    [
        ("bob", {"user": "ann"}, PermissionDenied, "permission_denied"),
        ("bob", {"user": "nobody"}, PermissionDenied, "permission_denied"),
        ("lyn", {"user": "bob"}, PermissionDenied, "permission_denied"),
        ("eve", {}, PermissionDenied, "permission_denied"),
        ("eve", {"user": "eve"}, PermissionDenied, "permission_denied"),
        ("aud", {"user": "nobody"}, NotFound, "user_not_found"),
        ("root", {"user": "n\nb" * 5000}, NotFound, "user_not_found"),
        ("root", {"user": ""}, NotFound, "user_not_found"),
        ("bob", {"limit": 0}, InvalidRequest, "invalid_request"),
        ("bob", {"limit": -1}, InvalidRequest, "invalid_request"),
        ("bob", {"limit": ACTIVITY_MAX + 1}, InvalidRequest, "invalid_request"),
        ("bob", {"outcome": "great"}, InvalidRequest, "invalid_request"),
        ("bob", {"action": "x" * 10_000}, InvalidRequest, "invalid_request"),
    ],
)
def test_what_cannot_be_asked(
    house: House, who: str, asked: dict[str, Any], error: type[LakeflightError], code: str
) -> None:
    raised = refusal(house.seen, who, **asked)
    assert (type(raised), raised.code) == (error, code)
    if "user" in asked and who != "eve":
        billed = refusal(house.usage.bills, house.by(who), ALWAYS, asked["user"])
        assert (type(billed), billed.code) == (error, code)


def test_bills_by_day_and_user(house: House) -> None:
    house.record("bob", outcome=Outcome.INTENT, engine_ms=None, row_count=None)
    house.record("bob")
    house.record("bob", outcome=Outcome.FAILED, row_count=None, byte_count=None)
    house.record("bob", "table.append", row_count=7)
    house.record("bob", "query", outcome=Outcome.REFUSED, row_count=None, byte_count=None,
                 engine_ms=None)  # fmt: skip
    house.record("ann", "metadata.read", engine_ms=None)
    house.record(None, "handshake", outcome=Outcome.REFUSED)
    house.clock.advance(86_400)
    house.record("bob", "auth.logout", row_count=None, byte_count=None, engine_ms=None)
    first, second = house.usage.bills(house.by("bob"), ALWAYS)
    assert (first.day, second.day) == (date(2026, 3, 1), date(2026, 3, 2))
    assert first.actions == {"query": 2, "table.append": 1}
    assert (first.action_count, first.refused, first.rows, first.bytes) == (3, 1, 9, 200)
    assert first.engine_seconds == 1.5
    assert (second.actions, second.rows, second.engine_seconds) == ({"auth.logout": 1}, 0, 0.0)
    everybody = house.usage.bills(house.by("aud"), period("2026-03-01", "2026-03-01"))
    assert [bill.username for bill in everybody] == ["ann", "bob"]
    only = house.usage.bills(house.by("root"), period("2026-03-02", None), "bob")
    assert [bill.actions for bill in only] == [{"auth.logout": 1}]
    # The same question again is answered anew.
    house.record("bob", "auth.logout")
    (again,) = house.usage.bills(house.by("root"), period("2026-03-02", None), "bob")
    assert again.actions == {"auth.logout": 2}


def test_a_summary_is_not_cut_in_silence(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_module, "BILLING_ROWS_MAX", 2)
    for action in ("a", "b"):
        house.record("bob", action)
    (bill,) = house.usage.bills(house.by("bob"), ALWAYS)
    assert bill.action_count == 2
    house.record("bob", "c")
    error = refusal(house.usage.bills, house.by("bob"), ALWAYS)
    assert isinstance(error, LimitExceeded)
    assert "billing_rows_max=2" in error.message


DAY = timedelta(days=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]  # parts, as many as needed


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, Period()),
        ("2026-03-01", "2026-03-01", Period(utc(2026, 3, 1), utc(2026, 3, 2))),
        (
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00Z",
            Period(utc(2026, 3, 1, 12), utc(2026, 3, 1, 12, 0, 0, 1)),
        ),
        ("2026-03-01T01:00:00+02:00", None, Period(utc(2026, 2, 28, 23))),
        (" 2026-03-01 ", "2199-12-31", Period(utc(2026, 3, 1), utc(2200, 1, 1))),
    ],
)
def test_periods(since: str | None, until: str | None, expected: Period) -> None:
    assert period(since, until) == expected


@pytest.mark.parametrize(
    ("since", "until", "code"),
    [
        ("2026-03-02", "2026-03-01", "invalid_range"),
        ("2026-03-01T12:00:01Z", "2026-03-01T12:00:00Z", "invalid_range"),
        ("2026-03-01T00:00:00-01:00", "2026-03-01T00:00:00Z", "invalid_range"),
        ("2026-13-01", None, "invalid_time"),
        ("2026-02-30", None, "invalid_time"),
        (None, "yesterday", "invalid_time"),
        ("", None, "invalid_time"),
        ("1772366400", None, "invalid_time"),
        ("0001-01-01", None, "invalid_time"),
        ("1969-12-31", None, "invalid_time"),
        (None, "9999-12-31", "invalid_time"),
        (None, "9999-12-31T23:59:59.999999Z", "invalid_time"),
        ("2026-03-01' OR ''='", None, "invalid_time"),
        ("2026-03-01\n", "x" * 100_000, "invalid_time"),
    ],
)
def test_times_that_are_none(since: str | None, until: str | None, code: str) -> None:
    error = refusal(period, since, until)
    assert isinstance(error, InvalidRequest)
    assert error.code == code
    assert len(error.message) < 300


@given(
    st.lists(st.integers(0, 5 * 86_400 - 1), min_size=1, max_size=20),
    st.integers(0, 5 * 86_400 - 1),
    st.integers(0, 5 * 86_400 - 1),
)
def test_both_ends_are_in(seconds: list[int], first: int, last: int) -> None:
    start = datetime(2026, 2, 27, tzinfo=UTC)
    first, last = min(first, last), max(first, last)
    moments = [start + timedelta(seconds=each) for each in seconds]
    ends = [(start + timedelta(seconds=each)).isoformat() for each in (first, last)]
    found = period(*ends)
    assert found.since is not None
    assert found.before is not None
    inside = [found.since <= moment < found.before for moment in moments]
    assert inside == [first <= each <= last for each in seconds]
    days = period(ends[0][:10], ends[1][:10])
    assert days.since is not None
    assert days.before is not None
    assert days.before - days.since == (last // 86_400 - first // 86_400 + 1) * DAY


def test_an_entry_of_ones_own(house: House) -> None:
    entry = log_entry("report.print", "report 7", {"pages": 3, "draft": False, "by": None})
    caller = house.by("bob", purpose="user_view", address="203.0.113.7", user_agent="app")
    assert house.usage.log(caller, entry) == "app.report.print"
    (row,) = house.usage.activity(house.by("bob"), Asked())
    assert row["action"] == "app.report.print"
    assert row["details"] == {"pages": 3, "draft": False, "by": None}
    assert (row["resource"], row["purpose"], row["outcome"]) == ("report 7", "user_view", "success")
    assert (row["ip_address"], row["user_agent"]) == ("203.0.113.7", "app")
    assert row["request_id"] == "request-bob.log"
    assert row["user_id"] == house.people["bob"].user_id
    assert isinstance(refusal(house.usage.log, house.by("eve"), entry), PermissionDenied)


def test_no_entry_looks_like_one_of_the_server() -> None:
    from flight_server.rpc.own_actions import OWN_ACTIONS  # noqa: PLC0415  beside its only use

    for name in (*OWN_ACTIONS, "query", "handshake"):
        assert not name.startswith(PREFIX)
        assert log_entry(name.replace("_", "-"), None, None).action.startswith(PREFIX)


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"


@pytest.mark.parametrize(
    ("action", "resource", "details", "code"),
    [
        ("", None, None, "invalid_request"),
        ("Report", None, None, "invalid_request"),
        ("a..b", None, None, "invalid_request"),
        ("a.", None, None, "invalid_request"),
        ("a b", None, None, "invalid_request"),
        ("a\n", None, None, "invalid_request"),
        ("a" * 65, None, None, "invalid_request"),
        ("a", "x\ny", None, "invalid_request"),
        ("a", "x" * 257, None, "invalid_request"),
        ("a", None, {"": 1}, "invalid_request"),
        ("a", None, {"a b": 1}, "invalid_request"),
        ("a", None, {"x": {"y": 1}}, "invalid_request"),
        ("a", None, {"x": [1]}, "invalid_request"),
        ("a", None, {"x": 2**63}, "invalid_request"),
        ("a", None, {"x": float("inf")}, "invalid_request"),
        ("a", None, {"x": "y" * (DETAIL_CHARACTERS_MAX + 1)}, "limit_exceeded"),
        ("a", None, {f"x{n}": 1 for n in range(DETAILS_MAX + 1)}, "limit_exceeded"),
        ("a", None, {f"x{n}": "y" * 1000 for n in range(9)}, "limit_exceeded"),
        ("a", None, {"password": "x"}, "secret_refused"),
        ("a", None, {"old_Passwd": None}, "secret_refused"),
        ("a", None, {"apiKey": "x"}, "secret_refused"),
        ("a", None, {"note": "lfp_abcdef"}, "secret_refused"),
        ("a", None, {"note": f"see {JWT}"}, "secret_refused"),
        ("a", None, {"note": "Bearer abc"}, "secret_refused"),
        ("a", "lfp_abcdef", None, "secret_refused"),
        ("a", None, {"note": "-----BEGIN PRIVATE KEY-----"}, "secret_refused"),
    ],
)
def test_entries_that_cannot_be(
    action: str, resource: str | None, details: dict[str, Any] | None, code: str
) -> None:
    error = refusal(log_entry, action, resource, details)
    assert error.code == code
    assert "abcdef" not in error.message
    assert len(error.message) < 300


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True),
        st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(max_size=40),
        max_size=8,
    )
)
def test_what_is_taken_stays_as_it_is(details: dict[str, Any]) -> None:
    try:
        entry = log_entry("a", None, details)
    except InvalidRequest as error:
        assert error.code == "secret_refused"  # noqa: PT017  most details are taken
    else:
        assert entry == LogEntry("app.a", None, details)
        assert json.loads(json.dumps(entry.details)) == details


def test_the_proof_is_for_auditors(house: House) -> None:
    house.record("bob")
    for who in ("bob", "lyn", "gus", "eve"):
        assert isinstance(refusal(house.usage.verify, house.by(who)), PermissionDenied)
        assert isinstance(refusal(house.usage.head, house.by(who)), PermissionDenied)
    head = house.usage.head(house.by("aud"))
    house.record("bob")
    for who in ("aud", "root"):
        verdict = house.usage.verify(house.by(who), head)
        assert verdict.is_intact
        assert verdict.records == 2
    forged = replace(head, hash="0" * 64)
    assert not house.usage.verify(house.by("aud"), forged).is_intact


def test_one_verification_at_a_time(house: House) -> None:
    began, may_end = threading.Event(), threading.Event()

    class Slow:
        """The log, with a verification that takes as long as the test wants."""

        def verify(self, head: object = None) -> Verdict:
            began.set()
            assert may_end.wait(10)
            return house.log.verify()

    slow: Any = Slow()
    unused: Any = None
    usage = Usage(unused, slow, house.users, running=Running(house.clock), clock=house.clock)
    first = threading.Thread(target=usage.verify, args=(house.by("root"),))
    first.start()
    assert began.wait(10)
    error = refusal(usage.verify, house.by("aud"))
    may_end.set()
    first.join(10)
    assert isinstance(error, LimitExceeded)
    assert usage.verify(house.by("aud")).is_intact


def test_roles_are_those_of_the_moment(house: House) -> None:
    house.record("ann")
    auditor = house.people["aud"]
    house.people["aud"] = replace(auditor, custom_roles=frozenset())
    assert house.seen("aud") == []
    house.people["aud"] = replace(auditor, role=Role.PENDING)
    assert isinstance(refusal(house.seen, "aud"), PermissionDenied)
