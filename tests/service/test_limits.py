"""Limits of tiers: what counts, when there is room again, and that nothing gets round them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import (
    InvalidRequest,
    LakeflightError,
    LimitExceeded,
    NotFound,
    Unavailable,
)
from flight_server.service.limits import GROUPS_COUNT, WIDTH, Limits, Step, Tier
from flight_server.service.running import Kind, Run, Running
from flight_server.storage.counters import Change, Counters
from tests.clocks import StandingClock
from tests.service.opened import ADMIN, BOB
from tests.service.requests import request

KEY = b"k" * 32
TIERS = {
    "free": Tier(requests_per_minute_max=10, queries_per_day_max=5, concurrent_queries_max=2),
    "pro": Tier(requests_per_minute_max=100, queries_per_day_max=20, concurrent_queries_max=4),
    "enterprise": Tier(),
}
HALF_A_DAY = 43_200.0


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


def limits_of(clock: StandingClock, path: Path | None = None, **tiers: Tier) -> Limits:
    counters = Counters(path, key=KEY, width=WIDTH, slots=64, clock=clock)
    return Limits({**TIERS, **tiers}, counters)


@pytest.fixture
def limits(clock: StandingClock) -> Limits:
    return limits_of(clock)


@pytest.fixture
def running(clock: StandingClock, limits: Limits) -> Running:
    return Running(clock, limits)


def refused(do: Callable[[], object]) -> LimitExceeded:
    with pytest.raises(LimitExceeded) as caught:
        do()
    assert caught.value.retry_after_seconds is not None
    return caught.value


def ask(limits: Limits, tier: str = "free", *, step: Step = Step.WHOLE, user: str = "u") -> None:
    limits.request(user, tier, step=step)


def test_the_eleventh_request_of_a_minute_is_refused(limits: Limits, clock: StandingClock) -> None:
    for _ in range(10):
        ask(limits)
        clock.advance(1)
    error = refused(lambda: ask(limits))
    assert error.message.endswith("tier=free requests_per_minute_max=10")
    assert error.retry_after_seconds == pytest.approx(50.001)
    ask(limits, user="another")
    clock.advance(49)
    refused(lambda: ask(limits))
    clock.advance(1.001)
    ask(limits)
    assert refused(lambda: ask(limits)).retry_after_seconds == pytest.approx(1, abs=0.01)


def wait_for(limits: Limits, tier: str) -> float:
    """Make a request; return for how many seconds it is refused, 0 when it is not."""
    try:
        ask(limits, tier)
    except LimitExceeded as error:
        return error.retry_after_seconds or 0.0
    return 0.0


@given(
    most=st.sampled_from([1, 3, GROUPS_COUNT, GROUPS_COUNT + 1, 20]),
    waits=st.lists(st.sampled_from([0.0, 0.1, 1.0, 2.999, 6.0, 17.0]), min_size=10, max_size=80),
)
def test_no_minute_ever_holds_more_and_waiting_as_told_is_enough(
    most: int, waits: list[float]
) -> None:
    clock = StandingClock()
    limits = limits_of(clock, some=Tier(requests_per_minute_max=most))
    # In groups, each may count for 6 seconds more.
    span = 60.002 if most <= GROUPS_COUNT else 66.002
    served: list[float] = []
    for wait in waits:
        clock.advance(wait)
        told = wait_for(limits, "some")
        if told:
            assert sum(clock.monotonic() - at <= span for at in served) >= most
            assert told <= 60.001
            clock.advance(told + 1e-6)
            ask(limits, "some")
        served.append(clock.monotonic())
        assert sum(clock.monotonic() - at < 60 for at in served) <= most


def test_a_fast_user_gets_all_of_a_large_limit(limits: Limits, clock: StandingClock) -> None:
    for _ in range(3):
        for _ in range(100):
            ask(limits, "pro")
            clock.advance(0.01)
        clock.advance(float(refused(lambda: ask(limits, "pro")).retry_after_seconds or 0))


def test_a_changed_tier_counts_from_the_next_call_on(limits: Limits) -> None:
    for _ in range(10):
        ask(limits)
    refused(lambda: ask(limits))
    for _ in range(90):
        ask(limits, "pro")
    refused(lambda: ask(limits, "pro"))
    ask(limits, "enterprise")
    assert refused(lambda: ask(limits)).retry_after_seconds == pytest.approx(60.001)


def test_a_tier_that_is_gone_is_the_lowest(limits: Limits) -> None:
    for _ in range(10):
        ask(limits, "gone")
    assert "tier=free" in refused(lambda: ask(limits, "gone")).message


QUERIES = {
    "prepared": (Step.PREPARE, Step.EXECUTE, Step.FETCH),
    "prepared change": (Step.PREPARE, Step.CHANGE),
    "described": (Step.DESCRIBE, Step.FETCH),
    "whole": (Step.WHOLE,),
}


@pytest.mark.parametrize("steps", QUERIES.values(), ids=QUERIES)
def test_a_query_is_one_request(limits: Limits, steps: tuple[Step, ...]) -> None:
    for _ in range(10):
        for step in steps:
            ask(limits, step=step)
    refused(lambda: ask(limits, step=steps[0]))


@pytest.mark.parametrize("step", Step)
def test_no_step_can_be_repeated_without_end(limits: Limits, step: Step) -> None:
    for _ in range(10):
        ask(limits, step=step)
    refused(lambda: ask(limits, step=step))


@given(steps=st.lists(st.sampled_from(list(Step)), max_size=60))
def test_what_is_begun_is_gone_on_with_once(steps: list[Step]) -> None:
    limits = limits_of(StandingClock(), some=Tier(requests_per_minute_max=1000))
    counted = executions = fetches = 0
    for step in steps:
        ask(limits, "some", step=step)
        if step in {Step.EXECUTE, Step.CHANGE} and executions:
            executions -= 1
        elif step is Step.FETCH and fetches:
            fetches -= 1
        else:
            counted += 1
        executions += step is Step.PREPARE
        fetches += step in {Step.EXECUTE, Step.DESCRIBE}
    exact = Tier(requests_per_minute_max=counted + 1)
    limits._tiers = {"some": exact, "free": exact}
    ask(limits, "some")
    refused(lambda: ask(limits, "some"))


def test_a_result_can_be_fetched_whatever_has_been_used_up(
    limits: Limits, clock: StandingClock
) -> None:
    for _ in range(10):
        ask(limits, step=Step.DESCRIBE)
    refused(lambda: ask(limits))
    for _ in range(10):
        ask(limits, step=Step.FETCH)
    refused(lambda: ask(limits, step=Step.FETCH))
    clock.advance(60.001)
    ask(limits)


def run(running: Running, *, kind: Kind = Kind.QUERY, tier: str = "free", **changes: Any) -> Run:
    return running.enter(request(BOB, tier=tier, **changes), "SELECT 1", kind=kind)


def finish(running: Running, **changes: Any) -> None:
    with run(running, **changes):
        pass


def test_the_day_has_so_many_queries_and_changes(running: Running, clock: StandingClock) -> None:
    for kind in (Kind.QUERY, Kind.WRITE, Kind.QUERY, Kind.WRITE, Kind.QUERY):
        finish(running, kind=kind)
        finish(running, kind=Kind.DESCRIBE)
        finish(running, kind=Kind.SESSION)
    error = refused(lambda: run(running))
    assert error.message.endswith("tier=free queries_per_day_max=5")
    assert error.retry_after_seconds == HALF_A_DAY  # it is noon
    assert running.listed(ADMIN) == []
    finish(running, kind=Kind.DESCRIBE)
    finish(running, tier="pro")
    clock.advance(HALF_A_DAY - 0.001)
    refused(lambda: run(running))
    clock.advance(0.001)
    for _ in range(5):
        finish(running)
    assert refused(lambda: run(running)).retry_after_seconds == 86_400.0


def test_a_clock_set_back_over_midnight_gives_no_second_quota(
    running: Running, clock: StandingClock
) -> None:
    clock.advance(HALF_A_DAY)
    for _ in range(5):
        finish(running)
    clock.advance(-1)
    assert refused(lambda: run(running)).retry_after_seconds == 86_401.0


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (None, True),
        (InvalidRequest("wrong"), True),
        (LimitExceeded("it took too much memory"), True),
        (LimitExceeded("too many wait", retry_after_seconds=1.0), False),
        (NotFound("no such table"), False),
        (Unavailable("no worker"), False),
    ],
)
def test_what_was_not_let_run_does_not_count(
    running: Running, error: Exception | None, counts: bool
) -> None:
    for _ in range(5):
        with suppress(LakeflightError), run(running):
            if error is not None:
                raise error
    if counts:
        refused(lambda: run(running))
    else:
        finish(running)


def test_a_user_runs_so_many_at_the_same_time(running: Running) -> None:
    with run(running, mark="a"), run(running, mark="b", kind=Kind.WRITE):
        error = refused(lambda: run(running, mark="c"))
        assert error.message.endswith("tier=free concurrent_queries_max=2")
        assert error.retry_after_seconds == 1.0
        finish(running, kind=Kind.DESCRIBE)
        with running.enter(request(ADMIN, tier="free"), "SELECT 1", kind=Kind.QUERY):
            pass
        assert len(running.listed(ADMIN)) == 2
    finish(running)


def test_a_place_is_free_once_its_stream_ends_or_is_dropped(running: Running) -> None:
    batch = pa.record_batch({"n": pa.array([1])})
    for end in ("read", "closed", "dropped", "cancelled"):
        streams = []
        for mark in "ab":
            with run(running, mark=mark, tier="pro") as entered:
                streams.append(entered.stream(iter([batch])))
        refused(lambda: run(running, mark="c"))
        last = streams.pop()
        if end == "read":
            list(last)
        elif end == "closed":
            last.close()
        elif end == "cancelled":
            assert running.cancel(BOB, "request-b")
        del last
        with run(running, tier="pro"):
            pass
        streams.clear()
        assert running.listed(ADMIN) == []


def test_a_failed_block_frees_its_place(running: Running) -> None:
    for _ in range(3):
        with pytest.raises(InvalidRequest), run(running, tier="pro"):
            raise InvalidRequest("wrong")
    finish(running, tier="pro")


def test_places_of_users_who_left_are_forgotten(clock: StandingClock) -> None:
    limits = limits_of(clock)
    stays = limits.enter("stays", "enterprise")
    for number in range(5000):
        limits.enter(f"user {number}", "enterprise").leave()
    assert len(limits._places) <= 1024
    limits.enter("stays", "enterprise")
    refused(lambda: limits.enter("stays", "free"))
    stays.leave()


def test_counts_survive_a_restart(tmp_path: Path, clock: StandingClock) -> None:
    first = limits_of(clock, tmp_path / "counters")
    for _ in range(10):
        ask(first, step=Step.DESCRIBE)
    for _ in range(5):
        first.enter("u", "free").leave()
    first._counters.close()
    again = limits_of(clock, tmp_path / "counters")
    refused(lambda: ask(again))
    refused(lambda: again.enter("u", "free"))
    ask(again, step=Step.FETCH)
    again._counters.close()


def test_no_content_of_the_file_breaks_a_rule(clock: StandingClock, limits: Limits) -> None:
    words = random.Random(7)
    now = limits._counters.now()
    for number in range(200):
        user = str(number)
        content = tuple((index, words.getrandbits(64)) for index in range(WIDTH))
        limits._counters.change(user, partial(_all, content, now + 1000), now=now)
        told = [0.0]
        for do in (
            partial(ask, limits, user=user, step=words.choice(list(Step))),
            partial(limits.enter, user, "free"),
        ):
            try:
                do()
            except LimitExceeded as error:
                told.append(error.retry_after_seconds or -1.0)
        assert all(0 <= seconds <= 2 * 86_400 for seconds in told)


def _all(content: tuple[tuple[int, int], ...], until: int, values: Sequence[int]) -> Change:
    return content, until
