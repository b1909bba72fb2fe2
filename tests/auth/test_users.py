from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flight_server import errors
from flight_server.auth.passwords import PasswordOptions, Passwords
from flight_server.auth.users import UserStore
from flight_server.storage.system import Rows, SystemTable
from flight_server.storage.system_tables import USERS
from policies.names import Principal, Role
from tests.clocks import StandingClock

CHEAP = PasswordOptions(time_cost=1, memory_kib=8, parallelism=1)


def open_table(root: Path) -> SystemTable:
    return SystemTable(root, USERS, clock=StandingClock(), random_bytes=os.urandom)


def open_users(
    root: Path, options: PasswordOptions = CHEAP, clock: StandingClock | None = None
) -> UserStore:
    return UserStore(
        open_table(root),
        Passwords(options),
        clock=clock or StandingClock(),
        random_bytes=os.urandom,
    )


def change(root: Path, username: str, **values: Any) -> None:
    """Change a row as another process would."""

    def edit(rows: Rows) -> list[dict[str, Any]]:
        return [{**row, **values} for row in rows.values() if row["username"] == username]

    open_table(root).change(edit)


def test_a_user_is_seen_at_once_by_a_server_that_runs(tmp_path: Path) -> None:
    server, command = open_users(tmp_path), open_users(tmp_path)
    assert server.find("alice") is None
    added = command.add(
        "alice",
        "one fine pass",
        role="trader",
        email="a@example.com",
        custom_roles=["desk", "desk"],
    )
    assert server.find("alice") == added
    assert server.get(added.user_id) == added
    assert added.as_principal() == Principal(
        added.user_id, "alice", Role.TRADER, frozenset({"desk"})
    )
    assert server.authenticate("alice", "one fine pass") == added
    command.set_password("alice", "two fine pass")
    with pytest.raises(errors.Unauthenticated):
        server.authenticate("alice", "one fine pass")
    assert server.authenticate("alice", "two fine pass").user_id == added.user_id


def test_no_hash_in_what_is_printed(tmp_path: Path) -> None:
    user = open_users(tmp_path).add("alice", "one fine pass", role="registered")
    assert user.password_hash.startswith("$argon2id$")
    assert "argon2" not in repr(user)


def test_users_are_listed_by_name(tmp_path: Path) -> None:
    users = open_users(tmp_path)
    for name in ("carol", "alice", "bob"):
        users.add(name, "one fine pass", role="registered")
    assert [user.username for user in users.list()] == ["alice", "bob", "carol"]


def test_every_failure_to_sign_in_looks_the_same(tmp_path: Path) -> None:
    users = open_users(tmp_path)
    users.add("alice", "one fine pass", role="registered")
    users.add("gone", "one fine pass", role="registered")
    change(tmp_path, "gone", is_active=False)
    seen = set()
    for name, password in (
        ("alice", "wrong-password"),
        ("nobody", "one fine pass"),
        ("gone", "one fine pass"),
        ("alice", ""),
        ("alice", "x" * 5000),
        ("ALICE", "one fine pass"),
        ("", ""),
        ("\udcff", "\udcff"),
    ):
        with pytest.raises(errors.Unauthenticated) as caught:
            users.authenticate(name, password)
        seen.add((str(caught.value), caught.value.code))
    assert seen == {("wrong user name or password", "invalid_credentials")}


@pytest.mark.parametrize(
    "name",
    ["", "1st", ".x", "a b", "a/b", "é", "a" * 65, "token", "Token", "a\n", "a'--", "../x", "a@b"],
)
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        open_users(tmp_path).add(name, "one fine pass", role="registered")


@pytest.mark.parametrize(
    "values",
    [
        {"role": "root"},
        {"role": ""},
        {"email": "nobody"},
        {"email": "a@b@c"},
        {"email": "a b@c"},
        {"email": "a@b\n"},
        {"email": "a@" + "b" * 300},
        {"custom_roles": ["admin"]},
        {"custom_roles": ["Desk"]},
        {"custom_roles": [""]},
        {"tier": "gold"},
        {"password": "short"},
    ],
)
def test_bad_values_are_refused_and_nothing_is_written(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    users = open_users(tmp_path)
    arguments: dict[str, Any] = {"password": "one fine pass", "role": "registered", **values}
    with pytest.raises(errors.InvalidRequest):
        users.add("alice", arguments.pop("password"), **arguments)
    assert users.list() == ()


def test_a_name_is_taken_in_any_capitals_also_by_another_process(tmp_path: Path) -> None:
    first, second = open_users(tmp_path), open_users(tmp_path)
    assert second.list() == ()
    first.add("alice", "one fine pass", role="registered")
    with pytest.raises(errors.AlreadyExists):
        second.add("alice", "one fine pass", role="registered")
    with pytest.raises(errors.AlreadyExists):
        second.add("Alice", "one fine pass", role="registered")


def test_unknown_users_are_not_found(tmp_path: Path) -> None:
    users = open_users(tmp_path)
    calls: tuple[Callable[[], object], ...] = (
        lambda: users.get("no such id"),
        lambda: users.require("nobody"),
        lambda: users.set_password("nobody", "one fine pass"),
    )
    for call in calls:
        with pytest.raises(errors.NotFound) as caught:
            call()
        assert caught.value.code == "user_not_found"


def test_the_first_start_makes_the_administrator_once(tmp_path: Path) -> None:
    users = open_users(tmp_path)
    password = users.bootstrap(None)
    assert password is not None
    assert len(password) >= 20
    admin = users.authenticate("admin", password)
    assert admin.role is Role.ADMIN
    assert open_users(tmp_path).bootstrap(None) is None
    assert open_users(tmp_path).bootstrap("another-password") is None
    assert users.authenticate("admin", password) == admin


def test_a_given_administrator_password_is_used_and_not_returned(tmp_path: Path) -> None:
    users = open_users(tmp_path)
    assert users.bootstrap("given-password") is None
    assert users.authenticate("admin", "given-password").username == "admin"


def test_a_weak_administrator_password_stops_the_start(tmp_path: Path) -> None:
    users = open_users(tmp_path)
    with pytest.raises(errors.InvalidRequest, match=r"admin\.password: a password has 8 to 1024"):
        users.bootstrap("weak")
    with pytest.raises(errors.InvalidRequest):
        users.bootstrap("")
    assert users.list() == ()


def test_signing_in_renews_a_hash_of_older_costs(tmp_path: Path) -> None:
    clock = StandingClock()
    before = open_users(tmp_path, clock=clock).add("alice", "one fine pass", role="registered")
    clock.advance(60)
    dearer = open_users(tmp_path, PasswordOptions(2, 8, 1), clock)
    after = dearer.authenticate("alice", "one fine pass")
    assert after.password_hash.startswith("$argon2id$v=19$m=8,t=2,p=1$")
    assert after.updated_at > before.updated_at
    assert after.created_at == before.created_at
    assert dearer.authenticate("alice", "one fine pass") == after


def test_a_role_nobody_knows_may_do_nothing(tmp_path: Path) -> None:
    users = open_users(tmp_path)
    users.add("alice", "one fine pass", role="admin")
    change(tmp_path, "alice", role="super-admin")
    assert users.require("alice").role is Role.PENDING


def test_attributes_are_kept_by_name_and_those_that_cannot_be_read_are_none(
    tmp_path: Path,
) -> None:
    users = open_users(tmp_path)
    alice = users.add("alice", "one fine pass", role="registered")
    assert alice.as_principal().attributes == ()
    users.update(
        alice.user_id, lambda found: replace(found, attributes=(("team", "ä"), ("region", "n")))
    )
    principal = open_users(tmp_path).require("alice").as_principal()
    assert principal.attributes == (("region", "n"), ("team", "ä"))
    for text in ("{", "[]", '{"region": 7}', "null"):
        change(tmp_path, "alice", attributes=text)
        assert users.require("alice").attributes == ()
