"""Hostile statements that change rows: what they change, count and say is as on what is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as fl
import pytest
from deltalake import DeltaTable

from tests.lakehouse import write
from tests.leaks.cases import GOVERNED, LEFT, Case
from tests.leaks.kinds import CASES
from tests.leaks.rows import SCHEMA, is_hidden
from tests.leaks.searching import Outcome, alike
from tests.leaks.serving import Clients, asked, refused, serving
from tests.leaks.shapes import read_shapes
from tests.leaks.world import World

WRITES = read_shapes(Path(__file__).with_name("writes.sql"))
# One of each kind; a view takes no rows.
_CASES = ["tomb_text", "filter", "mask_stars", "mask_leaf", "deny", "stack"]
_FAILED = ("invalid_request", "a value")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    chosen = {name: CASES[name] for name in _CASES}
    world = World(tmp_path_factory.mktemp("written"), chosen)
    for case in chosen.values():
        for schema in (GOVERNED, LEFT):
            write(world.folder / schema / f"o_{case.name}", SCHEMA.empty_table())
    with serving(world) as served:
        for schema in (GOVERNED, LEFT):
            served.admin.call(
                "grant.add", privilege="write", resource=f"primary.{schema}", to={"user": "me"}
            )
        for case in chosen.values():
            served.admin.call(
                "grant.add",
                privilege="read",
                resource=f"primary.main.o_{case.name}",
                to={"user": "me"},
            )
        world.put()
        yield served


def changed(clients: Clients, sql: str) -> Outcome:
    """Run a statement that changes rows; what is said is how many."""
    try:
        counted = clients.me.fetch(sql)
    except fl.FlightError as error:
        return refused(error)
    return Outcome(("changed", counted.to_pylist()), b"")


def statement(case: Case, shape: str, schema: str) -> str:
    column, number = case.targets[0]
    return shape.format(
        t=f"primary.{schema}.g_{case.name}",
        o=f"primary.{schema}.o_{case.name}",
        c=column,
        n=number,
        seven="7",
        text="'t1'",
    )


def hidden(clients: Clients, case: Case) -> pa.Table:
    """Return what is stored of the rows that are hidden, and of columns that are."""
    path = clients.world.folder / GOVERNED / f"g_{case.name}"
    rows = DeltaTable(str(path)).to_pyarrow_table().sort_by("id")
    if case.hiding.rows:
        numbers: list[Any] = rows["id"].to_pylist()
        return rows.filter(pa.array([is_hidden(number) for number in numbers]))
    return rows.select(["id", *(name for name in SCHEMA.names if name in case.hiding.columns)])


@pytest.mark.parametrize("name", _CASES)
def test_changes_are_those_of_what_is_left(clients: Clients, name: str) -> None:
    case = CASES[name]
    before = hidden(clients, case)
    for shape in WRITES:
        sql = statement(case, shape, GOVERNED)
        got = changed(clients, sql)
        assert got.is_clean(), sql
        if got.said[0] == "permission_denied":
            assert not case.hiding.rows or case.shows, sql
            continue
        left = changed(clients, statement(case, shape, LEFT))
        # Of a column that is always NULL nothing is computed, so that nothing fails.
        assert got.said == left.said or (case.shows and left.said == _FAILED), sql
        kind = "o" if sql.startswith("INSERT") else "g"
        governed, rest = (
            asked(clients.me, f"SELECT * FROM primary.{schema}.{kind}_{name}")
            for schema in (GOVERNED, LEFT)
        )
        assert governed.is_clean(), sql
        assert governed.said == rest.said, sql
    after = hidden(clients, case)
    if case.hiding.rows:
        assert after == before
    else:
        stayed = pc.is_in(before["id"], value_set=after["id"].combine_chunks())
        assert after == before.filter(stayed)


def test_messages_are_compared_without_names() -> None:
    assert alike("primary.main.g_x") == alike("primary.left.g_x")
