from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from flight_server import errors
from flight_server.service.observing import Observing
from flight_server.service.recording import (
    Circumstances,
    Detail,
    Effect,
    Record,
    Unrecorded,
)
from flight_server.telemetry import current
from flight_server.telemetry.instruments import Counts
from flight_server.telemetry.meters import Meters
from tests.clocks import StandingClock

ME = "SELECT 'me' FROM t"


class Heard(Unrecorded):
    """A recorder and its only record, which keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def open(self, circumstances: Circumstances) -> Record:
        self.said.append(("open", circumstances.method))
        return self

    def about(self, action: str, statement: str = "") -> None:
        self.said.append(("about", action))

    def intend(
        self,
        action: str,
        resource: str = "",
        *,
        effect: Effect,
        details: Mapping[str, Detail] | None = None,
    ) -> None:
        self.said.append(("intend", action))

    def confirm(self) -> None:
        self.said.append(("confirm", None))

    def note(self, **known: Any) -> None:
        self.said.append(("note", {k: v for k, v in known.items() if v is not None}))

    def settle(self, error: BaseException | None = None) -> None:
        self.said.append(("settle", error))


class Traced:
    """A trace, and what starts it."""

    trace_id = "t1"

    def __init__(self) -> None:
        self.started: list[tuple[str, Mapping[str, str]]] = []
        self.attributes: dict[str, Any] = {}
        self.ended: tuple[float, str | None] | None = None

    def start(
        self, name: str, *, start: float, parent: Mapping[str, str], attributes: Mapping[str, Any]
    ) -> Traced:
        self.started.append((name, parent))
        self.attributes |= attributes
        return self

    def child(
        self, name: str, *, start: float, end: float, attributes: Mapping[str, Any]
    ) -> Traced:
        return self

    def describe(self, attributes: Mapping[str, Any]) -> None:
        self.attributes |= attributes

    def end(self, at: float, *, error: str | None = None) -> None:
        self.ended = (at, error)


def counted_in(counts: Counts) -> dict[tuple[str, ...], float]:
    """Return what is not zero."""
    return {labels: value for labels, value in counts.samples().items() if value}


class Counted:
    """An Observing with everything around it."""

    def __init__(self, **options: Any) -> None:
        self.meters = Meters()
        self.clock = StandingClock()
        self.heard = Heard()
        self.observing = Observing(self.heard, self.meters, clock=self.clock, **options)

    def open(self, method: str, **known: Any) -> Record:
        return self.observing.open(Circumstances(request_id="r1", method=method, **known))


def test_a_query_is_counted_in_all_its_phases() -> None:
    counted = Counted()
    record = counted.open("get_flight_info")
    record.about("query", ME)
    counted.clock.advance(0.02)
    record.settle()
    record = counted.open("do_get")
    record.intend("query", effect=Effect.READ)
    counted.clock.advance(0.5)
    record.confirm()
    counted.clock.advance(2)
    record.note(rows=10, byte_count=800)
    record.settle()
    meters = counted.meters
    assert counted_in(meters.calls) == {("get_flight_info", "ok"): 1, ("do_get", "ok"): 1}
    assert counted_in(meters.actions) == {("query", "ok"): 1}
    phases = {labels[0]: seen.total for labels, seen in meters.query_seconds.samples().items()}
    assert phases == pytest.approx({"describe": 0.02, "first_batch": 0.5, "whole": 2.5})
    assert meters.rows_sent.samples() == {(): 10}
    assert meters.bytes_sent.samples() == {(): 800}
    assert meters.rows_changed.samples() == {(): 0}


def test_a_change_is_no_result() -> None:
    counted = Counted()
    record = counted.open("do_put")
    record.intend("insert", effect=Effect.CHANGE)
    record.note(rows=-1)
    record.note(rows=5, byte_count=40)
    record.settle()
    assert counted.meters.rows_changed.samples() == {(): 5}
    assert counted.meters.bytes_received.samples() == {(): 40}
    assert counted.meters.rows_sent.samples() == {(): 0}


def test_refusals_are_counted_by_code() -> None:
    counted = Counted()
    record = counted.open("get_flight_info")
    record.about("query", ME)
    record.settle(errors.NotFound("no", code="table_not_found"))
    counted.open("do_get").settle(errors.Unauthenticated("no"))
    counted.open("do_action").settle(RuntimeError("oh"))
    assert counted_in(counted.meters.calls) == {
        ("get_flight_info", "table_not_found"): 1,
        ("do_get", "unauthenticated"): 1,
        ("do_action", "internal"): 1,
    }
    assert counted_in(counted.meters.actions) == {("query", "table_not_found"): 1}


def test_logins_are_counted() -> None:
    counted = Counted()
    for error in (None, errors.Unauthenticated("no", code="invalid_credentials")):
        record = counted.open("handshake")
        record.about("auth.login")
        record.settle(error)
    assert counted_in(counted.meters.logins) == {("ok",): 1, ("invalid_credentials",): 1}


def test_everything_is_passed_on_and_settled_once() -> None:
    counted = Counted()
    record = counted.open("do_get")
    record.about("query", ME)
    record.intend("query", effect=Effect.READ)
    record.confirm()
    call = current.current()
    assert call is not None
    assert call.request_id == "r1"
    call.engine_seconds += 1.5
    record.settle()
    record.settle(errors.Cancelled("later"))
    assert counted.heard.said == [
        ("open", "do_get"),
        ("about", "query"),
        ("intend", "query"),
        ("confirm", None),
        ("note", {"engine_seconds": 1.5}),
        ("settle", None),
    ]
    assert counted_in(counted.meters.calls) == {("do_get", "ok"): 1}


def test_a_traced_call_says_what_it_did_and_no_value() -> None:
    traced = Traced()
    counted = Counted(traces=traced)
    headers = {"traceparent": "00-…"}
    record = counted.open("do_get", trace_headers=headers)
    record.about("query", ME)
    record.note(rows=3)
    counted.clock.advance(1)
    record.settle()
    assert traced.started == [("arrow.flight.protocol.FlightService/DoGet", headers)]
    assert traced.attributes["lakeflight.request_id"] == "r1"
    assert traced.attributes["db.query.text"] == "SELECT ? FROM t"
    assert traced.attributes["lakeflight.rows"] == 3
    assert traced.ended is not None
    assert traced.ended[1] is None


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (errors.NotFound("no", code="table_not_found"), "table_not_found", None),
        (errors.Cancelled("no"), None, None),
        (errors.Unavailable("no"), "unavailable", "unavailable"),
        (RuntimeError("secret"), "internal", "internal"),
    ],
)
def test_only_faults_of_the_server_mark_a_trace(
    error: Exception, kind: str | None, status: str | None
) -> None:
    traced = Traced()
    record = Counted(traces=traced).open("do_get")
    record.settle(error)
    assert traced.attributes.get("error.type") == kind
    assert traced.ended is not None
    assert traced.ended[1] == status


def test_a_line_for_each_call_if_wanted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="flight_server.service.observing")
    Counted().open("do_get").settle()
    assert not caplog.records
    Counted(log_calls=True).open("do_get").settle(errors.NotFound("no"))
    (line,) = caplog.records
    assert {"method": "do_get", "code": "not_found"}.items() <= line.__dict__.items()


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("the tier free allows 10 requests; tier=free requests_per_minute_max=10", "this"),
        ("one batch limit=requests_per_minute_max", "this"),
        ("the table drop_all_max has too many columns", "other"),
        ("no setting at all", "other"),
    ],
)
def test_limits_are_counted_by_their_settings(message: str, limit: str) -> None:
    counted = Counted(limits=frozenset({"requests_per_minute_max"}))
    counted.open("do_get").settle(errors.LimitExceeded(message))
    name = "requests_per_minute_max" if limit == "this" else limit
    assert counted_in(counted.meters.limits_reached) == {(name,): 1}


def test_what_alerts_look_for_is_there_from_the_start() -> None:
    meters = Counted(limits=frozenset({"queue_length_max"})).meters
    assert meters.calls.samples()[("do_get", "internal")] == 0
    assert meters.limits_reached.samples() == {("queue_length_max",): 0}
    assert meters.logins.samples()[("invalid_credentials",)] == 0
