"""Consents: what is kept of them, who may keep them, and which keys they come to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.errors import InvalidRequest, PermissionDenied
from flight_server.service.consents import CONSENT_PURPOSES, Consents, KeptConsents
from flight_server.service.hidden_keys import HiddenKeys, KeyStores
from policies.book import PolicyBook, book_of
from policies.names import Principal, Privilege, Role
from policies.rules import Effect, Grant
from tests.clocks import StandingClock
from tests.service.opened import ADMIN, BOB
from tests.service.requests import request


def stores(root: Path) -> KeyStores:
    return KeyStores.open(root, StandingClock(), os.urandom)


@pytest.fixture
def kept(tmp_path: Path) -> KeptConsents:
    return KeptConsents(stores(tmp_path).consents)


def agreed(root: Path, kind: pa.DataType, purpose: str = "research") -> list[object]:
    """Return whose rows a purpose shows in a column of a type, as another process sees it."""
    found = HiddenKeys(stores(root)).consented(purpose, pa.field("user_id", kind))
    assert found.keeps
    assert found.keys.type == kind
    keys: list[object] = found.keys.to_pylist()
    return keys


def test_what_was_agreed_to_counts_until_it_is_withdrawn(
    tmp_path: Path, kept: KeptConsents
) -> None:
    assert agreed(tmp_path, pa.string()) == []
    people = ["ann", "bob", "ann"]
    assert kept.set(people, ["research", "analytics"], is_given=True, actor="s", reason="a") == 4
    assert kept.set(["ann"], ["research"], is_given=True, actor="s") == 0
    assert sorted(map(str, agreed(tmp_path, pa.string()))) == ["ann", "bob"]
    assert kept.set(["ann", "eve"], ["research"], is_given=False, actor="s") == 1
    assert agreed(tmp_path, pa.string()) == ["bob"]
    assert len(agreed(tmp_path, pa.string(), "analytics")) == 2
    assert agreed(tmp_path, pa.string(), "machine_learning") == []
    research, analytics, learning = kept.of("ann")
    assert (research.is_given, analytics.is_given, learning.is_given) == (False, True, False)
    assert (analytics.actor, analytics.reason) == ("s", "a")
    assert analytics.since is not None
    assert kept.count("analytics") == 2


def test_people_are_named_in_the_type_of_a_column(tmp_path: Path, kept: KeptConsents) -> None:
    kept.set(["17", "017", "x", "-3", "9999999999"], ["research"], is_given=True, actor=None)
    assert agreed(tmp_path, pa.int64()) == [17, -3, 9999999999]
    assert agreed(tmp_path, pa.int32()) == [17, -3]
    with pytest.raises(InvalidRequest, match="cannot name people"):
        agreed(tmp_path, pa.list_(pa.string()))


def test_pages(kept: KeptConsents) -> None:
    people = [f"p{number}" for number in range(25)]
    kept.set(people, ["research"], is_given=True, actor=None)
    kept.set(["p3"], ["research"], is_given=False, actor=None)
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page = kept.page("research", after=after, limit=10)
        assert page.count == 24
        seen += [each.subject for each in page.consents]
        after = page.next_after
    assert seen == [each for each in people if each != "p3"]


@pytest.mark.parametrize(
    "act",
    [
        lambda kept: kept.set(["a"], ["user_view"], is_given=True, actor=None),
        lambda kept: kept.set(["a"], ["research", "other"], is_given=True, actor=None),
        lambda kept: kept.set(["a"], [], is_given=True, actor=None),
        lambda kept: kept.set([""], ["research"], is_given=True, actor=None),
        lambda kept: kept.set(["x" * 1025], ["research"], is_given=True, actor=None),
        lambda kept: kept.set(["\ud800"], ["research"], is_given=True, actor=None),
        lambda kept: kept.set(["a"], ["research"], is_given=True, actor=None, reason=" "),
        lambda kept: kept.of("", ["research"]),
        lambda kept: kept.page("admin"),
        lambda kept: kept.page("research", limit=0),
        lambda kept: kept.page("research", limit=10_001),
    ],
)
def test_bad_input(kept: KeptConsents, act: Callable[[KeptConsents], object]) -> None:
    with pytest.raises(InvalidRequest):
        act(kept)
    assert [kept.count(purpose) for purpose in CONSENT_PURPOSES] == [0, 0, 0]


@pytest.mark.slow
def test_a_million_people(tmp_path: Path, kept: KeptConsents) -> None:
    for start in range(0, 1_000_000, 500_000):
        people = [f"patient-{number:07}" for number in range(start, start + 500_000)]
        assert kept.set(people, ["research"], is_given=True, actor=None) == 500_000
    assert kept.set(["patient-0000001"], ["research"], is_given=False, actor=None) == 1
    assert len(agreed(tmp_path, pa.string())) == 999_999


STEWARD = Principal("7", "sue", Role.REGISTERED, frozenset({"steward"}))


def grants(*given: Grant) -> Callable[[], PolicyBook]:
    book = book_of(given)
    return lambda: book


def manage(*resource: str, effect: Effect = Effect.ALLOW) -> Grant:
    return Grant(Privilege.MANAGE, resource, role="steward", effect=effect)


@pytest.mark.parametrize(
    ("principal", "given", "may"),
    [
        (ADMIN, (), True),
        (BOB, (manage("primary"), manage("other")), False),
        (STEWARD, (), False),
        (STEWARD, (manage("primary"),), False),
        (STEWARD, (manage("primary"), manage("other", "sales")), False),
        (STEWARD, (manage("primary"), manage("other")), True),
        (STEWARD, (manage("primary"), manage("other"), manage("other", effect=Effect.DENY)), False),
    ],
)
def test_who_may(
    kept: KeptConsents, principal: Principal, given: tuple[Grant, ...], *, may: bool
) -> None:
    consents = Consents(kept, book=grants(*given), buckets=lambda: ("primary", "other", "system"))
    caller = request(principal)
    calls: tuple[Callable[[], object], ...] = (
        lambda: consents.set(caller, "ann", ["research"], is_given=True, reason=None),
        lambda: consents.of(caller, "ann", None),
        lambda: consents.page(caller, "research", limit=None, token=None),
        lambda: consents.counts(caller),
    )
    for call in calls:
        if may:
            assert call()
        else:
            with pytest.raises(PermissionDenied):
                call()
    assert kept.count("research") == may
    if may:
        with pytest.raises(InvalidRequest):
            consents.page(caller, "research", limit=None, token="x")
