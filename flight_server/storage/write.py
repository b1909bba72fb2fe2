"""Appends to Delta tables, and replaces what they hold, in one commit each."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, WriterProperties, write_deltalake

# Small enough for a scan to be shared by several cores and to skip what a predicate excludes.
_ROW_GROUP_ROWS_MAX = 131_072


class Mode(StrEnum):
    """What a write does with the rows that are there."""

    APPEND = "append"
    OVERWRITE = "overwrite"


def append(
    table: Path,
    rows: pa.RecordBatchReader,
    *,
    mode: Mode = Mode.APPEND,
    partition_by: Sequence[str] = (),
    commit_metadata: dict[str, str] | None = None,
) -> None:
    """Write a stream of rows as one new version; the table is made when it is missing.

    Older versions stay readable, also after an overwrite. Not synced to disk: for data that can
    be made again.
    """
    table.mkdir(parents=True, exist_ok=True)
    write_deltalake(
        str(table),
        rows,
        mode=mode.value,
        partition_by=list(partition_by) or None,
        writer_properties=WriterProperties(max_row_group_size=_ROW_GROUP_ROWS_MAX),
        commit_properties=CommitProperties(custom_metadata=commit_metadata or {}),
    )
