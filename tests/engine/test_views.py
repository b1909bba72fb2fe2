"""Views in queries: planned with their own names, read with the caller's rights, pinned along."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.engine.base import Pin, Query, RowScan, Temporary, ViewScan
from flight_server.engine.views import VIEWS_DEPTH_MAX
from flight_server.errors import Conflict, InvalidRequest, LakeflightError, NotFound, Unavailable
from policies.names import TableRef
from tests.engine.lake import ADMIN, READER, Session, never


def view(
    lakeside: Session,
    name: str,
    sql: str,
    *,
    schema: str = "main",
    columns: tuple[str, ...] = (),
    is_open: bool = True,
) -> None:
    lakeside.lake.add(name, ViewScan(sql, "lake", schema, columns, is_open=is_open))


def refusal(lakeside: Session, sql: str) -> LakeflightError:
    with pytest.raises(LakeflightError) as raised:
        lakeside.rows(sql)
    return raised.value


def names(pins: tuple[Pin, ...]) -> list[str]:
    return [f"{pin.ref.table}@{pin.version}" for pin in pins]


def test_a_view_gives_the_rows_of_its_query(lakeside: Session) -> None:
    view(lakeside, "v", "SELECT id, name AS called FROM t WHERE id < 3 -- the first")
    assert lakeside.values("SELECT count(*), max(called) FROM v") == [(6, "n2")]
    assert lakeside.values("SELECT v.id FROM v JOIN u ON v.id = u.id ORDER BY 1") == [
        (1,), (1,), (2,), (2,),
    ]  # fmt: skip
    assert lakeside.values("SELECT a.id FROM v a, lake.main.v b LIMIT 1") != []
    assert lakeside.values("SELECT (SELECT max(id) FROM v) AS x") == [(2,)]


def test_what_it_reads_is_pinned_with_it(lakeside: Session) -> None:
    view(lakeside, "v", "SELECT * FROM t")
    sql = "SELECT count(*) FROM v"
    pins = lakeside.describe(sql).pins
    assert names(pins) == ["t@1", "v@0"]
    lakeside.lake.write("t", pa.table({"id": [1], "name": ["a"]}))
    assert lakeside.rows(sql, pins=pins).to_pylist() == [{"count(*)": 20}]
    assert lakeside.values(sql) == [(1,)]


def test_a_pinned_query_may_not_come_to_read_another_table(lakeside: Session) -> None:
    view(lakeside, "v", "SELECT id FROM t")
    pins = lakeside.describe("SELECT * FROM v").pins
    ref = TableRef("lake", "main", "v")
    lakeside.lake.versions[ref] = [ViewScan("SELECT id FROM u", "lake", "main")]
    with pytest.raises(Conflict):
        lakeside.rows("SELECT * FROM v", pins=pins)


def test_a_new_definition_is_noticed_by_the_very_next_query(lakeside: Session) -> None:
    view(lakeside, "v", "SELECT 1 AS x")
    assert lakeside.values("SELECT * FROM v") == [(1,)]
    view(lakeside, "v", "SELECT 2 AS x")
    assert lakeside.values("SELECT * FROM v") == [(2,)]
    view(lakeside, "v", "SELECT name FROM t WHERE id = 3 LIMIT 1")
    assert lakeside.values("SELECT * FROM v") == [("n3",)]
    del lakeside.lake.versions[TableRef("lake", "main", "v")]
    assert isinstance(refusal(lakeside, "SELECT * FROM v"), NotFound)


def test_short_names_are_those_of_where_it_was_made(lakeside: Session) -> None:
    lakeside.lake.write("other.t", pa.table({"id": [99]}))
    view(lakeside, "v", "SELECT id FROM t", schema="other")
    assert lakeside.values("SELECT v.id FROM v JOIN t ON t.id = 1 LIMIT 1") == [(99,)]
    query = Query("SELECT id FROM lake.main.v", ADMIN, "nowhere", "at all")
    _, batches = lakeside.engine.stream(query, is_cancelled=never)
    assert pa.Table.from_batches(list(batches)).to_pylist() == [{"id": 99}]


def test_columns_are_renamed_by_their_place(lakeside: Session) -> None:
    view(lakeside, "v", "SELECT a.id, b.id FROM t a JOIN u b ON a.id = b.id", columns=("x", "Y y"))
    assert lakeside.rows("SELECT * FROM v LIMIT 1").column_names == ["x", "Y y"]
    view(lakeside, "w", "WITH c AS (SELECT 1 AS a) SELECT a, a + 1 FROM c ORDER BY a -- end",
         columns=("one", 'q"q'))  # fmt: skip
    assert lakeside.rows("SELECT * FROM w").to_pylist() == [{"one": 1, 'q"q': 2}]


def test_views_over_views(lakeside: Session) -> None:
    view(lakeside, "v0", "SELECT id FROM t VERSION AS OF 0")
    for level in range(1, VIEWS_DEPTH_MAX):
        view(lakeside, f"v{level}", f"SELECT id FROM v{level - 1}")
    top = VIEWS_DEPTH_MAX - 1
    assert lakeside.values(f"SELECT count(*) FROM v{top}") == [(10,)]
    assert len(lakeside.describe(f"SELECT id FROM v{top}").pins) == VIEWS_DEPTH_MAX + 1
    view(lakeside, "too_deep", f"SELECT id FROM v{top}")
    error = refusal(lakeside, "SELECT * FROM too_deep")
    assert isinstance(error, InvalidRequest)
    assert "views_depth_max" in error.message


@pytest.mark.parametrize("first", ["SELECT * FROM a", "SELECT * FROM b"])
def test_a_cycle_is_refused(lakeside: Session, first: str) -> None:
    view(lakeside, "a", first, is_open=False)
    view(lakeside, "b", "SELECT * FROM c")
    view(lakeside, "c", "SELECT * FROM a")
    error = refusal(lakeside, "SELECT * FROM a")
    assert isinstance(error, InvalidRequest)
    assert (error.code, "lake.main.a" in error.message) == ("view_recursive", True)


@pytest.mark.parametrize(
    ("sql", "kind", "said"),
    [
        ("SELECT * FROM gone", NotFound, "gone"),
        ("SELECT lost FROM t", InvalidRequest, "lost"),
        ("SELECT a.id, b.id FROM t a, t b", InvalidRequest, "one name"),
        ("SELECT id FROM t GROUP", InvalidRequest, "cannot be used"),
        ("DROP TABLE t", InvalidRequest, "cannot be used"),
        ("EXPLAIN SELECT * FROM t", InvalidRequest, "not a query"),
    ],
)
def test_a_broken_view_is_named(
    lakeside: Session, sql: str, kind: type[LakeflightError], said: str
) -> None:
    view(lakeside, "v", sql)
    view(lakeside, "closed", sql, is_open=False)
    error = refusal(lakeside, "SELECT * FROM v JOIN t ON TRUE")
    assert isinstance(error, kind)
    assert "lake.main.v" in error.message
    assert said in error.message
    closed = refusal(lakeside, "SELECT * FROM closed")
    assert isinstance(closed, kind)
    assert "lake.main.closed" in closed.message
    for secret in ("gone", "lost", "lake.main.t"):
        assert secret not in closed.message
    assert lakeside.values("SELECT count(*) FROM t") == [(20,)]


def test_columns_that_no_longer_fit_their_names(lakeside: Session) -> None:
    view(lakeside, "v", "SELECT * FROM t", columns=("a", "b", "c"))
    assert refusal(lakeside, "SELECT * FROM v").code == "view_broken"


def test_a_common_table_hides_a_view_even_a_broken_one(lakeside: Session) -> None:
    view(lakeside, "v", "SELECT * FROM gone")
    view(lakeside, "good", "SELECT 5 AS n")
    assert lakeside.values("WITH v AS (SELECT 1 AS n) SELECT n FROM v") == [(1,)]
    inner = "WITH v AS (SELECT 1 AS n) SELECT v.n FROM v JOIN good ON TRUE"
    sql = f"SELECT * FROM t WHERE id IN ({inner})"
    assert lakeside.rows(sql).num_rows == 2


def test_a_view_reads_with_the_callers_rights(lakeside: Session) -> None:
    view(lakeside, "v", "SELECT * FROM t", is_open=False)
    assert lakeside.rows("SELECT * FROM v").num_rows == 20
    lakeside.lake.asked.clear()
    assert lakeside.rows("SELECT * FROM v", principal=READER).num_rows == 20
    assert {ref.table for ref, _, _ in lakeside.lake.asked} == {"t", "v"}
    lakeside.lake.hidden.add(TableRef("lake", "main", "t"))
    error = refusal(lakeside, "SELECT * FROM v")
    assert isinstance(error, NotFound)
    assert "lake.main.t" not in error.message


def test_a_temporary_table_is_none_of_a_views(lakeside: Session) -> None:
    view(lakeside, "v", "SELECT count(*) AS n FROM t")
    lakeside.lake.write("temp.mine.t", pa.table({"id": [1]}))
    query = Query("SELECT n, (SELECT count(*) FROM t) AS own FROM v", ADMIN, "lake", "main",
                  temporary=Temporary("mine", frozenset({"t"})))  # fmt: skip
    _, batches = lakeside.engine.stream(query, is_cancelled=never)
    assert pa.Table.from_batches(list(batches)).to_pylist() == [{"n": 20, "own": 1}]


def test_clocks_and_chance_in_a_view_are_asked_each_time(lakeside: Session) -> None:
    view(lakeside, "clock", "SELECT now() AS n")
    view(lakeside, "over", "SELECT n FROM clock")
    view(lakeside, "dice", "SELECT random() AS n")
    assert lakeside.values("SELECT n FROM over") < lakeside.values("SELECT n FROM over")
    for name in ("over", "dice"):
        description = lakeside.describe(f"SELECT n FROM {name}")
        assert description.batches is None
        _, batches = lakeside.engine.stream(
            Query(f"SELECT n FROM {name}", ADMIN, "lake", "main"), is_cancelled=never
        )
        assert not batches.are_repeatable
        batches.close()
    view(lakeside, "steady", "SELECT 7 AS n")
    _, batches = lakeside.engine.stream(
        Query("SELECT n FROM steady", ADMIN, "lake", "main"), is_cancelled=never
    )
    assert batches.are_repeatable


def test_rows_made_for_one_call_stay_fresh_behind_a_view(lakeside: Session) -> None:
    lakeside.lake.add_rows("made", pa.table({"x": [1]}))
    view(lakeside, "v", "SELECT x FROM made")
    assert lakeside.values("SELECT x FROM v") == [(1,)]
    ref = TableRef("lake", "main", "made")
    lakeside.lake.versions[ref] = [RowScan(pa.table({"x": [2]}))]
    assert lakeside.values("SELECT x FROM v") == [(2,)]


def test_predicates_reach_the_files_behind_a_view(lakeside: Session) -> None:
    rows = pa.table({"k": pa.array(range(100_000), pa.int64())})
    lakeside.lake.write("big", rows, row_group_size=10_000)
    view(lakeside, "v", "SELECT k, k * 2 AS twice FROM big")
    plan = lakeside.values("EXPLAIN ANALYZE SELECT twice FROM v WHERE k = 55555")
    assert "pushdown_rows_pruned" in str(plan)
    assert "row_groups_pruned_statistics=10 total → 1 matched" in str(plan)


def test_damage_behind_a_view_is_told_as_damage(lakeside: Session) -> None:
    scan = lakeside.lake.write("broken", pa.table({"a": [1, 2]}))
    view(lakeside, "v", "SELECT a FROM broken")
    Path(scan.groups[0].paths[0].removeprefix("file://").replace("%20", " ")).unlink()
    error = refusal(lakeside, "SELECT * FROM v")
    assert isinstance(error, Unavailable)
    assert error.code == "table_damaged"


def test_explaining_through_a_view(lakeside: Session) -> None:
    view(lakeside, "v", "SELECT id FROM t")
    assert lakeside.rows("EXPLAIN SELECT * FROM v").num_rows
