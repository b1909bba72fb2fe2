from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flight_server import errors
from flight_server.auth import sessions
from flight_server.auth.sessions import SessionStore
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import SESSIONS
from tests.auth.opened import open_table, session
from tests.clocks import StandingClock


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def table(tmp_path: Path, clock: StandingClock) -> SystemTable:
    return open_table(tmp_path, SESSIONS, clock)


@pytest.fixture
def store(table: SystemTable, clock: StandingClock) -> SessionStore:
    return SessionStore(table, clock=clock)


def other(tmp_path: Path, clock: StandingClock) -> SessionStore:
    """Another process on the same folder."""
    return SessionStore(open_table(tmp_path, SESSIONS, clock), clock=clock)


def is_good(store: SessionStore, session_id: str, user_id: str = "u") -> bool:
    try:
        store.check(session_id, user_id)
    except errors.Unauthenticated as error:
        return error.code != "token_revoked"
    return True


def start(store: SessionStore, clock: StandingClock, *names: str, sessions_max: int = 100) -> None:
    for name in names:
        clock.advance(0.001)
        store.start(session(name, clock), sessions_max=sessions_max)


def test_a_session_is_known_everywhere_until_it_ends(
    tmp_path: Path, store: SessionStore, clock: StandingClock
) -> None:
    command = other(tmp_path, clock)
    start(store, clock, "a", "b")
    assert is_good(store, "a")
    assert is_good(command, "a")
    assert not is_good(store, "a", "somebody else")
    assert not is_good(store, "unknown")
    assert [each.session_id for each in command.live("u")] == ["b", "a"]
    assert command.end("a", reason="killed")
    assert not is_good(store, "a")
    assert is_good(store, "b")
    assert [each.session_id for each in store.live()] == ["b"]
    assert not store.end("a", reason="again")
    assert not store.end("unknown", reason="killed")


def test_a_session_is_over_when_its_time_is(store: SessionStore, clock: StandingClock) -> None:
    store.start(session("a", clock, seconds=60), sessions_max=None)
    clock.advance(59)
    assert is_good(store, "a")
    clock.advance(1)
    assert not is_good(store, "a")
    assert store.live() == ()
    assert not store.end("a", reason="killed")


def test_only_who_owns_it_ends_it(store: SessionStore, clock: StandingClock) -> None:
    start(store, clock, "a")
    assert not store.end("a", reason="killed", user_id="somebody else")
    assert is_good(store, "a")
    assert store.end("a", reason="killed", user_id="u")


def test_all_of_a_user_end_but_one(
    store: SessionStore, clock: StandingClock, table: SystemTable
) -> None:
    ended: list[tuple[str, str]] = []
    store.when_ended(lambda user_id, session_id: ended.append((user_id, session_id)))
    start(store, clock, "a", "b", "c")
    store.start(session("d", clock, user_id="v"), sessions_max=None)
    assert store.end_all("u", reason="the password was changed", but="b") == 2
    assert sorted(ended) == [("u", "a"), ("u", "c")]
    assert [is_good(store, name) for name in "abc"] == [False, True, False]
    assert is_good(store, "d", "v")
    row = table.snapshot().rows["a"]
    assert (row["revoked_at"], row["revoked_reason"]) == (clock.now(), "the password was changed")
    assert store.end_all("u", reason="again", but="b") == 0


def test_the_least_used_ends_when_there_are_too_many(
    store: SessionStore, clock: StandingClock
) -> None:
    ended: list[str] = []
    store.when_ended(lambda _, session_id: ended.append(session_id))
    start(store, clock, "a", "b", "c", sessions_max=3)
    clock.advance(1)
    assert is_good(store, "a")  # which makes "b" the one that was used longest ago
    start(store, clock, "d", sessions_max=3)
    assert ended == ["b"]
    assert {each.session_id for each in store.live("u")} == {"a", "c", "d"}
    start(store, clock, "e", sessions_max=1)
    assert {each.session_id for each in store.live("u")} == {"e"}
    assert store.last_used_at("e") == clock.now()
    assert store.last_used_at("a") is None


@pytest.mark.parametrize("sessions_max", [1, 4, 5, 6, 7, 11, 12])
def test_only_what_is_too_many_ends(
    store: SessionStore, clock: StandingClock, sessions_max: int
) -> None:
    names = [f"n{number}" for number in range(6)]
    start(store, clock, *names, sessions_max=sessions_max)
    left = {each.session_id for each in store.live()}
    assert left == set(names[-min(6, sessions_max) :])


def test_no_tier_is_without_any_bound(
    store: SessionStore, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_OF_USER_MAX", 2)
    for name in "abc":
        clock.advance(1)
        store.start(session(name, clock), sessions_max=None)
    assert {each.session_id for each in store.live()} == {"b", "c"}


def test_what_is_over_is_cleared_away_now_and_then(
    store: SessionStore, clock: StandingClock, table: SystemTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "OVER_ROWS_MAX", 4)
    for number in range(20):
        clock.advance(100)
        start(store, clock, f"n{number}")
        assert len(table.snapshot().rows) <= 5
    assert len(store._used_at) <= 2 * 5 + 4 + 1


def test_a_session_without_refresh_tokens_cannot_be_prolonged(
    store: SessionStore, clock: StandingClock
) -> None:
    start(store, clock, "a")
    with pytest.raises(errors.Unauthenticated):
        store.rotate("a", 1, token_hash="", next_hash=lambda _: "next")
    assert is_good(store, "a")


def test_no_hash_in_what_is_printed(clock: StandingClock) -> None:
    assert "d1gest" not in repr(replace(session("a", clock), token_hash="d1gest"))


def follow(store: SessionStore, clock: StandingClock, *names: str, sessions_max: int = 100) -> None:
    for name in names:
        clock.advance(0.001)
        store.follow(session(name, clock), sessions_max=sessions_max)


def test_a_session_of_another_system_begins_with_its_first_call(
    tmp_path: Path, store: SessionStore, clock: StandingClock, table: SystemTable
) -> None:
    follow(store, clock, "ext_a", "ext_a")
    assert table.snapshot().version == 0
    follow(other(tmp_path, clock), clock, "ext_a")
    assert table.snapshot().version == 0
    assert [each.session_id for each in store.live("u")] == ["ext_a"]
    with pytest.raises(errors.Unauthenticated):
        store.follow(session("ext_a", clock, user_id="somebody else"), sessions_max=None)
    clock.advance(60)
    follow(store, clock, "ext_a")
    assert is_good(store, "ext_a")


def test_a_session_of_another_system_that_was_ended_does_not_begin_anew(
    tmp_path: Path, store: SessionStore, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "OVER_ROWS_MAX", 2)
    follow(store, clock, "ext_a", "ext_b")
    assert store.end("ext_a", reason="killed")
    # Whatever is cleared away meanwhile.
    for name in ("c", "d", "e", "f"):
        start(store, clock, name)
        assert store.end(name, reason="killed")
    start(store, clock, "g")
    for each in (store, other(tmp_path, clock)):
        with pytest.raises(errors.Unauthenticated) as caught:
            follow(each, clock, "ext_a")
        assert caught.value.code == "token_revoked"
        # Nor by a sign-in that knows nothing of it.
        each.start(session("ext_a", clock), sessions_max=None)
        assert not is_good(each, "ext_a")
    assert is_good(store, "ext_b")


def test_a_session_of_another_system_that_was_one_too_many_stays_ended(
    store: SessionStore, clock: StandingClock, table: SystemTable
) -> None:
    ended: list[str] = []
    store.when_ended(lambda _, session_id: ended.append(session_id))
    follow(store, clock, "ext_a", "ext_b", "ext_c", sessions_max=2)
    assert ended == ["ext_a"]
    with pytest.raises(errors.Unauthenticated):
        follow(store, clock, "ext_a", sessions_max=2)
    assert table.snapshot().rows["ext_a"]["revoked_reason"] == "too many sessions"
    assert {each.session_id for each in store.live()} == {"ext_b", "ext_c"}
    clock.advance(60)
    follow(store, clock, "ext_d", "ext_e", "ext_f", sessions_max=2)
    assert {each.session_id for each in store.live()} == {"ext_e", "ext_f"}
