"""What somebody who changes a table is held to, by the rules on it."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from flight_server.errors import PermissionDenied
from flight_server.service.terms import Terms, terms_of
from policies.book import PolicyBook
from policies.names import Principal, Privilege, Role, TableRef
from policies.rules import NULLED, Audience, ColumnMask, Effect, Grant, RowFilter

REF = TableRef("primary", "s", "t")
BOB = Principal("2", "bob", Role.REGISTERED, attributes=(("team", "red"),))
COLUMNS = ("id", "Owner", "pay")
READ = Grant(Privilege.READ, ("primary",), user="bob")
WRITE = Grant(Privilege.WRITE, ("primary",), user="bob")
DENY = Grant(
    Privilege.READ, ("primary", "s", "t"), user="bob", effect=Effect.DENY, columns=("pay",)
)
FILTER = RowFilter("f", REF, "owner = current_user OR team = attribute('team')")
MASK = ColumnMask("m", REF, ("Owner",), NULLED)


def terms(
    *grants: Grant, filters: tuple[RowFilter, ...] = (), masks: tuple[ColumnMask, ...] = ()
) -> Terms:
    book = PolicyBook("1", grants=grants, filters=filters, masks=masks)
    return terms_of(book, BOB, REF, COLUMNS, has_tombstones=False)


def test_who_sees_all_is_held_to_nothing() -> None:
    found = terms(READ, WRITE)
    assert found == Terms(REF)
    assert found.sees_all


def test_new_rows_are_held_to_the_filters_with_the_values_of_who_asks() -> None:
    found = terms(READ, filters=(FILTER,))
    assert found.checks == ("owner = 'bob' OR team = 'red'",)
    assert not found.sees_all_rows
    assert not found.sees_all


def test_a_filter_for_others_says_nothing() -> None:
    other = RowFilter("f", REF, "FALSE", Audience(user="carla"))
    found = terms(READ, filters=(other,))
    assert found.checks == ()
    assert found.sees_all
    assert found.has_rules


def test_who_reads_nothing_may_name_all_columns_and_is_held_to_filters() -> None:
    found = terms(WRITE, filters=(FILTER,))
    assert found.columns is None
    assert found.checks


@pytest.mark.parametrize(
    ("held", "act"),
    [
        (terms(READ, filters=(FILTER,)), lambda t: t.require_all_rows("drop it")),
        (terms(READ, filters=(FILTER,)), lambda t: t.require_columns(["id"], is_drop=True)),
        (terms(READ, masks=(MASK,)), lambda t: t.require_columns(["Owner"])),
        (terms(READ, DENY), lambda t: t.require_columns(["pay"])),
        (terms(READ, DENY), lambda t: t.require_columns(["nowhere"])),
        (terms(READ, DENY), lambda t: t.require_new_names(["id", "pay"])),
        (terms(READ, DENY), lambda t: t.require_new_names(["nowhere"])),
        (
            terms(READ, DENY),
            lambda t: t.require_room(pa.schema([pa.field("pay", pa.int64(), nullable=False)])),
        ),
    ],
)
def test_what_is_refused(held: Terms, act: Callable[[Terms], None]) -> None:
    with pytest.raises(PermissionDenied):
        act(held)


def test_what_is_not_refused() -> None:
    masked, denied = terms(READ, masks=(MASK,)), terms(READ, DENY)
    masked.require_all_rows("drop it")
    masked.require_columns(["id"], is_drop=True)
    masked.require_new_names(["owner", "pay"])
    denied.require_new_names(["ID", "owner"])
    denied.require_room(pa.schema([pa.field("id", pa.int64(), nullable=False)]))
    assert denied.columns == ("id", "Owner")
    assert masked.columns is None
    assert masked.redacted == {"Owner"}
