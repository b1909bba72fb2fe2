"""The rules in force: stored ones beside those of the settings, seen at once, shut when broken."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.catalog import rulebook as rulebook_module
from flight_server.catalog.resources import read_resource, write_resource
from flight_server.catalog.rulebook import UNREADABLE, Narrowing, Rulebook
from flight_server.errors import InvalidRequest, LimitExceeded, NotFound, Unavailable
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import GRANTS
from policies.decide import decide
from policies.names import Principal, Privilege, Role, TableRef
from policies.rules import Effect, Grant
from tests.clocks import StandingClock

BOB = Principal("2", "bob", Role.REGISTERED)
ORDERS = TableRef("primary", "sales", "orders")
READ = Grant(Privilege.READ, ("primary", "sales"), user="bob")
DENY = replace(READ, effect=Effect.DENY)


def table(root: Path, clock: StandingClock | None = None) -> SystemTable:
    return SystemTable(root, GRANTS, clock=clock or StandingClock(), random_bytes=os.urandom)


def open_book(root: Path, *fixed: Grant, clock: StandingClock | None = None) -> Rulebook:
    clock = clock or StandingClock()
    rules = Narrowing(
        lambda spec: SystemTable(root, spec, clock=clock, random_bytes=os.urandom), clock=clock
    )
    return Rulebook(
        fixed, table(root, clock), narrowing=rules, clock=clock, random_bytes=os.urandom
    )


def may_read(rules: Rulebook) -> bool:
    return decide(rules.book(), BOB, Privilege.READ, ORDERS).allowed


def test_a_grant_holds_everywhere_at_the_next_look(tmp_path: Path) -> None:
    here, there = open_book(tmp_path), open_book(tmp_path)
    assert not may_read(here)
    assert not may_read(there)
    stored, is_new = here.add(READ, created_by="root")
    assert is_new
    assert may_read(here)
    assert may_read(there)
    assert there.list() == (stored,)
    assert (stored.privilege, stored.resource, stored.user) == ("read", "primary.sales", "bob")
    assert (stored.effect, stored.created_by) == ("allow", "root")
    assert stored.rule() == READ
    assert there.remove(stored.grant_id) == stored
    assert not may_read(here)
    assert may_read(open_book(tmp_path, READ))


def test_the_book_is_made_anew_only_when_the_table_changed(tmp_path: Path) -> None:
    rules = open_book(tmp_path, READ)
    first = rules.book()
    assert rules.book() is first
    rules.add(DENY, created_by=None)
    second = rules.book()
    assert second is rules.book()
    assert second.version != first.version
    rules.remove(DENY)
    # Every state has a name of its own, also one that says what another one said.
    assert rules.book().version not in (first.version, second.version)
    assert rules.book().version == rules.version()


def test_grants_on_columns_and_for_purposes_are_other_grants(tmp_path: Path) -> None:
    rules = open_book(tmp_path)
    whole = replace(READ, resource=("primary", "sales", "orders"))
    several = [
        whole,
        replace(whole, columns=("id",)),
        replace(whole, columns=("id", "note")),
        replace(whole, purposes=frozenset({"research"})),
    ]
    for each in several:
        assert rules.add(each, created_by=None)[1]
        assert not rules.add(each, created_by=None)[1]
    assert set(rules.book().grants) == set(several)
    rules.remove(several[1])
    assert set(rules.book().grants) == {*several} - {several[1]}


def test_what_the_settings_grant_is_denied_by_a_stored_rule(tmp_path: Path) -> None:
    rules = open_book(tmp_path, READ)
    assert may_read(rules)
    rules.add(DENY, created_by=None)
    assert not may_read(rules)


def test_the_same_twice_is_one(tmp_path: Path) -> None:
    rules = open_book(tmp_path)
    first, _ = rules.add(READ, created_by="root")
    assert rules.add(READ, created_by="somebody") == (first, False)
    other, is_new = rules.add(DENY, created_by=None)
    assert is_new
    assert rules.list() == tuple(sorted((first, other), key=lambda grant: grant.grant_id))
    assert rules.remove(READ) == first
    for asked in (READ, first.grant_id, "", "x"):
        with pytest.raises(NotFound) as raised:
            rules.remove(asked)
        assert raised.value.code == "grant_not_found"


def test_a_later_account_of_a_name_needs_a_grant_of_its_own(tmp_path: Path) -> None:
    rules = open_book(tmp_path)
    rules.add(replace(READ, user_id="1"), created_by=None)
    assert not may_read(rules)
    later, is_new = rules.add(replace(READ, user_id="2"), created_by=None)
    assert is_new
    assert may_read(rules)
    assert rules.add(replace(READ, user_id="2"), created_by=None) == (later, False)
    rules.remove(READ)
    assert rules.list() == ()


def test_there_is_an_end_to_the_number_of_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rulebook_module, "GRANTS_MAX", 1)
    rules = open_book(tmp_path)
    rules.add(READ, created_by=None)
    with pytest.raises(LimitExceeded, match="grants_max=1"):
        rules.add(DENY, created_by=None)


def damage(root: Path, **changes: object) -> None:
    """Change the stored grants as another tool might."""
    stored = table(root)
    stored.change(lambda rows: [{**row, **changes} for row in rows.values()])


@pytest.mark.parametrize(
    "changes",
    [
        {"privilege": "fly"},
        {"resource": "a..b"},
        {"resource": ""},
        {"role": "guest"},
        {"columns": ["id"]},  # of no table
        {"resource": "primary.sales.orders", "columns": []},
        {"purposes": []},
        {"purposes": ["curiosity"]},
    ],
)
def test_an_allow_that_cannot_be_read_opens_nothing(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    rules = open_book(tmp_path)
    stored, _ = rules.add(READ, created_by=None)
    damage(tmp_path, **changes)
    assert not may_read(rules)
    assert [grant.grant_id for grant in rules.list()] == [stored.grant_id]


@pytest.mark.parametrize(
    "changes",
    [
        {"privilege": "fly"},
        {"resource": "a..b"},
        {"effect": "?"},
        {"columns": ["id"]},
        {"purposes": ["curiosity"]},
    ],
)
def test_a_deny_that_cannot_be_read_closes_everything(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    rules, admin = open_book(tmp_path, READ), Principal("1", "root", Role.ADMIN)
    stored, _ = rules.add(DENY, created_by=None)
    damage(tmp_path, **changes)
    for each in (rules, open_book(tmp_path, READ)):
        for principal in (BOB, admin):
            with pytest.raises(Unavailable):
                decide(each.book(), principal, Privilege.READ, ORDERS)
        assert each.version() == UNREADABLE
    rules.remove(stored.grant_id)  # the way back
    assert may_read(rules)


def test_a_damaged_table_closes_everything(tmp_path: Path) -> None:
    clock = StandingClock()
    rules = open_book(tmp_path, READ, clock=clock)
    rules.add(replace(READ, user="ann"), created_by=None)
    assert may_read(rules)
    log = tmp_path / GRANTS.name / "_delta_log"
    (log / f"{1:020d}.json").write_bytes(b"")
    clock.advance(1)
    for each in (rules, open_book(tmp_path, READ)):
        with pytest.raises(Unavailable):
            each.book()
        with pytest.raises(Unavailable):
            each.list()


def test_a_table_that_went_is_not_an_empty_one(tmp_path: Path) -> None:
    clock = StandingClock()
    rules = open_book(tmp_path, READ, clock=clock)
    rules.add(DENY, created_by=None)
    assert not may_read(rules)
    shutil.rmtree(tmp_path / GRANTS.name)
    clock.advance(2)
    for _ in range(2):
        with pytest.raises(Unavailable):
            rules.book()
        with pytest.raises(Unavailable):
            rules.add(READ, created_by=None)


def test_without_a_table_the_settings_hold() -> None:
    rules = Rulebook([READ], clock=StandingClock(), random_bytes=os.urandom)
    assert may_read(rules)
    assert rules.list() == ()
    with pytest.raises(Unavailable):
        rules.add(DENY, created_by=None)


PARTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(PARTS, max_size=2), st.sampled_from(["primary", "profile_user"]))
def test_resources_survive_as_text(parts: list[str], bucket: str) -> None:
    resource = (bucket, *parts)
    assert read_resource(write_resource(resource)) == resource


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a.b.c.d", 'a."b', "a b", "a.b c"])
def test_other_texts_are_no_resources(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_resource(text)
