"""Refresh tokens: each is good once, and one that comes twice ends its session."""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from flight_server import errors
from flight_server.auth.refresh import PREFIX, RefreshTokens, digest
from flight_server.auth.sessions import SessionStore
from flight_server.protocol.tickets import Sealer
from flight_server.storage.system_tables import SESSIONS
from tests.auth.opened import open_table, session
from tests.clocks import StandingClock

SECONDS = 1000


class Sessions:
    """What a sign-in does with refresh tokens, without the sign-in."""

    def __init__(self, root: Path) -> None:
        self.clock = StandingClock()
        sealer = Sealer([os.urandom(32)], random_bytes=os.urandom)
        self.tokens = RefreshTokens(sealer, clock=self.clock)
        self.store = SessionStore(open_table(root, SESSIONS, self.clock), clock=self.clock)

    def start(self, name: str) -> str:
        made = session(name, self.clock, seconds=SECONDS)
        token = self.tokens.make(name, 1, expires_at=made.expires_at)
        self.store.start(replace(made, token_hash=digest(token)), sessions_max=None)
        return token

    def refresh(self, token: str) -> str:
        session_id, generation = self.tokens.read(token)
        following = ""

        def next_hash(expires_at: object) -> str:
            nonlocal following
            following = self.tokens.make(session_id, generation + 1, expires_at=expires_at)  # type: ignore[arg-type]  # a time
            return digest(following)

        self.store.rotate(session_id, generation, token_hash=digest(token), next_hash=next_hash)
        return following

    def is_good(self, name: str) -> bool:
        try:
            self.store.check(name, "u")
        except errors.Unauthenticated:
            return False
        return True


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(tmp_path)


def code(sessions: Sessions, token: str) -> str:
    with pytest.raises(errors.Unauthenticated) as caught:
        sessions.refresh(token)
    assert not token or token not in caught.value.message
    return caught.value.code


def test_each_token_leads_to_the_next(sessions: Sessions) -> None:
    token = sessions.start("a")
    seen = {token}
    for _ in range(5):
        token = sessions.refresh(token)
        seen.add(token)
    assert len(seen) == 6
    assert all(each.startswith(PREFIX) for each in seen)
    assert sessions.is_good("a")


def test_a_token_that_comes_again_ends_the_session(sessions: Sessions) -> None:
    first, stranger = sessions.start("a"), sessions.start("b")
    second = sessions.refresh(first)
    third = sessions.refresh(second)
    assert code(sessions, first) == "token_revoked"
    assert not sessions.is_good("a")
    assert code(sessions, third) == "token_revoked"
    assert sessions.is_good("b")
    assert sessions.refresh(stranger)


def test_a_forged_token_changes_nothing(sessions: Sessions) -> None:
    first = sessions.start("a")
    second = sessions.refresh(first)
    elsewhere = RefreshTokens(
        Sealer([os.urandom(32)], random_bytes=os.urandom), clock=sessions.clock
    )
    expires_at = session("a", sessions.clock, seconds=SECONDS).expires_at
    forged = [
        elsewhere.make("a", 1, expires_at=expires_at),
        "",
        PREFIX,
        PREFIX + "AAAA",
        PREFIX + "é",
        "lfp_" + second.removeprefix(PREFIX),
        second + "=",
        second + "\n",
        second + "A" * 1000,
        PREFIX + second.removeprefix(PREFIX) + " ",
    ]
    forged += [
        first[:place] + ("A" if first[place] != "A" else "B") + first[place + 1 :]
        for place in range(len(PREFIX), len(first))
    ]
    for token in forged:
        assert code(sessions, token) == "unauthenticated", token
    assert sessions.is_good("a")
    # Sealed by this server, and yet never given out.
    assert code(sessions, sessions.tokens.make("a", 2, expires_at=expires_at)) == "token_revoked"
    assert code(sessions, sessions.tokens.make("a", 9, expires_at=expires_at)) == "token_revoked"
    assert code(sessions, sessions.tokens.make("z", 1, expires_at=expires_at)) == "token_revoked"
    assert sessions.is_good("a")
    assert sessions.refresh(second)


def test_a_session_is_not_prolonged_for_ever(sessions: Sessions) -> None:
    token = sessions.start("a")
    for _ in range(9):
        sessions.clock.advance(SECONDS / 10)
        token = sessions.refresh(token)
    sessions.clock.advance(SECONDS / 10)
    assert code(sessions, token) == "token_expired"
    assert not sessions.is_good("a")


@pytest.mark.parametrize("turn", range(5))
def test_of_two_at_the_same_time_one_wins_and_the_session_goes_on(
    sessions: Sessions, turn: int
) -> None:
    token = sessions.start("a")
    at_once = threading.Barrier(4)
    won: list[str] = []
    lost: list[errors.LakeflightError] = []
    # All of them look before any of them changes something, as calls at the same moment do.
    rows = sessions.store._table.snapshot

    def look() -> object:
        seen = rows()
        if threading.current_thread() in threads and threading.current_thread() not in waited:
            waited.add(threading.current_thread())
            at_once.wait(30)
        return seen

    def refresh() -> None:
        try:
            won.append(sessions.refresh(token))
        except errors.Unauthenticated as error:
            lost.append(error)

    waited: set[threading.Thread] = set()
    threads = {threading.Thread(target=refresh) for _ in range(4)}
    sessions.store._table.snapshot = look  # type: ignore[method-assign,assignment]  # a hook to meet in
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(won) == 1
    assert [error.code for error in lost] == ["token_revoked"] * 3
    assert sessions.is_good("a")
    assert sessions.refresh(won[0])


class Refreshing(RuleBasedStateMachine):
    """Any order of sign-ins, refreshes, repeats, ends and time, against what must come of it."""

    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.sessions = Sessions(Path(self.folder.name))
        self.newest: dict[str, str] = {}
        self.ends: dict[str, float] = {}
        self.now = 0.0

    def teardown(self) -> None:
        self.folder.cleanup()

    @initialize(target=tokens)
    def begin(self) -> tuple[str, str]:
        return self.sign_in()

    @rule(target=tokens)
    def start(self) -> tuple[str, str]:
        return self.sign_in()

    def sign_in(self) -> tuple[str, str]:
        name = f"s{len(self.ends)}"
        self.newest[name] = self.sessions.start(name)
        self.ends[name] = self.now + SECONDS
        return name, self.newest[name]

    @rule(target=tokens, given=tokens)
    def refresh(self, given: tuple[str, str]) -> tuple[str, str]:
        name, token = given
        if self.is_good(name) and self.newest[name] == token:
            self.newest[name] = self.sessions.refresh(token)
            return name, self.newest[name]
        with pytest.raises(errors.Unauthenticated):
            self.sessions.refresh(token)
        if self.now < self.ends[name]:
            self.newest.pop(name, None)  # it was used before: the session is over
        return given

    @rule(given=tokens, place=st.integers(4, 60))
    def forge(self, given: tuple[str, str], place: int) -> None:
        name, token = given
        changed = "A" if token[place] != "A" else "B"
        with pytest.raises(errors.Unauthenticated):
            self.sessions.refresh(token[:place] + changed + token[place + 1 :])
        assert self.sessions.is_good(name) is self.is_good(name)

    @rule(given=tokens)
    def end(self, given: tuple[str, str]) -> None:
        assert self.sessions.store.end(given[0], reason="ended") is self.is_good(given[0])
        self.newest.pop(given[0], None)

    @rule(seconds=st.sampled_from([1, SECONDS / 3, SECONDS]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.sessions.clock.advance(seconds)

    @rule()
    def look(self) -> None:
        for name in self.ends:
            assert self.sessions.is_good(name) is self.is_good(name)

    def is_good(self, name: str) -> bool:
        return name in self.newest and self.now < self.ends[name]


TestRefreshing = Refreshing.TestCase
TestRefreshing.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
