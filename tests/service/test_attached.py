"""Rules that name a table or a column keep the names that they depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flight_server.errors import InvalidRequest
from flight_server.service.attached import Attached
from policies.book import PolicyBook
from policies.names import Privilege, TableRef
from policies.purposes import DataPart
from policies.rules import NULLED, ColumnMask, Effect, Grant, Label, RowFilter, SafeView

PEOPLE = TableRef("primary", "hr", "people")
OTHER = TableRef("primary", "hr", "other")
SOME = Grant(Privilege.READ, ("primary", "hr", "people"), role="a", columns=("email",))
VIEW = SafeView(OTHER, PEOPLE, columns=(("email", "string"),))
BARE = replace(VIEW, columns=())


def attached(book: PolicyBook, key_column: str | None = None) -> Attached:
    return Attached(lambda: book, key_column=lambda ref: key_column if ref == PEOPLE else None)


@pytest.mark.parametrize(
    ("book", "kind"),
    [
        (PolicyBook("v", filters=(RowFilter("f", PEOPLE, "email <> 'x'"),)), "row filter"),
        (PolicyBook("v", filters=(RowFilter("f", PEOPLE, '"email".x = 1'),)), "row filter"),
        (PolicyBook("v", masks=(ColumnMask("m", PEOPLE, ("email", "x"), NULLED),)), "mask"),
        (PolicyBook("v", labels=(Label(PEOPLE, "email", DataPart.USER_ID),)), "label"),
        (PolicyBook("v", grants=(SOME,)), "grant of columns"),
        (PolicyBook("v", grants=(replace(SOME, effect=Effect.DENY),)), "a grant|a deny"),
        (PolicyBook("v", views=(VIEW,)), "safe view"),
        (PolicyBook("v", views=(replace(BARE, row_filter="email > 'a'"),)), "safe view"),
        (PolicyBook("v", views=(replace(BARE, redactions=((("email",), NULLED),)),)), "safe view"),
    ],
)
def test_a_column_that_a_rule_names_keeps_its_name(book: PolicyBook, kind: str) -> None:
    rules = attached(book)
    with pytest.raises(InvalidRequest, match=kind) as raised:
        rules.check_columns(PEOPLE, ["id", "email"])
    assert raised.value.code == "has_policies"
    with pytest.raises(InvalidRequest, match=kind):
        rules.check_table(PEOPLE)
    rules.check_columns(PEOPLE, ["id", "Email"])
    rules.check_columns(TableRef("primary", "sales", "people"), ["email"])
    rules.check_table(OTHER)


def test_a_deny_of_a_whole_table_is_not_left_behind() -> None:
    deny = replace(SOME, columns=None, effect=Effect.DENY)
    rules = attached(PolicyBook("v", grants=(deny,)))
    rules.check_columns(PEOPLE, ["email"])
    with pytest.raises(InvalidRequest, match="a deny"):
        rules.check_table(PEOPLE)
    for wider in (replace(deny, resource=("primary",)), replace(deny, effect=Effect.ALLOW)):
        attached(PolicyBook("v", grants=(wider,))).check_table(PEOPLE)


def test_the_column_of_tombstones_keeps_its_name() -> None:
    rules = attached(PolicyBook("v"), key_column="id")
    rules.check_columns(PEOPLE, ["email"])
    with pytest.raises(InvalidRequest, match="tombstones"):
        rules.check_columns(PEOPLE, ["id"])
    with pytest.raises(InvalidRequest, match="tombstones"):
        rules.check_table(PEOPLE)
