"""The rules of any moment, and of every version that is on record."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_server.catalog.editions import Editions
from flight_server.catalog.rule_rows import filter_row
from flight_server.catalog.rulebook import Rulebook
from flight_server.errors import InvalidRequest, NotFound, Unavailable
from flight_server.service.own_bucket import make_rule_tables
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import FILTERS, GRANTS
from policies.book import PolicyBook
from policies.names import Privilege, TableRef
from policies.rules import Grant, RowFilter
from tests.catalog.test_rulebook import DENY, READ, open_book
from tests.clocks import StandingClock

ORDERS = TableRef("primary", "sales", "orders")


def said(book: PolicyBook) -> tuple[object, ...]:
    """Return what a book says, whatever the order."""
    kinds = (book.grants, book.filters, book.masks, book.labels, book.views)
    return tuple(frozenset(each) for each in kinds)


def put_filter(root: Path, clock: StandingClock, condition: str) -> None:
    rule = RowFilter("f", ORDERS, condition)
    kept = filter_row(rule, created_at=clock.now(), created_by="root")
    table = SystemTable(root, FILTERS, clock=clock, random_bytes=os.urandom)
    table.change(lambda _: [kept])


def change(rules: Rulebook, root: Path, clock: StandingClock, step: int) -> None:
    """Make one change or another."""
    if step == 0:
        rules.add(READ, created_by="root")
    elif step == 1:
        rules.add(DENY, created_by=None)
    elif step == 2:
        put_filter(root, clock, f"id > {clock.now().timestamp():.0f}")
    elif rules.list():
        rules.remove(rules.list()[0].grant_id)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=8), st.booleans())
def test_every_version_and_every_moment_is_made_again(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], are_made: bool
) -> None:
    root, clock = tmp_path_factory.mktemp("editions"), StandingClock()
    fixed = Grant(Privilege.READ, ("primary", "files"), role="trader")
    if are_made:
        make_rule_tables(root, clock)
    rules = open_book(root, fixed, clock=clock)
    seen = [(clock.now(), rules.book())]
    for step in steps:
        clock.advance(60)
        change(rules, root, clock, step)
        seen.append((clock.now(), rules.book()))
    editions = Editions(root, (fixed,))
    for moment, book in seen:
        again = editions.of_version(book.version)
        assert (again.version, said(again.book)) == (book.version, said(book))
        assert again.settings_are_known
        then = editions.at(moment)
        assert (then.version, said(then.book)) == (book.version, said(book))
    assert said(editions.newest().book) == said(seen[-1][1])
    listed = editions.list(None, None, limit=100)
    assert {book.version for _, book in seen[1:]} >= {
        each.version for each in listed if each.since > seen[0][0]
    }


def test_the_last_moment_of_a_version_is_right_before_the_next(tmp_path: Path) -> None:
    clock = StandingClock()
    rules = open_book(tmp_path, clock=clock)
    rules.add(READ, created_by=None)
    first = rules.version()
    clock.advance(60)
    put_filter(tmp_path, clock, "TRUE")
    editions = Editions(tmp_path, ())
    end = editions.moment_of(editions.of_version(first))
    assert end is not None
    assert 59.9 < (end - StandingClock().now()).total_seconds() < 60
    assert editions.at(end).version == first
    assert editions.moment_of(editions.newest()) is None
    assert editions.since(editions.newest()) == clock.now()


def test_versions_that_never_were_are_not_found(tmp_path: Path) -> None:
    rules = open_book(tmp_path)
    rules.add(READ, created_by=None)
    editions = Editions(tmp_path, ())
    assert editions.of_version(rules.version()).granted
    with pytest.raises(NotFound) as raised:
        editions.of_version("g7-f-m-l-v-s00")
    assert raised.value.code == "version_not_found"
    for text in ("unreadable", "g0", "g0-f-m-l-v", "0123456789abcdef", "g0-f-m-l-v-sXX\n", ""):
        with pytest.raises(InvalidRequest):
            editions.of_version(text)


def test_a_deny_that_cannot_be_read_showed_nothing(tmp_path: Path) -> None:
    rules = open_book(tmp_path)
    stored, _ = rules.add(DENY, created_by=None)
    table = SystemTable(tmp_path, GRANTS, clock=StandingClock(), random_bytes=os.urandom)
    table.change(lambda rows: [{**rows[stored.grant_id], "privilege": "fly"}])
    with pytest.raises(Unavailable):
        Editions(tmp_path, ()).newest()
    table.change(lambda rows: [{**rows[stored.grant_id], "effect": "allow"}])
    edition = Editions(tmp_path, ()).newest()
    assert edition.book.grants == ()
    assert edition.granted == ()
