"""The privacy table: what it hides, that the docs say so, and who sees what of the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.book import PolicyBook
from policies.decide import decide
from policies.lens import ShownColumn, narrow
from policies.names import Principal, Privilege, Role, TableRef
from policies.purposes import (
    COLUMNS,
    NEVER_SHOWN,
    OTHERWISE,
    PURPOSES,
    DataPart,
    Part,
    Treatment,
    disclosure,
    purposes_with,
)
from policies.records import (
    ACTIVITY,
    ALL_USER_ACTIONS,
    AUDIT_LOG,
    AUDIT_VIEW,
    USAGE_VIEWS,
    reads_everybody,
    reads_records,
)
from policies.rules import Effect, Grant, Label, RedactionKind
from policies.stating import purposes_of

PAGE = Path(__file__).parents[2] / "docs/usage.md"
DATA_PAGE = PAGE.with_name("purposes.md")
ANONYMOUS = ("research", "analytics", "machine_learning")


@pytest.mark.parametrize("purpose", ANONYMOUS)
def test_user_and_device_are_dropped_and_the_address_is_redacted(purpose: str) -> None:
    shown = disclosure(purpose)
    assert shown.user is Treatment.DROPPED
    assert shown.device is Treatment.DROPPED
    assert shown.address is not Treatment.KEPT


def test_the_purposes_of_the_contract_are_there() -> None:
    assert set(PURPOSES) == {*ANONYMOUS, "user_view", "provider_access", "data_sync", "admin"}
    assert all(shown.reason for shown in (*PURPOSES.values(), OTHERWISE))


@given(st.none() | st.text(max_size=20))
def test_what_is_not_in_the_table_shows_no_more_than_the_strictest(purpose: str | None) -> None:
    shown = disclosure(purpose)
    if purpose not in PURPOSES:
        assert shown is OTHERWISE
    order = list(Treatment)
    for part in Part:
        strictest = max(order.index(each.of(part)) for each in PURPOSES.values())
        assert order.index(OTHERWISE.of(part)) == strictest


def test_the_table_can_be_asked_both_ways() -> None:
    for part in Part:
        listed = [purposes_with(part, treatment) for treatment in Treatment]
        assert sorted(name for names in listed for name in names) == sorted(PURPOSES)
    columns = [column for part in Part for column in COLUMNS[part]]
    assert len(columns) == len(set(columns))
    assert not set(NEVER_SHOWN) & set(columns)


def test_the_table_is_documented_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, shown in (*((f"`{name}`", each) for name, each in PURPOSES.items()),
                        ("none, or another", OTHERWISE)):  # fmt: skip
        assert (
            f"| {name} | {shown.user} | {shown.device} | {shown.address} | {shown.reason} |" in page
        )
    for part in Part:
        for column in COLUMNS[part]:
            assert f"`{column}`" in page


# The privacy table: what each purpose leaves of the four columns that tell of a person.
IDENTIFIERS: Mapping[str, tuple[str, str, str, str]] = {
    "user_view": ("kept", "network", "dropped", "kept"),
    "provider_access": ("kept", "network", "kept", "kept"),
    "research": ("dropped", "network", "dropped", "kept"),
    "data_sync": ("kept", "kept", "kept", "kept"),
    "admin": ("kept", "kept", "kept", "kept"),
    "analytics": ("dropped", "network", "dropped", "aggregated"),
    "machine_learning": ("dropped", "network", "dropped", "kept"),
}


def test_the_privacy_table_of_data_is_as_shipped_and_documented() -> None:
    page = DATA_PAGE.read_text(encoding="utf-8")
    assert set(IDENTIFIERS) == set(PURPOSES)
    for name, shown in PURPOSES.items():
        treatments = tuple(str(shown.of_data(part)) for part in DataPart)
        assert treatments == IDENTIFIERS[name]
        consent = "needed" if shown.needs_consent else "not needed"
        assert f"| `{name}` | {' | '.join(treatments)} | {consent} |" in page
    assert [part.value for part in DataPart] == [
        "user_id", "source_ip", "device_info", "data_content"
    ]  # fmt: skip


@pytest.mark.parametrize("purpose", [None, *PURPOSES])
def test_a_purpose_narrows_columns_by_their_names_and_labels(purpose: str | None) -> None:
    ref = TableRef("p", "s", "t")
    columns = ("n", "User_ID", "source_ip", "device_info", "data_content", "patient")
    label = Label(ref, "patient", DataPart.USER_ID)
    book = PolicyBook("1", labels=(label,), group_rows_min=7)
    admin = replace(ADMIN, purpose=purpose)
    view = narrow(book, admin, ref, columns)
    left = ("kept",) * 4 if purpose is None else IDENTIFIERS[purpose]
    user, address, device, content = left
    expected = {
        "n": "kept", "User_ID": user, "patient": user, "source_ip": address,
        "device_info": device, "data_content": "kept",
    }  # fmt: skip
    assert {each.name: treated(each) for each in view.columns} == expected
    needs = purpose is not None and PURPOSES[purpose].needs_consent
    assert view.subjects == (("User_ID", "patient") if needs else ())
    assert view.group_rows_min == (7 if content == "aggregated" else 0)
    assert view.shows_all(columns) == (purpose in (None, "data_sync", "admin"))


def treated(column: ShownColumn) -> str:
    if not column.redactions:
        return "kept"
    (((path, redaction)),) = column.redactions
    assert path == ()
    return "dropped" if redaction.kind is RedactionKind.NULL else str(redaction.to)


def test_who_may_state_what() -> None:
    reads = Grant(Privilege.READ, ("p", "s"), user="bob", purposes=frozenset({"research", "gone"}))
    book = PolicyBook("1", (reads, Grant(Privilege.READ, ("p",), role="registered")))
    assert purposes_of(book, REGISTERED) == {"research"}
    assert purposes_of(book, AUDITOR) == set()
    assert purposes_of(book, ADMIN) == set(PURPOSES)
    deny = replace(reads, effect=Effect.DENY, purposes=frozenset({"analytics"}))
    assert purposes_of(PolicyBook("2", (deny,)), REGISTERED) == set()


REGISTERED = Principal("1", "bob", Role.REGISTERED)
AUDITOR = Principal("2", "aud", Role.GUEST, frozenset({"auditor"}))
ANALYST = Principal("3", "lyn", Role.REGISTERED, frozenset({"audit_analyst"}))
ADMIN = Principal("4", "root", Role.ADMIN)
PENDING = Principal("5", "eve", Role.PENDING, frozenset({"auditor", "audit_analyst"}))
VIEWS = (*USAGE_VIEWS, AUDIT_LOG, AUDIT_VIEW, ALL_USER_ACTIONS)
ANYTHING = st.sampled_from([*VIEWS, TableRef("system", "auth", "users"), TableRef("p", "s", "t")])


@pytest.mark.parametrize(
    ("who", "may_read"),
    [
        (REGISTERED, set(USAGE_VIEWS)),
        (ANALYST, {*USAGE_VIEWS, AUDIT_VIEW}),
        (AUDITOR, set(VIEWS)),
        (ADMIN, set(VIEWS)),
        (PENDING, set()),
    ],
)
def test_who_reads_what_without_a_grant(who: Principal, may_read: set[TableRef]) -> None:
    others = {
        TableRef("system", "usage", "other"),
        TableRef("system", "audit", ""),
        TableRef("primary", "usage", "activity"),
        TableRef("system", "auth", "users"),
    }
    empty = PolicyBook("0")
    for ref in (*VIEWS, *others):
        assert reads_records(who, ref) == (ref in may_read)
        expected = ref in may_read or who is ADMIN
        assert decide(empty, who, Privilege.READ, ref).allowed == expected
    assert reads_everybody(who) == (who in (AUDITOR, ADMIN))


@given(
    st.sampled_from([REGISTERED, ANALYST, AUDITOR, PENDING]),
    st.sampled_from([each for each in Privilege if each is not Privilege.READ]),
    ANYTHING,
)
def test_nothing_but_reading(who: Principal, privilege: Privilege, ref: TableRef) -> None:
    assert not decide(PolicyBook("0"), who, privilege, ref).allowed


@given(
    st.sampled_from([REGISTERED, ANALYST, AUDITOR, ADMIN]),
    st.sampled_from(VIEWS),
    st.integers(1, 3),
)
def test_a_deny_wins_and_no_grant_opens_more(who: Principal, ref: TableRef, parts: int) -> None:
    names = (ref.bucket, ref.schema, ref.table)[:parts]
    deny = Grant(Privilege.READ, names, user=who.username, effect=Effect.DENY)
    assert not decide(PolicyBook("1", (deny,)), who, Privilege.READ, ref).allowed
    allow = Grant(Privilege.READ, ("system",), user=who.username)
    allowed = decide(PolicyBook("1", (allow,)), who, Privilege.READ, ref).allowed
    assert allowed == decide(PolicyBook("0"), who, Privilege.READ, ref).allowed
    assert decide(PolicyBook("0"), who, Privilege.READ, ACTIVITY).allowed
