"""Listings hold what the caller may read, and not a name more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.engine.base import RowScan
from flight_server.errors import NotFound, Unsupported
from flight_server.service.browse import BASE_TABLE, SYSTEM_TABLE
from flight_server.service.information_schema import SCHEMAS
from flight_server.sql.names import AsOf
from policies.book import PolicyBook
from policies.names import Principal, Privilege, TableRef
from policies.rules import Effect, Grant
from tests import tables as zoo
from tests.service.opened import ADMIN, BOB, PENDING, Lakehouse


@pytest.fixture
def lake(tmp_path: Path) -> Lakehouse:
    zoo.plain(tmp_path / "p/s/a")
    zoo.plain(tmp_path / "p/s/b")
    zoo.plain(tmp_path / "p/t/c")
    zoo.plain(tmp_path / "o/s/d")
    (tmp_path / "e").mkdir()
    house = Lakehouse({"primary": tmp_path / "p", "other": tmp_path / "o", "empty": tmp_path / "e"})
    house.allow("primary", "s", "a")
    return house


def names(lake: Lakehouse, principal: Principal, **narrow: str) -> list[str]:
    rows = lake.browser.tables(principal, **narrow)
    return [str(row.ref) for row in rows if row.table_type == BASE_TABLE]


def test_who_sees_what(lake: Lakehouse) -> None:
    assert lake.browser.catalogs(ADMIN) == ("empty", "other", "primary")
    assert lake.browser.catalogs(BOB) == ("primary",)
    assert lake.browser.catalogs(PENDING) == ()
    assert names(lake, BOB) == ["primary.s.a"]
    assert len(names(lake, ADMIN)) == 4
    assert names(lake, PENDING) == []
    assert lake.browser.schemas(BOB) == (("primary", "information_schema"), ("primary", "s"))
    assert lake.browser.schemas(PENDING) == ()
    assert lake.browser.schemas(ADMIN, "empty") == (
        ("empty", "information_schema"),
        ("empty", "public"),
    )
    assert lake.browser.schemas(BOB, "other") == lake.browser.schemas(BOB, "nowhere") == ()


def test_tables_are_narrowed(lake: Lakehouse) -> None:
    assert names(lake, ADMIN, catalog="primary", schema="t") == ["primary.t.c"]
    assert names(lake, ADMIN, catalog="nowhere") == []
    kinds = {row.table_type for row in lake.browser.tables(ADMIN)}
    assert kinds == {BASE_TABLE, SYSTEM_TABLE}


def test_columns(lake: Lakehouse) -> None:
    assert lake.browser.columns(BOB, TableRef("primary", "s", "a")) == zoo.NUMBERS
    made = TableRef("primary", "information_schema", "tables")
    assert lake.browser.columns(BOB, made) == SCHEMAS["tables"]
    for ref in (
        TableRef("primary", "s", "b"),
        TableRef("other", "information_schema", "tables"),
        TableRef("primary", "information_schema", "nothing"),
    ):
        with pytest.raises(NotFound):
            lake.browser.columns(BOB, ref)


def made(lake: Lakehouse, table: str, principal: Principal) -> list[dict[str, object]]:
    scan = lake.open("information_schema", table, principal=principal).scan
    assert isinstance(scan, RowScan)
    assert scan.rows.schema == SCHEMAS[table]
    return scan.rows.to_pylist()


def test_information_schema_shows_each_their_own(lake: Lakehouse) -> None:
    assert [row["schema_name"] for row in made(lake, "schemata", BOB)] == [
        "information_schema",
        "s",
    ]
    own = [row for row in made(lake, "tables", BOB) if row["table_type"] == BASE_TABLE]
    assert own == [
        {
            "table_catalog": "primary",
            "table_schema": "s",
            "table_name": "a",
            "table_type": "BASE TABLE",
        }
    ]
    assert made(lake, "views", BOB) == []
    columns = [row for row in made(lake, "columns", BOB) if row["table_schema"] == "s"]
    assert [(row["column_name"], row["ordinal_position"]) for row in columns] == [
        ("id", 1),
        ("name", 2),
    ]
    assert {row["table_catalog"] for row in made(lake, "tables", ADMIN)} == {
        "empty",
        "other",
        "primary",
    }


def test_information_schema_is_of_visible_catalogs_and_of_now(lake: Lakehouse) -> None:
    for names_, principal in (
        (("other", "information_schema", "tables"), BOB),
        (("primary", "information_schema", "tables"), PENDING),
        (("primary", "information_schema", "secrets"), ADMIN),
    ):
        with pytest.raises(NotFound):
            lake.open(*names_, principal=principal)
    with pytest.raises(Unsupported):
        lake.open("information_schema", "tables", as_of=AsOf(version=0))
    pin = lake.open("information_schema", "tables").pin
    assert lake.open("information_schema", "tables", pin=pin).pin == pin


def test_columns_are_described_as_sql_does(tmp_path: Path) -> None:
    fields: list[pa.Field[Any]] = [
        pa.field("i", pa.int32(), nullable=False),
        pa.field("d", pa.decimal128(12, 3)),
        pa.field("t", pa.timestamp("us", tz="UTC"), metadata={"comment": "when"}),
        pa.field("f", pa.float64()),
        pa.field("x", pa.string()),
    ]
    zoo.DeltaFolder(tmp_path / "s/t", pa.schema(fields)).create()
    pq.write_table(pa.table({"n": pa.array([[1]])}), tmp_path / "p.parquet")
    rows = made(Lakehouse({"primary": tmp_path}), "columns", ADMIN)
    found = {
        str(row["column_name"]): row for row in rows if row["table_schema"] != "information_schema"
    }
    wanted = (
        "is_nullable",
        "data_type",
        "numeric_precision",
        "numeric_scale",
        "datetime_precision",
    )
    assert {name: tuple(row[key] for key in wanted) for name, row in found.items()} == {
        "i": ("NO", "INTEGER", 32, 0, None),
        "d": ("YES", "DECIMAL(12,3)", 12, 3, None),
        "t": ("YES", "TIMESTAMP WITH TIME ZONE", None, None, 6),
        "f": ("YES", "DOUBLE", 53, None, None),
        "x": ("YES", "VARCHAR", None, None, None),
        "n": ("YES", "ARRAY", None, None, None),
    }
    assert found["t"]["comment"] == "when"


@pytest.fixture
def marked(tmp_path: Path) -> Lakehouse:
    zoo.plain(tmp_path / "p/s/a")
    for name in ("fresh", "other"):
        (tmp_path / "p" / name).mkdir()
        (tmp_path / "p" / name / "_schema").touch()
    return Lakehouse({"primary": tmp_path / "p", "side": tmp_path / "p/side"})


def grant(lake: Lakehouse, privilege: Privilege, *resource: str, deny: bool = False) -> None:
    effect = Effect.DENY if deny else Effect.ALLOW
    rule = Grant(privilege, resource, user="bob", effect=effect)
    lake.book = PolicyBook(lake.book.version + "+", (*lake.book.grants, rule))


def schemas(lake: Lakehouse, principal: Principal = BOB) -> list[str]:
    found = lake.browser.schemas(principal, "primary")
    return [schema for _, schema in found if schema != "information_schema"]


READ, WRITE = Privilege.READ, Privilege.WRITE


@pytest.mark.parametrize(
    ("privilege", "resource", "seen"),
    [
        (READ, ("primary",), ["fresh", "other", "public", "s"]),
        (WRITE, ("primary",), ["fresh", "other", "public", "s"]),
        (READ, ("primary", "fresh"), ["fresh"]),
        (WRITE, ("primary", "fresh"), ["fresh"]),
        (WRITE, ("primary", "nowhere"), []),
        (READ, ("primary", "fresh", "t"), []),  # a table that is not there
        (WRITE, ("primary", "fresh", "t"), ["fresh"]),  # one that may be made
        (WRITE, ("primary", "s", "a"), ["s"]),
        (READ, ("primary", "s", "a"), ["s"]),
        (Privilege.MAINTAIN, ("primary",), []),
        (READ, ("side",), []),
    ],
)
def test_schemas_without_tables_are_seen_by_those_who_may_use_them(
    marked: Lakehouse, privilege: Privilege, resource: tuple[str, ...], seen: list[str]
) -> None:
    grant(marked, privilege, *resource)
    assert schemas(marked) == seen
    assert marked.browser.sees_catalog(BOB, "primary") == bool(seen)
    assert schemas(marked, ADMIN) == ["fresh", "other", "public", "s"]
    assert schemas(marked, PENDING) == []
    if privilege is WRITE:
        assert names(marked, BOB) == []


def test_a_deny_closes_a_schema(marked: Lakehouse) -> None:
    grant(marked, WRITE, "primary")
    grant(marked, WRITE, "primary", "fresh", deny=True)
    assert schemas(marked) == ["other", "public", "s"]
    grant(marked, WRITE, "primary", deny=True)
    assert schemas(marked) == []


def test_a_denied_name_is_looked_for_like_one_that_is_not_there(lake: Lakehouse) -> None:
    # A difference of more than a few calls could be told by a clock.
    def calls(table: str) -> int:
        count = 0

        def call(*_: object) -> None:
            nonlocal count
            count += 1

        for attempt in range(2):  # the first one fills what is remembered
            sys.setprofile(call if attempt else None)
            try:
                with pytest.raises(NotFound):
                    lake.browser.look_up(BOB, TableRef("primary", "s", table))
            finally:
                sys.setprofile(None)
        return count

    assert abs(calls("b") - calls("z")) <= calls("z") // 20
