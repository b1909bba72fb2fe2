from __future__ import annotations

import pyarrow as pa
import pytest

from flight_server.engine.base import FileGroup, FileScan, ViewScan
from flight_server.engine.explain import redacted
from flight_server.errors import Unsupported
from policies.names import Principal
from policies.rules import Redaction, RedactionKind
from tests.engine.governed import governed, narrowing, without
from tests.engine.lake import ADMIN, READER, Session


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT * FROM t WHERE id = 1",
        "EXPLAIN VERBOSE SELECT * FROM t, u",
        "EXPLAIN ANALYZE SELECT * FROM t",
        "EXPLAIN ANALYZE VERBOSE SELECT * FROM t, u",
        "EXPLAIN FORMAT TREE SELECT * FROM t",
        'EXPLAIN SELECT * FROM "t@v0"',
    ],
)
def test_a_plan_shows_files_without_their_folders(lakeside: Session, sql: str) -> None:
    text = "\n".join(map(str, lakeside.rows(sql).column("plan").to_pylist()))
    assert str(lakeside.lake.folder).lstrip("/") not in text
    assert lakeside.lake.folder.name not in text
    assert "part%200.parquet" in text or "part 0.parquet" in text or "TREE" in sql


def test_files_in_partitions_keep_the_name_within_the_table() -> None:
    paths = ("file:///x/y%20z/t/d=1/a.parquet", "file:///x/y%20z/t/d=2/b.parquet")
    schema = pa.schema([("a", pa.int64())])
    groups = "{1 group: [[x/y%20z/t/d=1/a.parquet, x/y%20z/t/d=2/b.parquet:0..9, ...]]}"
    batch = pa.record_batch({"plan": [f"file_groups={groups}, predicate=a@0 / 2 > 1", None]})
    (text, missing) = redacted(batch, [FileScan(schema, (), (FileGroup((), paths),))])[
        0
    ].to_pylist()
    assert text == (
        "file_groups={1 group: [[d=1/a.parquet, d=2/b.parquet:0..9, ...]]}, predicate=a@0 / 2 > 1"
    )
    assert missing is None


def test_a_list_of_files_of_an_unknown_table_loses_its_folders() -> None:
    batch = pa.record_batch(
        {"plan": ["file_groups={1 group: [[srv/lake/t/p=1/a.parquet, b.parquet]]}"]}
    )
    assert redacted(batch, [])[0].to_pylist() == [
        "file_groups={1 group: [[p=1/a.parquet, b.parquet]]}"
    ]


TABLE = pa.table({"id": pa.array(range(100), pa.int64()), "word": ["told"] * 99 + ["hidden"]})
QUERIES = (
    "SELECT word, count(*) FROM g WHERE id > 3 GROUP BY word ORDER BY 2 LIMIT 3",
    "SELECT * FROM g a JOIN t b ON a.id = b.id",
    "SELECT count(*) FROM g",
    "SELECT CAST(word AS INT) FROM g",
    "SELECT word FROM over WHERE word > 'a'",
    "SELECT g.id FROM g, closed",
)


@pytest.fixture
def house(lakeside: Session) -> Session:
    scan = lakeside.lake.write("stored", TABLE)
    hashed = Redaction(RedactionKind.HASH, domain="told")
    keys = without("id", pa.array([71, 72], pa.int64()))
    shown = narrowing(
        ["id", "word"], "word <> 'hidden'", keys=[keys], redactions={("word",): hashed}
    )
    lakeside.lake.add("g", governed(scan, shown))
    lakeside.lake.add("over", ViewScan("SELECT word, id FROM g", "lake", "main", is_open=True))
    lakeside.lake.add("closed", ViewScan("SELECT 'text' || word AS c FROM g", "lake", "main"))
    return lakeside


@pytest.mark.parametrize("how", ["", "VERBOSE", "FORMAT TREE", "FORMAT PGJSON", "FORMAT GRAPHVIZ"])
@pytest.mark.parametrize("sql", QUERIES)
@pytest.mark.parametrize("principal", [READER, ADMIN])
def test_the_plan_of_a_governed_table_is_that_of_the_query_alone(
    house: Session, principal: Principal, sql: str, how: str
) -> None:
    plan = str(house.rows(f"EXPLAIN {how} {sql}", principal=principal).to_pylist())
    for told in ("hidden", "Anti", "key_", "keyed", "71", "file_groups", ".parquet", "92233"):
        assert told not in plan, told
    if principal is READER or "FROM over" not in sql:
        assert "text" not in plan.replace("plan_type", "")
    if how in ("", "VERBOSE"):
        assert "TableScan: " in plan


def test_a_view_that_may_be_read_is_shown_as_its_text_says(house: Session) -> None:
    plan = str(house.rows("EXPLAIN SELECT word FROM over", principal=READER).to_pylist())
    assert "TableScan: g projection=[word]" in plan


def test_others_than_administrators_see_no_statistics_and_files(house: Session) -> None:
    plan = str(house.rows("EXPLAIN SELECT count(*) FROM t", principal=READER).to_pylist())
    assert "file_groups" not in plan
    assert "AggregateExec" in plan  # a count that is known would be in the plan


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN ANALYZE SELECT * FROM g",
        "EXPLAIN ANALYZE VERBOSE SELECT * FROM over",
        "explain /* */ analyze select 1 from g",
    ],
)
def test_nothing_is_run_to_be_explained(house: Session, sql: str) -> None:
    for principal in (READER, ADMIN):
        with pytest.raises(Unsupported, match="ANALYZE"):
            house.rows(sql, principal=principal)
    with pytest.raises(Unsupported, match="ANALYZE"):
        house.rows("EXPLAIN ANALYZE SELECT * FROM t", principal=READER)
    assert house.rows("EXPLAIN ANALYZE SELECT * FROM t").num_rows


def test_a_table_of_the_name_analyze_can_be_explained(house: Session) -> None:
    house.lake.write("analyze", TABLE)
    assert house.rows("EXPLAIN SELECT * FROM analyze", principal=READER).num_rows
