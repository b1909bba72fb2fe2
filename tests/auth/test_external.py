"""Accounts of people who sign in at another system."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server import errors
from flight_server.auth.account_rules import check_username
from flight_server.auth.external import ExternalAccounts, safe_name
from flight_server.auth.issuers import ExternalClaims, Issuers, Vouched
from flight_server.auth.passwords import PasswordOptions, Passwords
from flight_server.auth.user import User
from flight_server.auth.users import UserStore
from flight_server.storage.system_tables import USERS
from policies.names import Role
from tests.auth.opened import open_table
from tests.clocks import StandingClock

CHEAP = PasswordOptions(time_cost=1, memory_kib=64)
CLOCK = StandingClock()
STAFF = Vouched(role="registered", custom_roles=("ml",), tier="pro", email="ada@example.org")


@pytest.fixture
def users(tmp_path: Path) -> UserStore:
    table = open_table(tmp_path, USERS, CLOCK)
    return UserStore(table, Passwords(CHEAP), clock=CLOCK, random_bytes=os.urandom)


@pytest.fixture
def accounts(users: UserStore) -> ExternalAccounts:
    return made(users)


def made(users: UserStore) -> ExternalAccounts:
    return ExternalAccounts(users, Issuers([], clock=CLOCK), random_bytes=os.urandom)


def claims(subject: str = "1", at: int = 100, **changes: Any) -> ExternalClaims:
    vouched = replace(STAFF, **{k: v for k, v in changes.items() if k != "username"})
    return ExternalClaims(
        external_id=f"https://login.example.com {subject}",
        session_id="ext_s",
        token_id="ext_t",
        has_session=True,
        username=changes.get("username", "ada"),
        vouched=vouched,
        issued_at=at,
        expires_at=at + 300,
    )


def shown(user: User) -> tuple[str, tuple[str, ...], str, str | None]:
    return user.role.value, user.custom_roles, user.subscription_tier, user.email


def test_the_first_token_makes_the_account_and_the_next_ones_find_it(
    tmp_path: Path, accounts: ExternalAccounts
) -> None:
    user = accounts.account(claims())
    assert user.username == "ada"
    assert shown(user) == ("registered", ("ml",), "pro", "ada@example.org")
    assert accounts.account(claims()) == user
    assert accounts.account(claims(at=200, username="renamed")) == user
    table = open_table(tmp_path, USERS, CLOCK)
    again = UserStore(table, Passwords(CHEAP), clock=CLOCK, random_bytes=os.urandom)
    assert made(again).account(claims()) == user
    assert table.snapshot().version == 0


def test_nobody_gets_the_account_of_a_namesake(
    users: UserStore, accounts: ExternalAccounts
) -> None:
    local = users.add("ada", "a long password", role="trader")
    one, two = accounts.account(claims("1")), accounts.account(claims("2"))
    shouting = accounts.account(claims("3", username="ADA"))
    assert [each.username for each in (one, two, shouting)] == ["ada-2", "ada-3", "ADA-4"]
    assert len({each.user_id for each in (local, one, two, shouting)}) == 4
    assert users.get(local.user_id) == local
    assert accounts.account(claims("1")) == one


@pytest.mark.parametrize("name", ["admin", "Admin", "root", "token", "TOKEN", "system"])
def test_nobody_becomes_an_authority_by_name(accounts: ExternalAccounts, name: str) -> None:
    assert accounts.account(claims(username=name)).username == f"{name}-2"


def test_names_that_run_out_end_in_chance(
    accounts: ExternalAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flight_server.auth.external._NUMBERED_MAX", 3)
    names = [accounts.account(claims(str(each))).username for each in range(4)]
    assert names[:2] == ["ada", "ada-2"]
    assert {name[:4] for name in names[2:]} == {"ada-"}
    assert len(set(names)) == 4


def test_no_password_signs_in_to_such_an_account(
    users: UserStore, accounts: ExternalAccounts
) -> None:
    accounts.account(claims())
    for password in ("", "a long password", "\0"):
        with pytest.raises(errors.Unauthenticated) as caught:
            users.authenticate("ada", password)
        assert caught.value.code == "invalid_credentials"
    with pytest.raises(errors.InvalidRequest, match="another system"):
        users.set_password("ada", "a long password")
    with pytest.raises(errors.InvalidRequest, match="another system"):
        users.check_new_password(users.require("ada").user_id, "a long password")


def test_what_the_issuer_says_anew_is_taken_over(
    users: UserStore, accounts: ExternalAccounts
) -> None:
    before = accounts.account(claims())
    after = accounts.account(claims(at=200, role="trader", custom_roles=(), tier="free"))
    assert after.user_id == before.user_id
    assert shown(after) == ("trader", (), "free", "ada@example.org")
    assert users.get(after.user_id) == after
    assert shown(accounts.account(claims(at=300, email=None)))[3] is None


def test_an_older_token_changes_nothing(accounts: ExternalAccounts) -> None:
    accounts.account(claims(at=100, role="trader"))
    demoted = accounts.account(claims(at=200, role="guest"))
    assert demoted.role is Role.GUEST
    for _ in range(2):
        assert accounts.account(claims(at=100, role="trader")) == demoted
    assert accounts.account(claims(at=300, role="trader")).role is Role.TRADER


def test_what_is_changed_here_stays_until_the_issuer_says_something_else(
    users: UserStore, accounts: ExternalAccounts
) -> None:
    waiting = accounts.account(claims(role="pending"))
    users.update(waiting.user_id, lambda user: replace(user, role=Role.REGISTERED))
    assert accounts.account(claims(at=200, role="pending")).role is Role.REGISTERED
    moved = accounts.account(claims(at=300, role="pending", tier="free"))
    assert (moved.role, moved.subscription_tier) == (Role.REGISTERED, "free")
    assert accounts.account(claims(at=400, role="trader")).role is Role.TRADER


def test_attributes_of_the_issuer_go_beside_those_given_here(
    accounts: ExternalAccounts, users: UserStore
) -> None:
    north, south = (("region", "north"), ("team", "a")), (("region", "south"),)
    user = accounts.account(claims(attributes=north))
    assert user.attributes == north
    users.update(user.user_id, lambda found: replace(found, attributes=(*north, ("desk", "3"))))
    assert accounts.account(claims(at=150, attributes=north)).attributes == (("desk", "3"), *north)
    moved = accounts.account(claims(at=200, attributes=south))
    assert moved.attributes == (("desk", "3"), ("region", "south"))
    own = tuple((f"a{number:02}", "x") for number in range(32))
    users.update(user.user_id, lambda found: replace(found, attributes=own))
    full = accounts.account(claims(at=300, attributes=north)).attributes
    assert len(full) == 32
    assert set(north) < set(full)
    assert accounts.account(claims(at=400)).attributes == full[:-2]


def test_a_disabled_account_stays_disabled_and_as_it_is(
    users: UserStore, accounts: ExternalAccounts
) -> None:
    user = accounts.account(claims())
    disabled = users.update(user.user_id, lambda found: replace(found, is_active=False))
    assert accounts.account(claims(at=500, role="admin")) == disabled


def test_a_rejected_account_would_come_back_and_is_not_rejected(
    users: UserStore, accounts: ExternalAccounts
) -> None:
    user = accounts.account(claims(role="pending"))
    with pytest.raises(errors.InvalidRequest, match="disable it"):
        users.reject(user.user_id)


def test_the_last_administrator_is_locked_out_rather_than_kept(accounts: ExternalAccounts) -> None:
    accounts.account(claims(role="admin"))
    with pytest.raises(errors.Unauthenticated):
        accounts.account(claims(at=200, role="guest"))
    accounts.account(claims("2", role="admin"))
    assert accounts.account(claims(at=300, role="guest")).role is Role.GUEST


def test_first_tokens_at_once_make_one_account(tmp_path: Path) -> None:
    barrier, found = threading.Barrier(8), []

    def call() -> None:
        table = open_table(tmp_path, USERS, CLOCK)
        store = UserStore(table, Passwords(CHEAP), clock=CLOCK, random_bytes=os.urandom)
        barrier.wait()
        found.append(made(store).account(claims()).user_id)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_odd_addresses_and_stored_claims_are_no_obstacle(
    users: UserStore, accounts: ExternalAccounts
) -> None:
    user = accounts.account(claims(email="not an address"))
    assert user.email is None
    for stored in (None, "", "{", "[]", '{"at":1}', '{"at":"x","vouched":{}}'):
        users.update(user.user_id, lambda found, text=stored: replace(found, external_claims=text))  # type: ignore[misc]  # a default binds it
        assert shown(accounts.account(claims(at=50)))[0] == "registered"


def test_names_are_made_safe() -> None:
    names = {
        "ada": "ada",
        "ada@example.org": "ada-example.org",
        "Ada Lovelace": "Ada-Lovelace",
        "Jürgen": "Jurgen",
        "auth0|5f7": "auth0-5f7",
        "5f7": "user-5f7",
        "李": "user",
        "../../etc": "etc",
        "x" * 300: "x" * 54,
        "a\nb'; DROP": "a-b-DROP",
    }
    assert {wish: safe_name(wish) for wish in names} == names


@given(st.text(max_size=80))
def test_every_wish_comes_to_a_name(wish: str) -> None:
    if safe_name(wish).casefold() not in {"token", "admin"}:
        check_username(safe_name(wish))
