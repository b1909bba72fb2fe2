from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.engine.base import BatchLimits, Engine, Pin, Query
from flight_server.engine.session import EngineOptions
from flight_server.errors import (
    Cancelled,
    Conflict,
    InvalidRequest,
    LakeflightError,
    LimitExceeded,
    NotFound,
    Unavailable,
    Unsupported,
)
from flight_server.sql.names import AsOf
from policies.names import TableRef
from tests.engine.lake import ADMIN, READER, Session, never, query, session
from tests.sql.test_statements import REFUSED

CORPUS = [
    "SELECT 1",
    "SELECT 1 AS x UNION ALL SELECT 'a'",
    "SELECT NULL AS x UNION ALL SELECT 1",
    "SELECT CASE WHEN TRUE THEN 1 ELSE 2.5 END",
    "SELECT [1, 2.5], named_struct('a', 1, 'b', [NULL]), map(['k'], [1])",
    "VALUES (1, 'a'), (2.5, NULL)",
    "SELECT * FROM t",
    "SELECT * FROM t WHERE FALSE",
    "SELECT FROM t",
    "SELECT count(*), sum(id), avg(id), min(name) FROM t",
    "SELECT id, count(*) FROM t GROUP BY ROLLUP (id)",
    "SELECT t.*, u.id FROM t JOIN u ON t.id = u.id",
    "SELECT t.id, u.id FROM t LEFT JOIN u ON t.id = u.id",
    "SELECT * FROM t FULL JOIN u USING (id)",
    "SELECT now(), current_date, current_time, interval '1 day'",
    "SELECT arrow_cast('a', 'Utf8View'), arrow_cast('a', 'Dictionary(Int32, Utf8)')",
    "SELECT arrow_cast(1, 'Float16'), arrow_cast('a', 'LargeUtf8'), arrow_cast('a', 'BinaryView')",
    "SELECT arrow_cast([1], 'LargeList(Int32)'), arrow_cast(['a'], 'List(Utf8View)')",
    "SELECT substr(name, 2), upper(name), name || '!', left(name, 1) FROM t",
    "SELECT row_number() OVER (ORDER BY id), lag(id) OVER (ORDER BY id) FROM t",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
    "SELECT * FROM generate_series(1, 10)",
    "SELECT unnest([1, 2, 3])",
    "SELECT DISTINCT id % 3 FROM t ORDER BY 1",
    "SELECT (SELECT max(id) FROM u) FROM t WHERE id IN (SELECT id FROM u)",
    'SELECT "Big Name", 1 AS "a.b", 2 AS "q""q", 3 AS "é ☃", 4 AS "" FROM u',
    "SELECT id FROM t INTERSECT SELECT id FROM u",
    "SELECT 1.5::decimal(10, 2), DATE '2020-01-01', TIMESTAMP '2020-01-02', X'00ff'",
    "SELECT to_timestamp('2020-01-01T00:00:00Z'), '2020-01-01T00:00:00Z'::timestamptz",
    "SELECT array_agg(name), string_agg(name, ',') FROM t",
    "SELECT version()",
    "EXPLAIN SELECT * FROM t",
    "EXPLAIN ANALYZE SELECT * FROM t",
]


def _is_plain(kind: pa.DataType) -> bool:
    awkward = ("view", "large", "dictionary", "run_end", "halffloat", "decimal32", "decimal64")
    return not any(word in str(kind) for word in awkward)


@pytest.mark.parametrize("sql", CORPUS)
def test_the_schema_announced_is_the_one_sent(lakeside: Session, sql: str) -> None:
    described = lakeside.describe(sql)
    schema, batches = lakeside.batches(sql, pins=described.pins)
    assert schema.equals(described.schema, check_metadata=True)
    assert not schema.metadata
    assert all(_is_plain(field.type) for field in schema)
    for batch in batches:
        assert batch.schema.equals(schema, check_metadata=True)
        batch.validate(full=True)
        for field, column in zip(schema, batch.columns, strict=True):
            assert field.nullable or not column.null_count


def test_it_is_an_engine(lakeside: Session) -> None:
    engine: Engine = lakeside.engine
    assert engine.describe(query("SELECT 1"), is_cancelled=never).pins == ()


def test_values_arrive(lakeside: Session) -> None:
    assert lakeside.values("SELECT id, name FROM t VERSION AS OF 0 WHERE id = 7") == [(7, "n7")]
    assert lakeside.rows("SELECT FROM t").num_rows == 20
    columns = lakeside.rows("SELECT t.id, u.id FROM t JOIN u ON t.id = u.id").column_names
    assert columns == ["id", "id"]


def test_columns_of_one_name_in_awkward_types_are_cast_too(lakeside: Session) -> None:
    view = "SELECT arrow_cast('a', 'Utf8View') AS x"
    rows = lakeside.rows(f"SELECT * FROM ({view}) a JOIN ({view}) b ON TRUE")
    assert rows.schema.types == [pa.string(), pa.string()]
    assert rows.column_names == ["x", "x"]


def test_the_names_of_columns_survive_casts(lakeside: Session) -> None:
    rows = lakeside.rows('SELECT arrow_cast(1, \'Float16\') AS "A b.c", 2 AS "D""d"')
    assert rows.to_pylist() == [{"A b.c": 1.0, 'D"d': 2}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM t VERSION AS OF 0",
        "SELECT t.id FROM t FOR VERSION AS OF 0 WHERE t.id >= 0",
        "SELECT x.id FROM main.t VERSION AS OF 0 AS x",
        "SELECT x.id FROM lake.main.t VERSION AS OF 0 x",
        "SELECT id FROM t TIMESTAMP AS OF '2026-02-01T12:00:00Z'",
        'SELECT id FROM "t@v0"',
        "SELECT id FROM t@v0",
        'SELECT id FROM main."t@2026-02-01"',
    ],
)
def test_time_travel_in_every_form(lakeside: Session, sql: str) -> None:
    assert lakeside.rows(sql).num_rows == 10
    (pin,) = lakeside.describe(sql).pins
    assert pin.ref == TableRef("lake", "main", "t")
    assert pin.version == 0
    assert pin.as_of is not None


def test_pins_name_each_state_once_in_order(lakeside: Session) -> None:
    sql = 'SELECT 1 FROM u, t, "t@v0" a, t b, "t@v0" c LIMIT 1'
    pins = lakeside.describe(sql).pins
    assert [(pin.ref.table, pin.version, pin.as_of) for pin in pins] == [
        ("t", 0, AsOf(version=0)),
        ("t", 1, None),
        ("u", 0, None),
    ]
    assert lakeside.describe(sql + " ").pins == pins


def test_a_pinned_query_reads_the_state_it_was_planned_on(lakeside: Session) -> None:
    sql = "SELECT count(*) FROM t"
    pins = lakeside.describe(sql).pins
    lakeside.lake.write("t", pa.table({"id": [1], "name": ["a"]}))
    assert lakeside.rows(sql, pins=pins).to_pylist() == [{"count(*)": 20}]
    assert lakeside.rows(sql).to_pylist() == [{"count(*)": 1}]


def test_a_pinned_query_may_not_name_another_table(lakeside: Session) -> None:
    pins = lakeside.describe("SELECT * FROM t").pins
    with pytest.raises(Conflict):
        lakeside.rows("SELECT * FROM u", pins=pins)
    assert len(lakeside.describe("SELECT * FROM t, u", pins=pins).pins) == 2


def test_a_cached_plan_asks_for_its_tables_again(lakeside: Session) -> None:
    sql = "SELECT * FROM t"
    pins = lakeside.describe(sql).pins
    lakeside.lake.asked.clear()
    assert lakeside.rows(sql, pins=pins).num_rows == 20
    assert lakeside.lake.asked == [(TableRef("lake", "main", "t"), None, pins[0])]
    lakeside.lake.hidden.add(TableRef("lake", "main", "t"))
    with pytest.raises(NotFound):
        lakeside.rows(sql, pins=pins)
    with pytest.raises(NotFound):
        lakeside.describe(sql)


def test_time_goes_on_in_a_cached_plan(lakeside: Session) -> None:
    first, second = lakeside.values("SELECT now()"), lakeside.values("SELECT now()")
    assert first < second


def test_not_found_comes_out_as_it_was_raised(lakeside: Session) -> None:
    with pytest.raises(NotFound, match=r"no table lake\.main\.nope") as raised:
        lakeside.describe("SELECT * FROM t WHERE id IN (SELECT id FROM nope)")
    assert raised.value.code == "table_not_found"
    assert raised.value.__cause__ is None
    with pytest.raises(NotFound) as raised:
        lakeside.describe("SELECT * FROM t VERSION AS OF 9")
    assert raised.value.code == "version_not_found"


def test_the_name_of_a_function_does_not_hide_what_is_wrong(lakeside: Session) -> None:
    with pytest.raises(InvalidRequest, match="No field named nosuch"):
        lakeside.describe("SELECT nosuch FROM generate_series(1, 2)")
    with pytest.raises(NotFound, match="generate_series"):
        lakeside.describe("SELECT * FROM generate_series")


def test_the_names_of_common_tables_are_their_own(lakeside: Session) -> None:
    sql = "SELECT * FROM t WHERE id IN (WITH c AS (SELECT 1 AS id) SELECT id FROM c)"
    assert lakeside.rows(sql).num_rows == 2


@pytest.mark.parametrize("sql", REFUSED)
def test_nothing_but_reading_runs(lakeside: Session, sql: str) -> None:
    with pytest.raises(Unsupported):
        lakeside.rows(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '/etc/passwd'",
        'SELECT * FROM "/etc/passwd"',
        'SELECT * FROM "file:///etc/passwd"',
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM information_schema.df_settings",
        "SELECT * INTO x FROM t",
        'SELECT * FROM "?table?"',
        "SELECT * FROM datafusion.public.t",
        "SELECT * FROM nope.main.t",
    ],
)
def test_nothing_but_the_lakes_tables_has_a_name(lakeside: Session, sql: str) -> None:
    with pytest.raises((NotFound, InvalidRequest, Unsupported)):
        lakeside.rows(sql)


def test_no_statement_leaves_anything_behind(lakeside: Session, tmp_path: Path) -> None:
    before = lakeside.values("SELECT * FROM t ORDER BY 1, 2")
    target = tmp_path / "out.csv"
    for sql in (
        f"COPY t TO '{target}'",
        f"EXPLAIN ANALYZE COPY t TO '{target}'",
        "SET datafusion.execution.batch_size = 1",
        "CREATE VIEW t AS SELECT 1",
        "PREPARE p AS SELECT 1",
        "SELECT * INTO t FROM u",
    ):
        # Also past the first fence, as a text that the classification would let through.
        with pytest.raises(LakeflightError):
            lakeside.rows(sql)
    assert not target.exists()
    assert lakeside.values("SELECT * FROM t ORDER BY 1, 2") == before


def test_explain_is_for_all_and_its_analysis_for_administrators(lakeside: Session) -> None:
    with pytest.raises(Unsupported, match="ANALYZE"):
        lakeside.describe("EXPLAIN ANALYZE SELECT * FROM t", principal=READER)
    assert lakeside.rows("EXPLAIN SELECT * FROM t", principal=READER).num_rows
    for sql in ("EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT * FROM t"):
        schema = lakeside.rows(sql).schema
        assert schema.names == ["plan_type", "plan"]
        assert schema.types == [pa.string(), pa.string()]


def test_a_plan_does_not_pass_from_one_caller_to_another(lakeside: Session) -> None:
    lakeside.describe("SELECT * FROM t")
    lakeside.lake.asked.clear()
    lakeside.describe("SELECT * FROM t", principal=READER)
    assert lakeside.lake.asked


def test_describing_a_table(lakeside: Session) -> None:
    columns = pa.table(
        {
            "table_catalog": ["lake"],
            "table_schema": ["main"],
            "table_name": ["t"],
            "column_name": ["id"],
            "data_type": ["BIGINT"],
            "is_nullable": ["YES"],
            "ordinal_position": [1],
        }
    )
    lakeside.lake.add_rows("information_schema.columns", columns)
    assert lakeside.values("DESCRIBE t") == [("id", "BIGINT", "YES")]
    assert lakeside.values("SHOW COLUMNS FROM main.t") == [("id", "BIGINT", "YES")]
    with pytest.raises(NotFound, match=r"lake\.main\.nope"):
        lakeside.describe("DESCRIBE nope")


def test_cancel_ends_a_stream(lakeside: Session) -> None:
    asked = iter([False, False, True])
    endless = "SELECT * FROM generate_series(1, 10000000000000)"
    _, stream = lakeside.engine.stream(query(endless), is_cancelled=lambda: next(asked))
    with pytest.raises(Cancelled):
        list(stream)
    with pytest.raises(Cancelled):
        lakeside.engine.describe(query("SELECT 1"), is_cancelled=lambda: True)


def test_an_endless_query_begins_at_once_and_can_be_dropped(lakeside: Session) -> None:
    sql = "SELECT value FROM generate_series(1, 10000000000000)"
    _, stream = lakeside.engine.stream(query(sql), is_cancelled=never)
    assert next(stream).num_rows
    del stream


def test_memory_beyond_the_pool_names_the_setting(tmp_path: Path) -> None:
    small = session(tmp_path, options=EngineOptions(memory_pool_bytes_max=1_000_000))
    with pytest.raises(LimitExceeded, match="memory_bytes_max"):
        small.rows("SELECT array_agg(value) FROM generate_series(1, 3000000)")


@pytest.mark.parametrize("directory", [None, "spill"])
def test_spilling_beyond_its_limit_names_the_setting(tmp_path: Path, directory: str | None) -> None:
    folder = None if directory is None else str(tmp_path / directory)
    if folder:
        Path(folder).mkdir()
    options = EngineOptions(
        target_partitions=1,
        memory_pool_bytes_max=60_000_000,
        spill_bytes_max=5_000_000,
        spill_directory=folder,
    )
    small = session(tmp_path, options=options)
    sql = "SELECT lpad(CAST(value AS VARCHAR), 100, 'x') FROM generate_series(1, 800000) ORDER BY 1"
    with pytest.raises(LimitExceeded, match="spill_bytes_max"):
        small.rows(sql)


def test_a_result_beyond_its_limit_names_the_setting(tmp_path: Path) -> None:
    small = session(tmp_path, limits=BatchLimits(result_bytes_max=1_000_000))
    with pytest.raises(LimitExceeded, match="result_bytes_max"):
        small.rows("SELECT * FROM generate_series(1, 10000000)")


def _remove(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:-200] = bytes(len(content) - 204)
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("damage", [_remove, _empty, _garble, _cut])
def test_a_damaged_file_is_told_without_its_path(
    lakeside: Session, damage: Callable[[Path], None]
) -> None:
    rows = pa.table({"a": [f"secret{i}" for i in range(2000)]})
    scan = lakeside.lake.write("broken", rows)
    damage(Path(scan.groups[0].paths[0].removeprefix("file://").replace("%20", " ")))
    with pytest.raises(Unavailable) as raised:
        lakeside.rows("SELECT * FROM broken")
    assert raised.value.code == "table_damaged"
    assert "/" not in raised.value.message
    assert lakeside.values("SELECT 1") == [(1,)]


def test_a_pin_with_another_stamp_is_another_state(lakeside: Session) -> None:
    pin = lakeside.describe("SELECT * FROM t").pins[0]
    other = Pin(pin.ref, pin.version, "other", None)
    assert lakeside.describe("SELECT * FROM t", pins=(other,)).pins == (pin,)


def test_shared_runs_do_not_mix_defaults(lakeside: Session) -> None:
    lakeside.lake.write("other.t", pa.table({"id": [99]}))
    in_other = lakeside.engine.describe(
        Query("SELECT id FROM t", ADMIN, "lake", "other"), is_cancelled=never
    )
    assert in_other.pins[0].ref == TableRef("lake", "other", "t")
    assert lakeside.describe("SELECT id FROM t").pins[0].ref == TableRef("lake", "main", "t")
