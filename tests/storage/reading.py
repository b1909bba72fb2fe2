"""Reads what the server would scan, as its engine does, and compares rows in any order."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from datafusion import SessionConfig, SessionContext

from flight_server.engine.base import FileScan, ProviderScan, RowScan, Scan


def rows_of(scan: Scan) -> pa.Table:
    """Return all rows of a scan, in its schema."""
    if isinstance(scan, FileScan):
        return _rows_of_files(scan)
    if isinstance(scan, ProviderScan):
        context = SessionContext()
        provider: Any = scan.provider
        context.register_table("t", provider)
        batches = context.sql("SELECT * FROM t").collect()
        return pa.Table.from_batches(batches).cast(scan.schema)
    assert isinstance(scan, RowScan), "a view has no rows of its own"
    return scan.rows


def _rows_of_files(scan: FileScan) -> pa.Table:
    """Scan each group natively, and add its partition values."""
    stored = pa.schema([f for f in scan.schema if f.name not in scan.partition_columns])
    config = SessionConfig().set("datafusion.execution.parquet.coerce_int96", "us")
    parts = [scan.schema.empty_table()]
    for group in scan.groups:
        for path in group.paths:
            context = SessionContext(config)
            context.register_parquet("f", path, schema=stored, file_extension="")
            batches = context.sql("SELECT *, 0 AS filler FROM f").collect()
            rows = pa.Table.from_batches(batches)
            count = rows.num_rows
            values: dict[str, Any] = dict(zip(scan.partition_columns, group.partition, strict=True))
            columns = [
                pa.repeat(values[f.name], count).cast(f.type)
                if f.name in values
                else rows[f.name].cast(f.type)
                for f in scan.schema
            ]
            parts.append(pa.table(columns, schema=scan.schema))
    return pa.concat_tables(parts)


def same_rows(left: pa.Table, right: pa.Table) -> bool:
    """Whether two tables hold the same rows in any order."""
    return sorted(map(repr, left.to_pylist())) == sorted(map(repr, right.to_pylist()))
