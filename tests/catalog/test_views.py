"""Views as they are stored: names, texts, columns, and what two of them may not do."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.catalog import views as views_module
from flight_server.catalog.registry import Registry
from flight_server.catalog.views import Draft, Views, query_text
from flight_server.errors import (
    AlreadyExists,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Unavailable,
    Unsupported,
)
from flight_server.sql.commands import IfThere
from flight_server.storage.locations import locate_all
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import VIEWS
from policies.names import TableRef
from tests import tables as zoo
from tests.clocks import StandingClock

REF = TableRef("primary", "sales", "big")
COLUMNS = zoo.schema(id=pa.int64(), name=pa.string())
DRAFT = Draft(REF, "SELECT id, name FROM t", "primary", "other", COLUMNS, "7")


def open_views(root: Path) -> Views:
    clock = StandingClock()
    return Views(SystemTable(root, VIEWS, clock=clock, random_bytes=os.urandom), clock)


def put(views: Views, draft: Draft = DRAFT, if_there: IfThere = IfThere.FAIL) -> bool:
    return views.put(draft, if_there, is_table=lambda ref: False)


def test_a_view_is_kept_as_it_was_made(tmp_path: Path) -> None:
    views, others = open_views(tmp_path), open_views(tmp_path)
    assert others.get(REF) is None
    assert put(views, replace(DRAFT, columns=("a", "b"), comment="big ones"))
    for each in (views, others, open_views(tmp_path)):
        view = each.get(REF)
        assert view is not None
        assert (view.ref, view.definition, view.bucket, view.schema, view.columns) == (
            REF, "SELECT id, name FROM t", "primary", "other", ("a", "b"),
        )  # fmt: skip
        assert view.arrow_schema == zoo.schema(a=pa.int64(), b=pa.string())
        assert (view.comment, view.owner_id) == ("big ones", "7")
        assert view.created_at == StandingClock().now()
        assert each.list("primary") == (view,)
        assert each.list("elsewhere") == ()


def test_what_happens_when_the_name_is_taken(tmp_path: Path) -> None:
    views = open_views(tmp_path)
    put(views)
    before = views.get(REF)
    with pytest.raises(AlreadyExists) as raised:
        put(views)
    assert raised.value.code == "view_exists"
    other = replace(DRAFT, definition="SELECT 1 AS id, 'x' AS name")
    assert not put(views, other, IfThere.KEEP)
    assert views.get(REF) == before
    assert put(views, other, IfThere.REPLACE)
    after = views.get(REF)
    assert before is not None
    assert after is not None
    assert after.stamp != before.stamp
    assert len(views.list("primary")) == 1
    for if_there in IfThere:
        with pytest.raises(AlreadyExists) as raised:
            views.put(replace(DRAFT, ref=TableRef("primary", "s", "t")), if_there,
                      is_table=lambda ref: ref.table == "t")  # fmt: skip
        assert raised.value.code == "table_exists"


def test_names_with_dots_are_names_of_their_own(tmp_path: Path) -> None:
    views = open_views(tmp_path)
    refs = [TableRef("primary", "a.b", "c"), TableRef("primary", "a", "b.c")]
    for ref in refs:
        put(views, replace(DRAFT, ref=ref))
    assert {view.ref for view in views.list("primary")} == set(refs)


def test_views_are_dropped(tmp_path: Path) -> None:
    views, others = open_views(tmp_path), open_views(tmp_path)
    put(views)
    put(views, replace(DRAFT, ref=TableRef("primary", "sales", "more")))
    put(views, replace(DRAFT, ref=TableRef("primary", "keep", "this")))
    assert others.get(REF) is not None
    assert views.drop(REF, if_exists=False)
    assert others.get(REF) is None
    assert not views.drop(REF, if_exists=True)
    with pytest.raises(NotFound) as raised:
        views.drop(REF, if_exists=False)
    assert raised.value.code == "view_not_found"
    assert views.drop_schema("primary", "sales") == 1
    assert views.drop_schema("primary", "sales") == 0
    assert [view.ref.table for view in others.list("primary")] == ["this"]


def test_another_process_sees_a_view_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.catalog.test_views import *;"
        " put(open_views(Path(sys.argv[1])), replace(DRAFT, definition='SELECT 2 AS id, 3 AS n'),"
        " IfThere.REPLACE)"
    )
    views = open_views(tmp_path)
    put(views)
    assert views.get(REF) is not None
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    view = views.get(REF)
    assert view is not None
    assert view.definition == "SELECT 2 AS id, 3 AS n"


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        (TableRef("system", "s", "v"), PermissionDenied),
        (TableRef("primary", "information_schema", "v"), PermissionDenied),
        (TableRef("primary", "s", "_v"), InvalidRequest),
        (TableRef("primary", "s", "a/b"), InvalidRequest),
        (TableRef("primary", "..", "v"), InvalidRequest),
        (TableRef("primary", "s", ""), InvalidRequest),
    ],
)
def test_places_that_take_no_view(tmp_path: Path, ref: TableRef, error: type[Exception]) -> None:
    with pytest.raises(error):
        put(open_views(tmp_path), replace(DRAFT, ref=ref))


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SHOW TABLES", InvalidRequest),
        ("DESCRIBE t", InvalidRequest),
        ("EXPLAIN SELECT 1", InvalidRequest),
        ("SELECT * FROM t WHERE id = ?", InvalidRequest),
        ("SELECT * FROM t WHERE id = $1", InvalidRequest),
        ("SELECT 1; SELECT 2", InvalidRequest),
        ("", InvalidRequest),
        ("DROP TABLE t", Unsupported),
    ],
)
def test_texts_that_are_no_view(sql: str, error: type[Exception]) -> None:
    with pytest.raises((error, InvalidRequest)):
        query_text(sql, bucket="b", schema="s")


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        (" SELECT 1 ;; ", "SELECT 1"),
        ("SELECT '?', '$1' -- ? $1\n;", "SELECT '?', '$1'"),
        ("(SELECT 1)", "(SELECT 1)"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "WITH a AS (SELECT 1) SELECT * FROM a"),
        ("VALUES (1)", "VALUES (1)"),
    ],
)
def test_texts_are_kept_without_their_end(sql: str, kept: str) -> None:
    assert query_text(sql, bucket="b", schema="s") == kept


@pytest.mark.parametrize(
    ("schema", "columns"),
    [
        (COLUMNS, ("a",)),
        (COLUMNS, ("a", "b", "c")),
        (COLUMNS, ("a", "a")),
        (COLUMNS, ("a", "")),
        (pa.schema([("x", pa.int64()), ("x", pa.int64())]), ()),
        (pa.schema([]), ()),
    ],
)
def test_columns_that_are_no_views(
    tmp_path: Path, schema: pa.Schema, columns: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidRequest):
        put(open_views(tmp_path), replace(DRAFT, arrow_schema=schema, columns=columns))


def test_two_columns_of_one_name_are_fine_once_renamed(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64()), ("x", pa.int64())])
    assert put(open_views(tmp_path), replace(DRAFT, arrow_schema=schema, columns=("a", "b")))


def test_there_are_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_module, "VIEWS_MAX", 1)
    views = open_views(tmp_path)
    put(views)
    put(views, if_there=IfThere.REPLACE)
    with pytest.raises(LimitExceeded, match="views_max=1"):
        put(views, replace(DRAFT, ref=TableRef("primary", "s", "one more")))


def test_views_that_cannot_be_read_are_not_gone(tmp_path: Path) -> None:
    put(open_views(tmp_path))
    table = SystemTable(tmp_path, VIEWS, clock=StandingClock(), random_bytes=os.urandom)
    table.change(lambda rows: [{**row, "arrow_schema": b"no"} for row in rows.values()])
    with pytest.raises(Unavailable):
        open_views(tmp_path).get(REF)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    views = open_views(tmp_path / "p/.system")
    put(views)
    zoo.plain(tmp_path / "p/tables/t")
    zoo.plain(tmp_path / "p/above")
    (tmp_path / "p/empty").mkdir()
    (tmp_path / "p/empty/_schema").touch()
    (tmp_path / "p/unmarked").mkdir()
    (tmp_path / "p/above/_schema").touch()
    zoo.plain(tmp_path / "p/inner/s/t")
    (tmp_path / "p/inner/_schema").touch()
    return Registry(
        locate_all(
            {
                "primary": tmp_path / "p",
                "inner": tmp_path / "p/inner",
                "system": tmp_path / "p/.system",
            }
        ),
        views,
    )


def test_schemas_are_marked_or_hold_something(registry: Registry) -> None:
    assert registry.schemas("primary") == {"public", "tables", "empty", "sales"}
    assert registry.schemas("inner") == {"public", "s"}
    assert registry.schemas("system") == {"catalog"}
    assert registry.schemas("nowhere") == frozenset()
    for schema in ("public", "tables", "empty", "sales"):
        assert registry.has_schema("primary", schema)
    for schema in ("unmarked", "above", "inner", "nothing", "", "..", "_schema"):
        assert not registry.has_schema("primary", schema)
    assert not registry.has_schema("system", "public")
    assert not registry.has_schema("nowhere", "public")


def test_views_are_found_beside_tables(registry: Registry, tmp_path: Path) -> None:
    found = registry.find_view(REF)
    assert found is not None
    assert registry.views("primary") == (found,)
    assert registry.find(REF) is None
    assert registry.find_view(TableRef("gone", "sales", "big")) is None
    assert registry.views("gone") == ()


def test_where_new_things_would_lie(registry: Registry, tmp_path: Path) -> None:
    assert registry.folder("primary", "new", "t") == (tmp_path / "p/new/t").resolve()
    assert registry.folder("primary", "inner") is None
    assert registry.folder("primary", "inner", "t") is None
    assert registry.folder("nowhere", "s") is None
