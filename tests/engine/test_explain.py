from __future__ import annotations

import pyarrow as pa
import pytest

from flight_server.engine.base import FileGroup, FileScan
from flight_server.engine.explain import redacted
from tests.engine.lake import Session


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
