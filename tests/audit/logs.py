"""Logs to test with, and what somebody with rights to the disk might do to them."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from flight_server.audit.columns import SCHEMA
from flight_server.audit.events import HASHED_COLUMNS, Event, Outcome, canonical, hash_of
from flight_server.audit.log import AuditLog, LogOptions, verify_folder
from flight_server.audit.verification import Verdict
from flight_server.clock import Clock, SystemClock

SMALL_SEGMENT_BYTES = 64 * 1024
TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)
_numbers = itertools.count(1)

Record = dict[str, Any]


class Patient:
    """A clock whose monotonic time stands still, so that nothing is flushed unless it is asked."""

    def __init__(self, now: datetime = TIME) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


def event(
    outcome: Outcome = Outcome.SUCCESS, *, request_id: str = "", at: datetime = TIME, **fields: Any
) -> Event:
    number = next(_numbers)
    values: dict[str, Any] = {
        "action": "query.run",
        "user_id": f"user-{number % 7}",
        "username": "ana",
        "resource": "lake.sales.orders",
        "details": {"statement": "SELECT * FROM lake.sales.orders WHERE id = ?", "n": number},
        "table_versions": {"lake.sales.orders": number},
        "row_count": number,
        "duration_ms": number / 8,
        **fields,
    }
    return Event(
        timestamp=at, outcome=outcome, request_id=request_id or f"request-{number}", **values
    )


def unopened(
    folder: Path,
    *,
    clock: Clock | None = None,
    segment_bytes_max: int = SMALL_SEGMENT_BYTES,
    compact_files_min: int = 64,
) -> AuditLog:
    """Return a log that flushes when it is told to, or when a segment is full."""
    return AuditLog(
        folder,
        clock=clock or Patient(),
        random_bytes=os.urandom,
        options=LogOptions(
            flush_seconds_max=3600,
            segment_bytes_max=segment_bytes_max,
            compact_files_min=compact_files_min,
        ),
    )


@contextmanager
def opened(folder: Path, **kinds: Any) -> Iterator[AuditLog]:
    """Open such a log, and close it."""
    log = unopened(folder, **kinds)
    log.start()
    try:
        yield log
    finally:
        log.close()


def fill(log: AuditLog, count: int, *, flush_every: int = 0) -> list[int]:
    numbers = []
    for position in range(count):
        numbers.append(log.append(event()))
        if flush_every and (position + 1) % flush_every == 0:
            log.flush()
    return numbers


def verified(folder: Path, **kinds: Any) -> Verdict:
    return verify_folder(folder, clock=SystemClock(), random_bytes=os.urandom, **kinds)


def rows_of(folder: Path) -> list[Record]:
    """Return all rows of the table, in the order of their numbers, whatever the sizes of files."""
    found: list[Record] = []
    for path in Disk(folder).files:
        day = date.fromisoformat(path.parent.name.removeprefix("date_partition="))
        found += [{**row, "date_partition": day} for row in stored_rows(path)]
    return sorted(found, key=lambda row: int(row["sequence"]))


def stored_rows(path: Path) -> list[Record]:
    found: list[Record] = pq.ParquetFile(path).read().to_pylist()
    return found


def column_of(folder: Path, name: str) -> list[Any]:
    return [row[name] for row in rows_of(folder)]


def as_hashed(row: Record) -> Record:
    """Return a row of the table as its hash is taken over it."""
    record = {name: row[name] for name in HASHED_COLUMNS}
    time = record["timestamp"].astimezone(UTC)
    record["timestamp"] = time.isoformat(timespec="microseconds")[:-6] + "Z"
    record["date_partition"] = record["date_partition"].isoformat()
    return record


def chained(rows: Sequence[Record], start: int) -> list[Record]:
    """Return the rows with hashes that fit from a position on, as an attacker makes them."""
    made = [dict(row) for row in rows]
    for position in range(start, len(made)):
        row = made[position]
        row["prev_hash"] = made[position - 1]["hash"] if position else "0" * 64
        row["hash"] = hash_of(canonical(as_hashed(row)))
    return made


@dataclass(frozen=True)
class Disk:
    """A closed log, and the rights to its folder."""

    folder: Path

    @property
    def files(self) -> list[Path]:
        table = DeltaTable(str(self.folder / "audit_log"))
        return [Path(uri) for uri in table.file_uris()]

    def change_file(self, sequence: int, change: Callable[[list[Record]], list[Record]]) -> None:
        """Rewrite the one Parquet file that holds a record, under its own name."""
        for path in self.files:
            rows = stored_rows(path)
            if any(row["sequence"] == sequence for row in rows):
                self._write(path, change(rows))
                return
        raise AssertionError(f"no file holds record {sequence}")

    def change_table(self, change: Callable[[list[Record]], list[Record]]) -> None:
        """Overwrite the table by way of the Delta library, as anybody could."""
        rows = pa.Table.from_pylist(change(rows_of(self.folder)), SCHEMA)
        table = DeltaTable(str(self.folder / "audit_log"))
        table.alter.set_table_properties({"delta.appendOnly": "false"})
        write_deltalake(table, rows, mode="overwrite", partition_by=["date_partition"])

    def change_journal(self, change: Callable[[list[Record]], list[Record]]) -> None:
        """Rewrite the records of the last segment that holds some."""
        path = self.segment()
        content = path.read_bytes()
        header, *lines = content[: content.index(b"\0")].splitlines(keepends=True)
        records = change([json.loads(line) for line in lines])
        dumped = [json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in records]
        path.write_bytes((header + b"".join(dumped)).ljust(len(content), b"\0"))

    def segment(self) -> Path:
        paths = sorted((self.folder / "journal").glob("[0-9]*.ndjson"))
        return [path for path in paths if path.read_bytes().count(b"\n") > 1][-1]

    def _write(self, path: Path, rows: list[Record]) -> None:
        stored = pa.schema([field for field in SCHEMA if field.name != "date_partition"])
        pq.write_table(pa.Table.from_pylist(rows, stored), path)


def abandoned(log: AuditLog) -> None:
    """Leave a log as the end of its process would: files closed, nothing flushed."""
    log._is_closing = True
    log._due.set()
    log._thread.join()
    log._journal.close()
    os.close(log._lock_descriptor)
