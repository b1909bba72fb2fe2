"""The book finds by its index what a look at every rule would find."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.book import PolicyBook, book_of, from_rows, to_rows
from policies.names import Principal, Privilege, Role, TableRef
from policies.rules import Effect, Grant
from tests.policies.test_decide import NAMES, principals, privileges, refs
from tests.policies.test_decide import grants as unbound

ids = st.none() | st.sampled_from(["1", "2"])
grants = st.builds(lambda grant, user_id: replace(grant, user_id=user_id), unbound, ids)
books = st.lists(grants, max_size=12)


def plain(
    rules: list[Grant], principal: Principal, *, privilege: Privilege, ref: TableRef
) -> Effect | None:
    """Look at every rule, as their definition says."""
    found = {
        grant.effect
        for grant in rules
        if grant.privilege is privilege and grant.is_for(principal) and grant.covers(ref)
    }
    return Effect.DENY if Effect.DENY in found else next(iter(found), None)


@given(books, principals, privileges, refs)
def test_the_index_says_what_the_rules_say(
    rules: list[Grant], principal: Principal, privilege: Privilege, ref: TableRef
) -> None:
    book = PolicyBook("v", tuple(rules))
    assert book.effect(principal, privilege, ref) is plain(
        rules, principal, privilege=privilege, ref=ref
    )


@given(books, principals, NAMES)
def test_the_index_knows_whom_and_what_the_rules_speak_of(
    rules: list[Grant], principal: Principal, bucket: str
) -> None:
    said = any(
        grant.is_for(principal) and grant.resource and grant.resource[0] == bucket
        for grant in rules
    )
    assert PolicyBook("v", tuple(rules)).speaks_of(principal, bucket) is said


@given(books, principals, privileges)
def test_the_effects_are_those_of_the_rules_for_somebody(
    rules: list[Grant], principal: Principal, privilege: Privilege
) -> None:
    found = {
        resource
        for effects in PolicyBook("v", tuple(rules)).effects(principal, privilege)
        for resource in effects
    }
    assert found == {
        grant.resource
        for grant in rules
        if grant.resource and grant.privilege is privilege and grant.is_for(principal)
    }


@given(books, st.randoms(use_true_random=False))
def test_the_version_is_that_of_the_rules_whatever_their_order(
    rules: list[Grant], random: Random
) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert book_of(rules).version == book_of(shuffled).version
    if rules:
        assert book_of(set(rules)).version == book_of(rules).version
        assert book_of([each for each in rules if each != rules[0]]).version != (
            book_of(rules).version
        )


@given(books)
def test_rules_survive_as_plain_data(rules: list[Grant]) -> None:
    assert from_rows(to_rows(rules)) == tuple(rules)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"privilege": "all", "resource": ["a"], "user": "u", "role": None, "effect": "allow"},
        {"privilege": "read", "resource": ["a"], "user": "u", "role": None, "effect": "maybe"},
        {"privilege": "read", "resource": None, "user": "u", "role": None, "effect": "allow"},
    ],
)
def test_other_data_are_no_rules(row: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_rows([row])


def test_a_later_account_of_the_same_name_has_no_grants_of_the_first() -> None:
    first, later = (Principal(number, "ann", Role.REGISTERED) for number in ("1", "2"))
    grant = Grant(Privilege.READ, ("a",), user="ann", user_id="1")
    book = PolicyBook("v", (grant,))
    for principal, expected in ((first, Effect.ALLOW), (later, None)):
        assert book.effect(principal, Privilege.READ, TableRef("a", "b", "c")) is expected
        assert book.speaks_of(principal, "a") is (expected is not None)


def test_a_resource_has_one_to_three_parts() -> None:
    ann = Principal("1", "ann", Role.REGISTERED)
    long = Grant(Privilege.READ, ("a", "b", "c", "d"), user="ann")
    book = PolicyBook("v", (long, Grant(Privilege.READ, (), user="ann")))
    assert book.effect(ann, Privilege.READ, TableRef("a", "b", "c")) is None
    assert not book.speaks_of(ann, "a")
