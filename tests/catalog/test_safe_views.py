"""AI-safe views by name: durable, seen at once, never in a circle, and stronger than a table."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.catalog import safe_views as safe_views_module
from flight_server.catalog.registry import Registry
from flight_server.catalog.rule_rows import view_of
from flight_server.catalog.rule_table import RuleTable
from flight_server.catalog.safe_views import VIEWS_DEPTH_MAX, SafeViews, stamp
from flight_server.errors import (
    AlreadyExists,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    Unavailable,
)
from flight_server.storage.locations import locate_all
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import SAFE_VIEWS
from policies.names import TableRef
from policies.rules import Redaction, RedactionKind, SafeView
from policies.words import redaction_words
from tests import tables as zoo
from tests.clocks import StandingClock

BASE = TableRef("primary", "s", "people")
REF = TableRef("primary", "s", "safe")
SCHEMA = zoo.schema(id=pa.int64(), name=pa.string())
VIEW = SafeView(
    REF,
    BASE,
    (("id", "int64"), ("name", "string")),
    row_filter="id <> 7",
    redactions=(
        (("id",), Redaction(RedactionKind.GENERALISE, to="10")),
        (("name",), Redaction(RedactionKind.MASK, keep_prefix=1, keep_suffix=2)),
    ),
    description="People for agents",
    tags=("ai", "hr"),
)


def system_table(root: Path) -> SystemTable:
    return SystemTable(root, SAFE_VIEWS, clock=StandingClock(), random_bytes=os.urandom)


def open_views(root: Path) -> SafeViews:
    rules = RuleTable(
        system_table(root), view_of, name="policy.views", clock=StandingClock(), skips_broken=True
    )
    return SafeViews(rules)


def allow() -> None:
    """Let it be put."""


def put(
    views: SafeViews,
    view: SafeView = VIEW,
    check: Callable[[], None] = allow,
    check_new: Callable[[], None] = allow,
) -> bool:
    return views.put(view, SCHEMA, created_by="root", check=check, check_new=check_new)


def over(base: str, name: str) -> SafeView:
    return replace(VIEW, ref=TableRef("primary", "s", name), base=TableRef("primary", "s", base))


def test_what_was_put_is_there_for_everybody_at_once(tmp_path: Path) -> None:
    here, there = open_views(tmp_path), open_views(tmp_path)
    assert there.get(REF) is None
    assert put(here)
    stored = there.get(REF)
    assert stored is not None
    assert (stored.rule, stored.created_by, stored.comment) == (VIEW, "root", "People for agents")
    assert stored.arrow_schema == SCHEMA
    assert there.list("primary") == (stored,)
    assert there.list("other") == ()
    assert there.is_name(REF)
    assert not put(here, replace(VIEW, row_filter=None))
    changed = there.get(REF)
    assert changed is not None
    assert changed.rule.row_filter is None
    here.drop(frozenset({REF}), check=lambda: None)
    assert there.get(REF) is None
    with pytest.raises(NotFound) as raised:
        here.drop(frozenset({REF}), check=lambda: None)
    assert raised.value.code == "view_not_found"


def test_its_definition_is_text_for_people(tmp_path: Path) -> None:
    views = open_views(tmp_path)
    put(views)
    stored = views.get(REF)
    assert stored is not None
    assert stored.definition.splitlines() == [
        'SELECT "id", "name"',
        'FROM "primary"."s"."people"',
        "WHERE (id <> 7)",
        f"-- id is shown {redaction_words(VIEW.redactions[0][1])}",
        f"-- name is shown {redaction_words(VIEW.redactions[1][1])}",
    ]


def test_who_asks_first_may_give_up(tmp_path: Path) -> None:
    views = open_views(tmp_path)

    def refuse() -> None:
        raise AlreadyExists("taken")

    for checks in ((refuse, allow), (allow, refuse)):
        with pytest.raises(AlreadyExists):
            put(views, VIEW, *checks)
        assert views.get(REF) is None
    put(views)
    assert not put(views, VIEW, allow, refuse)
    with pytest.raises(AlreadyExists):
        put(views, VIEW, refuse)


def test_views_are_made_of_views_but_never_of_themselves(tmp_path: Path) -> None:
    views = open_views(tmp_path)
    put(views, over("people", "a"))
    put(views, over("a", "b"))
    put(views, over("b", "c"))
    last = views.get(TableRef("primary", "s", "c"))
    assert last is not None
    assert [each.ref.table for each in views.chain(last.rule)] == ["c", "b", "a"]
    for base, name in (("a", "a"), ("b", "a"), ("c", "a"), ("c", "b")):
        with pytest.raises(InvalidRequest) as raised:
            put(views, over(base, name))
        assert raised.value.code == "view_recursive"
    put(views, over("people", "b"))
    assert [each.ref.table for each in views.chain(last.rule)] == ["c", "b"]


def test_they_are_only_so_deep_from_wherever_they_grow(tmp_path: Path) -> None:
    views = open_views(tmp_path)
    for number in range(VIEWS_DEPTH_MAX):
        put(views, over(f"v{number}" if number else "people", f"v{number + 1}"))
    with pytest.raises(InvalidRequest, match="views_depth_max=16") as raised:
        put(views, over(f"v{VIEWS_DEPTH_MAX}", "too_deep"))
    assert raised.value.code == "view_recursive"
    put(views, over("people", "below"))
    with pytest.raises(InvalidRequest, match="views_depth_max=16"):
        put(views, over("below", "v1"))
    put(views, over("v3", "v1_beside"))


def test_a_circle_that_somebody_wrote_by_hand_is_told_and_not_followed(tmp_path: Path) -> None:
    views = open_views(tmp_path)
    put(views, over("people", "a"))
    put(views, over("a", "b"))
    system_table(tmp_path).change(
        lambda rows: [{**rows["primary/s/a"], "base_table": "b"}],
    )
    first = views.get(TableRef("primary", "s", "a"))
    assert first is not None
    with pytest.raises(InvalidRequest) as raised:
        list(views.chain(first.rule))
    assert raised.value.code == "view_recursive"


def test_there_are_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_views_module, "SAFE_VIEWS_MAX", 1)
    views = open_views(tmp_path)
    put(views)
    put(views)
    with pytest.raises(LimitExceeded, match="safe_views_max=1"):
        put(views, over("people", "another"))


def test_the_stamp_of_a_chain_is_that_of_its_columns_and_bases() -> None:
    same = replace(VIEW, row_filter="TRUE", redactions=(), description=None, tags=())
    assert stamp((VIEW,)) == stamp((same,))
    others = (
        replace(VIEW, columns=(("id", "int64"),)),
        replace(VIEW, base=TableRef("primary", "s", "others")),
    )
    assert len({stamp((VIEW,)), *(stamp((each,)) for each in others)}) == 3


@pytest.mark.parametrize(
    "damage", [{"arrow_schema": b"no"}, {"redactions": "no"}, {"columns": None}]
)
def test_the_name_of_a_view_that_cannot_be_read_means_nothing(
    tmp_path: Path, damage: dict[str, object]
) -> None:
    zoo.plain(tmp_path / "p/s/safe")
    views = open_views(tmp_path / "system")
    put(views)
    put(views, over("people", "other"))
    system_table(tmp_path / "system").change(lambda rows: [{**rows["primary/s/safe"], **damage}])
    registry = Registry(locate_all({"primary": tmp_path / "p"}), safe_views=views)
    assert registry.find(REF) is None
    with pytest.raises(Unavailable):
        registry.find_view(REF)
    assert [view.ref.table for view in registry.views("primary")] == ["other"]
    assert registry.tables("primary") == []
    views.drop(frozenset({REF}), check=lambda: None)
    assert registry.find(REF) is not None


def test_a_name_that_was_given_to_a_view_never_means_a_table(tmp_path: Path) -> None:
    zoo.plain(tmp_path / "p/s/people")
    views = open_views(tmp_path / "system")
    put(views)
    put(views, over("safe", "above"))
    registry = Registry(locate_all({"primary": tmp_path / "p"}), safe_views=views)
    zoo.plain(tmp_path / "p/s/safe")
    assert registry.find(REF) is None
    found = registry.find_view(REF)
    assert found is not None
    assert [entry.ref for entry in registry.tables("primary")] == [BASE]
    assert registry.find_below(REF) is not None
    above = views.get(TableRef("primary", "s", "above"))
    assert above is not None
    entry, chain = registry.made_of(above)
    assert entry is not None
    assert entry.ref == BASE
    assert [each.ref.table for each in chain] == ["safe", "above"]


def test_a_view_of_the_servers_own_tables_is_made_of_nothing(tmp_path: Path) -> None:
    views = open_views(tmp_path)
    put(views, replace(VIEW, base=TableRef("system", "policy", "views")))
    registry = Registry(
        locate_all({"primary": tmp_path / "p", "system": tmp_path}), safe_views=views
    )
    stored = views.get(REF)
    assert stored is not None
    assert registry.made_of(stored)[0] is None
