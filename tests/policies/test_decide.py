"""Decisions: no rule means no, a deny beats every allow, and order does not matter."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.book import PolicyBook
from policies.decide import decide, may_see
from policies.names import Principal, Privilege, Role, TableRef
from policies.records import reads_records
from policies.rules import Effect, Grant

NAMES = st.sampled_from(["a", "b", "system"])
ROLES = st.sampled_from(list(Role))
principals = st.builds(
    Principal,
    user_id=st.just("1"),
    username=st.sampled_from(["ann", "bob"]),
    role=ROLES,
    custom_roles=st.frozensets(st.sampled_from(["steward", "analyst"])),
)
refs = st.builds(TableRef, NAMES, NAMES, NAMES)
grants = st.builds(
    Grant,
    privilege=st.sampled_from(list(Privilege)),
    resource=st.lists(NAMES, max_size=3).map(tuple),
    user=st.none() | st.sampled_from(["ann", "bob"]),
    role=st.none() | st.sampled_from([*Role, "steward", "analyst"]),
    effect=st.sampled_from(list(Effect)),
)
books = st.lists(grants, max_size=8)
privileges = st.sampled_from(list(Privilege))


def allowed(
    rules: list[Grant], principal: Principal, *, privilege: Privilege, ref: TableRef
) -> bool:
    return decide(PolicyBook("v", tuple(rules)), principal, privilege, ref).allowed


@given(principals, privileges, refs)
def test_an_empty_book_shows_nobody_but_administrators_anything(
    principal: Principal, privilege: Privilege, ref: TableRef
) -> None:
    assert allowed([], principal, privilege=privilege, ref=ref) is principal.is_admin


@given(books, grants, principals, privileges, refs)
def test_a_deny_never_widens(
    rules: list[Grant], grant: Grant, principal: Principal, privilege: Privilege, ref: TableRef
) -> None:
    deny = Grant(grant.privilege, grant.resource, grant.user, grant.role, Effect.DENY)
    after = allowed([*rules, deny], principal, privilege=privilege, ref=ref)
    assert not after or allowed(rules, principal, privilege=privilege, ref=ref)


@given(books, grants, principals, privileges, refs)
def test_a_grant_never_lifts_a_deny(
    rules: list[Grant], grant: Grant, principal: Principal, privilege: Privilege, ref: TableRef
) -> None:
    deny = Grant(privilege, (ref.bucket,), user=principal.username, effect=Effect.DENY)
    assert not allowed([deny, *rules, grant], principal, privilege=privilege, ref=ref)


@given(books, st.randoms(use_true_random=False), principals, privileges, refs)
def test_order_does_not_matter(
    rules: list[Grant],
    random: Random,
    principal: Principal,
    privilege: Privilege,
    ref: TableRef,
) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert allowed(rules, principal, privilege=privilege, ref=ref) is allowed(
        shuffled, principal, privilege=privilege, ref=ref
    )


@given(books, principals, privileges, refs)
def test_a_pending_account_may_do_nothing(
    rules: list[Grant], principal: Principal, privilege: Privilege, ref: TableRef
) -> None:
    pending = Principal(principal.user_id, principal.username, Role.PENDING, principal.custom_roles)
    assert not allowed(rules, pending, privilege=privilege, ref=ref)


@given(books, principals, privileges, refs)
def test_a_guest_reads_and_changes_nothing_and_sees_what_others_read(
    rules: list[Grant], principal: Principal, privilege: Privilege, ref: TableRef
) -> None:
    book = PolicyBook("v", tuple(rules))
    guest = replace(principal, role=Role.GUEST)
    assert reads_records(guest, ref) or not allowed(rules, guest, privilege=privilege, ref=ref)
    # But for grants to the role itself, somebody registered reads exactly what a guest sees.
    others = [grant for grant in rules if grant.role not in (Role.GUEST, Role.REGISTERED)]
    plain, promoted = PolicyBook("v", tuple(others)), replace(principal, role=Role.REGISTERED)
    assert may_see(plain, guest, ref) is decide(plain, promoted, Privilege.READ, ref).allowed
    assert not decide(book, principal, Privilege.READ, ref).allowed or may_see(book, principal, ref)


@given(books, principals, privileges, refs)
def test_the_system_bucket_is_for_administrators(
    rules: list[Grant], principal: Principal, privilege: Privilege, ref: TableRef
) -> None:
    inside = TableRef("system", ref.schema, ref.table)
    assert principal.is_admin or not allowed(rules, principal, privilege=privilege, ref=inside)


ANN = Principal("1", "ann", Role.REGISTERED, frozenset({"analyst"}))
ORDERS = TableRef("primary", "sales", "orders")


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        (Grant(Privilege.READ, ("primary",), role="registered"), True),
        (Grant(Privilege.READ, ("primary", "sales"), role="analyst"), True),
        (Grant(Privilege.READ, ("primary", "sales", "orders"), user="ann"), True),
        (Grant(Privilege.READ, ("primary", "sales", "regions"), user="ann"), False),
        (Grant(Privilege.READ, ("primary", "tpch"), user="ann"), False),
        (Grant(Privilege.READ, ("other",), user="ann"), False),
        (Grant(Privilege.READ, (), user="ann"), False),
        (Grant(Privilege.WRITE, ("primary",), user="ann"), False),
        (Grant(Privilege.READ, ("primary",), user="bob"), False),
        (Grant(Privilege.READ, ("primary",), role="trader"), False),
        (Grant(Privilege.READ, ("primary",)), False),
        (Grant(Privilege.READ, ("primary",), user="ann", role="registered"), False),
    ],
)
def test_one_grant(grant: Grant, expected: bool) -> None:
    decision = decide(PolicyBook("v", (grant,)), ANN, Privilege.READ, ORDERS)
    assert decision.allowed is expected
    assert "read" in decision.reason
