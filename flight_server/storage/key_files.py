"""The data files of sets of keys, as any process finds and reads them: whole columns at a time.

The log of the table is followed entry by entry; a mark that every commit changes says when to look.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flight_server.clock import Clock
from flight_server.errors import Unavailable
from flight_server.storage.delta_actions import ActiveFile
from flight_server.storage.log import LOG_FOLDER, Mark, commit_path, mark_of
from flight_server.storage.marks import ChangeMark
from flight_server.storage.replay import LogState, advance, read_state

_CHECKED_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeySetSpec:
    """A table of sets: its folder below the system folder, and the column that tells sets apart."""

    name: str
    partition_column: str

    @property
    def title(self) -> str:
        """The name of the table, for people."""
        return f"system.{self.name.replace('/', '.')}"

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table."""
        columns: list[pa.Field[Any]] = [
            pa.field(self.partition_column, pa.string(), nullable=False),
            pa.field("key_column", pa.string()),
            pa.field("key_type", pa.string()),
            pa.field("key", pa.string(), nullable=False),
            pa.field("event", pa.string(), nullable=False),
            pa.field("sequence", pa.int64(), nullable=False),
            pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("actor", pa.string()),
            pa.field("reason", pa.string()),
            # Of compacted keys: the number of the first event of the same compaction, which alone
            # names the files that may still hold their rows.
            pa.field("compaction", pa.int64()),
            pa.field("files", pa.list_(pa.string())),
        ]
        return pa.schema(columns)


TOMBSTONES = KeySetSpec("policy/tombstones", "table_name")
CONSENTS = KeySetSpec("policy/consents", "purpose")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A data file of one set, and the numbers of its first and last event."""

    path: str
    rows: int
    first: int
    last: int
    active: ActiveFile = field(compare=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of each set at one version of the table; version -1 is no table yet.

    The files of a set are the same object as in the listing before where they are the same, but for
    another ``generation``: then the log was read anew, and may be that of another table.
    """

    version: int
    entry: str
    next_entry: str
    generation: int
    mark: Mark | None = None
    files: Mapping[str, tuple[KeyFile, ...]] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The number of the last event of all."""
        return max((each.last for files in self.files.values() for each in files), default=0)


class KeyFiles:
    """Follows one table of sets of keys; safe to use from many threads and beside writers."""

    def __init__(
        self, root: Path, spec: KeySetSpec, *, clock: Clock, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._spec = spec
        self._path = root / spec.name
        self._name = spec.title
        self._clock = clock
        self._mark = ChangeMark(root / ".changed", random_bytes=random_bytes)
        self._loading = threading.Lock()
        self._state: LogState | None = None
        self._generation = 0
        self._listing = self._listed(-1, {})
        # The mark that was there when the disk was asked last, and until when that is enough.
        self._checked: tuple[bytes | None, float] = (None, 0.0)

    def newest(self, *, is_sure: bool = False) -> Listing:
        """Return the newest listing; asks the disk only when something has changed, or to be sure.

        Raises Unavailable when the table is there and cannot be read.
        """
        mark = self._mark.value()
        listing = self._listing
        seen, until = self._checked
        now = self._clock.monotonic()
        if mark is not None and mark == seen and now < until and not is_sure:
            return listing
        if self._is_newest(listing):
            self._checked = (mark, now + _CHECKED_SECONDS)
            return listing
        with self._loading:
            if self._listing is listing:
                self._listing = self._read()
            return self._listing

    def _is_newest(self, listing: Listing) -> bool:
        """Whether there is no newer version, and ours is still there."""
        if os.access(listing.next_entry, os.F_OK):
            return False
        if listing.version < 0:
            return not (self._path / LOG_FOLDER).is_dir()
        return mark_of(listing.entry) == listing.mark

    def _read(self) -> Listing:
        """Read the entries of the log that are new, or all of it."""
        state, self._state = self._state, None  # a failure half-way leaves nothing to build on
        if state is not None and state.is_in_place():
            advance(state, self._name)
        elif not (self._path / LOG_FOLDER).is_dir():
            return self._listed(-1, {})
        else:
            self._generation += 1  # it may be another table
            state = read_state(str(self._path.absolute()), self._name, with_files=True)
        before = {file.path: file for each in self._listing.files.values() for file in each}
        found: dict[str, list[KeyFile]] = {}
        for key, active in (state.files or {}).items():
            partition = active.partition_values.get(self._spec.partition_column)
            if partition is not None:
                file = before.get(key) or self._file(key, active)
                found.setdefault(partition, []).append(file)
        files: dict[str, tuple[KeyFile, ...]] = {}
        for partition, several in found.items():
            now, then = tuple(several), self._listing.files.get(partition)
            # The same object tells that a set has not changed.
            files[partition] = then if then == now else now
        self._state = state
        return self._listed(state.version, files, mark=state.mark)

    def _listed(
        self, version: int, files: Mapping[str, tuple[KeyFile, ...]], *, mark: Mark | None = None
    ) -> Listing:
        folder = str(self._path.absolute() / LOG_FOLDER)
        entry, following = (commit_path(folder, number) for number in (version, version + 1))
        return Listing(version, entry, following, self._generation, mark, files)

    def _file(self, key: str, active: ActiveFile) -> KeyFile:
        try:
            stats: Any = json.loads(active.stats or "{}")
            least, greatest = stats["minValues"]["sequence"], stats["maxValues"]["sequence"]
            return KeyFile(key, int(stats["numRecords"]), int(least), int(greatest), active)
        except (KeyError, TypeError, ValueError):
            column: Any = self._content(key, ["sequence"])["sequence"]
            ends: Any = pc.min_max(column).as_py()
            return KeyFile(key, len(column), ends["min"] or 0, ends["max"] or 0, active)

    def changed(self) -> None:
        """Tell all processes that the table has changed, after the change itself."""
        self._mark.change()

    def events(
        self, files: Sequence[KeyFile], columns: Sequence[str], *, after: int = 0
    ) -> pa.Table:
        """Return the events of files whose numbers are greater than that, file by file.

        Raises Unavailable.
        """
        schema = pa.schema([self._spec.schema.field(name) for name in columns])
        tables = [schema.empty_table()]
        for file in files:
            if file.last > after:
                table = self._content(file.path, list(columns)).select(list(columns)).cast(schema)
                if file.first <= after:
                    table = table.filter(pc.greater(table["sequence"], pa.scalar(after)))
                tables.append(table)
        return pa.concat_tables(tables)

    def _content(self, key: str, columns: list[str]) -> pa.Table:
        try:
            with pq.ParquetFile(self._path / key) as file:
                return file.read(columns=columns, use_threads=False)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self.unavailable("read", error) from None

    def unavailable(self, verb: str, error: Exception) -> Unavailable:
        """Return the error for a table that cannot be read or written; the log keeps the cause."""
        _log.error("the table %s cannot be %s: %s", self._name, verb, error)
        return Unavailable(f"the server's own table cannot be {verb} table={self._name}")
