"""What EXPLAIN shows: the plan of the caller's own query, and nothing of what lies below it.

For whoever is no administrator, and for everybody over tables that hide something of their rows,
the query is planned over stand-ins: tables of the same columns without rows, files or policies. So
there is nothing in the plan that could tell of them. For others the tables are the real ones;
server paths are taken out, files keep their names in the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from datafusion.catalog import Table
from pyarrow.dataset import dataset

from flight_server.engine.base import FileScan, Scan, files_of
from flight_server.errors import Unsupported
from flight_server.sql.lexer import heard

# How the plan shows the scan of a stand-in.
_OF_STAND_IN = re.compile(r"DatasetExec: number_of_fragments=\d+, ")
_OPTIONS = frozenset({"ANALYZE", "VERBOSE", "FORMAT"})
_FILE_GROUPS = re.compile(r"file_groups=\{.*?\]\]\}", re.DOTALL)
_DIRECTORIES = re.compile(r"[^\[\],{}]*/")


def stand_in(schema: pa.Schema) -> Table:
    """Return a table of these columns that the planner knows nothing else of, no number of rows."""
    # A row that nobody reads; without one there would be no part that a plan could read.
    types: list[Any] = schema.types
    nulls = [pa.nulls(1, kind) for kind in types]
    return Table(dataset([pa.RecordBatch.from_arrays(nulls, schema=schema)]))


def refuse_analysis(sql: str) -> None:
    """Raise Unsupported for EXPLAIN ANALYZE, which runs a query to tell what it met."""
    for token in heard(sql)[1:]:
        if token.upper == "ANALYZE":
            raise Unsupported(
                "EXPLAIN ANALYZE is for administrators, and for tables of which they see all"
            )
        if token.upper not in _OPTIONS:
            return


def redacted(batch: pa.RecordBatch, scans: Iterable[Scan]) -> pa.RecordBatch:
    """Return the batch with no folder of these tables, or of any list of files, in it."""
    folders = sorted(
        {form for files in map(files_of, scans) if files for form in _folders(files)},
        key=len,
        reverse=True,
    )
    columns = [
        pa.array([_clean(text, folders) for text in column.to_pylist()], column.type)
        if pa.types.is_string(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _folders(scan: FileScan) -> Iterable[str]:
    """Return the folder all files of a table lie in, in the forms in which a plan may print it."""
    paths = [path for group in scan.groups for path in group.paths]
    if not paths:
        return
    common = paths[0].rpartition("/")[0] + "/"
    while not all(path.startswith(common) for path in paths):
        common = common[:-1].rpartition("/")[0] + "/"
    bare = common.split("://", 1)[-1].lstrip("/")
    if not bare:
        return
    yield from {common, common.split("://", 1)[-1], bare, unquote(common), unquote(bare)}


def _clean(text: str | None, folders: Iterable[str]) -> str | None:
    if text is None:
        return None
    for folder in folders:
        text = text.replace(folder, "")
    text = _OF_STAND_IN.sub("TableScan: ", text)
    return _FILE_GROUPS.sub(lambda found: _without_folders(found[0]), text)


def _without_folders(files: str) -> str:
    return _DIRECTORIES.sub(lambda found: _partitions(found[0]), files)


def _partitions(folders: str) -> str:
    """Return those of a path's folders that spell partition values; a table names files so."""
    lead = folders[: len(folders) - len(folders.lstrip())]
    return lead + "".join(f"{part}/" for part in folders.strip().split("/") if "=" in part)
