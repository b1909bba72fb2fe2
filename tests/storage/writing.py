"""Writes tables as the server does, with data files of a few rows made by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from flight_server.clock import Clock, SystemClock
from flight_server.storage.changes import Author, Change, Committed
from flight_server.storage.commits import Commits
from flight_server.storage.creation import Creation
from flight_server.storage.durable import make_folder, sync_file, sync_folder
from tests.delta_log import NUMBERS, numbers

ALICE = Author(user_id="u-1", user_name="alice", request_id="r-1")
NAME = "sales.orders"


@dataclass(frozen=True)
class DataFile:
    """A data file that was written and not yet committed."""

    path: str
    size: int
    rows: int
    partition_values: Mapping[str, str | None]
    stats: str
    modified_ms: int


def data_file(
    folder: Path, rows: pa.Table, *, partition: Mapping[str, str | None] | None = None
) -> DataFile:
    """Write and sync a data file below a table's folder."""
    partition = partition or {}
    path = "/".join([*(f"{k}={v}" for k, v in partition.items()), f"{os.urandom(8).hex()}.parquet"])
    target = folder / path
    make_folder(target.parent)
    pq.write_table(rows, target)
    sync_file(target)
    sync_folder(target.parent)
    status = target.stat()
    return DataFile(
        path=path,
        size=status.st_size,
        rows=rows.num_rows,
        partition_values=partition,
        stats=json.dumps({"numRecords": rows.num_rows}),
        modified_ms=status.st_mtime_ns // 1_000_000,
    )


@dataclass
class Written:
    """One table of NUMBERS, and the two that write it."""

    path: Path
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self.commits = Commits(self.clock, random_bytes=os.urandom)
        self.creation = Creation(self.clock, random_bytes=os.urandom)

    def create(
        self,
        rows: pa.Table | None = None,
        *,
        schema: pa.Schema = NUMBERS,
        configuration: Mapping[str, str] | None = None,
    ) -> Written:
        """Make the table."""
        staged = self.creation.stage(self.path, name=NAME)
        adds = () if rows is None else (data_file(staged, rows),)
        metadata = self.creation.metadata(schema, configuration=configuration)
        change = Change("CREATE TABLE", ALICE, adds=adds)
        self.creation.publish(staged, self.path, change=change, metadata=metadata, name=NAME)
        return self

    def commit(self, operation: str = "WRITE", **kinds: Any) -> Committed:
        """Commit a change."""
        kinds.setdefault("author", ALICE)
        return self.commits.commit(self.path, Change(operation, **kinds), name=NAME)

    def append(self, start: int, stop: int, **kinds: Any) -> Committed:
        """Append the numbers from start to stop - 1."""
        file = data_file(self.path, numbers(start, stop))
        return self.commit(adds=(file,), rows=stop - start, **kinds)

    def ids(self, version: int | None = None) -> list[int]:
        """All ids, as the Delta library reads them, sorted."""
        table: Any = DeltaTable(str(self.path), version=version).to_pyarrow_table()
        return sorted(table["id"].to_pylist())

    def entry(self, version: int) -> list[dict[str, Any]]:
        """The actions of one log entry."""
        path = self.path / "_delta_log" / f"{version:020d}.json"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def version(self) -> int:
        """The newest version, as the Delta library sees it."""
        return DeltaTable(str(self.path)).version()

    def data_files(self) -> Sequence[str]:
        """All data files on disk, wanted or not."""
        return sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*.parquet"))
