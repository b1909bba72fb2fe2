"""Statements that change rows: what they leave, compared with DuckDB, and what they refuse."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_server.engine.base import ONE_BY_ONE, FileScan, WriteTarget, Written
from flight_server.errors import (
    Cancelled,
    InvalidRequest,
    LakeflightError,
    NotFound,
    SchemaMismatch,
    Unsupported,
)
from policies.names import TableRef
from tests.engine.changing import Changing, bound
from tests.engine.lake import ADMIN, READER, never, query, session

Row = tuple[Any, ...]


def columns(**kinds: pa.DataType) -> pa.Schema:
    """A schema of columns that may be NULL."""
    fields: list[pa.Field[Any]] = [pa.field(name, kind) for name, kind in kinds.items()]
    return pa.schema(fields)


_SCHEMA = columns(id=pa.int64(), a=pa.int32(), s=pa.string(), p=pa.int32())
_ROWS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.none() | st.integers(-3, 3),
        st.none() | st.sampled_from(["", "x", "y"]),
        st.none() | st.integers(0, 2),
    ),
    max_size=12,
)
_FILES = st.lists(_ROWS, max_size=4)
_NUMBER = st.integers(-3, 9).map(str)
_CONDITIONS = st.one_of(
    st.builds("t.id = {}".format, _NUMBER),
    st.builds("a > {}".format, _NUMBER),
    st.builds("p = {} OR s = 'x'".format, _NUMBER),
    st.builds("NOT (a = {})".format, _NUMBER),
    st.builds("t.id IN (SELECT a FROM u WHERE u.id > {})".format, _NUMBER),
    st.builds("t.id NOT IN (SELECT a FROM u WHERE u.id < {})".format, _NUMBER),
    st.builds("EXISTS (SELECT 1 FROM u WHERE u.a = t.a AND u.id <> {})".format, _NUMBER),
    st.builds("a < (SELECT max(a) FROM u WHERE id < {})".format, _NUMBER),
    st.just("s IS NULL -- a comment"),
    st.just("p IS NULL AND a IS NOT NULL"),
)
_SETS = st.sampled_from(
    [
        "a = a + 1",
        "s = s || '!', a = NULL",
        "p = 1",
        "p = p + 1, id = id * 10",
        "a = (SELECT max(u.a) FROM u)",
        "s = CASE WHEN a > 0 THEN 'up' ELSE s END",
        "a = 1.6",
    ]
)


def table(rows: Sequence[Row]) -> pa.Table:
    values = list(zip(*rows, strict=True)) if rows else [()] * len(_SCHEMA)
    arrays = [pa.array(c, f.type) for c, f in zip(values, _SCHEMA, strict=True)]
    return pa.table(arrays, schema=_SCHEMA)


@contextmanager
def two_worlds(
    files: Sequence[Sequence[Row]], others: Sequence[Row], *partition_by: str
) -> Iterator[tuple[Changing, duckdb.DuckDBPyConnection]]:
    """The tables t and u, in a lake and in DuckDB."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as duck:
        ours = Changing(session(Path(folder)))
        for name, parts, by in (("t", files, partition_by), ("u", [others], ())):
            ours.create(name, _SCHEMA, *by)
            ours.fill(name, *(table(rows) for rows in parts))
            duck.execute(f"CREATE TABLE {name} (id BIGINT, a INTEGER, s VARCHAR, p INTEGER)")
            for row in (row for rows in parts for row in rows):
                duck.execute(f"INSERT INTO {name} VALUES (?, ?, ?, ?)", row)
        yield ours, duck


def same(ours: Changing, duck: duckdb.DuckDBPyConnection) -> None:
    """Both tables t hold the same rows."""
    expected = Counter(duck.execute("SELECT * FROM t").fetchall())
    assert Counter(ours.rows("SELECT * FROM t")) == expected


def changed_by(duck: duckdb.DuckDBPyConnection, sql: str) -> int:
    (row,) = duck.execute(sql).fetchall()
    return int(row[0])


_QUICK = settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("partition_by", [(), ("p",)], ids=["plain", "partitioned"])
@_QUICK
@given(files=_FILES, others=_ROWS, where=st.none() | _CONDITIONS)
def test_delete_does_what_duckdb_does(
    partition_by: tuple[str, ...], files: list[list[Row]], others: list[Row], where: str | None
) -> None:
    with two_worlds(files, others, *partition_by) as (ours, duck):
        sql = "DELETE FROM t" + ("" if where is None else f" WHERE {where}")
        assert ours.run(sql).deleted == changed_by(duck, sql)
        same(ours, duck)


@pytest.mark.parametrize("partition_by", [(), ("p",)], ids=["plain", "partitioned"])
@_QUICK
@given(files=_FILES, others=_ROWS, sets=_SETS, where=st.none() | _CONDITIONS)
def test_update_does_what_duckdb_does(
    partition_by: tuple[str, ...],
    files: list[list[Row]],
    others: list[Row],
    sets: str,
    where: str | None,
) -> None:
    with two_worlds(files, others, *partition_by) as (ours, duck):
        sql = f"UPDATE t SET {sets}" + ("" if where is None else f" WHERE {where}")
        assert ours.run(sql).updated == changed_by(duck, sql)
        same(ours, duck)


_MATCHED = st.sampled_from(
    [
        "WHEN MATCHED THEN UPDATE SET *",
        "WHEN MATCHED THEN DELETE",
        "WHEN MATCHED AND s.a > 0 THEN DELETE",
        "WHEN MATCHED AND t.s = 'x' THEN UPDATE SET a = s.a, s = t.s || 'm'",
        "WHEN MATCHED AND t.a IS NULL THEN DO NOTHING",
        "WHEN MATCHED THEN UPDATE SET p = s.p, a = t.a + 1",
    ]
)
_NOT_MATCHED = st.sampled_from(
    [
        "WHEN NOT MATCHED THEN INSERT *",
        "WHEN NOT MATCHED AND s.a > 0 THEN INSERT (id, s) VALUES (s.id + 100, upper(s.s))",
        "WHEN NOT MATCHED AND s.s IS NULL THEN DO NOTHING",
        "WHEN NOT MATCHED BY TARGET AND s.p = 1 THEN INSERT VALUES (s.id, s.a, 'new', s.p)",
    ]
)
_ALONE = st.sampled_from(
    [
        "WHEN NOT MATCHED BY SOURCE THEN DELETE",
        "WHEN NOT MATCHED BY SOURCE AND t.a > 0 THEN DELETE",
        "WHEN NOT MATCHED BY SOURCE AND t.p = 1 THEN UPDATE SET a = 7, s = t.s",
        "WHEN NOT MATCHED BY SOURCE AND t.s IS NULL THEN DO NOTHING",
    ]
)


def _reachable(clauses: list[str]) -> bool:
    """DuckDB refuses a clause behind one of its kind without a condition."""
    return all(" AND " in clause.partition(" THEN ")[0] for clause in clauses[:-1])


_CLAUSES = st.tuples(
    st.lists(_MATCHED, max_size=2).filter(_reachable),
    st.lists(_NOT_MATCHED, max_size=2).filter(_reachable),
    st.lists(_ALONE, max_size=2).filter(_reachable),
).map(lambda parts: [clause for part in parts for clause in part])
# Unique, so that no row of the table is changed twice, which ends in different ways.
_KEYED = st.dictionaries(st.integers(0, 12), _ROWS.filter(bool).map(lambda rows: rows[0])).map(
    lambda found: [(key, *row[1:]) for key, row in found.items()]
)


@pytest.mark.parametrize("partition_by", [(), ("p",)], ids=["plain", "partitioned"])
@_QUICK
@given(
    files=_FILES,
    source=_KEYED,
    clauses=_CLAUSES.filter(bool),
    on=st.sampled_from(["t.id = s.id", "t.id = s.id AND s.a > 0", "s.id = t.id AND t.p = 1"]),
)
def test_merge_does_what_duckdb_does(
    partition_by: tuple[str, ...],
    files: list[list[Row]],
    source: list[Row],
    clauses: list[str],
    on: str,
) -> None:
    with two_worlds(files, source, *partition_by) as (ours, duck):
        sql = f"MERGE INTO t USING u AS s ON {on} {' '.join(clauses)}"
        made = ours.run(sql)
        ducks = sql.replace("UPDATE SET *", "UPDATE").replace("INSERT *", "INSERT")
        assert made.inserted + made.updated + made.deleted == changed_by(duck, ducks)
        same(ours, duck)


@_QUICK
@given(files=_FILES, keys=st.lists(st.integers(0, 12), min_size=2, max_size=5))
def test_rows_of_parameters_change_as_if_run_one_by_one(
    files: list[list[Row]], keys: list[int]
) -> None:
    with two_worlds(files, [], "p") as (ours, duck):
        sql = "DELETE FROM t WHERE id = ? AND p < ?"
        made = ours.run(bound(sql, a=keys, b=[2] * len(keys)))
        assert made.deleted == sum(len(_run(duck, sql, (key, 2))) for key in keys)
        same(ours, duck)
        keys = sorted(set(keys))
        sql = "UPDATE t SET a = ?, s = s || ? WHERE id = ?"
        if len(keys) > 1:
            ours.run(bound(sql, a=keys, b=["!"] * len(keys), c=keys))
            for key in keys:
                duck.execute(sql, (key, "!", key))
        same(ours, duck)


def _run(duck: duckdb.DuckDBPyConnection, sql: str, values: Row) -> list[Row]:
    return duck.execute(f"{sql} RETURNING 1", values).fetchall()


@pytest.fixture
def lake(tmp_path: Path) -> Changing:
    """A table by day, with a column that cannot be NULL."""
    made = Changing(session(tmp_path))
    made.create(
        "t",
        columns(id=pa.int64(), name=pa.string(), amount=pa.decimal128(12, 2), day=pa.date32()).set(
            0, pa.field("id", pa.int64(), nullable=False)
        ),
        "day",
    )
    made.run(
        "INSERT INTO t VALUES (1, 'a', 1.5, '2020-01-01'), (2, 'b', 2.5, '2020-01-02'),"
        " (3, NULL, NULL, NULL)"
    )
    return made


def refused(lake: Changing, sql: str, **columns: Any) -> LakeflightError:
    """Run what is refused, and see that it left nothing."""
    before = sorted(lake.folder(TableRef("lake", "main", "t")).rglob("*.parquet"))
    rows = lake.rows("SELECT * FROM t ORDER BY id")
    with pytest.raises(LakeflightError) as caught:
        lake.run(bound(sql, **columns) if columns else sql)
    assert sorted(lake.folder(TableRef("lake", "main", "t")).rglob("*.parquet")) == before
    assert lake.rows("SELECT * FROM t ORDER BY id") == rows
    return caught.value


def test_insert_pairs_by_place_by_list_and_by_name(lake: Changing) -> None:
    assert lake.run("INSERT INTO t (day, ID) VALUES (DATE '2020-01-03', 10)").inserted == 1
    assert lake.run("INSERT INTO t BY NAME SELECT 'n' AS name, 11 AS id").inserted == 1
    assert (
        lake.run("INSERT INTO t SELECT id + 20, upper(name), amount, day FROM t@v1").inserted == 3
    )
    assert lake.rows("SELECT * FROM t WHERE id >= 10 ORDER BY id") == [
        (10, None, None, dt.date(2020, 1, 3)),
        (11, "n", None, None),
        (21, "A", Decimal("1.50"), dt.date(2020, 1, 1)),
        (22, "B", Decimal("2.50"), dt.date(2020, 1, 2)),
        (23, None, None, None),
    ]


def test_values_take_rows_of_parameters_at_once(lake: Changing) -> None:
    count = 5000
    made = lake.run(
        bound(
            "INSERT INTO t (id, name, day) VALUES (? + 100, upper(?), ?)",
            a=list(range(count)),
            b=["x"] * count,
            c=["2021-01-01"] * count,
        )
    )
    assert (made.inserted, len(made.files)) == (count, 1)
    assert lake.rows("SELECT min(id), max(id), min(name) FROM t WHERE id >= 100") == [
        (100, 5099, "X")
    ]


def test_other_sources_take_rows_of_parameters_one_by_one(lake: Changing) -> None:
    sql = "INSERT INTO t SELECT id + ?, name, amount, day FROM t WHERE id = ?"
    assert lake.run(bound(sql, a=[10, 20, 30], b=[1, 2, 99])).inserted == 2
    assert lake.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,), (3,), (11,), (22,)]
    sql = "INSERT INTO t (id) VALUES (?), (?)"
    assert lake.run(bound(sql, a=[50, 60], b=[51, 61])).inserted == 4


def test_no_rows_of_parameters_write_nothing(lake: Changing) -> None:
    made = lake.run(bound("INSERT INTO t (id) VALUES (?)", a=pa.array([], pa.int64())))
    assert (made.inserted, made.files) == (0, ())


def test_one_row_of_parameters_may_be_a_list_without_a_value(lake: Changing) -> None:
    lake.create("nested", pa.schema([("id", pa.int64()), ("l", pa.list_(pa.int64()))]))
    nothing = pa.array([None], pa.list_(pa.int64()))
    assert lake.run(bound("INSERT INTO nested VALUES (?, ?)", a=[1], b=nothing)).inserted == 1
    assert lake.run(bound("UPDATE nested SET l = ?", a=nothing)).updated == 1
    assert lake.rows("SELECT * FROM nested") == [(1, None)]


def test_a_table_is_made_of_rows(lake: Changing) -> None:
    made = lake.run("CREATE TABLE n AS SELECT id, name AS other, amount > 2 AS big FROM t")
    assert made.inserted == 3
    assert [(f.name, f.type, f.nullable) for f in made.schema] == [
        ("id", pa.int64(), True),
        ("other", pa.string(), True),
        ("big", pa.bool_(), True),
    ]
    assert lake.rows("SELECT * FROM n ORDER BY id") == [
        (1, "a", False),
        (2, "b", True),
        (3, None, None),
    ]


def test_values_are_rounded_as_in_an_assignment(lake: Changing) -> None:
    lake.run("UPDATE t SET amount = amount * 1.115 WHERE id = 1")
    lake.run("UPDATE t SET amount = '7.125' WHERE id = 2")
    assert lake.rows("SELECT amount FROM t WHERE id < 3 ORDER BY id") == [
        (Decimal("1.67"),),
        (Decimal("7.13"),),
    ]


def test_only_touched_files_are_replaced(lake: Changing) -> None:
    before = paths(lake)
    made = lake.run("UPDATE t SET name = 'z' WHERE id = 2")
    assert len(made.removed) == len(made.files) == 1
    assert set(made.removed) < before
    assert len(paths(lake) & before) == 2
    made = lake.run("DELETE FROM t WHERE id = 99")
    assert (made.files, made.removed, made.deleted) == ((), (), 0)
    made = lake.run("DELETE FROM t WHERE day = '2020-01-01'")
    assert (made.files, len(made.removed), made.deleted) == ((), 1, 1)


def scan_paths(lake: Changing) -> list[str]:
    scan = lake.session.lake.versions[TableRef("lake", "main", "t")][-1]
    assert isinstance(scan, FileScan)
    return [path for group in scan.groups for path in group.paths]


def paths(lake: Changing) -> set[str]:
    return set(scan_paths(lake))


def test_rows_move_to_the_partition_that_they_are_given(lake: Changing) -> None:
    lake.run("UPDATE t SET day = '2022-02-02' WHERE id <> 2")
    assert lake.rows("SELECT id FROM t WHERE day = '2022-02-02' ORDER BY id") == [(1,), (3,)]


def test_an_alias_names_the_table(lake: Changing) -> None:
    sql = 'UPDATE t AS "X y" SET name = "X y".name || ? WHERE "X y".id = ?'
    assert lake.run(bound(sql, a=["!"], b=[1])).updated == 1
    sql = "UPDATE t x SET name = (SELECT max(name) FROM t WHERE t.id = x.id + 1) WHERE x.id = 1"
    assert lake.run(sql).updated == 1
    assert lake.rows("SELECT name FROM t WHERE id = 1") == [("b",)]


def test_a_statement_reads_the_state_that_it_changes(lake: Changing) -> None:
    pin = lake.session.lake.open(TableRef("lake", "main", "t"), ADMIN, as_of=None, pin=None).pin
    ref = TableRef("lake", "main", "t")
    lake.run("DELETE FROM t")
    target = WriteTarget(str(lake.folder(ref)), lake.schemas[ref], ("day",), pin=pin)
    sql = "UPDATE t SET name = (SELECT count(*) FROM t)"
    made = lake.session.engine.write(query(sql), target, is_cancelled=never)
    assert made.updated == 3


def test_many_files_are_asked_in_groups(tmp_path: Path) -> None:
    lake = Changing(session(tmp_path))
    lake.create("t", pa.schema([("id", pa.int64()), ("p", pa.int32())]), "p")
    rows = pa.table({"id": pa.array(range(200), pa.int64()), "p": pa.array(range(200), pa.int32())})
    lake.fill("t", rows.slice(0, 100), rows.slice(100))
    made = lake.run("UPDATE t SET id = -id WHERE id % 40 = 7")
    assert (made.updated, len(made.removed)) == (5, 5)
    assert lake.run("DELETE FROM t WHERE id < 0").deleted == 5
    made = lake.run(
        "MERGE INTO t USING (VALUES (5, 1), (7, 2)) AS s (id, v) ON t.id = s.id"
        " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)"
    )
    assert (made.deleted, made.inserted) == (1, 1)


@pytest.mark.parametrize(
    ("sql", "error", "said"),
    [
        ("INSERT INTO t VALUES (1)", InvalidRequest, "4 columns and the rows have 1"),
        ("INSERT INTO t (id, name) VALUES (1)", InvalidRequest, "names 2 columns and gives 1"),
        ("INSERT INTO t (id, nope) VALUES (1, 2)", SchemaMismatch, "nope"),
        ("INSERT INTO t (name) VALUES ('x')", SchemaMismatch, '"id" cannot be NULL'),
        ("INSERT INTO t (id) VALUES (1), (NULL)", SchemaMismatch, '"id" cannot be NULL'),
        ("INSERT INTO t (id) VALUES ('abc')", SchemaMismatch, '"id" does not fit'),
        ("INSERT INTO t (id, amount) VALUES (9, 99999999999)", SchemaMismatch, '"amount"'),
        ("INSERT INTO t SELECT * FROM hidden", NotFound, "hidden"),
        ("UPDATE t SET nope = 1", InvalidRequest, 'no column "nope"'),
        ("UPDATE t SET id = NULL WHERE id = 2", SchemaMismatch, '"id" cannot be NULL'),
        ("UPDATE t SET id = name WHERE name = 'a'", SchemaMismatch, '"id" does not fit'),
        ("UPDATE t SET name = 'x' WHERE random() < 0.5", Unsupported, "random"),
        ("DELETE FROM t WHERE nope = 1", InvalidRequest, "nope"),
        ("DELETE FROM t WHERE id IN (SELECT id FROM hidden)", NotFound, "hidden"),
        (
            "MERGE INTO t USING (SELECT 1 x FROM t) s ON id = x WHEN MATCHED THEN UPDATE SET id=2",
            InvalidRequest,
            "several rows of the source match one row",
        ),
        (
            "MERGE INTO t USING (SELECT 1 AS id) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET *",
            InvalidRequest,
            "source has no column",
        ),
        ("OPTIMIZE t ZORDER BY (day)", InvalidRequest, "partition column"),
        ("OPTIMIZE t ZORDER BY (nope)", InvalidRequest, "no column"),
    ],
)
def test_what_does_not_fit_leaves_nothing(
    lake: Changing, sql: str, error: type[LakeflightError], said: str
) -> None:
    assert isinstance(caught := refused(lake, sql), error)
    assert said in caught.message


def test_parameters_must_fit_before_anything_runs(lake: Changing) -> None:
    assert "no values were bound" in refused(lake, "DELETE FROM t WHERE id = ?").message
    caught = refused(lake, "DELETE FROM t WHERE id = ?", a=[1], b=[2])
    assert "1 parameters" in caught.message
    caught = refused(lake, "UPDATE t SET id = ? WHERE id = ?", a=[1, 2], b=[2, 3])
    assert isinstance(caught, Unsupported)
    assert caught.code == ONE_BY_ONE
    caught = refused(lake, "UPDATE t SET name = ? WHERE id = ?", a=["x", "y"], b=[2, 2])
    assert caught.code == ONE_BY_ONE


def test_what_is_hidden_from_a_principal_stays_so_in_writes(lake: Changing) -> None:
    lake.session.lake.add_rows("secret", pa.table({"id": [1]}))
    lake.session.lake.hidden.add(TableRef("lake", "main", "secret"))
    with pytest.raises(NotFound):
        lake.run("DELETE FROM t WHERE id IN (SELECT id FROM secret)", principal=READER)


def test_a_cancelled_write_leaves_nothing(lake: Changing) -> None:
    asked = iter([False, False])
    ref = TableRef("lake", "main", "t")
    before = sorted(lake.folder(ref).rglob("*.parquet"))
    sql = "INSERT INTO t (id) SELECT value FROM generate_series(1, 10000000000)"
    target = WriteTarget(str(lake.folder(ref)), lake.schemas[ref], ("day",))
    with pytest.raises(Cancelled):
        lake.session.engine.write(query(sql), target, is_cancelled=lambda: next(asked, True))
    assert sorted(lake.folder(ref).rglob("*.parquet")) == before


@pytest.mark.parametrize("order", ["", " ZORDER BY (x, y)", " ZORDER BY (s)"])
def test_optimize_keeps_every_row(tmp_path: Path, order: str) -> None:
    lake = Changing(session(tmp_path))
    schema = columns(x=pa.int64(), y=pa.float64(), s=pa.string(), p=pa.int32())
    lake.create("t", schema, "p")
    for part in range(3):
        rows = [
            (
                (i * 7 + part) % 101,
                None if i % 9 == 0 else i * 0.5,
                None if i % 5 == 0 else f"s{i % 17}",
                None if i % 3 == 0 else i % 2,
            )
            for i in range(400)
        ]
        arrays = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)]
        lake.fill("t", pa.table(arrays, schema=schema))
    before = Counter(lake.rows("SELECT * FROM t"))
    files = paths(lake)
    made = lake.run("OPTIMIZE t" + order)
    assert set(made.removed) == files
    assert len(made.files) == 3
    assert Counter(lake.rows("SELECT * FROM t")) == before


def test_compaction_keeps_the_order_and_touches_only_what_is_chosen(tmp_path: Path) -> None:
    lake = Changing(session(tmp_path))
    lake.create("t", pa.schema([("x", pa.int64())]))
    lake.fill("t", *(pa.table({"x": list(range(i * 50, i * 50 + 50))}) for i in range(4)))
    chosen = sorted(paths(lake))[:2]
    made: Written = lake.write(query("OPTIMIZE t"), chosen=tuple(chosen))
    assert set(made.removed) == set(chosen)
    assert len(made.files) == 1
    assert len(paths(lake)) == 3
    assert lake.rows("SELECT count(*), sum(x) FROM t") == [(200, sum(range(200)))]


def test_compaction_keeps_rows_in_their_order(tmp_path: Path) -> None:
    """What was written in an order, such as that of time, stays good to skip by it."""
    lake = Changing(session(tmp_path))
    lake.create("t", columns(x=pa.int64()))
    count = 200_000
    lake.fill("t", *(pa.table({"x": range(i * count, (i + 1) * count)}) for i in range(2)))
    before = [pq.read_table(path.removeprefix("file://"))["x"] for path in scan_paths(lake)]
    lake.run("OPTIMIZE t")
    (after,) = (pq.read_table(path.removeprefix("file://"))["x"] for path in scan_paths(lake))
    assert after.to_pylist() == [x for column in before for x in column.to_pylist()]


def test_z_order_brings_near_values_together(tmp_path: Path) -> None:
    """Rows in the order of the curve: a stretch of it spans little of either column."""
    lake = Changing(session(tmp_path))
    lake.create("t", pa.schema([("x", pa.int64()), ("y", pa.int64())]))
    side = 64
    # One column is skewed: its values lie a hundred times as far apart at one end.
    points = [(i, j * j * j) for i in range(side) for j in range(side)]
    lake.fill("t", pa.table({"x": [x for x, _ in points], "y": [y for _, y in points]}))
    lake.run("OPTIMIZE t ZORDER BY (x, y)")
    rows = lake.rows("SELECT x, y FROM t")
    quarter = rows[: len(rows) // 4]
    assert {x for x, _ in quarter} == set(range(side // 2))
    assert {round(y ** (1 / 3)) for _, y in quarter} == set(range(side // 2))  # type: ignore[operator]  # they are numbers
