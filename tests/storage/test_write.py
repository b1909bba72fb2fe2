"""Writes make one version each, and leave the older ones readable."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from flight_server.storage.write import Mode, append


def rows(*values: int) -> pa.RecordBatchReader:
    return pa.table({"n": pa.array(values, pa.int64()), "text": ["x"] * len(values)}).to_reader()


def numbers(table: Path, version: int) -> set[object]:
    return set(DeltaTable(table, version=version).to_pyarrow_table()["n"].to_pylist())


def test_append_and_overwrite(tmp_path: Path) -> None:
    table = tmp_path / "new" / "table"
    append(table, rows(1, 2))
    append(table, rows(3))
    append(table, rows(9), mode=Mode.OVERWRITE)
    assert [numbers(table, version) for version in range(3)] == [
        {1, 2},
        {1, 2, 3},
        {9},
    ]
    assert DeltaTable(table).version() == 2


def test_partitions_and_commit_metadata(tmp_path: Path) -> None:
    append(tmp_path, rows(1, 2), partition_by=["n"], commit_metadata={"request_id": "r-1"})
    table = DeltaTable(tmp_path)
    assert table.metadata().partition_columns == ["n"]
    assert table.history(1)[0]["request_id"] == "r-1"


def test_files_hold_plain_text(tmp_path: Path) -> None:
    append(tmp_path, rows(1))
    schema = pq.read_schema(DeltaTable(tmp_path).file_uris()[0])
    assert schema.field("text").type == pa.string()
