"""Sessions: whose they are, what they keep, and when they end."""

from __future__ import annotations

import itertools
import threading

import pytest

from flight_server.engine.base import Temporary
from flight_server.errors import Cancelled, InvalidRequest, LimitExceeded, NotFound, Unsupported
from flight_server.protocol.flight import SessionOptionErrorValue
from flight_server.service.request import Request
from flight_server.service.session_options import SessionOptions
from flight_server.service.sessions import Session, SessionLimits, Sessions
from flight_server.sql.commands import SetOption, Use
from tests.clocks import StandingClock
from tests.service.opened import ADMIN, BOB
from tests.service.requests import request
from tests.service.test_session_options import Names

INVALID_NAME, INVALID_VALUE = (
    SessionOptionErrorValue.INVALID_NAME,
    SessionOptionErrorValue.INVALID_VALUE,
)


class House:
    """Sessions on a clock of their own, and those that ended."""

    def __init__(self, **limits: float) -> None:
        numbers = itertools.count()
        self.clock = StandingClock()
        self.ended: list[Session] = []
        self.sessions = Sessions(
            Names(),
            SessionLimits(**limits),  # type: ignore[arg-type]  # whole numbers are floats too
            clock=self.clock,
            random_bytes=lambda count: next(numbers).to_bytes(count, "big"),
        )
        self.sessions.when_closed(self.ended.append)

    def tag(self, made: Request) -> str | None:
        """What the session of a request keeps as its tag."""
        session = self.sessions.find(made.session_keys)
        return None if session is None else session.options.query_tag

    def keep(self, made: Request, tag: str) -> Session:
        """Have the session of a request keep a tag."""
        assert self.sessions.set(made, {"query_tag": tag}) == {}
        return self.sessions.open(made)


def test_connections_and_users_are_kept_apart() -> None:
    house = House()
    house.keep(request(), "mine")
    assert house.tag(request()) == "mine"
    assert house.tag(request(mark="b")) is None
    assert house.tag(request(BOB)) is None  # the same mark, shown by somebody else
    house.keep(request(BOB), "his")
    assert house.tag(request()) == "mine"


def test_nothing_is_kept_for_who_sets_nothing() -> None:
    house = House()
    assert house.sessions.find(()) is None
    assert house.sessions.set(request(), {"query_tag": None, "catalog": None}) == {}
    house.sessions.apply(request(), SetOption("purpose", None))
    assert house.sessions.live() == ()
    assert not house.sessions.close(request())


def test_every_key_of_the_first_call_finds_the_session() -> None:
    house = House()
    peer, cookie = ("peer", "1", "host"), ("cookie", "1", "abc")
    house.keep(request(session_keys=(peer, cookie)), "kept")
    assert house.tag(request(session_keys=(cookie,))) == "kept"
    assert house.tag(request(session_keys=(peer, ("cookie", "1", "next")))) == "kept"
    assert len(house.sessions.live()) == 1
    house.sessions.close(request(session_keys=(cookie,)))
    assert house.tag(request(session_keys=(peer,))) is None


def test_a_new_session_never_takes_the_key_of_another() -> None:
    house = House()
    token = ("token", "1", "shared")
    house.keep(request(session_keys=(token,)), "old")
    house.keep(request(session_keys=(("peer", "1", "host"), token)), "new")
    assert house.tag(request(session_keys=(token,))) == "old"


def test_options_are_set_each_for_itself() -> None:
    house = House()
    faults = house.sessions.set(
        request(), {"catalog": "nowhere", "query_tag": "x", "colour": "red", "purpose": 1}
    )
    assert faults == {
        "catalog": INVALID_VALUE,
        "colour": INVALID_NAME,
        "purpose": INVALID_VALUE,
    }
    assert house.tag(request()) == "x"
    faults = house.sessions.set(request(BOB), {"purpose": "analytics", "query_tag": "x"})
    assert faults == {"purpose": SessionOptionErrorValue.ERROR}


def test_a_schema_is_looked_for_in_the_catalog_that_comes_with_it() -> None:
    house = House()
    elsewhere = request(bucket="secret")
    assert house.sessions.set(elsewhere, {"schema": "sales"}) == {"schema": INVALID_VALUE}
    assert house.sessions.set(elsewhere, {"schema": "sales", "catalog": "primary"}) == {}
    options = house.sessions.open(elsewhere).options
    assert (options.catalog, options.schema) == ("primary", "sales")


def test_use_set_and_reset() -> None:
    house = House()
    sessions = house.sessions

    def options() -> SessionOptions:
        return sessions.open(request()).options

    sessions.apply(request(), Use("secret", None))
    sessions.apply(request(), SetOption("query_timeout_seconds", 5))
    assert (options().catalog, options().schema) == ("secret", None)
    assert options().query_timeout_seconds == 5.0
    sessions.apply(request(), Use(None, "sales"))
    assert (options().catalog, options().schema) == ("secret", "sales")
    sessions.apply(request(), SetOption("schema", None))
    assert options().schema is None
    sessions.apply(request(), SetOption("all", None))
    assert options().catalog is None
    with pytest.raises(NotFound, match="secret"):
        sessions.apply(request(BOB), Use("secret", None))
    with pytest.raises(InvalidRequest):
        sessions.apply(request(), SetOption("query_timeout_seconds", "soon"))
    with pytest.raises(Unsupported, match="catalog, schema, purpose"):
        sessions.apply(request(), SetOption("work_mem", "1 GB"))


def test_use_of_both_sets_both_or_neither() -> None:
    house = House()
    with pytest.raises(NotFound):
        house.sessions.apply(request(), Use("secret", "sales"))
    assert house.sessions.live() == ()


def test_what_is_in_force_is_shown() -> None:
    made = request(purpose="billing", timeout_seconds=2.0)
    assert House().sessions.shown(made) == {
        "catalog": "primary",
        "schema": "public",
        "purpose": "billing",
        "query_timeout_seconds": "2",
        "query_tag": "",
    }


def test_an_idle_session_ends() -> None:
    house = House(session_idle_seconds_max=100)
    house.keep(request(), "kept")
    house.clock.advance(99)
    assert house.tag(request()) == "kept"
    house.clock.advance(99)
    assert house.tag(request()) == "kept"
    house.clock.advance(100)
    assert house.tag(request()) is None
    assert len(house.ended) == 1
    assert house.keep(request(), "anew") is not house.ended[0]


def test_who_calls_sweeps_what_others_left() -> None:
    house = House(session_idle_seconds_max=100)
    left = house.keep(request(mark="left"), "kept")
    house.clock.advance(100)
    house.sessions.find(request(BOB).session_keys)
    assert house.ended == [left]
    assert house.sessions.live() == ()


def test_the_longest_idle_session_of_the_user_makes_room() -> None:
    house = House(sessions_per_user_max=2)
    house.keep(request(BOB), "his")
    for mark in ("a", "b"):
        house.clock.advance(40)
        house.keep(request(mark=mark), mark)
    with pytest.raises(LimitExceeded, match="sessions_per_user_max=2"):
        house.keep(request(mark="c"), "c")
    house.clock.advance(30)  # a has been idle for more than a minute now, b has not
    house.keep(request(mark="c"), "c")
    tags = [house.tag(request(mark=mark)) for mark in ("a", "b", "c")]
    assert tags == [None, "b", "c"]
    assert house.tag(request(BOB)) == "his"


def test_nobody_loses_a_session_to_somebody_else() -> None:
    house = House(sessions_max=1)
    house.keep(request(BOB), "his")
    house.clock.advance(1000)
    with pytest.raises(LimitExceeded, match="sessions_max=1"):
        house.keep(request(), "mine")
    assert house.tag(request(BOB)) == "his"
    house.clock.advance(100)
    house.keep(request(BOB, mark="b"), "again")
    assert house.tag(request(BOB)) is None


def temporary(session: Session) -> Temporary | None:
    return session.temporary


def test_temporary_tables_come_and_go_with_their_session() -> None:
    house = House()
    session = house.sessions.open(request())
    other = house.sessions.open(request(mark="b"))
    assert [temporary(session), temporary(other)] == [None, None]
    assert session.temporary_schema != other.temporary_schema
    session.add_temporary("x")
    session.add_temporary("y")
    session.remove_temporary("x")
    session.remove_temporary("never there")
    assert temporary(session) == Temporary(session.temporary_schema, frozenset({"y"}))
    assert temporary(other) is None
    session.remove_temporary("y")
    assert temporary(session) is None
    assert house.sessions.close(request())
    assert house.ended == [session]
    with pytest.raises(Cancelled):
        session.add_temporary("too late")


def test_closing_frees_once_and_a_later_call_begins_anew() -> None:
    house = House()
    house.keep(request(), "kept")
    assert house.sessions.close(request())
    assert not house.sessions.close(request())
    assert house.tag(request()) is None
    first = house.ended[0]
    assert house.keep(request(), "anew").id != first.id
    assert len(house.ended) == 1


def test_a_session_is_killed_by_its_id_and_all_end_with_the_server() -> None:
    house = House()
    session = house.keep(request(), "kept")
    house.keep(request(BOB), "his")
    assert not house.sessions.kill(session.id, BOB.user_id)
    assert house.sessions.kill(session.id, ADMIN.user_id)
    house.sessions.close_all()
    assert len(house.ended) == 2
    assert house.sessions.live() == ()


def test_a_failure_to_clear_away_keeps_nobody_in() -> None:
    house = House()

    def fail(session: Session) -> None:
        raise OSError(session.id)

    house.sessions.when_closed(fail)
    house.keep(request(), "kept")
    assert house.sessions.close(request())
    assert house.sessions.live() == ()


def test_many_threads_that_begin_at_once_get_one_session() -> None:
    house = House()
    found: list[Session] = []
    threads = [
        threading.Thread(target=lambda: found.append(house.sessions.open(request())))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(map(id, found))) == 1


def test_use_of_one_name_means_a_bucket_or_else_a_schema_of_the_present_one() -> None:
    house = House()
    house.sessions.apply(request(), Use("sales", None, is_either=True))
    house.sessions.apply(request(), Use("secret", None, is_either=True))
    options = house.sessions.open(request()).options
    assert (options.catalog, options.schema) == ("secret", "sales")
    with pytest.raises(NotFound, match="nowhere"):
        house.sessions.apply(request(), Use("nowhere", None, is_either=True))
