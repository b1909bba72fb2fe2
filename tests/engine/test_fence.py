"""The fence: nothing that a query asks is asked of rows that it may not see."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.engine.base import FencedScan, FileGroup, FileScan, Pin, RowScan, ViewScan
from flight_server.engine.session import EngineOptions
from flight_server.errors import InvalidRequest, LakeflightError
from tests.engine.lake import READER, Session, session

HIDDEN = "HIDDEN"
COLUMNS = tuple((name, name) for name in ("owner", "word", "nought", "id", "day"))
MASKED = ("told", "nullif(CASE WHEN nought = 1 AND id % 100 = 0 THEN word ELSE '' END, '')")
ROWS = 4_000

# Each would end in an error that only hidden rows can cause, or tell of them, were there no fence.
HOSTILE = (
    "SELECT id FROM v WHERE CAST(word AS INT) = 7",
    "SELECT id FROM v WHERE CASE WHEN nought = 0 THEN CAST(word AS INT) ELSE 7 END = 7",
    "SELECT id FROM v WHERE 1 / nought = 1",
    "SELECT owner, CAST(word AS INT) FROM v",
    "SELECT 1 / nought FROM v",
    "SELECT id FROM v ORDER BY CAST(word AS INT)",
    "SELECT id FROM v ORDER BY CAST(word AS INT) LIMIT 3",
    "SELECT owner, 1 / nought AS q FROM v ORDER BY q DESC, CAST(word AS INT) LIMIT 3",
    "SELECT * FROM v JOIN (VALUES (7)) AS b(x) ON CAST(v.word AS INT) = b.x",
    "SELECT count(*) FROM v a JOIN v b ON CAST(a.word AS INT) / a.nought = 7 AND a.id = b.id",
    "SELECT a.id FROM v a WHERE EXISTS (SELECT 1 FROM v b WHERE CAST(b.word AS INT) = a.nought)",
    "SELECT id FROM v WHERE id IN (SELECT CAST(word AS INT) FROM v)",
    "SELECT word, count(*) FROM v GROUP BY word HAVING CAST(word AS INT) = 7",
    "SELECT CAST(word AS INT), count(*) FROM v GROUP BY 1",
    "SELECT sum(CAST(word AS INT)) FILTER (WHERE 1 / nought = 1) FROM v",
    "SELECT row_number() OVER (PARTITION BY CAST(word AS INT) ORDER BY 1 / nought) FROM v",
    "SELECT max(CAST(word AS INT)) FROM v WHERE day = 'd1'",
    "SELECT DISTINCT CAST(word AS INT) FROM v",
    "SELECT unnest(make_array(CAST(word AS INT), 1 / nought)) FROM v",
    "WITH c AS (SELECT CAST(word AS INT) AS n FROM v) SELECT * FROM c WHERE n = 7 LIMIT 1",
    "SELECT id FROM v WHERE word LIKE '7%' AND CAST(word AS INT) > 0 LIMIT 1",
    "SELECT (SELECT max(1 / nought) FROM v) AS x",
    "SELECT id FROM v WHERE CAST(word AS INT) = 7 UNION ALL SELECT 1 / nought FROM v",
    "SELECT id FROM v WHERE regexp_count(word, 'HID') = 0 AND 1 / nought = 1 OFFSET 2",
)


def rows(day: int, part: int) -> pa.Table:
    """One row in fifty is the caller's; each of the others breaks what is done with it."""
    ids = [(day * 10 + part) * ROWS + number for number in range(ROWS)]
    own = [number % 50 == 0 for number in ids]
    return pa.table(
        {
            "owner": ["me" if mine else "other" for mine in own],
            "word": [
                "7" if mine else f"{HIDDEN}{number}" for mine, number in zip(own, ids, strict=True)
            ],
            "nought": pa.array([int(mine) for mine in own], pa.int64()),
            "id": pa.array(ids, pa.int64()),
        }
    )


def files(lakeside: Session) -> FileScan:
    """Two days of two files each, in row groups that hold rows of both kinds."""
    groups = []
    for day in range(2):
        tables = [rows(day, part) for part in range(2)]
        scan = lakeside.lake.write(f"day{day}", *tables, row_group_size=1000)
        groups.append(FileGroup((pa.scalar(f"d{day}"),), scan.groups[0].paths))
    schema = pa.schema([*rows(0, 0).schema, pa.field("day", pa.string())])
    return FileScan(schema, ("day",), tuple(groups))


def memory() -> RowScan:
    table = pa.concat_tables([rows(day, part) for day in range(2) for part in range(2)])
    return RowScan(table.append_column("day", pa.array(["d1"] * table.num_rows)))


@pytest.fixture(params=["files", "memory"])
def fenced(lakeside: Session, request: pytest.FixtureRequest) -> Session:
    source = files(lakeside) if request.param == "files" else memory()
    lakeside.lake.add("v", FencedScan(source, "owner = 'me'", (*COLUMNS, MASKED)))
    return lakeside


@pytest.mark.parametrize("sql", HOSTILE)
def test_hidden_rows_cause_no_error_and_are_not_told(fenced: Session, sql: str) -> None:
    for _ in range(2):
        schema, batches = fenced.batches(sql, principal=READER)
        assert HIDDEN.encode() not in wire(schema, batches)


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("sql", HOSTILE[:13])
def test_however_many_parts_a_scan_has(tmp_path: Path, sql: str, partitions: int) -> None:
    lakeside = session(tmp_path, options=EngineOptions(target_partitions=partitions))
    lakeside.lake.add("v", FencedScan(files(lakeside), "owner = 'me'", (*COLUMNS, MASKED)))
    lakeside.rows(sql, principal=READER)


def wire(schema: pa.Schema, batches: list[pa.RecordBatch]) -> bytes:
    """Return the bytes that leave: not only values, but whatever lies in the buffers beside."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM v",
        "SELECT told FROM v ORDER BY id LIMIT 5",
        "SELECT make_array(told, word) AS a, struct(told) AS s FROM v",
        "SELECT coalesce(told, 'x'), substr(told, 1, 1), told || word FROM v",
        "SELECT nullif(word, '7') FROM v",
        "SELECT told, count(*), min(word), array_agg(told) FROM v GROUP BY told",
    ],
)
def test_no_hidden_byte_is_in_the_buffers(fenced: Session, sql: str) -> None:
    schema, batches = fenced.batches(sql, principal=READER)
    assert sum(batch.num_rows for batch in batches)
    assert HIDDEN.encode() not in wire(schema, batches)


def test_masked_values_leave_no_bytes(lakeside: Session) -> None:
    columns = (("id", "id"), ("told", "nullif(CASE WHEN nought = 1 THEN word ELSE '' END, '')"))
    lakeside.lake.add("v", FencedScan(files(lakeside), "id >= 0", columns))
    for sql in ("SELECT * FROM v", "SELECT make_array(told) FROM v", "SELECT told FROM v LIMIT 9"):
        schema, batches = lakeside.batches(sql, principal=READER)
        assert HIDDEN.encode() not in wire(schema, batches)
    assert lakeside.values("SELECT count(*), count(told) FROM v") == [(4 * ROWS, 4 * ROWS // 50)]


def test_the_plan_has_the_limit_and_no_filter_from_running(fenced: Session) -> None:
    for sql in (
        "SELECT id FROM v ORDER BY CAST(word AS INT) LIMIT 3",
        "SELECT a.id FROM v a JOIN v b ON a.id = b.id",
    ):
        physical = fenced.physical_plan(sql)
        assert "9223372036854775807" in physical
        assert "DynamicFilter" not in physical
    # Other queries of the same session keep theirs.
    assert "DynamicFilter" in fenced.physical_plan("SELECT id FROM t ORDER BY name LIMIT 3")


def test_errors_of_visible_rows_are_told_as_ever(fenced: Session) -> None:
    with pytest.raises(InvalidRequest, match="division by zero"):
        fenced.rows("SELECT 1 / (nought - 1) FROM v")


def test_only_the_columns_that_are_listed_exist(lakeside: Session) -> None:
    lakeside.lake.add("v", FencedScan(memory(), "owner = 'me'", (("n", "nought"),)))
    assert lakeside.rows("SELECT * FROM v LIMIT 1").to_pylist() == [{"n": 1}]
    for sql in ("SELECT word FROM v", "SELECT nought FROM v"):
        with pytest.raises(LakeflightError) as raised:
            lakeside.rows(sql)
        assert "owner" not in raised.value.message


def test_files_that_are_gone_are_noticed(lakeside: Session) -> None:
    scan = files(lakeside)
    lakeside.lake.add("v", FencedScan(scan, "owner = 'me'", COLUMNS))
    path = scan.groups[0].paths[0].removeprefix("file://").replace("%20", " ")
    Path(path).unlink()
    with pytest.raises(LakeflightError) as raised:
        lakeside.rows("SELECT count(*) FROM v")
    assert raised.value.code == "table_damaged"


def test_a_view_over_it_is_fenced_as_well(fenced: Session) -> None:
    fenced.lake.add("w", ViewScan("SELECT word, nought, id FROM v", "lake", "main"))
    sql = "SELECT id FROM w ORDER BY CAST(word AS INT), 1 / nought LIMIT 2"
    assert len(fenced.values(sql)) == 2
    assert "DynamicFilter" not in fenced.physical_plan(sql)


def test_pins_bring_back_its_state(lakeside: Session) -> None:
    lakeside.lake.add("v", FencedScan(memory(), "owner = 'me'", COLUMNS))
    pins: tuple[Pin, ...] = lakeside.describe("SELECT count(*) FROM v").pins
    lakeside.lake.add("v", FencedScan(memory(), "owner = 'nobody'", COLUMNS))
    assert lakeside.rows("SELECT count(*) AS n FROM v", pins=pins).to_pylist() == [{"n": 320}]
    assert lakeside.values("SELECT count(*) FROM v") == [(0,)]
