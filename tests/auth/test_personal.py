from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server import errors
from flight_server.auth import personal
from flight_server.auth.personal import PersonalLimits, PersonalTokens
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import TOKENS
from tests.auth.opened import open_stores, open_table
from tests.clocks import StandingClock

DAY = 86_400


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def table(tmp_path: Path, clock: StandingClock) -> SystemTable:
    return open_table(tmp_path, TOKENS, clock)


@pytest.fixture
def tokens(tmp_path: Path, clock: StandingClock) -> PersonalTokens:
    limits = PersonalLimits(tokens_max=3, seconds_max=100 * DAY)
    return open_stores(tmp_path, clock, limits=limits).personal


def code(tokens: PersonalTokens, text: str) -> str:
    with pytest.raises(errors.Unauthenticated) as caught:
        tokens.recognise(text)
    return caught.value.code


def test_a_token_is_recognised_and_its_secret_is_nowhere(
    tmp_path: Path, tokens: PersonalTokens, clock: StandingClock
) -> None:
    made, text = tokens.create("u", "for CI")
    assert text.startswith(f"lfp_{made.token_id}")
    assert tokens.recognise(text) == made
    assert made.expires_at == clock.now() + timedelta(days=30)
    assert open_stores(tmp_path, clock).personal.recognise(text) == made
    secret = text.removeprefix(f"lfp_{made.token_id}").encode()
    assert len(secret) == 43
    assert secret not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert made.token_hash is not None
    assert made.token_hash not in repr(made)


def test_a_token_ends_when_it_is_revoked_and_when_its_time_is_over(
    tmp_path: Path, tokens: PersonalTokens, clock: StandingClock
) -> None:
    made, text = tokens.create("u", "a", seconds=60)
    _, other = tokens.create("u", "b", expires_at=clock.now() + timedelta(seconds=120))
    command = open_stores(tmp_path, clock).personal
    assert not command.revoke(made.token_id, user_id="somebody else")
    assert tokens.recognise(text)
    assert command.revoke(made.token_id)
    assert code(tokens, text) == "token_revoked"
    assert not tokens.revoke(made.token_id)
    assert not tokens.revoke("unknown")
    assert [each.name for each in tokens.live("u")] == ["b"]
    clock.advance(120)
    assert code(tokens, other) == "token_expired"
    assert tokens.live() == ()


def test_who_has_the_id_alone_has_nothing(tokens: PersonalTokens) -> None:
    made, text = tokens.create("u", "a")
    _, other = tokens.create("u", "b")
    tokens.revoke(made.token_id)
    # Nothing tells whether a token is there, revoked or expired to who does not know its secret.
    wrong = [f"lfp_{made.token_id}{other[20:]}", f"lfp_{'0' * 16}{text[20:]}", "lfp_", "lfp_x", ""]
    wrong += [text + "=", text + "\n", text.upper(), " " + text, "lfp_" + "é" * 59, text * 1000]
    for each in wrong:
        assert code(tokens, each) == "unauthenticated"


@given(st.integers(4, 62), st.characters())
def test_one_other_character_is_enough(place: int, character: str) -> None:
    text = _kept()[1]
    if text[place] != character:
        assert code(_kept()[0], text[:place] + character + text[place + 1 :]) == "unauthenticated"


_KEPT: list[tuple[PersonalTokens, str]] = []


def _kept() -> tuple[PersonalTokens, str]:
    return _KEPT[0]


@pytest.fixture(scope="module", autouse=True)
def one_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    tokens = open_stores(tmp_path_factory.mktemp("tokens"), StandingClock()).personal
    _KEPT[:] = [(tokens, tokens.create("u", "a")[1])]


@pytest.mark.parametrize(
    "values",
    [
        {"name": ""},
        {"name": "  "},
        {"name": "a\nb"},
        {"name": "x" * 101},
        {"seconds": 0},
        {"seconds": -1},
        {"seconds": 100 * DAY + 1},
        {"seconds": 10**30},
        {"after": 0},
        {"after": -5},
        {"after": 100 * DAY + 1},
        {"seconds": 5, "after": 5},
    ],
)
def test_names_and_times_that_cannot_be(
    tokens: PersonalTokens, clock: StandingClock, values: dict[str, object]
) -> None:
    after = values.get("after")
    with pytest.raises(errors.InvalidRequest):
        tokens.create(
            "u",
            str(values.get("name", "a")),
            seconds=values.get("seconds"),  # type: ignore[arg-type]  # a number
            expires_at=None if after is None else clock.now() + timedelta(seconds=after),  # type: ignore[arg-type]  # as above
        )
    assert tokens.live() == ()


def test_a_user_has_only_so_many(tokens: PersonalTokens, clock: StandingClock) -> None:
    made = [tokens.create("u", "a", seconds=60 + number)[0] for number in range(3)]
    with pytest.raises(errors.LimitExceeded, match=r"auth\.personal_tokens_max=3"):
        tokens.create("u", "one too many")
    tokens.create("v", "of another")
    tokens.revoke(made[0].token_id)
    tokens.create("u", "in its place")
    clock.advance(61.5)
    tokens.create("u", "in the place of one that expired")
    with pytest.raises(errors.LimitExceeded):
        tokens.create("u", "one too many")


def test_one_token_of_a_session_is_revoked(tokens: PersonalTokens, clock: StandingClock) -> None:
    ends = clock.now() + timedelta(seconds=60)

    def is_good(token_id: str, user_id: str) -> bool:
        try:
            tokens.check_session_token(token_id, user_id)
        except errors.Unauthenticated as error:
            return error.code != "token_revoked"
        return True

    tokens.revoke_session_token("j1", user_id="u", expires_at=ends)
    assert not is_good("j1", "u")
    assert is_good("j1", "v")
    assert is_good("j2", "u")
    # Nobody brings the token of another user back to life by revoking it too.
    tokens.revoke_session_token("j1", user_id="v", expires_at=ends)
    assert not is_good("j1", "u")
    tokens.revoke_session_token("j2", user_id=None, expires_at=ends)
    assert not is_good("j2", "whoever")
    tokens.revoke_session_token("j2", user_id="u", expires_at=ends)
    assert not is_good("j2", "whoever")
    made, text = tokens.create("u", "a")
    tokens.revoke_session_token(made.token_id, user_id="v", expires_at=ends)
    assert tokens.recognise(text)
    assert [each.name for each in tokens.live()] == ["a"]
    for wrong in ("", "x" * 256, "with space", "line\nfeed", "ü"):
        with pytest.raises(errors.InvalidRequest):
            tokens.revoke_session_token(wrong, user_id="u", expires_at=ends)


def test_revoked_ones_do_not_pile_up(
    tokens: PersonalTokens,
    clock: StandingClock,
    table: SystemTable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(personal, "REVOKED_MAX", 6)
    for _ in range(20):
        tokens.revoke(tokens.create("u", "a")[0].token_id)
        assert len(table.snapshot().rows) <= 8
    ends = clock.now() + timedelta(seconds=60)
    for number in range(6):
        tokens.revoke_session_token(f"j{number}", user_id="u", expires_at=ends)
    with pytest.raises(errors.LimitExceeded):
        tokens.revoke_session_token("j9", user_id="u", expires_at=ends)
    tokens.revoke_session_token("j5", user_id="u", expires_at=ends)
    tokens.revoke_session_token("j9", user_id=None, expires_at=ends)
    clock.advance(61)
    tokens.revoke_session_token("j10", user_id="u", expires_at=clock.now() + timedelta(seconds=9))
    assert {key for key in table.snapshot().rows if key.startswith("j")} == {"j10"}
