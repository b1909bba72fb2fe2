"""Rules in words: each kind says all that it does, and nothing that it does not."""

from __future__ import annotations

import pytest
from hypothesis import given

from policies.lens import ShownColumn
from policies.names import Privilege, TableRef
from policies.purposes import DataPart, disclosure
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
from policies.words import (
    AS_IT_IS,
    Seen,
    Step,
    audience_words,
    purpose_hides,
    redaction_words,
    rule_words,
    seen,
)
from tests.policies.test_lens import grants

PEOPLE = TableRef("primary", "hr", "people")
HASH = Redaction(RedactionKind.HASH)
MASK = Redaction(RedactionKind.MASK, keep_prefix=2, keep_suffix=1)
MONTH = Redaction(RedactionKind.GENERALISE, to="month")


@pytest.mark.parametrize(
    ("redaction", "words"),
    [
        (NULLED, "as NULL"),
        (HASH, "as a keyed hash"),
        (Redaction(RedactionKind.HASH, domain="people"), "as a keyed hash shared as people"),
        (Redaction(RedactionKind.HASH, domain="a\x00b\x00c"), "as a keyed hash"),
        (Redaction(RedactionKind.MASK), "as stars"),
        (MASK, "as stars but for its first 2 and last 1 characters"),
        (MONTH, "generalised to month"),
    ],
)
def test_redactions(redaction: Redaction, words: str) -> None:
    assert redaction_words(redaction) == words


@pytest.mark.parametrize(
    ("to", "words"),
    [
        (Audience(), "everybody"),
        (Audience(role="agent"), "the role agent"),
        (Audience(user="ann", user_id="1"), "the user ann"),
        (Audience(user="ann", role="agent"), "the user ann with the role agent"),
        (
            Audience(except_roles=frozenset({"b", "a"})),
            "everybody, except the role a or b",
        ),
    ],
)
def test_audiences(to: Audience, words: str) -> None:
    assert audience_words(to) == words


@given(grants())
def test_grants_name_all_that_they_say(grant: Grant) -> None:
    words = rule_words(grant)
    said = [grant.privilege, ".".join(grant.resource), grant.user or grant.role or ""]
    said += [*(grant.columns or ()), *(grant.purposes or ())]
    assert not [each for each in said if each not in words]
    assert words.startswith("a deny of ") is (grant.effect is Effect.DENY)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            Grant(Privilege.READ, ("primary", "hr"), role="agent"),
            "read on primary.hr to the role agent",
        ),
        (
            RowFilter("f", PEOPLE, "id > 1", Audience(role="agent")),
            "the row filter f on primary.hr.people for the role agent: id > 1",
        ),
        (
            ColumnMask("m", PEOPLE, ("place", "street"), MASK),
            (
                "the mask m on primary.hr.people for everybody:"
                " place.street as stars but for its first 2 and last 1 characters"
            ),
        ),
        (
            Label(PEOPLE, "who", DataPart.USER_ID),
            "the label user_id on the column who of primary.hr.people",
        ),
        (
            SafeView(
                TableRef("primary", "hr", "safe"),
                PEOPLE,
                (("id", "int64"), ("born", "date32")),
                row_filter="id > 1",
                redactions=((("born",), MONTH),),
            ),
            (
                "the safe view primary.hr.safe of primary.hr.people with the columns id, born,"
                " of rows where id > 1; born generalised to month"
            ),
        ),
    ],
)
def test_rules(rule: Grant | RowFilter | ColumnMask | Label | SafeView, words: str) -> None:
    assert rule_words(rule) == words


def test_columns_are_followed_through_all_narrowings() -> None:
    base = [ShownColumn("id"), ShownColumn("name", (((), HASH),)), ShownColumn("place")]
    view = [ShownColumn("name", (((), MASK),)), ShownColumn("place", ((("street",), NULLED),))]
    found = {each.name: each for each in seen([base, view], ("id", "name", "place", "hidden"))}
    assert [*found] == ["name", "place"]
    assert (found["name"].shown, found["place"].shown) == ("hash, then mask", "in part")
    assert found["name"].steps == (Step((), HASH), Step((), MASK))
    assert found["place"].sentence() == "place.street is shown as NULL"
    assert [each.shown for each in seen([], ("id",))] == [AS_IT_IS]
    assert Seen("id").sentence() == "id is shown as it is"


def test_nothing_is_left_of_what_is_null_somewhere() -> None:
    for steps in ((Step((), NULLED), Step((), HASH)), (Step((), HASH), Step((), NULLED))):
        assert Seen("id", steps).shown == "null"
        assert Seen("id", steps).sentence() == "id is shown as NULL"


def test_purposes_hide_what_they_do() -> None:
    labels = [("who", DataPart.USER_ID), ("from", DataPart.SOURCE_IP)]
    assert purpose_hides(disclosure("research"), labels) == (
        "who (user_id) is shown as NULL",
        "from (source_ip) is shown as the network of the address",
    )
    assert purpose_hides(disclosure("admin"), labels) == ()
