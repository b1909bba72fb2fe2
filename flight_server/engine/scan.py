"""Turns the description of a table's files, rows or provider into a table of a DataFusion session.

DataFusion has no Python call that scans a given list of files, but its serialized logical plan
holds one: the plan of ``read_parquet`` is a listing scan, whose repeated field of paths is replaced
here by the files of the table version. Field numbers are those of ``datafusion.proto``, message
``ListingTableScanNode``; a test pins them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from datafusion import DataFrame, Expr, SessionContext, col
from datafusion.catalog import Table
from datafusion.plan import LogicalPlan

from flight_server.engine.base import (
    FileGroup,
    FileScan,
    ProviderScan,
    RowScan,
    Scan,
    TableScan,
    files_of,
)
from flight_server.engine.faults import DAMAGED
from flight_server.engine.output import plain_schema
from flight_server.engine.protobuf import delimited, fields, read_varint, varint
from flight_server.errors import Unavailable
from flight_server.sql.names import quoted

# Planning a listing scan asks for all its files at once, each in a thread of its own, and a thread
# takes some 10 to 30 MiB of address space for its stack and the allocator's: 150 files in one scan
# were more than a worker has. Scans of a union are planned one after the other.
LISTED_FILES_MAX = 32
_LOCAL = "file://"
_LISTING_SCAN = 1  # in LogicalPlanNode
_PATHS = 2  # in ListingTableScanNode: repeated string
_FILE_EXTENSION = 3
_COLLECT_STATISTICS = 8  # bool
_TEMPLATE_URL = (
    "file:///template.parquet"  # never opened: with a schema given, planning asks no store
)


def table_of(ctx: SessionContext, scan: TableScan) -> Table:
    """Return the table that reads this scan; blocks, so call it outside the session's runtime."""
    if isinstance(scan, ProviderScan):
        return Table(scan.provider, ctx)  # type: ignore[arg-type]  # an opaque object on purpose
    return Table(source_frame(ctx, scan))


def source_frame(ctx: SessionContext, scan: TableScan) -> DataFrame:
    """Return all rows of a table as it is stored."""
    if isinstance(scan, FileScan):
        return frame_of_files(ctx, scan)
    if isinstance(scan, RowScan):
        return _frame_of_rows(ctx, scan)
    return ctx.read_table(table_of(ctx, scan))


def frame_as_declared(ctx: SessionContext, scan: TableScan) -> DataFrame:
    """Return all rows of a table, with columns that may be NULL wherever the table says so.

    Values of partitions are constants, so that a column would be said to have no NULL when no file
    has one in it, whoever may see that file: hence no rows at all that may have NULLs are added.
    """
    frame = source_frame(ctx, scan)
    if not isinstance(scan, FileScan):
        return frame
    kept = {each.name for each in frame.schema() if not each.nullable}
    if not any(each.nullable and each.name in kept for each in scan.schema):
        return frame
    return frame.union(_frame_of_rows(ctx, RowScan(scan.schema.empty_table())))


def frame_of_files(ctx: SessionContext, scan: FileScan) -> DataFrame:
    """All rows of a table version, in the table's order of columns.

    Groups differ in their partition values, which are constants to their files; so each group is a
    scan of its own, and a predicate on a partition column removes whole groups before a file is
    opened.
    """
    groups = [group for group in scan.groups if group.paths]
    if not groups:
        return _frame_of_rows(ctx, RowScan(scan.schema.empty_table()))
    shell = _shell_of(ctx, scan)
    return _union([_frame_of_group(ctx, scan, group=group, shell=shell) for group in groups])


def frame_of_numbered_files(ctx: SessionContext, scan: FileScan, column: str) -> DataFrame:
    """All rows of a scan, with the number of their group from 0 on in one more column.

    So groups of one file tell which file a row comes from.
    """
    shell = _shell_of(ctx, scan)
    return _union(
        [
            _frame_of_group(ctx, scan, group=group, shell=shell).with_column(
                column, Expr.literal(pa.scalar(number, pa.int64()))
            )
            for number, group in enumerate(scan.groups)
        ]
    )


def _shell_of(ctx: SessionContext, scan: FileScan) -> bytes:
    stored = pa.schema([f for f in scan.schema if f.name not in scan.partition_columns])
    template = ctx.read_parquet(_TEMPLATE_URL, schema=plain_schema(stored))
    return _listing_shell(template.logical_plan().to_bytes(ctx))


def _union(frames: list[DataFrame]) -> DataFrame:
    while len(frames) > 1:  # pairwise, so that thousands of groups do not nest thousands deep
        pairs = range(0, len(frames), 2)
        frames = [
            frames[i].union(frames[i + 1]) if i + 1 < len(frames) else frames[i] for i in pairs
        ]
    return frames[0]


def check_files(scans: Iterable[Scan]) -> None:
    """Raise Unavailable (``table_damaged``) when a local data file is gone or empty.

    DataFusion leaves out such a file without a word, which would be an answer with rows missing.
    It lists files while it makes the physical plan, so this is asked after that; what vanishes
    later is an error of its own.
    """
    for scan in scans:
        if (files := files_of(scan)) is not None:
            for group in files.groups:
                for path in group.paths:
                    if path.startswith(_LOCAL) and _size(path.removeprefix(_LOCAL)) == 0:
                        raise Unavailable(DAMAGED, code="table_damaged")


def _size(quoted_path: str) -> int:
    try:
        return os.stat(unquote(quoted_path)).st_size  # noqa: PTH116  asked once for each file: twice as fast
    except OSError:
        return 0


def listing_plan(shell: bytes, paths: Sequence[str]) -> bytes:
    """Return a serialized plan that scans exactly these files, with their statistics."""
    named = b"".join(delimited(_PATHS, path.encode()) for path in paths)
    return delimited(_LISTING_SCAN, shell + named + varint(_COLLECT_STATISTICS << 3) + b"\x01")


def _frame_of_group(
    ctx: SessionContext, scan: FileScan, *, group: FileGroup, shell: bytes
) -> DataFrame:
    frame = _union([_frame_of_paths(ctx, shell, part) for part in _parts(group.paths)])
    if not scan.partition_columns:
        return frame
    values = dict(zip(scan.partition_columns, group.partition, strict=True))
    return frame.select(*(_column(field, values) for field in scan.schema))


def _parts(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(paths), LISTED_FILES_MAX):
        yield paths[at : at + LISTED_FILES_MAX]


def _frame_of_paths(ctx: SessionContext, shell: bytes, paths: Sequence[str]) -> DataFrame:
    plan = LogicalPlan.from_bytes(ctx, listing_plan(shell, paths))
    return ctx.create_dataframe_from_logical_plan(plan)


def _column(field: pa.Field[Any], values: dict[str, pa.Scalar[Any]]) -> Expr:
    if field.name not in values:
        return col(quoted(field.name))
    value = values[field.name]
    if value.type != field.type:
        value = value.cast(field.type)
    return Expr.literal(value).alias(field.name)


def _frame_of_rows(ctx: SessionContext, scan: RowScan) -> DataFrame:
    rows = scan.rows.cast(plain_schema(scan.rows.schema))
    batches = rows.to_batches() or [pa.RecordBatch.from_pylist([], schema=rows.schema)]
    return ctx.read_batches(batches)


def _listing_shell(plan: bytes) -> bytes:
    """Return a listing scan without its paths, its file extension and its statistics flag.

    Without an extension a file is taken as listed, whatever its name ends in.
    """
    ((number, scan),) = [(number, raw) for number, raw in fields(plan)][:1]
    if number != _LISTING_SCAN:
        raise RuntimeError("the plan of read_parquet is no longer a listing scan")
    replaced = (_PATHS, _FILE_EXTENSION, _COLLECT_STATISTICS)
    body = scan[read_varint(scan, read_varint(scan, 0)[1])[1] :]
    return b"".join(raw for number, raw in fields(body) if number not in replaced)
