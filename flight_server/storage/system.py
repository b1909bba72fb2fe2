"""The server's own tables: small Delta tables with a key, read through a copy in memory.

A write is acknowledged only when data, log entry and both folders are synced, in that order, so
that a power cut leaves either the old table or the new one. The log entry is written by a link that
fails when the version is taken: of several writers, in this process or in another, exactly one wins
and the others read again and retry.
"""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from flight_server.clock import Clock
from flight_server.errors import Conflict, LakeflightError, Unavailable, Unsupported
from flight_server.storage.arrow_types import plain_schema
from flight_server.storage.checkpoints import make_checkpoint
from flight_server.storage.delta_actions import (
    Action,
    ActiveFile,
    TableMetadata,
    TableProtocol,
    add_action,
    entry_bytes,
    metadata_action,
    millis,
    protocol_action,
    remove_action,
    schema_text,
)
from flight_server.storage.durable import make_folder, remove_files, write_once
from flight_server.storage.edits import Change, Edit, Row, Rows, Waiting, apply
from flight_server.storage.marks import ChangeMark
from flight_server.storage.retention import forget_versions
from flight_server.storage.system_tables import TableSpec, rows_by_key

__all__ = ["Change", "Row", "Rows", "Snapshot", "SystemTable"]

WRITE_ATTEMPTS_MAX = 16
# Edits that share a commit at the most; more of them wait for the next one.
EDITS_MAX = 1000
# A table of more files than this is rewritten as one file by the next write.
FILES_MAX = 64
# Versions after which the log is summed up, so that opening reads at most that many entries.
CHECKPOINT_VERSIONS = 100
_READER_VERSION_MAX = 1
_WRITER_VERSION_MAX = 2
_CHECKED_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All rows of one version, by key; version -1 is a table that does not exist yet.

    ``outgrown`` is what the table is to become with the next write, when it was made before some of
    its columns were thought of; None when it has them all.
    """

    version: int
    rows: Rows
    files: tuple[str, ...]
    entry: str
    next_entry: str
    writable: bool = True
    outgrown: TableMetadata | None = None


class SystemTable:
    """One of the server's own tables; safe to use from many threads and beside other processes."""

    def __init__(
        self, root: Path, spec: TableSpec, *, clock: Clock, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._spec = spec
        self._root = root
        self._folder = root / spec.name
        self._log_folder = self._folder / "_delta_log"
        self._clock = clock
        self._random_bytes = random_bytes
        self._loading = threading.Lock()
        self._writing = threading.Lock()
        self._queue: deque[Waiting[Snapshot]] = deque()
        self._mark = ChangeMark(root / ".changed", random_bytes=random_bytes)
        self._current = self._snapshot(-1, {})
        # The mark that was there when the disk was asked last, and until when that is enough.
        self._checked: tuple[bytes | None, float] = (None, 0.0)

    def snapshot(self) -> Snapshot:
        """Return the newest state; asks the disk only when something has changed.

        A change by another process is seen at once. That another tool wrote or removed the table is
        noticed within a second.

        Raises Unavailable when the table is there and cannot be read.
        """
        mark = self._mark.value()
        current = self._current
        seen, until = self._checked
        now = self._clock.monotonic()
        if mark is not None and mark == seen and now < until:
            return current
        if self._is_newest(current):
            self._checked = (mark, now + _CHECKED_SECONDS)
            return current
        with self._loading:
            if self._current is current:
                self._current = self._load()
            return self._current

    def _is_newest(self, current: Snapshot) -> bool:
        """Whether there is no newer version, and ours is still there."""
        if os.access(current.next_entry, os.F_OK):
            return False
        # The first entries of a table may be gone by now.
        return os.access(current.entry, os.F_OK) or (current.version < 0 and not self._is_there())

    def _is_there(self) -> bool:
        return self._log_folder.is_dir() and any(self._log_folder.glob("*[0-9].json"))

    def change(self, edit: Edit) -> Snapshot:
        """Put the rows that ``edit`` makes of the newest ones; return a state with them, synced.

        A row replaces the one with its key or is added; a ``Change`` also removes rows, before it
        puts its own. Edits that wait for each other share a commit: each sees the rows as those
        before it leave them, and the state may have what those after it changed. ``edit`` may run
        in the thread of another caller, runs again when another writer was faster, and raises to
        give up; nothing to put or remove means no commit. Raises Conflict after
        WRITE_ATTEMPTS_MAX lost races, Unavailable when the disk refuses, Unsupported when another
        tool turned the table into one that we cannot write.
        """
        waiting: Waiting[Snapshot] = Waiting(edit)
        self._queue.append(waiting)
        with self._writing:
            # Unless somebody who was faster has done it along with theirs.
            while not waiting.is_over:
                self._work_off(self._next_batch())
        return waiting.outcome()

    def make(self) -> None:
        """Make the table without a row where there is none, so that it can be read.

        Raises Unavailable when the disk refuses.
        """
        with self._writing, self._turn():
            before = self.snapshot()
            if before.version >= 0:
                return
            try:
                # Of two who make it at once, one is too late and finds it made.
                self._commit(before, before.rows)
            except OSError as error:
                raise self._unavailable("written", error) from None
            self._mark.change()

    def _next_batch(self) -> list[Waiting[Snapshot]]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), EDITS_MAX))]

    def _work_off(self, batch: Sequence[Waiting[Snapshot]]) -> None:
        """End these edits, well or badly, whatever happens."""
        try:
            with self._turn():
                after = self._write(batch)
            for each in batch:
                each.succeed(after)
        except LakeflightError as error:
            # Also for an edit with an error of its own, which may come from one that is undone now.
            for each in batch:
                each.fail(error)
        finally:
            for each in batch:
                each.fail(Unavailable(f"the write was given up table={self._title}"))

    def _write(self, batch: Sequence[Waiting[Snapshot]]) -> Snapshot:
        for _ in range(WRITE_ATTEMPTS_MAX):
            before = self.snapshot()
            rows = apply(batch, before.rows, read=self._read)
            if rows is None:
                return before
            if not before.writable:
                raise Unsupported(
                    f"the server's own table was changed by another tool table={self._title}"
                )
            try:
                after = self._commit(before, rows)
            except OSError as error:
                raise self._unavailable("written", error) from None
            if after is not None:
                self._current = after
                self._mark.change()
                self._sum_up(after)
                return after
        raise Conflict(f"too many writers at once table={self._title}")

    def _read(self, rows: Sequence[Row]) -> dict[str, Row]:
        made = pa.Table.from_pylist([dict(row) for row in rows], self._spec.schema)
        return rows_by_key(made, self._spec)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for writers in other processes, which would otherwise lose race after race.

        A courtesy: what keeps two writers apart is that a log entry can be written only once.
        """
        try:
            make_folder(self._root, mode=0o700)
            make_folder(self._log_folder)
            descriptor = os.open(self._log_folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise self._unavailable("written", error) from None
        try:
            with suppress(OSError):  # some network file systems have no such locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @property
    def _title(self) -> str:
        return self._spec.name.replace("/", ".")

    def _unavailable(self, verb: str, error: Exception) -> Unavailable:
        _log.error("the table %s cannot be %s: %s", self._title, verb, error)
        return Unavailable(f"the server's own table cannot be {verb} table={self._title}")

    def _entry(self, version: int) -> Path:
        return self._log_folder / f"{version:020d}.json"

    def _snapshot(
        self,
        version: int,
        rows: Rows,
        *,
        files: tuple[str, ...] = (),
        writable: bool = True,
        outgrown: TableMetadata | None = None,
    ) -> Snapshot:
        return Snapshot(
            version=version,
            rows=MappingProxyType(dict(rows)),
            files=files,
            entry=str(self._entry(version)),
            next_entry=str(self._entry(version + 1)),
            writable=writable,
            outgrown=outgrown,
        )

    def _load(self) -> Snapshot:
        try:
            if not self._is_there():
                return self._snapshot(-1, {})
            table = DeltaTable(str(self._folder))
            version = table.version()
            entry = self._entry(version)
            if entry.exists() and entry.stat().st_size == 0:
                # Left by a power cut in another writer; the library would read it as "no change".
                raise OSError("the newest log entry is empty")
            actions = pa.table(table.get_add_actions(flatten=True))
            files = tuple(str(path) for path in actions["path"].to_pylist())
            protocol = table.protocol()
            rows = rows_by_key(table.to_pyarrow_table(), self._spec)
            outgrown = self._outgrown(table)
        except (DeltaError, OSError, ValueError, pa.ArrowException) as error:
            raise self._unavailable("read", error) from None
        writable = (
            protocol.min_reader_version <= _READER_VERSION_MAX
            and protocol.min_writer_version <= _WRITER_VERSION_MAX
        )
        return self._snapshot(version, rows, files=files, writable=writable, outgrown=outgrown)

    def _outgrown(self, table: DeltaTable) -> TableMetadata | None:
        """Return the table's metadata with the columns that it lacks; None when it has them all.

        What is written into columns that the log does not name would not be read again.
        """
        exported: Any = table.schema().to_arrow()
        held = plain_schema(pa.schema(exported))
        lacking = [each for each in self._spec.schema if each.name not in held.names]
        if not lacking:
            return None
        # Rows that are there have no value in them, whatever the specification says of new ones.
        columns = [*held, *(each.with_nullable(True) for each in lacking)]  # noqa: FBT003 - Arrow's
        metadata = table.metadata()
        return TableMetadata(
            id=str(metadata.id),
            schema_text=schema_text(pa.schema(columns), before=table.schema().to_json()),
            configuration=metadata.configuration,
            name=metadata.name,
            created_ms=metadata.created_time,
        )

    def _commit(self, before: Snapshot, rows: Rows) -> Snapshot | None:
        """Write one version; None when another writer took its number."""
        # What no edit touched is the very same object.
        added = [row for key, row in rows.items() if before.rows.get(key) is not row]
        is_kept = len(rows) - len(added) == len(before.rows)
        rewrite = len(before.files) >= FILES_MAX or not is_kept
        file = self._write_rows(list(rows.values()) if rewrite else added)
        actions = [
            *(self._first_actions() if before.version < 0 else ()),
            *(() if before.outgrown is None else (metadata_action(before.outgrown),)),
            *(
                remove_action(path, at_ms=self._millis(), data_change=True)
                for path in (before.files if rewrite else ())
            ),
            *([] if file is None else [file]),
            self._commit_info("WRITE"),
        ]
        names = () if file is None else (str(file["add"]["path"]),)
        if not write_once(self._entry(before.version + 1), entry_bytes(actions)):
            remove_files([self._folder / name for name in names])
            return None
        files = (*(() if rewrite else before.files), *names)
        return self._snapshot(before.version + 1, rows, files=files)

    def _write_rows(self, rows: Sequence[Row]) -> Action | None:
        """Write a data file and return the action that adds it; None for no rows."""
        if not rows:
            return None
        assert all(row[self._spec.key] for row in rows)  # noqa: S101 - a row without a key could never be replaced
        name = (
            f"part-00000-{uuid.UUID(bytes=self._random_bytes(16), version=4)}-c000.snappy.parquet"
        )
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], self._spec.schema), sink)
        content = sink.getvalue()
        write_once(self._folder / name, content)
        return self._add(name, size=len(content), rows=len(rows))

    def _millis(self) -> int:
        return millis(self._clock.now())

    def _first_actions(self) -> list[Action]:
        metadata = TableMetadata(
            id=str(uuid.UUID(bytes=self._random_bytes(16), version=4)),
            schema_text=schema_text(self._spec.schema),
            name=self._title,
            created_ms=self._millis(),
        )
        return [
            protocol_action(TableProtocol(_READER_VERSION_MAX, _WRITER_VERSION_MAX)),
            metadata_action(metadata),
        ]

    def _add(self, path: str, *, size: int, rows: int) -> Action:
        # No least and greatest values: they would keep e-mail addresses in the log.
        stats = json.dumps({"numRecords": rows})
        file = ActiveFile(path, size, {}, stats, modified_ms=self._millis())
        return add_action(file, data_change=True)

    def _commit_info(self, operation: str) -> Action:
        return {"commitInfo": {"timestamp": self._millis(), "operation": operation}}

    def _sum_up(self, newest: Snapshot) -> None:
        """Sum up the log now and then, so that opening it reads few entries, and forget old ones.

        A failure costs time or space, no more.
        """
        version, kept = newest.version, self._spec.history_versions_min
        if not version or version % CHECKPOINT_VERSIONS:
            return
        is_made = make_checkpoint(
            self._folder, version, name=self._title, random_bytes=self._random_bytes
        )
        if is_made and kept is not None and version > kept and version % kept == 0:
            forget_versions(
                self._folder,
                version - kept,
                active=newest.files,
                now_seconds=self._clock.now().timestamp(),
                name=self._title,
            )
