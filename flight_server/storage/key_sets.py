"""Sets of keys that may hold millions: the events of each in one Delta table, read as columns.

A table is only ever appended to, and partitioned by what its sets are about. Every process reads
its files by itself and carries the state of each set forward by the events that are new; a mark
that every commit changes says when to look. Who writes takes turns, and has data and log entry
synced before anybody is told.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flight_server.clock import Clock
from flight_server.errors import LakeflightError, LimitExceeded
from flight_server.storage.changes import COMMIT_UNKNOWN, Author, Change
from flight_server.storage.commits import Commits
from flight_server.storage.creation import Creation
from flight_server.storage.durable import make_folder
from flight_server.storage.files import DataFileWriter, FileOptions
from flight_server.storage.key_files import CONSENTS, TOMBSTONES, KeyFile, KeyFiles, KeySetSpec
from flight_server.storage.key_states import (
    FOLDED_COLUMNS,
    NO_KEYS,
    KeyEvent,
    KeyEvents,
    KeyState,
    fold,
)
from flight_server.storage.log import LOG_FOLDER
from flight_server.storage.recent import Recent

__all__ = ["CONSENTS", "TOMBSTONES", "KeyEvent", "KeyEvents", "KeySetSpec", "KeySets", "KeyState"]

# Small files of a partition are joined when there are more than so many of about one size.
SMALL_FILES_MAX = 64
# Rows from which on a file is of the next size; from the last one on it is not joined any more.
_SIZES = (1_000, 64_000, 1_000_000)
SETS_MAX = 10_000
STATE_BYTES_MAX = 512 * 1024 * 1024
# The keys of one set, so that their text stays far below what one Arrow array holds.
SET_BYTES_MAX = 1024 * 1024 * 1024
_AUTHOR = Author("lakeflight", "lakeflight", "")
_CONFIGURATION = {
    "delta.appendOnly": "true",
    "delta.checkpointInterval": "100",
    # Least and greatest values of other columns would be a second, unguarded copy of the keys.
    "delta.dataSkippingStatsColumns": "sequence",
}
_OPTIONS = FileOptions(writers_max=1, statistics_columns=("sequence",))

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """The state of a set, and the very files of a listing that it was made from."""

    generation: int
    files: tuple[KeyFile, ...]
    state: KeyState


class KeySets:
    """The sets of keys in one table; safe to use from many threads and beside other processes."""

    def __init__(
        self, root: Path, spec: KeySetSpec, *, clock: Clock, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._root = root
        self._spec = spec
        self._path = root / spec.name
        self._name = spec.title
        self._files = KeyFiles(root, spec, clock=clock, random_bytes=random_bytes)
        self._clock = clock
        self._random_bytes = random_bytes
        self._commits = Commits(clock, random_bytes=random_bytes)
        self._creation = Creation(clock, random_bytes=random_bytes)
        self._turn = threading.RLock()
        self._turns = 0
        self._folding = threading.Lock()
        self._known = Recent[str, _Known](
            lambda known: known.state.bytes, entries_max=SETS_MAX, weight_max=STATE_BYTES_MAX
        )

    def current(self, partition: str) -> KeyState:
        """Return the newest state of a set; asks the disk only when something has changed.

        What another process has added is seen at once. Raises Unavailable when the table is there
        and cannot be read.
        """
        listing = self._files.newest()
        files = listing.files.get(partition)
        if files is None:
            return NO_KEYS
        known = self._known.get(partition)
        if known is not None and known.files is files and known.generation == listing.generation:
            return known.state
        with self._folding:
            known = self._known.get(partition)
            is_same = known is not None and known.generation == listing.generation
            before = known.state if known is not None and is_same else NO_KEYS
            after = fold(before, self._files.events(files, FOLDED_COLUMNS, after=before.stamp))
            self._known.put(partition, _Known(listing.generation, files, after))
            return after

    def up_to(self, partition: str, stamp: int) -> KeyState:
        """Return the state of a set that has this stamp; raises as ``current`` does."""
        now = self.current(partition)
        if now.stamp <= stamp:
            return now
        files = self._files.newest().files.get(partition, ())
        events = self._files.events(files, FOLDED_COLUMNS)
        return fold(NO_KEYS, events.filter(pc.less_equal(events["sequence"], pa.scalar(stamp))))

    def as_of(self, partition: str, moment: datetime) -> KeyState:
        """Return the state of a set as it was at a moment; raises as ``current`` does."""
        files = self._files.newest().files.get(partition, ())
        events = self._files.events(files, (*FOLDED_COLUMNS, "at"))
        until = pa.scalar(moment, self._spec.schema.field("at").type)
        return fold(NO_KEYS, events.filter(pc.less_equal(events["at"], until)).drop(["at"]))

    def events(self, partition: str, sequences: pa.Array[Any]) -> pa.Table:
        """Return the events of a set that have these numbers, in their order.

        With the columns of the table but the first. Raises as ``current`` does.
        """
        columns = tuple(self._spec.schema.names[1:])
        files = self._files.newest().files.get(partition, ())
        if not len(sequences):
            return self._files.events((), columns)
        ends: Any = pc.min_max(sequences).as_py()
        near = tuple(f for f in files if f.last >= ends["min"] and f.first <= ends["max"])
        found = self._files.events(near, columns, after=ends["min"] - 1)
        return found.filter(pc.is_in(found["sequence"], value_set=sequences)).sort_by("sequence")

    def partitions(self) -> tuple[str, ...]:
        """Return the sets that ever had a key, sorted; raises as ``current`` does."""
        return tuple(sorted(self._files.newest().files))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep all other writers away, those in other processes too, to look first and add then.

        May be nested. Raises Unavailable when the disk refuses.
        """
        with self._turn:
            if self._turns:
                yield
                return
            folder = self._path.parent
            try:
                make_folder(self._root, mode=0o700)
                make_folder(folder)
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise self._files.unavailable("written", error) from None
            try:
                with suppress(OSError):  # some network file systems have no such locks
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._turns = 1
                self._files.newest(is_sure=True)  # what happened before our turn is seen in it
                yield
            finally:
                self._turns = 0
                os.close(descriptor)

    def add(self, events: Sequence[KeyEvents]) -> int:
        """Append events in one commit, durably; return the number of the last one, 0 for none.

        They get numbers in their order. Raises Unavailable (with ``commit_unknown`` they may be
        there all the same), LimitExceeded when a set would hold more than SET_BYTES_MAX of text.
        """
        events = [each for each in events if len(each.keys)]
        if not events:
            return 0
        with self.turn():
            self._check_room(events)
            self._make()
            last = self._files.newest().last
            tables = []
            for each in events:
                tables.append(self._table(each, first=last + 1))
                last += len(each.keys)
            self._write(tables, Change("WRITE", _AUTHOR, rows=sum(t.num_rows for t in tables)))
            for partition in dict.fromkeys(each.partition for each in events):
                self._join(partition)
            return last

    def _check_room(self, events: Sequence[KeyEvents]) -> None:
        for each in events:
            held = self.current(each.partition).keys.nbytes
            is_adding = each.event in (KeyEvent.ADDED, KeyEvent.RESTORED)
            if is_adding and held + each.keys.nbytes > SET_BYTES_MAX:
                raise LimitExceeded(
                    f"there are too many keys; their text has set_bytes_max={SET_BYTES_MAX}"
                )

    def _table(self, events: KeyEvents, *, first: int) -> pa.Table:
        count = len(events.keys)
        schema = self._spec.schema
        is_compaction = events.event is KeyEvent.COMPACTED
        files: Any = pa.nulls(count, schema.field("files").type)
        if is_compaction:
            named = pa.array([list(events.files)], schema.field("files").type)
            files = pa.concat_arrays([named, files.slice(1)])
        values: dict[str, Any] = {
            self._spec.partition_column: events.partition,
            "key_column": events.key_column,
            "key_type": events.key_type,
            "event": events.event.value,
            "at": self._clock.now(),
            "actor": events.actor,
            "reason": events.reason,
            "compaction": first if is_compaction else None,
        }
        columns: dict[str, Any] = {
            name: pa.repeat(pa.scalar(value, schema.field(name).type), count)
            for name, value in values.items()
        }
        columns["key"] = events.keys
        columns["sequence"] = pa.array(range(first, first + count), pa.int64())
        columns["files"] = files
        return pa.table([columns[name] for name in schema.names], schema=schema)

    def make(self) -> None:
        """Make the table without an event if it is not there, so that it can be read.

        Raises Unavailable when the disk refuses.
        """
        if not (self._path / LOG_FOLDER).is_dir():
            with self.turn():
                self._make()

    def _make(self) -> None:
        """Make the table if it is not there."""
        if (self._path / LOG_FOLDER).is_dir():
            return
        metadata = self._creation.metadata(
            self._spec.schema,
            partition_columns=(self._spec.partition_column,),
            configuration=_CONFIGURATION,
        )
        staged = self._creation.stage(self._path, name=self._name)
        try:
            change = Change("CREATE TABLE", _AUTHOR)
            self._creation.publish(
                staged, self._path, change=change, metadata=metadata, name=self._name
            )
        finally:
            self._creation.discard(staged)
        self._files.changed()

    def _write(self, tables: Sequence[pa.Table], change: Change) -> None:
        writer = DataFileWriter(
            self._path,
            self._spec.schema,
            partition_columns=(self._spec.partition_column,),
            options=_OPTIONS,
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
        try:
            for table in tables:
                for batch in table.to_batches():
                    writer.write(batch)
            written = replace(change, adds=writer.finish())
            self._commits.commit(self._path, written, name=self._name)
        except BaseException as error:
            # Files of a commit that may have been made must stay.
            if getattr(error, "code", None) != COMMIT_UNKNOWN:
                writer.abandon()
            raise
        finally:
            self._files.changed()

    def _join(self, partition: str) -> None:
        """Join small files of a set; it says the same before and after.

        Only those of about one size, so that no event is written again more often than there are
        sizes. A failure costs time and no more.
        """
        try:
            files = self._files.newest().files[partition]
            for least, most in zip((0, *_SIZES), _SIZES, strict=False):
                alike = tuple(file for file in files if least <= file.rows < most)
                if len(alike) > SMALL_FILES_MAX:
                    rows = self._files.events(alike, tuple(self._spec.schema.names[1:]))
                    rows = rows.sort_by("sequence")
                    whole = pa.repeat(pa.scalar(partition, pa.string()), rows.num_rows)
                    rows = rows.add_column(0, self._spec.partition_column, whole)
                    removed = tuple(file.active.path for file in alike)
                    change = Change("OPTIMIZE", _AUTHOR, removes=removed, data_change=False)
                    self._write([rows.cast(self._spec.schema)], change)
                    return
        except LakeflightError as error:
            _log.warning("files of %s are not joined: %s", self._name, error)
