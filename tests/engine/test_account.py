from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flight_server.engine.account import Account, Watch, Work
from flight_server.telemetry import current
from flight_server.telemetry.current import CurrentCall
from flight_server.telemetry.meters import Meters
from tests.clocks import StandingClock


class Spans:
    """A trace that keeps its children: name, start, end, attributes."""

    trace_id = "t1"

    def __init__(self) -> None:
        self.children: list[tuple[str, float, float, Mapping[str, Any], Spans]] = []

    def child(self, name: str, *, start: float, end: float, attributes: Mapping[str, Any]) -> Spans:
        made = Spans()
        self.children.append((name, start, end, attributes, made))
        return made

    def describe(self, attributes: Mapping[str, Any]) -> None: ...

    def end(self, at: float, *, error: str | None = None) -> None: ...


def test_waiting_for_the_reader_is_not_work() -> None:
    clock = StandingClock()
    began = clock.monotonic()
    watch = Watch(clock)
    clock.advance(1)
    watch.planned()
    clock.advance(2)
    moment = watch.now()
    clock.advance(10)
    watch.waited_since(moment)
    clock.advance(1)
    work = watch.work()
    assert work == Work(began, began + 1, began + 14, 4)
    assert Work.decode(work.encode()) == work


def test_the_time_goes_to_the_call_that_asked_whoever_settles() -> None:
    meters, clock = Meters(), StandingClock()
    asking = CurrentCall("r1")
    current.enter(asking)
    account = Account("stream", now=0)
    account.lent(7, now=1)
    current.enter(CurrentCall("r2"))
    account.work = Work(1, 2, 5, 3.5)
    account.settle(meters, clock=clock)
    current.enter(None)
    assert asking.engine_seconds == 3.5
    assert meters.engine_seconds.samples() == {("stream",): 3.5}


def test_a_worker_that_died_worked_as_long_as_we_waited() -> None:
    meters, call = Meters(), CurrentCall("r1")
    current.enter(call)
    account = Account("write", now=0)
    account.waited = 2.5
    account.settle(meters, clock=StandingClock())
    current.enter(None)
    assert call.engine_seconds == 2.5


@pytest.mark.parametrize("planned", [1.5, 2.0])
def test_a_trace_shows_the_queue_and_the_worker(planned: float) -> None:
    spans = Spans()
    current.enter(CurrentCall("r1", spans))
    account = Account("stream", now=0)
    account.lent(7, now=1)
    account.work = Work(1.5, planned, 5, 3)
    account.settle(Meters(), clock=StandingClock())
    current.enter(None)
    (queue, worker) = spans.children
    assert queue[:3] == ("queue", 0, 1)
    assert worker[:3] == ("worker stream", 1.5, 5)
    assert worker[3] == {"process.pid": 7, "lakeflight.engine_seconds": 3}
    names = [(name, start, end) for name, start, end, _, _ in worker[4].children]
    execution = ("execution", planned, 5)
    assert names == ([execution] if planned == 1.5 else [("planning", 1.5, 2.0), execution])


def test_outside_of_any_call_only_the_sum_is_kept() -> None:
    meters = Meters()
    current.enter(None)
    account = Account("describe", now=0)
    account.work = Work(0, 1, 1, 1)
    account.settle(meters, clock=StandingClock())
    assert meters.engine_seconds.samples() == {("describe",): 1}
