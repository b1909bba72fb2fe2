"""What is seen of a table: every rule only takes away, whoever it is for and wherever it stands."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from policies.book import PolicyBook, from_rows, to_rows
from policies.decide import decide, may_see
from policies.lens import TableView, narrow, through, visible_columns
from policies.names import Principal, Privilege, Role, TableRef
from policies.purposes import GROUP_ROWS_MIN, PURPOSES, DataPart
from policies.rules import (
    NULLED,
    Audience,
    ColumnMask,
    Effect,
    Grant,
    Label,
    Redaction,
    RedactionKind,
    RowFilter,
    SafeView,
)

COLUMNS = ("id", "name", "address", "user_id")
PEOPLE = TableRef("primary", "hr", "people")
ROLES = [*Role, "steward", "analyst"]
columns = st.sampled_from([*COLUMNS, "gone"])
purposes = st.none() | st.sampled_from([*PURPOSES, "unheard_of"])
principals = st.builds(
    Principal,
    user_id=st.sampled_from(["1", "2"]),
    username=st.sampled_from(["ann", "bob"]),
    role=st.sampled_from(list(Role)),
    custom_roles=st.frozensets(st.sampled_from(["steward", "analyst"])),
    purpose=purposes,
)
tables = st.sampled_from([PEOPLE, TableRef("primary", "hr", "other")])
resources = st.sampled_from(
    [("primary",), ("primary", "hr"), ("primary", "hr", "people"), ("primary", "hr", "other")]
)
grantees = st.sampled_from(
    [{"user": "ann"}, {"user": "bob", "user_id": "2"}, *({"role": role} for role in ROLES)]
)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    to = draw(grantees)
    return Grant(
        draw(st.sampled_from([Privilege.READ, Privilege.READ, Privilege.WRITE])),
        draw(resources),
        user=to.get("user"),
        role=to.get("role"),
        user_id=to.get("user_id"),
        effect=draw(st.sampled_from(list(Effect))),
        columns=draw(st.none() | st.lists(columns, min_size=1, max_size=3).map(tuple)),
        purposes=draw(
            st.none() | st.frozensets(st.sampled_from(list(PURPOSES)), min_size=1, max_size=3)
        ),
    )


audiences = st.builds(
    Audience,
    user=st.none() | st.sampled_from(["ann", "bob"]),
    role=st.none() | st.sampled_from(ROLES),
    user_id=st.none() | st.just("1"),
    except_roles=st.frozensets(st.sampled_from(ROLES), max_size=2),
)
redactions = st.sampled_from(
    [
        NULLED,
        Redaction(RedactionKind.HASH),
        Redaction(RedactionKind.HASH, domain="all"),
        Redaction(RedactionKind.MASK, keep_prefix=1),
        Redaction(RedactionKind.MASK),
        Redaction(RedactionKind.GENERALISE, to="month"),
    ]
)
paths = st.lists(st.sampled_from(["street", "zip"]), max_size=2)
filters = st.builds(
    RowFilter,
    name=st.text("ab", min_size=1, max_size=3),
    table=tables,
    condition=st.sampled_from(["id > 1", "name = current_user", "false"]),
    to=audiences,
)
masks = st.builds(
    ColumnMask,
    name=st.text("ab", min_size=1, max_size=3),
    table=tables,
    column=st.builds(lambda column, path: (column, *path), columns, paths),
    redaction=redactions,
    to=audiences,
)
labels = st.builds(Label, table=tables, column=columns, part=st.sampled_from(list(DataPart)))
books = st.builds(
    PolicyBook,
    version=st.just("v"),
    grants=st.lists(grants(), max_size=6).map(tuple),
    filters=st.lists(filters, max_size=3).map(tuple),
    masks=st.lists(masks, max_size=4).map(tuple),
    labels=st.lists(labels, max_size=3).map(tuple),
)


def reads(book: PolicyBook, principal: Principal, privilege: Privilege = Privilege.READ) -> bool:
    return decide(book, principal, privilege, PEOPLE).allowed


def view(book: PolicyBook, principal: Principal) -> TableView:
    return narrow(book, principal, PEOPLE, COLUMNS)


def shows_no_more(after: TableView, before: TableView) -> bool:
    """Whether nothing that one view hides is to be seen in the other."""
    shown = {column.name: column.redactions for column in before.columns}
    return (
        all(
            column.name in shown
            and all(
                any(
                    (path == other and redaction == kept)
                    or (path[: len(other)] == other and kept == NULLED)
                    for other, kept in column.redactions
                )
                for path, redaction in shown[column.name]
            )
            for column in after.columns
        )
        and set(before.conditions) <= set(after.conditions)
        and set(before.subjects) <= set(after.subjects)
        and set(before.missing) <= set(after.missing)
        and before.group_rows_min <= after.group_rows_min
    )


@given(principals, st.sampled_from(list(Privilege)))
def test_an_empty_book_shows_nobody_but_administrators_anything(
    principal: Principal, privilege: Privilege
) -> None:
    book = PolicyBook("v")
    assert reads(book, principal, privilege) is principal.is_admin
    shown = visible_columns(book, principal, PEOPLE, COLUMNS)
    assert shown == (COLUMNS if principal.is_admin else ())


@given(books, principals)
def test_rules_that_narrow_show_nobody_anything(book: PolicyBook, principal: Principal) -> None:
    assume(not principal.is_admin)
    without = replace(book, grants=())
    assert not reads(without, principal)
    assert not may_see(without, principal, PEOPLE)
    assert view(without, principal).columns == ()


@given(books, grants(), principals)
def test_a_deny_never_widens(book: PolicyBook, grant: Grant, principal: Principal) -> None:
    deny = replace(grant, effect=Effect.DENY)
    after = replace(book, grants=(*book.grants, deny))
    for privilege in Privilege:
        assert not reads(after, principal, privilege) or reads(book, principal, privilege)
    assert shows_no_more(view(after, principal), view(book, principal))
    assert after.purposes(principal) == book.purposes(principal)


@given(books, grants(), principals, st.sampled_from(COLUMNS))
def test_a_grant_never_lifts_a_deny(
    book: PolicyBook, grant: Grant, principal: Principal, column: str
) -> None:
    deny = Grant(
        Privilege.READ,
        ("primary", "hr", "people"),
        user=principal.username,
        effect=Effect.DENY,
        columns=(column,),
    )
    after = replace(book, grants=(deny, *book.grants, replace(grant, effect=Effect.ALLOW)))
    assert column not in visible_columns(after, principal, PEOPLE, COLUMNS)
    whole = replace(book, grants=(replace(deny, columns=None), *book.grants, grant))
    assert not reads(whole, principal)


@given(books, filters, principals)
def test_a_filter_never_widens(book: PolicyBook, rule: RowFilter, principal: Principal) -> None:
    after = replace(book, filters=(*book.filters, rule))
    assert shows_no_more(view(after, principal), view(book, principal))
    assert reads(after, principal) is reads(book, principal)


@given(books, masks, principals)
def test_a_mask_never_widens(book: PolicyBook, rule: ColumnMask, principal: Principal) -> None:
    after = replace(book, masks=(*book.masks, rule))
    assert shows_no_more(view(after, principal), view(book, principal))


@given(books, labels, principals)
def test_a_label_never_widens(book: PolicyBook, label: Label, principal: Principal) -> None:
    after = replace(book, labels=(*book.labels, label))
    assert shows_no_more(view(after, principal), view(book, principal))


@given(books, principals)
def test_stating_a_purpose_never_widens_what_rules_show(
    book: PolicyBook, principal: Principal
) -> None:
    always = replace(book, grants=tuple(each for each in book.grants if each.purposes is None))
    without = view(always, replace(principal, purpose=None))
    assert shows_no_more(view(always, principal), without)


@given(books, principals, st.randoms(use_true_random=False))
def test_order_does_not_matter(book: PolicyBook, principal: Principal, random: Random) -> None:
    shuffled = PolicyBook(
        "v",
        grants=tuple(random.sample(book.grants, len(book.grants))),
        filters=tuple(random.sample(book.filters, len(book.filters))),
        masks=tuple(random.sample(book.masks, len(book.masks))),
        labels=tuple(random.sample(book.labels, len(book.labels))),
    )
    assert view(shuffled, principal) == view(book, principal)
    for privilege in Privilege:
        assert reads(shuffled, principal, privilege) is reads(book, principal, privilege)


@given(books, principals)
def test_no_redaction_lies_within_another(book: PolicyBook, principal: Principal) -> None:
    for column in view(book, principal).columns:
        for path, redaction in column.redactions:
            assert redaction.kind is not RedactionKind.HASH or redaction.domain is not None
            others = [other for other, _ in column.redactions if other != path]
            assert not any(path[: len(other)] == other for other in others)


@given(books, principals)
def test_who_may_not_see_a_table_sees_no_column_of_it(
    book: PolicyBook, principal: Principal
) -> None:
    assume(principal.role is not Role.PENDING)
    if not may_see(book, principal, PEOPLE):
        assert visible_columns(book, principal, PEOPLE, COLUMNS) == ()


@given(books, principals, st.sampled_from([Privilege.READ, Privilege.WRITE]))
def test_the_index_says_what_a_look_at_every_grant_says(
    book: PolicyBook, principal: Principal, privilege: Privilege
) -> None:
    on_all, on_some = set(), []
    for grant in book.grants:
        is_meant = grant.is_for(principal) and grant.holds(principal) and grant.covers(PEOPLE)
        if is_meant and grant.privilege is privilege:
            is_deny = grant.effect is Effect.DENY
            if grant.columns is None or (is_deny and privilege is not Privilege.READ):
                on_all.add(grant.effect)
            if grant.columns is not None:
                on_some.append(grant)
    found = Effect.DENY if Effect.DENY in on_all else next(iter(on_all), None)
    assert book.effect(principal, privilege, PEOPLE) is found
    by_text = sorted(on_some, key=repr)
    assert sorted(book.column_grants(principal, privilege, PEOPLE), key=repr) == by_text


@given(st.lists(grants(), max_size=6))
def test_grants_on_columns_and_for_purposes_survive_as_plain_data(rules: list[Grant]) -> None:
    assert list(from_rows(to_rows(rules))) == rules


ANN = Principal("1", "ann", Role.REGISTERED, frozenset({"analyst"}))
READ = Grant(Privilege.READ, ("primary", "hr"), user="ann")
SOME = Grant(Privilege.READ, ("primary", "hr", "people"), role="analyst", columns=("id", "name"))


def test_a_grant_on_columns_lets_see_the_table_with_those_columns() -> None:
    book = PolicyBook("v", (SOME,))
    assert may_see(book, ANN, PEOPLE)
    assert decide(book, ANN, Privilege.READ, PEOPLE).reason == (
        "a grant of read on columns of primary.hr.people"
    )
    assert visible_columns(book, ANN, PEOPLE, COLUMNS) == ("id", "name")
    assert not may_see(book, ANN, TableRef("primary", "hr", "other"))


def test_a_deny_on_a_column_hides_it_whatever_else_is_granted() -> None:
    deny = replace(SOME, columns=("name",), effect=Effect.DENY)
    assert visible_columns(PolicyBook("v", (READ, SOME, deny)), ANN, PEOPLE, COLUMNS) == (
        "id",
        "address",
        "user_id",
    )
    admin = replace(ANN, role=Role.ADMIN)
    assert "name" not in visible_columns(PolicyBook("v", (deny,)), admin, PEOPLE, COLUMNS)


def test_a_deny_of_columns_beyond_one_table_hides_them_in_all_of_them() -> None:
    deny = replace(SOME, resource=("primary",), columns=("name",), effect=Effect.DENY)
    assert "name" not in visible_columns(PolicyBook("v", (READ, deny)), ANN, PEOPLE, COLUMNS)


@pytest.mark.parametrize("effect", list(Effect))
def test_columns_open_nothing_but_reading(effect: Effect) -> None:
    write = Grant(Privilege.WRITE, ("primary", "hr", "people"), user="ann")
    some = replace(write, columns=("id",), effect=effect)
    assert not decide(PolicyBook("v", (some,)), ANN, Privilege.WRITE, PEOPLE).allowed
    both = decide(PolicyBook("v", (write, some)), ANN, Privilege.WRITE, PEOPLE)
    assert both.allowed is (effect is Effect.ALLOW)


def test_a_grant_for_a_purpose_holds_in_sessions_that_state_it() -> None:
    book = PolicyBook("v", (replace(READ, purposes=frozenset({"research"})),))
    assert not reads(book, ANN)
    assert reads(book, replace(ANN, purpose="research"))
    assert not reads(book, replace(ANN, purpose="analytics"))
    assert book.purposes(ANN) == {"research"}
    assert book.purposes(replace(ANN, username="bob")) == set()


def test_a_purpose_hides_by_label_and_by_telling_names() -> None:
    book = PolicyBook("v", (READ,), labels=(Label(PEOPLE, "address", DataPart.SOURCE_IP),))
    seen = view(book, replace(ANN, purpose="research"))
    by_name = {column.name: column.redactions for column in seen.columns}
    assert by_name["user_id"] == (((), NULLED),)
    assert by_name["address"] == (((), Redaction(RedactionKind.GENERALISE, to="network")),)
    assert by_name["name"] == ()
    assert seen.subjects == ("user_id",)
    assert view(book, ANN).shows_all(COLUMNS)
    assert view(book, replace(ANN, purpose="analytics")).group_rows_min == GROUP_ROWS_MIN


def test_a_purpose_that_nobody_described_shows_nobody() -> None:
    book = PolicyBook("v", (READ,))
    seen = view(book, replace(ANN, purpose="unheard_of"))
    assert {c.name for c in seen.columns if c.redactions} == {"user_id"}


def test_rules_on_columns_that_are_not_there_are_told() -> None:
    mask = ColumnMask("m", PEOPLE, ("gone", "street"), NULLED)
    label = Label(PEOPLE, "gone_too", DataPart.USER_ID)
    book = PolicyBook("v", (READ,), masks=(mask,), labels=(label,))
    assert view(book, ANN).missing == ("gone",)
    assert view(book, replace(ANN, purpose="research")).missing == ("gone", "gone_too")
    assert not view(book, ANN).shows_all(COLUMNS)


@pytest.mark.parametrize(
    ("to", "is_for_ann"),
    [
        (Audience(), True),
        (Audience(role="analyst"), True),
        (Audience(role="registered"), True),
        (Audience(role="steward"), False),
        (Audience(user="ann", user_id="1"), True),
        (Audience(user="ann", user_id="2"), False),
        (Audience(except_roles=frozenset({"analyst"})), False),
        (Audience(except_roles=frozenset({"admin"})), True),
    ],
)
def test_whom_a_rule_is_for(to: Audience, is_for_ann: bool) -> None:
    book = PolicyBook("v", (READ,), filters=(RowFilter("f", PEOPLE, "id > 1", to),))
    assert view(book, ANN).conditions == (("id > 1",) if is_for_ann else ())


def test_rules_hold_for_administrators_but_where_they_say_otherwise() -> None:
    admin = replace(ANN, role=Role.ADMIN)
    everybody = RowFilter("f", PEOPLE, "id > 1")
    others = RowFilter("g", PEOPLE, "id > 2", Audience(except_roles=frozenset({"admin"})))
    assert view(PolicyBook("v", filters=(everybody, others)), admin).conditions == ("id > 1",)


def test_a_safe_view_shows_its_columns_whoever_asks_and_needs_no_grant_on_its_base() -> None:
    safe = SafeView(
        TableRef("primary", "hr", "safe"),
        PEOPLE,
        columns=(("id", "int64"), ("name", "string")),
        row_filter="id > 1",
        redactions=((("name",), Redaction(RedactionKind.HASH)),),
    )
    seen = through(safe)
    assert [column.name for column in seen.columns] == ["id", "name"]
    ((path, redaction),) = seen.columns[1].redactions
    assert path == ()
    assert redaction.domain == "primary\0hr\0safe\0name\0\0primary\0hr\0people"
    book = PolicyBook("v", masks=(ColumnMask("m", PEOPLE, ("name",), NULLED),))
    base = narrow(book, ANN, PEOPLE, COLUMNS, is_base=True)
    assert [column.name for column in base.columns] == list(COLUMNS)
    assert base.columns[1].redactions == (((), NULLED),)
