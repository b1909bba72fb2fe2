from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flight_server import errors
from flight_server.auth.keys import Key
from flight_server.auth.passwords import Passwords
from flight_server.auth.refresh import RefreshTokens
from flight_server.auth.stores import Stores
from flight_server.auth.throttle import WIDTH, Throttle, ThrottleRules
from flight_server.auth.tokens import Tokens
from flight_server.auth.users import User
from flight_server.protocol.tickets import Sealer
from flight_server.service.accounts import Accounts, Registration
from flight_server.service.request import Request
from flight_server.service.signin import Login, Origin, SessionRules, SignedIn, SignIn
from flight_server.service.user_administration import UserAdministration
from flight_server.storage.counters import Counters
from policies.names import Role
from tests.auth.opened import CHEAP, open_stores
from tests.clocks import StandingClock
from tests.service.requests import request

PASSWORD, OTHER = "one fine pass", "two fine pass"
HERE = Origin()


class Server:
    """What a gateway makes of the tables of accounts."""

    def __init__(self, root: Path, clock: StandingClock, **of: Any) -> None:
        self.clock = clock
        self.stores: Stores = open_stores(root, clock, passwords=of.get("passwords"))
        key = Key.of_secret(b"s" * 32)
        tokens = Tokens(
            [key], "here", audience="here", life_seconds=3600, clock=clock, random_bytes=os.urandom
        )
        sealer = Sealer([b"k" * 32], random_bytes=os.urandom)
        throttle = Throttle(
            Counters(None, key=b"f" * 32, width=WIDTH, slots=256, clock=clock),
            ThrottleRules(failures_max=1000),
            clock=clock,
        )
        self.signin = SignIn(
            self.stores,
            tokens,
            refresh=RefreshTokens(sealer, clock=clock),
            rules=of.get("rules", SessionRules(sessions_max={"free": None})),
            throttle=throttle,
            clock=clock,
            random_bytes=os.urandom,
        )
        self.ended: list[tuple[str, str | None]] = []
        self.administration = UserAdministration(
            self.stores,
            clock=clock,
            token_seconds=3600,
            ended=lambda user_id, session_id: self.ended.append((user_id, session_id)),
        )
        self.accounts = Accounts(
            self.stores,
            self.signin,
            administration=self.administration,
            registration=of.get("registration", Registration()),
        )

    def add(self, username: str = "alice", **of: Any) -> User:
        return self.stores.users.add(username, PASSWORD, **{"role": "registered", **of})

    def request(self, signed_in: SignedIn) -> Request:
        return request(
            signed_in.principal, session_id=signed_in.session_id, token_id=signed_in.token_id
        )

    def is_good(self, signed_in: SignedIn | Login) -> bool:
        try:
            self.signin.by_token(signed_in.token)
        except errors.Unauthenticated:
            return False
        return True


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def server(tmp_path: Path, clock: StandingClock) -> Server:
    return Server(tmp_path, clock)


def test_a_token_is_as_good_as_its_session(server: Server, clock: StandingClock) -> None:
    server.add()
    first = server.signin.by_password("alice", PASSWORD, origin=HERE)
    assert server.is_good(first)
    used_at = server.stores.sessions.last_used_at(first.session_id)
    clock.advance(1)
    assert server.signin.still(server.request(first)) is None
    assert server.stores.sessions.last_used_at(first.session_id) == used_at
    assert server.signin.by_token(first.token).session_id == first.session_id
    server.administration.kill_session(first.session_id)
    gone = server.signin.still(server.request(first))
    assert gone is not None
    assert gone.code == "token_revoked"
    assert not server.is_good(first)
    second = server.signin.login("alice", PASSWORD, origin=HERE)
    clock.advance(3600)
    with pytest.raises(errors.Unauthenticated) as caught:
        server.signin.by_token(second.token)
    assert caught.value.code == "token_expired"
    third = server.signin.refresh(second.refresh_token)
    assert server.is_good(third)
    assert third.refresh_expires_at == second.refresh_expires_at
    for secret in (third.token, third.refresh_token, second.token):
        assert secret not in repr((first, second, third))


def test_a_refresh_token_of_a_disabled_account_is_worth_nothing(server: Server) -> None:
    user = server.add()
    made = server.signin.login("alice", PASSWORD, origin=HERE)
    server.administration.disable(user)
    with pytest.raises(errors.Unauthenticated) as caught:
        server.signin.refresh(made.refresh_token)
    assert caught.value.code == "token_revoked"


def test_a_session_knows_where_it_came_from(server: Server) -> None:
    server.add()
    server.signin.login("alice", PASSWORD, origin=Origin("127.0.0.1", "a driver" * 100))
    (session,) = server.stores.sessions.live()
    assert session.ip_address == "127.0.0.1"
    assert session.user_agent is not None
    assert len(session.user_agent) == 256


@pytest.mark.parametrize("tier", ["free", "a tier of yesterday"])
def test_a_tier_has_so_many_sessions(tmp_path: Path, clock: StandingClock, tier: str) -> None:
    rules = SessionRules(sessions_max={"free": 2, "pro": None})
    server = Server(tmp_path, clock, rules=rules)
    user = server.add()
    rows = server.stores.users._table
    rows.change(lambda found: [{**found[user.user_id], "subscription_tier": tier}])
    signed_in = []
    for _ in range(3):
        clock.advance(1)
        signed_in.append(server.signin.by_password("alice", PASSWORD, origin=HERE))
    assert [server.is_good(each) for each in signed_in] == [False, True, True]


class Counting(Passwords):
    """Counts the work of hashing, and runs something in the middle of it."""

    def __init__(self) -> None:
        super().__init__(CHEAP)
        self.verified = self.hashed = 0
        self.meanwhile: Callable[[], object] | None = None

    def verify(self, password: str, stored: str | None) -> bool:
        self.verified += 1
        found = super().verify(password, stored)
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            meanwhile()
        return found

    def hash_again(self, password: str) -> str:
        self.hashed += 1
        return super().hash_again(password)


def test_who_cannot_sign_in_costs_the_same_whatever_the_reason(
    tmp_path: Path, clock: StandingClock
) -> None:
    passwords = Counting()
    server = Server(tmp_path, clock, passwords=passwords)
    server.add()
    server.administration.disable(server.add("gone"))
    external = server.add("external")
    server.stores.users.update(
        external.user_id, lambda found: replace(found, password_hash="", external_id="x")
    )
    server.accounts.register("waiting", PASSWORD, email="w@example.com")
    passwords.hashed = 0
    seen = set()
    for username, password in (
        ("nobody", PASSWORD),
        ("alice", OTHER),
        ("gone", PASSWORD),
        ("gone", OTHER),
        ("external", ""),
        ("external", PASSWORD),
        ("waiting", OTHER),
        ("Alice", PASSWORD),
        ("", ""),
        ("a\nb" * 1000, PASSWORD),
    ):
        passwords.verified = 0
        with pytest.raises(errors.Unauthenticated) as caught:
            server.signin.by_password(username, password, origin=HERE)
        seen.add((caught.value.message, caught.value.code, passwords.verified, passwords.hashed))
    assert seen == {("wrong user name or password", "invalid_credentials", 1, 0)}
    assert not server.stores.sessions.live()


@pytest.mark.parametrize("what", ["password", "disabled", "rejected"])
def test_a_sign_in_that_is_overtaken_does_not_survive(
    tmp_path: Path, clock: StandingClock, what: str
) -> None:
    passwords = Counting()
    server = Server(tmp_path, clock, passwords=passwords)
    user = server.add(role="pending") if what == "rejected" else server.add()

    def meanwhile() -> None:
        if what == "password":
            server.administration.set_password(user, OTHER)
        elif what == "disabled":
            server.administration.disable(user)
        else:
            server.administration.reject(user)

    passwords.meanwhile = meanwhile
    with pytest.raises(errors.Unauthenticated) as caught:
        server.signin.by_password("alice", PASSWORD, origin=HERE)
    assert caught.value.code == "invalid_credentials"
    assert not server.stores.sessions.live()
    if what == "disabled":
        server.administration.enable(user)
        assert not server.stores.sessions.live()


def test_a_hash_that_is_renewed_meanwhile_is_no_other_password(
    tmp_path: Path, clock: StandingClock
) -> None:
    passwords = Counting()
    server = Server(tmp_path, clock, passwords=passwords)
    user = server.add()

    def renew() -> None:
        newer = passwords.hash_again(PASSWORD)
        server.stores.users.update(user.user_id, lambda found: replace(found, password_hash=newer))

    passwords.meanwhile = renew
    assert server.is_good(server.signin.by_password("alice", PASSWORD, origin=HERE))


def test_a_new_password_ends_the_other_sessions(server: Server) -> None:
    user = server.add()
    mine = server.signin.by_password("alice", PASSWORD, origin=HERE)
    other = server.signin.login("alice", PASSWORD, origin=HERE)
    token, text = server.stores.personal.create(user.user_id, "CI")
    with pytest.raises(errors.InvalidRequest):
        server.accounts.change_password(server.request(mine), PASSWORD, "alice")
    with pytest.raises(errors.Unauthenticated):
        server.accounts.change_password(server.request(mine), "wrong", OTHER)
    assert server.is_good(other)
    assert server.accounts.change_password(server.request(mine), PASSWORD, OTHER) == 1
    assert server.is_good(mine)
    assert not server.is_good(other)
    with pytest.raises(errors.Unauthenticated):
        server.signin.refresh(other.refresh_token)
    assert server.signin.by_token(text).token_id == token.token_id
    assert server.signin.by_password("alice", OTHER, origin=HERE)


def test_a_crash_between_the_steps_of_a_new_password_keeps_no_session(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = server.add()
    signed_in = server.signin.by_password("alice", PASSWORD, origin=HERE)

    def crash(username: str, password: str) -> None:
        raise errors.Unavailable("the power is gone")

    monkeypatch.setattr(server.stores.users, "set_password", crash)
    with pytest.raises(errors.Unavailable):
        server.administration.set_password(user, OTHER)
    assert not server.is_good(signed_in)


def test_registration_is_bounded_and_can_be_closed(tmp_path: Path, clock: StandingClock) -> None:
    passwords = Counting()
    narrow = Server(tmp_path, clock, passwords=passwords, registration=Registration(pending_max=2))
    for number in range(2):
        made = narrow.accounts.register(f"u{number}", PASSWORD, email="u@example.com", tier="pro")
        assert (made.role, made.subscription_tier, made.requested_tier) == (
            Role.PENDING,
            "free",
            "pro",
        )
    passwords.hashed = 0
    with pytest.raises(errors.LimitExceeded, match=r"auth\.pending_max=2"):
        narrow.accounts.register("u2", PASSWORD, email="u@example.com")
    assert passwords.hashed == 0
    user = narrow.stores.users.require("u0")
    approved = narrow.administration.approve(user, role="trader", tier="pro")
    assert (approved.role, approved.subscription_tier, approved.requested_tier) == (
        Role.TRADER,
        "pro",
        None,
    )
    assert narrow.accounts.register("u2", PASSWORD, email="u@example.com")
    closed = Server(tmp_path, clock, registration=Registration(is_open=False))
    with pytest.raises(errors.PermissionDenied):
        closed.accounts.register("u3", PASSWORD, email="u@example.com")


def test_of_many_who_want_one_name_one_gets_it(server: Server) -> None:
    made: list[User] = []
    refused: list[errors.AlreadyExists] = []

    def register(name: str) -> None:
        try:
            made.append(server.accounts.register(name, PASSWORD, email="u@example.com"))
        except errors.AlreadyExists as error:
            refused.append(error)

    threads = [
        threading.Thread(target=register, args=(name,)) for name in ("bob", "Bob", "BOB", "boB")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 3)
    assert [user.user_id for user in server.stores.users.list()] == [made[0].user_id]


def test_of_two_last_administrators_one_stays(server: Server) -> None:
    first, second = (server.add(name, role="admin") for name in ("first", "second"))
    ends: list[object] = []

    def step_down(user: User) -> None:
        try:
            ends.append(server.administration.set_role(user, "registered"))
        except errors.InvalidRequest as error:
            ends.append(error)

    threads = [threading.Thread(target=step_down, args=(user,)) for user in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(end, errors.InvalidRequest) for end in ends) == 1
    assert sum(user.is_active_admin for user in server.stores.users.list()) == 1
    (left,) = (user for user in server.stores.users.list() if user.is_active_admin)
    acts: tuple[Callable[[], object], ...] = (
        lambda: server.administration.disable(left),
        lambda: server.administration.set_role(left, "pending"),
        lambda: server.administration.reject(left),
    )
    for act in acts:
        with pytest.raises(errors.InvalidRequest):
            act()
    server.administration.set_tier(left, "pro")


def test_what_is_kept_for_connections_ends_with_what_they_signed_in_with(server: Server) -> None:
    user = server.add()
    token, _ = server.stores.personal.create(user.user_id, "CI")
    server.administration.revoke_token(token.token_id)
    server.administration.disable(user)
    assert server.ended == [(user.user_id, token.token_id), (user.user_id, None)]


def test_an_account_of_another_system_makes_no_tokens_here(server: Server) -> None:
    user = server.add()
    signed_in = server.signin.by_password("alice", PASSWORD, origin=HERE)
    server.stores.users.update(user.user_id, lambda found: replace(found, external_id="x"))
    with pytest.raises(errors.PermissionDenied):
        server.accounts.create_token(server.request(signed_in), "mine")


def test_only_accounts_that_wait_are_approved_or_rejected(server: Server) -> None:
    user = server.add()
    acts: tuple[Callable[[], object], ...] = (
        lambda: server.administration.approve(user),
        lambda: server.administration.reject(user),
        lambda: server.administration.approve(user, role="pending"),
        server.administration.find,
        lambda: server.administration.find(user_id="x", username="y"),
    )
    for act in acts:
        with pytest.raises(errors.InvalidRequest):
            act()
    waiting = server.accounts.register("bob", PASSWORD, email="b@example.com")
    server.administration.reject(waiting)
    assert server.stores.users.find("bob") is None
    with pytest.raises(errors.NotFound):
        server.administration.approve(waiting)
