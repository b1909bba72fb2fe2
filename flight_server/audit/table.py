"""The audit table: made when it is first needed, appended to in groups, joined, tidied up.

The number of the last record that is in the table is said by the table itself: only one process
writes it, each commit is all there or not at all, and so a flush that was interrupted is simply
repeated from behind that number.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flight_server.audit.columns import PARTITION_COLUMN, SCHEMA
from flight_server.clock import Clock
from flight_server.errors import LakeflightError, NotFound, Unavailable
from flight_server.storage.changes import COMMIT_UNKNOWN, Author, Change
from flight_server.storage.commits import Commits
from flight_server.storage.creation import STAGING_PREFIX, Creation
from flight_server.storage.delta_actions import ActiveFile
from flight_server.storage.files import DataFileWriter, FileOptions
from flight_server.storage.log import LOG_FOLDER, commit_path, list_log

TABLE_FOLDER = "audit_log"
TABLE_NAME = "system.audit.audit_log"
# Files below this size are joined, up to so many bytes at once.
SMALL_FILE_BYTES_MAX = 8 * 1024 * 1024
JOIN_BYTES_MAX = 32 * 1024 * 1024
# What nobody needs any more stays so long for readers that are still at it; of the log's entries
# no more than so many stay, however young they are.
RETENTION = timedelta(days=7)
LOG_ENTRIES_MAX = 5000
# A day that is over for so long gets no more records, but for late ones.
_DAY_SETTLED = timedelta(hours=1)
_BATCH_ROWS = 8192
_AUTHOR = Author("lakeflight", "lakeflight", "")
_CONFIGURATION = {
    "delta.appendOnly": "true",
    "delta.checkpointInterval": "100",
    # Least and greatest values of other columns would be a second, unguarded copy of them.
    "delta.dataSkippingStatsColumns": "sequence,timestamp",
}
_OPTIONS = FileOptions(
    row_group_rows_max=32_768,
    row_group_bytes_max=8 * 1024 * 1024,
    buffer_bytes_max=32 * 1024 * 1024,
    writers_max=1,
    statistics_columns=("sequence", "timestamp"),
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Span:
    """A data file of the table, and the numbers of its first and last record by the log."""

    file: ActiveFile
    first: int
    last: int

    @property
    def day(self) -> str:
        """The day of its records, as the log spells it."""
        return self.file.partition_values.get(PARTITION_COLUMN) or ""


class AuditTable:
    """The Delta table of one audit log, for its only writer. For one thread at a time."""

    def __init__(
        self, folder: Path, *, commits: Commits, clock: Clock, random_bytes: Callable[[int], bytes]
    ) -> None:
        self.path = folder / TABLE_FOLDER
        self._commits = commits
        self._clock = clock
        self._random_bytes = random_bytes
        self._creation = Creation(clock, random_bytes=random_bytes)

    def spans(self) -> tuple[Span, ...]:
        """Return the data files, in the order of their first records; none without a table.

        Raises Unavailable (``table_damaged``), Unsupported.
        """
        if not (self.path / LOG_FOLDER).is_dir():
            return ()
        try:
            head = self._commits.head(self.path, name=TABLE_NAME, with_files=True)
        except NotFound:
            return ()
        spans = (_span(self.path, file) for file in head.files or ())
        return tuple(sorted(spans, key=lambda span: (span.first, span.last, span.file.path)))

    def hash_of_last(self) -> str | None:
        """Return the hash of the last record, or None where it cannot be read."""
        last = max(self.spans(), key=lambda span: span.last, default=None)
        if last is None:
            return None
        try:
            rows: Any = pq.read_table(self.path / last.file.key, columns=["sequence", "hash"])
            found = rows.filter(pc.equal(rows["sequence"], pa.scalar(last.last)))["hash"]
            return str(found[0].as_py()) if len(found) else None
        except (OSError, KeyError, ValueError, pa.ArrowException):
            return None

    def ids(self, wanted: frozenset[str], days: set[str]) -> set[str]:
        """Return those of some audit ids that records of some days have."""
        found: set[str] = set()
        for span in self.spans():
            if span.day in days:
                rows: Any = pq.read_table(self.path / span.file.key, columns=["audit_id"])
                found.update(wanted.intersection(rows["audit_id"].to_pylist()))
        return found

    def append(self, tables: Iterable[pa.Table]) -> int:
        """Add rows in the order of their numbers; return how many, once they are durable.

        Raises Unavailable; with the code ``commit_unknown`` they may be there all the same.
        """
        self.make()
        with self._commits.writing(self.path):
            return self._write(tables, Change("WRITE", _AUTHOR))

    def compact(self, files_min: int) -> int:
        """Join the small files of days that have so many, and of days that are over.

        Returns how many files are gone from the table. Raises Unavailable.
        """
        today = (self._clock.now() - _DAY_SETTLED).date().isoformat()
        by_day: dict[str, list[Span]] = {}
        for span in self.spans():
            if span.file.size < SMALL_FILE_BYTES_MAX and span.file.deletion_vector is None:
                by_day.setdefault(span.day, []).append(span)
        joined = 0
        for day, spans in by_day.items():
            if len(spans) >= (2 if day < today else files_min):
                for group in _groups(spans):
                    joined += self._join(day, group)
        return joined

    def tidy(self) -> None:
        """Remove data files and log entries that nobody has needed for RETENTION.

        Raises Unavailable, LimitExceeded.
        """
        if not (self.path / LOG_FOLDER).is_dir():
            return
        before = (self._clock.now() - RETENTION).timestamp()
        try:
            with self._commits.vacuuming(self.path):
                self._remove_files(before)
                self._remove_entries(before)
        except OSError as error:
            raise Unavailable(f"the table {TABLE_NAME} cannot be tidied up") from error

    def forget_staged(self) -> None:
        """Remove what a crash left of a table that was about to be made."""
        for path in self.path.parent.glob(f"{STAGING_PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)

    def make(self) -> None:
        """Make the table if it is not there. Raises Unavailable."""
        if (self.path / LOG_FOLDER).is_dir():
            return
        metadata = self._creation.metadata(
            SCHEMA,
            partition_columns=(PARTITION_COLUMN,),
            description="Who did what, when and why. Each record holds the hash of the one before.",
            configuration=_CONFIGURATION,
        )
        staged = self._creation.stage(self.path, name=TABLE_NAME)
        try:
            self._creation.publish(
                staged,
                self.path,
                change=Change("CREATE TABLE", _AUTHOR),
                metadata=metadata,
                name=TABLE_NAME,
            )
        finally:
            self._creation.discard(staged)

    def _write(self, tables: Iterable[pa.Table], change: Change) -> int:
        writer = DataFileWriter(
            self.path,
            SCHEMA,
            partition_columns=(PARTITION_COLUMN,),
            options=_OPTIONS,
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
        rows = 0
        try:
            for table in tables:
                for batch in table.to_batches():
                    writer.write(batch)
                    rows += batch.num_rows
            files = writer.finish()
            if files:
                self._commits.commit(self.path, _with(change, files, rows), name=TABLE_NAME)
        except BaseException as error:
            # Files of a commit that may have been made must stay.
            if getattr(error, "code", None) != COMMIT_UNKNOWN:
                writer.abandon()
            raise
        return rows

    def _join(self, day: str, group: tuple[Span, ...]) -> int:
        """Write the rows of several files as one; the table says the same before and after."""
        change = Change(
            "OPTIMIZE",
            _AUTHOR,
            removes=tuple(span.file.path for span in group),
            data_change=False,
        )
        try:
            with self._commits.rewriting(self.path):
                rows = _Ordered(self.path, day, group)
                # When a file was last needed is told by its own time.
                for span in group:
                    (self.path / span.file.key).touch()
                self._write(rows, change)
        except (OSError, ValueError, pa.ArrowException) as error:
            _log.error("files of the audit table are not joined: %s", error)
            return 0
        return len(group)

    def _remove_files(self, before: float) -> None:
        needed = {span.file.key for span in self.spans()}
        for path in self.path.glob(f"{PARTITION_COLUMN}=*/*.parquet"):
            key = path.relative_to(self.path).as_posix()
            if key not in needed and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)

    def _remove_entries(self, before: float) -> None:
        """Remove entries from before the newest checkpoint, oldest first, and older checkpoints."""
        folder = self.path / LOG_FOLDER
        listing = list_log(str(folder), TABLE_NAME)
        newest = max(listing.checkpoints, default=-1)
        for version in sorted(listing.commits):
            mark = listing.commits[version]
            is_old = mark.mtime_ns / 1e9 < before or version < newest - LOG_ENTRIES_MAX
            if version >= newest or not is_old:
                break
            Path(commit_path(str(folder), version)).unlink(missing_ok=True)
        for path in folder.glob("*.checkpoint.parquet"):
            if int(path.name[:20]) < newest and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)


class _Ordered:
    """The rows of files of one day, which must be ascending from the first to the last."""

    def __init__(self, root: Path, day: str, group: tuple[Span, ...]) -> None:
        self._root, self._group = root, group
        self._day = datetime.fromisoformat(day).date()

    def __iter__(self) -> Iterator[pa.Table]:
        before = -1
        for span in self._group:
            with pq.ParquetFile(self._root / span.file.key) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    rows: Any = pa.Table.from_batches([batch])
                    days = pa.repeat(pa.scalar(self._day, pa.date32()), rows.num_rows)
                    rows = rows.append_column(PARTITION_COLUMN, days).select(SCHEMA.names)
                    before = _check_order(rows["sequence"], before)
                    yield rows.cast(SCHEMA)


def _check_order(column: Any, before: int) -> int:
    numbers = column.combine_chunks()
    steps = pc.all(pc.greater(numbers[1:], numbers[:-1])).as_py()
    if not len(numbers):
        return before
    if numbers[0].as_py() <= before or steps is False:
        raise ValueError("records are not in the order of their numbers")
    return int(numbers[-1].as_py())


def _groups(spans: list[Span]) -> Iterator[tuple[Span, ...]]:
    """Give groups of neighbours to be joined into a file each."""
    group: list[Span] = []
    for span in spans:
        group.append(span)
        if sum(each.file.size for each in group) >= JOIN_BYTES_MAX:
            yield tuple(group)
            group = []
    if len(group) > 1:
        yield tuple(group)


def _with(change: Change, files: tuple[Any, ...], rows: int) -> Change:
    return Change(
        change.operation,
        change.author,
        adds=files,
        removes=change.removes,
        data_change=change.data_change,
        rows=rows,
    )


def _span(root: Path, file: ActiveFile) -> Span:
    """Return which records a file holds, by the log, or by its own footer where the log is mute."""
    try:
        stats: Any = json.loads(file.stats or "{}")
        return Span(file, int(stats["minValues"]["sequence"]), int(stats["maxValues"]["sequence"]))
    except (KeyError, TypeError, ValueError):
        pass
    try:
        column: Any = pq.read_table(root / file.key, columns=["sequence"])["sequence"]
        ends: Any = pc.min_max(column).as_py()
        return Span(file, int(ends["min"]), int(ends["max"]))
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return Span(file, 0, 0)


def is_unknown(error: LakeflightError) -> bool:
    """Whether a write may have been made although it failed."""
    return error.code == COMMIT_UNKNOWN
