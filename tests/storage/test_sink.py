from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flight_server.engine.base import Sink
from flight_server.errors import SchemaMismatch
from flight_server.storage.files import DataFile
from flight_server.storage.sink import TableSink
from tests.clocks import StandingClock
from tests.storage.committing import commit, leftovers, served_rows

COLUMNS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64(), nullable=False),
    pa.field("price", pa.decimal128(10, 2)),
    pa.field("day", pa.date32()),
]
TABLE = pa.schema(COLUMNS)


def sink(
    folder: Path,
    incoming: pa.Schema,
    schema: pa.Schema | None = TABLE,
    partition_columns: tuple[str, ...] = (),
    *,
    by_name: bool = False,
) -> TableSink:
    return TableSink(
        folder,
        schema,
        incoming=incoming,
        partition_columns=partition_columns,
        by_name=by_name,
        clock=StandingClock(),
        random_bytes=os.urandom,
    )


def rows(**columns: list[Any]) -> pa.RecordBatch:
    return pa.record_batch(list(map(pa.array, columns.values())), names=list(columns))


def test_rows_of_a_query_become_files_of_a_table(tmp_path: Path) -> None:
    batch = rows(a=[1, 2], b=[1.005, None], c=["2026-03-01", None])
    made: TableSink = sink(tmp_path, batch.schema, partition_columns=("day",))
    end: Sink = made  # what the engine asks for
    end.write(batch)
    end.write(batch)
    assert made.rows == 4
    files = [DataFile.from_json(file) for file in json.loads(json.dumps(end.finish()))]
    assert sorted(file.rows for file in files) == [2, 2]
    commit(tmp_path, TABLE, files, ("day",))
    found = served_rows(tmp_path).to_pylist()
    assert sorted((row["id"], row["price"]) for row in found if row["day"]) == [
        (1, Decimal("1.01")),
        (1, Decimal("1.01")),
    ]


def test_a_new_table_takes_the_schema_of_the_rows_also_without_any(tmp_path: Path) -> None:
    incoming = pa.schema([("at", pa.timestamp("ns", "UTC")), ("n", pa.uint32())])
    made = sink(tmp_path, incoming, None)
    assert made.schema == pa.schema([("at", pa.timestamp("us", "UTC")), ("n", pa.int64())])
    assert made.finish() == ()
    assert leftovers(tmp_path) == []


def test_rows_are_paired_by_name_when_asked(tmp_path: Path) -> None:
    batch = rows(day=["2026-03-01"], ID=[7])
    made = sink(tmp_path, batch.schema, by_name=True)
    made.write(batch)
    commit(tmp_path, TABLE, map(DataFile.from_json, made.finish()))
    assert served_rows(tmp_path)["id"].to_pylist() == [7]
    assert served_rows(tmp_path)["price"].to_pylist() == [None]


def test_a_value_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    batch = rows(a=[1], b=["topsecret"], c=[None])
    made = sink(tmp_path, batch.schema)
    with pytest.raises(SchemaMismatch, match='"price"') as caught:
        made.write(batch)
    assert "topsecret" not in caught.value.message
    made.abandon()
    made.abandon()
    assert leftovers(tmp_path) == []


def test_rows_that_never_fit_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match="takes 3 columns"):
        sink(tmp_path, pa.schema([("a", pa.int64())]))
    with pytest.raises(SchemaMismatch, match='"id"'):
        sink(tmp_path, rows(a=[True], b=[1], c=[None]).schema)
    assert leftovers(tmp_path) == []
