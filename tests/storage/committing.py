"""Makes a Delta table of data files that our writer left, and reads it in both ways there are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction, create_table_with_add_actions

from flight_server.engine.base import FileGroup, FileScan
from flight_server.storage.files import DataFile, DataFileWriter, FileOptions
from flight_server.storage.tables import DeltaTables
from tests.clocks import StandingClock
from tests.storage.reading import rows_of


def local_time(
    year: int,
    month: int,
    day: int,
    hour: int = 0,
    minute: int = 0,
    second: int = 0,
    microsecond: int = 0,
) -> datetime:
    """Return a time without zone."""
    moment = datetime(year, month, day, hour, minute, second, microsecond, UTC)
    return moment.replace(tzinfo=None)


def writer(
    folder: Path,
    schema: pa.Schema,
    partition_columns: tuple[str, ...] = (),
    options: FileOptions | None = None,
) -> DataFileWriter:
    return DataFileWriter(
        folder,
        schema,
        partition_columns=partition_columns,
        options=options,
        clock=StandingClock(),
        random_bytes=os.urandom,
    )


def write_files(
    folder: Path,
    rows: pa.Table,
    partition_columns: tuple[str, ...] = (),
    options: FileOptions | None = None,
) -> tuple[DataFile, ...]:
    return write_all(writer(folder, rows.schema, partition_columns, options), rows.to_batches())


def write_all(made: DataFileWriter, batches: Iterable[pa.RecordBatch]) -> tuple[DataFile, ...]:
    for batch in batches:
        made.write(batch)
    return made.finish()


def commit(
    folder: Path,
    schema: pa.Schema,
    files: Iterable[DataFile],
    partition_columns: Sequence[str] = (),
) -> DeltaTable:
    create_table_with_add_actions(
        str(folder),
        Schema.from_arrow(schema),
        [
            AddAction(
                unquote(file.path),  # the library encodes it itself
                file.size,
                dict(file.partition_values),
                file.modified_ms,
                True,
                file.stats,
            )
            for file in files
        ],
        partition_by=list(partition_columns) or None,
    )
    return DeltaTable(str(folder))


def served_rows(folder: Path) -> pa.Table:
    """Return the rows as the server's engine scans them."""
    snapshot = DeltaTables(StandingClock()).newest(folder, name="t")
    groups = tuple(FileGroup(each.partition, each.uris) for each in snapshot.file_sets)
    return rows_of(FileScan(snapshot.schema, snapshot.partition_columns, groups))


def leftovers(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))
