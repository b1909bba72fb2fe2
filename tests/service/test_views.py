"""Views over a real lakehouse: who sees them, what they read, and when a change is noticed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.catalog.views import Draft, Views
from flight_server.engine.base import BatchLimits, Query
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.errors import Conflict, LakeflightError, NotFound, Unsupported
from flight_server.service.browse import VIEW
from flight_server.service.governed import GovernedTables, governed_tables, tables_configuration
from flight_server.sql.commands import IfThere
from flight_server.sql.names import AsOf
from flight_server.storage.locations import locate_all
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import VIEWS
from flight_server.storage.write import append
from policies.names import Principal, Role, TableRef
from tests import tables as zoo
from tests.service.opened import ADMIN, BOB, PENDING, Lakehouse

OWNER = Principal("9", "olga", Role.TRADER)
REF = TableRef("primary", "s", "v")


class Viewed(Lakehouse):
    """A lakehouse with a bucket of its own, an engine, and views put into it."""

    def __init__(self, root: Path) -> None:
        zoo.plain(root / "p/s/a")
        zoo.plain(root / "p/s/b")
        (root / "p/fresh").mkdir()
        (root / "p/fresh/_schema").touch()
        self.buckets = {"primary": root / "p", "system": root / "system"}
        super().__init__(self.buckets)
        table = SystemTable(root / "system", VIEWS, clock=self.clock, random_bytes=os.urandom)
        self.views = Views(table, self.clock)
        self.engine = engine_over(self.tables)

    def put(self, sql: str, *, ref: TableRef = REF, columns: tuple[str, ...] = ()) -> None:
        query = Query(sql, ADMIN, "primary", "s")
        schema = self.engine.describe(query, is_cancelled=lambda: False).schema
        draft = Draft(ref, sql, "primary", "s", schema, OWNER.user_id, columns)
        self.views.put(draft, IfThere.REPLACE, is_table=lambda name: False)

    def ask(self, sql: str, principal: Principal = ADMIN) -> list[dict[str, object]]:
        return ask(self.engine, sql, principal)

    def grant(self, *names: str, user: str = "bob") -> None:
        self.allow("primary", "s", *names, user=user)


def engine_over(tables: GovernedTables) -> LocalEngine:
    return LocalEngine(tables, BatchLimits(), EngineOptions(target_partitions=1))


def ask(engine: LocalEngine, sql: str, principal: Principal) -> list[dict[str, object]]:
    query = Query(sql, principal, "primary", "s")
    schema, batches = engine.stream(query, is_cancelled=lambda: False)
    rows: list[dict[str, object]] = pa.Table.from_batches(list(batches), schema).to_pylist()
    return rows


@pytest.fixture
def lake(tmp_path: Path) -> Viewed:
    return Viewed(tmp_path)


def refusal(lake: Viewed, sql: str, principal: Principal = BOB) -> LakeflightError:
    with pytest.raises(LakeflightError) as raised:
        lake.ask(sql, principal)
    return raised.value


def test_a_view_is_used_and_replaced(lake: Viewed) -> None:
    lake.put("SELECT count(*) AS n FROM a")
    (row,) = lake.ask("SELECT n FROM v")
    assert row == {"n": 20}
    lake.put("SELECT 5 AS n")
    assert lake.ask("SELECT n FROM v") == [{"n": 5}]
    lake.views.drop(REF, if_exists=False)
    assert isinstance(refusal(lake, "SELECT n FROM v", ADMIN), NotFound)


def test_a_worker_of_another_process_sees_a_new_view_on_its_next_query(lake: Viewed) -> None:
    locations = locate_all(lake.buckets)
    configuration = tables_configuration(locations.values(), ())
    worker = engine_over(governed_tables(json.loads(json.dumps(configuration))))
    with pytest.raises(NotFound):
        ask(worker, "SELECT * FROM v", ADMIN)
    for number in range(3):
        lake.put(f"SELECT {number} AS n")
        assert ask(worker, "SELECT * FROM v", ADMIN) == [{"n": number}]


def test_the_callers_own_rights_count(lake: Viewed) -> None:
    lake.put("SELECT id FROM a")
    without_right = refusal(lake, "SELECT * FROM v")
    assert without_right.code == "bucket_not_found"
    lake.grant("v")
    error = refusal(lake, "SELECT * FROM v")
    assert isinstance(error, NotFound)
    assert "primary.s.v" in error.message
    assert "primary.s.a" not in error.message
    lake.grant("a")
    assert len(lake.ask("SELECT * FROM v", BOB)) == 20
    lake.deny("primary", "s", "a")
    assert isinstance(refusal(lake, "SELECT * FROM v"), NotFound)


def test_owners_hear_what_is_wrong_with_their_view(lake: Viewed) -> None:
    lake.put("SELECT id FROM a")
    lake.grant("v", user=OWNER.username)
    assert "primary.s.a" in refusal(lake, "SELECT * FROM v", OWNER).message


def test_a_view_has_pins_like_a_table(lake: Viewed) -> None:
    lake.put("SELECT id FROM a")
    query = Query("SELECT * FROM v", ADMIN, "primary", "s")
    description = lake.engine.describe(query, is_cancelled=lambda: False)
    assert [pin.ref.table for pin in description.pins] == ["a", "v"]
    for pin in description.pins:
        assert lake.tables.pin(pin.ref, ADMIN, as_of=None) == pin
        lake.tables.check(pin.ref, ADMIN)
    lake.put("SELECT id + 0 AS id FROM a")
    assert lake.tables.pin(REF, ADMIN, as_of=None) not in description.pins
    with pytest.raises(Conflict):
        lake.engine.stream(replace(query, pins=description.pins), is_cancelled=lambda: False)
    with pytest.raises(Unsupported):
        lake.open("s", "v", as_of=AsOf(version=0))
    with pytest.raises(NotFound):
        lake.tables.check(REF, BOB)


def test_a_table_hides_a_view_of_its_name(lake: Viewed) -> None:
    lake.put("SELECT 1 AS one", ref=TableRef("primary", "s", "b"))
    assert len(lake.ask("SELECT id FROM b")) == 20
    rows = lake.browser.tables(ADMIN, "primary", schema="s")
    assert [(row.ref.table, row.table_type) for row in rows] == [
        ("a", "BASE TABLE"),
        ("b", "BASE TABLE"),
    ]
    assert not [row for row in lake.browser.views(ADMIN) if row.ref.bucket == "primary"]


def test_views_are_listed(lake: Viewed) -> None:
    lake.put("SELECT id, name FROM a", columns=("x", "y"))
    lake.put("SELECT 1 AS one", ref=TableRef("primary", "t", "other"))
    lake.grant("v")
    lake.grant("v", user=OWNER.username)
    for principal, listed in ((BOB, ["v"]), (ADMIN, ["v", "other"]), (PENDING, [])):
        rows = lake.browser.tables(principal, "primary")
        assert [row.ref.table for row in rows if row.table_type == VIEW] == listed
    assert ("primary", "t") in lake.browser.schemas(ADMIN)
    assert ("primary", "t") not in lake.browser.schemas(BOB)
    assert lake.browser.columns(BOB, REF).names == ["x", "y"]
    with pytest.raises(NotFound):
        lake.browser.columns(BOB, TableRef("primary", "t", "other"))
    sql = "SELECT view_definition AS d, check_option AS c, is_updatable AS u FROM"
    sql += " information_schema.views WHERE table_name = 'v'"
    hidden = {"d": None, "c": "NONE", "u": "NO"}
    shown = {**hidden, "d": "SELECT id, name FROM a"}
    assert lake.ask(sql, BOB) == [hidden]
    assert lake.ask(sql, OWNER) == lake.ask(sql) == [shown]
    assert [row["column_name"] for row in lake.ask("DESCRIBE v", BOB)] == ["x", "y"]
    assert [row["table_type"] for row in lake.ask("SHOW TABLES LIKE 'v'", BOB)] == ["VIEW"]
    assert isinstance(refusal(lake, "DESCRIBE t.other"), NotFound)


def test_asking_for_a_name_in_another_case_names_the_view(lake: Viewed) -> None:
    lake.put("SELECT 1 AS one", ref=TableRef("primary", "s", "Big"))
    assert '"Big"' in refusal(lake, "SELECT * FROM big", ADMIN).message


def test_a_history_is_rows_for_those_who_may_read(lake: Viewed, tmp_path: Path) -> None:
    rows = pa.table({"id": [1]})
    append(tmp_path / "p/s/h", rows.to_reader())
    sql = 'SELECT version, operation, rows FROM "h@history"'
    assert lake.ask(sql) == [{"version": 0, "operation": "WRITE", "rows": 1}]
    append(tmp_path / "p/s/h", rows.to_reader())
    assert [row["version"] for row in lake.ask(sql)] == [1, 0]
    assert isinstance(refusal(lake, sql), NotFound)
    ref = TableRef("primary", "s", "h@history")
    with pytest.raises(NotFound):
        lake.tables.check(ref, BOB)
    lake.grant("h")
    lake.tables.check(ref, BOB)
    assert lake.tables.pin(ref, BOB, as_of=None) == lake.open("s", "h@history").pin
    lake.put("SELECT 1 AS one")
    assert isinstance(refusal(lake, 'SELECT * FROM "v@history"', ADMIN), Unsupported)
    assert isinstance(refusal(lake, 'SELECT * FROM "gone@history"', ADMIN), NotFound)
