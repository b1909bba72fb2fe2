"""What runs: who sees it, how it is stopped, and what its listing gives away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import Cancelled, DeadlineExceeded, InvalidRequest
from flight_server.service.running import (
    REMEMBERED_MAX,
    STATEMENT_CHARACTERS_MAX,
    Kind,
    Run,
    Running,
    State,
    without_values,
)
from flight_server.sql.names import literal
from tests.clocks import StandingClock
from tests.service.opened import ADMIN, BOB, PENDING
from tests.service.requests import request

BATCH = pa.record_batch({"n": pa.array([1, 2, 3])})


class Engine:
    """The batches of an engine that notices when it is closed."""

    def __init__(self, count: int = 3) -> None:
        self.left = count
        self.is_closed = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return BATCH

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def running(clock: StandingClock) -> Running:
    return Running(clock)


def enter(running: Running, **changes: Any) -> Run:
    return running.enter(request(BOB, **changes), "SELECT 1", kind=Kind.QUERY)


def test_each_sees_their_own_and_administrators_all(running: Running) -> None:
    with enter(running, mark="a", query_tag="nightly"), enter(running, mark="b"):
        (first, second) = running.listed(BOB)
        assert (first.query_id, first.query_tag) == ("request-a", "nightly")
        assert (first.username, first.kind, first.state) == ("bob", Kind.QUERY, State.RUNNING)
        assert first.statement == "SELECT ?"
        assert running.listed(ADMIN) == [first, second]
        assert running.listed(PENDING) == []
    assert running.listed(ADMIN) == []


def test_a_block_that_fails_is_listed_no_longer(running: Running) -> None:
    with pytest.raises(InvalidRequest), enter(running):
        raise InvalidRequest("wrong")
    assert running.listed(ADMIN) == []


def test_a_stream_is_listed_until_it_ends(running: Running) -> None:
    with enter(running) as run:
        stream = run.stream(Engine())
    next(stream)
    (listed,) = running.listed(BOB)
    assert (listed.state, listed.rows) == (State.STREAMING, 3)
    assert len(list(stream)) == 2
    stream.close()
    assert running.listed(BOB) == []


def test_a_stream_that_is_dropped_ends(running: Running) -> None:
    engine = Engine()
    with enter(running) as run:
        stream = run.stream(engine)
    del stream
    assert engine.is_closed
    assert running.listed(BOB) == []


def test_only_the_owner_and_administrators_cancel(running: Running) -> None:
    for principal, may in ((PENDING, False), (BOB, True), (ADMIN, True)):
        with enter(running) as run:
            assert running.cancel(principal, "request-a") is may
            assert run.is_cancelled() is may
    assert not running.cancel(ADMIN, "request-a")


def engine_notices(run: Run, happens: Callable[[], object]) -> None:
    """Work until something happens, as an engine does that asks now and then."""
    with run:
        assert not run.is_cancelled()
        happens()
        assert run.is_cancelled()
        raise Cancelled("the call was cancelled")


def test_a_cancelled_engine_says_who_did_it(running: Running) -> None:
    with pytest.raises(Cancelled, match="the query was"):
        engine_notices(enter(running), lambda: running.cancel(BOB, "request-a"))


def test_a_client_that_cancels_its_call_is_no_cancelled_query(running: Running) -> None:
    gone: list[bool] = []
    run = enter(running, is_cancelled=lambda: bool(gone))
    with pytest.raises(Cancelled, match="the call was"):
        engine_notices(run, lambda: gone.append(True))


def test_the_time_of_the_session_ends_a_query(running: Running, clock: StandingClock) -> None:
    run = enter(running, timeout_seconds=2.0)
    clock.advance(2.0)
    with pytest.raises(DeadlineExceeded, match="query_timeout_seconds=2"):
        engine_notices(run, lambda: clock.advance(0.1))


def test_the_time_of_the_session_ends_a_stream(running: Running, clock: StandingClock) -> None:
    engine = Engine()
    with enter(running, timeout_seconds=1.0) as run:
        stream = run.stream(engine)
    next(stream)
    clock.advance(1.1)
    with pytest.raises(DeadlineExceeded):
        next(stream)
    assert engine.is_closed
    assert running.listed(BOB) == []


def test_a_stream_whose_reader_is_elsewhere_ends_at_once(running: Running) -> None:
    engine = Engine()
    with enter(running) as run:
        stream = run.stream(engine)
    next(stream)
    assert running.cancel(BOB, "request-a")
    assert engine.is_closed
    assert running.listed(BOB) == []
    with pytest.raises(Cancelled):
        next(stream)


def test_a_stream_whose_reader_waits_is_left_to_its_engine(running: Running) -> None:
    entered, cancelled = threading.Event(), threading.Event()

    class Waiting(Engine):
        def __next__(self) -> pa.RecordBatch:
            entered.set()
            assert cancelled.wait(10)
            assert not self.is_closed
            raise Cancelled("the call was cancelled")

    engine = Waiting()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            next(stream)
        except Cancelled as error:
            failures.append(error)

    with enter(running) as run:
        stream = run.stream(engine)
    reader = threading.Thread(target=read)
    reader.start()
    assert entered.wait(10)
    assert running.cancel(BOB, "request-a")
    cancelled.set()
    reader.join()
    assert [str(failure) for failure in failures] == ["the query was cancelled"]
    assert engine.is_closed


def test_a_stream_stopped_within_a_batch_gives_none_of_it(running: Running) -> None:
    class Stopping(Engine):
        def __next__(self) -> pa.RecordBatch:
            # As another thread would do it, which finds the stream taken.
            assert running.cancel(BOB, "request-a")
            assert not self.is_closed
            return BATCH

    engine = Stopping()
    with enter(running) as run:
        stream = run.stream(engine)
    with pytest.raises(Cancelled):
        next(stream)
    assert engine.is_closed
    assert running.listed(BOB) == []


def test_a_ticket_that_was_cancelled_is_refused_from_then_on(running: Running) -> None:
    assert running.cancel_ticket("request-a")
    for _ in range(2):
        with pytest.raises(Cancelled):
            enter(running)
    assert running.cancel_ticket("request-a")
    assert running.listed(ADMIN) == []
    with pytest.raises(Cancelled):
        running.check("request-a")


def test_a_ticket_is_cancelled_while_it_runs_and_not_when_it_has_ended(running: Running) -> None:
    with enter(running):
        pass
    assert not running.cancel_ticket("request-a")
    with enter(running) as run:  # it may be fetched again
        assert running.cancel_ticket("request-a")
        assert run.is_cancelled()


def test_what_is_remembered_is_bounded(running: Running) -> None:
    for number in range(REMEMBERED_MAX + 1):
        running.cancel_ticket(str(number))
    running.check("0")
    with pytest.raises(Cancelled):
        running.check("1")


def test_no_value_is_shown() -> None:
    sql = "SELECT *  -- secret\nFROM t /* secret */ WHERE a = 'secret' AND b=$$secret$$ AND c>12.5"
    assert without_values(sql) == "SELECT * FROM t WHERE a = ? AND b=? AND c>?"
    assert without_values("SELECT 'secret") == "(a statement that cannot be read)"
    long = without_values("SELECT " + ", ".join(f"column_{n}" for n in range(1000)))
    assert len(long) == STATEMENT_CHARACTERS_MAX
    assert long.endswith("…")


@given(st.text())
def test_no_string_is_ever_shown(text: str) -> None:
    shown = without_values(f"SELECT {literal(text)} FROM t")
    assert shown in ("SELECT ? FROM t", "(a statement that cannot be read)")
