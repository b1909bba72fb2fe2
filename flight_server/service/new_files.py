"""Holds the rows of files that a gateway wrote itself to the row filters of who sent them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from flight_server.engine.base import ROW_FILTER_CHECK, Engine, FileGroup, FileScan
from flight_server.errors import PermissionDenied
from flight_server.storage.arrow_types import without_metadata
from flight_server.storage.files import DataFile
from flight_server.storage.snapshots import file_uri


def check_rows(
    engine: Engine,
    scan: FileScan,
    checks: tuple[str, ...],
    *,
    is_cancelled: Callable[[], bool],
) -> None:
    """Raise PermissionDenied (``row_filter_check``) when a row does not meet all ``checks``."""
    if not (checks and scan.groups):
        return
    refused = engine.count_refused(scan, checks, is_cancelled=is_cancelled)
    if refused:
        raise PermissionDenied(
            f"{refused} rows would not pass the row filters that hold for you on this table;"
            " nothing was changed",
            code=ROW_FILTER_CHECK,
        )


def scan_of(
    folder: Path, schema: pa.Schema, partition_columns: tuple[str, ...], files: Sequence[DataFile]
) -> FileScan:
    """Return a scan of files below a table's folder, of which no log knows yet."""
    plain = without_metadata(schema)
    groups: dict[tuple[str | None, ...], list[str]] = {}
    for file in files:
        key = tuple(file.partition_values.get(name) for name in partition_columns)
        groups.setdefault(key, []).append(file_uri(str(file.file_below(folder.absolute()))))
    kinds = [plain.field(name).type for name in partition_columns]
    return FileScan(
        plain,
        partition_columns,
        tuple(
            FileGroup(tuple(map(_value, key, kinds)), tuple(paths)) for key, paths in groups.items()
        ),
    )


def _value(text: str | None, kind: Any) -> pa.Scalar[Any]:
    """Return a partition value from its text in a log; an empty one is NULL, times are in UTC."""
    written: Any = pa.scalar(text or None, pa.string())
    if pa.types.is_timestamp(kind):
        written = written.cast(pa.timestamp("us"))
    value: pa.Scalar[Any] = written.cast(kind)
    return value
