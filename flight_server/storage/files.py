"""Writes rows as the data files of a Delta table: synced, uncommitted and so seen by nobody."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import quote, unquote

import pyarrow as pa

from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, LimitExceeded
from flight_server.storage.durable import sync_folder
from flight_server.storage.encoding import (
    EncodedFile,
    Encoder,
    FileLayout,
    remove_written,
    writing,
)
from flight_server.storage.gathering import Gathering, compact
from flight_server.storage.partitions import Key, Partitioner, check_partitioning
from flight_server.storage.statistics import FileStatistics


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How rows are cut into files, and how much is held while they are.

    ``statistics_columns_max`` and ``statistics_columns`` are Delta's table properties
    ``dataSkippingNumIndexedCols`` and ``dataSkippingStatsColumns``. ``buffer_bytes_max`` counts
    rows that wait for their partition's row group; beyond it row groups get smaller.
    ``partitions_max`` counts different partitions of one write.
    """

    file_bytes_target: int = 128 * 1024 * 1024
    row_group_rows_max: int = 131_072
    row_group_bytes_max: int = 24 * 1024 * 1024
    buffer_bytes_max: int = 64 * 1024 * 1024
    open_files_max: int = 64
    partitions_max: int = 10_000
    writers_max: int = min(2, os.cpu_count() or 1)
    statistics_columns_max: int = 32
    statistics_columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file as the log will name it.

    ``path`` is relative to the table and percent-encoded; ``size`` is bytes, ``stats`` the JSON
    text of Delta's statistics, ``modified_ms`` milliseconds since 1970.
    """

    path: str
    size: int
    rows: int
    partition_values: Mapping[str, str | None]
    stats: str
    modified_ms: int

    def to_json(self) -> dict[str, Any]:
        """Return this as plain JSON."""
        return {
            "path": self.path,
            "size": self.size,
            "rows": self.rows,
            "partition_values": dict(self.partition_values),
            "stats": self.stats,
            "modified_ms": self.modified_ms,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Return what ``to_json`` was made of. Raises InvalidRequest for anything else."""
        try:
            return cls(
                path=str(value["path"]),
                size=int(value["size"]),
                rows=int(value["rows"]),
                partition_values=MappingProxyType(dict(value["partition_values"])),
                stats=str(value["stats"]),
                modified_ms=int(value["modified_ms"]),
            )
        except (KeyError, TypeError, ValueError):
            raise InvalidRequest("this does not describe a data file") from None

    def file_below(self, folder: Path) -> Path:
        """Return where the file lies when ``folder`` is that of the table."""
        return folder / unquote(self.path)


class _Thread(threading.Thread):
    """Encodes in the background. Takes all jobs, also after a failure, until it is told to stop."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(name="data-files", daemon=True)
        self.encoder = encoder
        self.failure: BaseException | None = None
        self.files: list[EncodedFile] = []
        # One row group is encoded, one waits, one is gathered.
        self._jobs: queue.Queue[tuple[Key, pa.Table] | None] = queue.Queue(maxsize=1)
        self._dropping = False

    def put(self, key: Key, rows: pa.Table) -> None:
        self._jobs.put((key, rows))

    def stop(self, *, drop: bool) -> None:
        """Have it end after what was put, or at once when ``drop``; ``join`` waits for it."""
        self._dropping = drop
        self._jobs.put(None)

    def run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._attempt(job)
            del job  # or these rows would be held until the next ones come
        self._attempt(None)

    def _attempt(self, job: tuple[Key, pa.Table] | None) -> None:
        if self.failure is not None or self._dropping:
            return
        try:
            if job is None:
                self.files = self.encoder.finish()
            else:
                self.encoder.write(*job)
        except BaseException as error:  # noqa: BLE001 - it is raised where the rows come from
            self.failure = error


class DataFileWriter:
    """Writes a stream of batches, all in ``schema``, as data files below ``folder``.

    Whole row groups are encoded by background threads; a write smaller than that needs none. It
    holds a bounded number of rows however long the stream is, in any order. Ends with ``finish``
    or ``abandon``; for one thread.

    Raises InvalidRequest when the table cannot be partitioned by those columns.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        *,
        partition_columns: tuple[str, ...] = (),
        options: FileOptions | None = None,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._options = options = options or FileOptions()
        check_partitioning(schema, partition_columns)
        stored = pa.schema([field for field in schema if field.name not in partition_columns])
        self._folder = folder
        self._schema = schema
        self._columns = partition_columns
        self._partitioner = Partitioner(schema, partition_columns) if partition_columns else None
        self._layout = FileLayout(
            folder=folder,
            schema=stored,
            partition_columns=partition_columns,
            statistics=FileStatistics(
                stored,
                columns_max=options.statistics_columns_max,
                named=options.statistics_columns,
            ),
            file_bytes_target=options.file_bytes_target,
            open_files_max=max(1, options.open_files_max // options.writers_max),
        )
        self._clock = clock
        self._random_bytes = random_bytes
        self._gathered = Gathering()
        self._parts: dict[Key, Gathering] = {}
        self._part_bytes = 0
        self._homes: dict[Key, int] = {}
        self._turn = 0
        self._threads: list[_Thread] = []
        self._encoders: list[Encoder] = []
        self._ended = False

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows, whose schema must be that of the table.

        May wait for earlier rows to be encoded. Raises what went wrong with these, such as
        Unavailable; LimitExceeded for too many partitions.
        """
        if self._ended:
            raise RuntimeError("the write has ended")
        self._check()
        while batch.num_rows:
            count = self._room(batch)
            self._gathered.add(compact(batch[:count]))
            batch = batch[count:]
            if self._is_full(self._gathered):
                self._flush()

    def finish(self) -> tuple[DataFile, ...]:
        """Write what is left, and sync all files and their folders; nothing for no rows.

        Raises as ``write`` does; ``abandon`` is then still to be called.
        """
        if self._ended:
            raise RuntimeError("the write has ended")
        if self._gathered.rows:
            self._flush(last=True)
        self._release(0)
        self._ended = True
        for thread in self._threads:
            thread.stop(drop=False)
        for thread in self._threads:
            thread.join()
        self._check()
        if self._threads:
            encoded = [file for thread in self._threads for file in thread.files]
        else:
            encoded = [file for encoder in self._encoders for file in encoder.finish()]
        with writing():
            for folder in self._folders(encoded):
                sync_folder(folder)
        return tuple(map(self._described, encoded))

    def abandon(self) -> None:
        """Remove what was written, also after ``finish`` as long as nothing is committed.

        Safe to call again, and after a failure.
        """
        if not self._ended:
            self._ended = True
            for thread in self._threads:
                thread.stop(drop=True)
        for thread in self._threads:
            thread.join()
        for encoder in self._encoders:
            encoder.abandon()
        self._gathered, self._parts = Gathering(), {}

    def _check(self) -> None:
        for thread in self._threads:
            if thread.failure is not None:
                raise thread.failure

    def _is_full(self, gathered: Gathering) -> bool:
        options = self._options
        return (
            gathered.rows >= options.row_group_rows_max
            or gathered.bytes >= options.row_group_bytes_max
        )

    def _room(self, batch: pa.RecordBatch) -> int:
        """Return how many of these rows the row group that is gathered has room for, at least 1."""
        options = self._options
        count = min(batch.num_rows, options.row_group_rows_max - self._gathered.rows)
        space = options.row_group_bytes_max - self._gathered.bytes
        if batch.nbytes > space:
            count = min(count, space * batch.num_rows // batch.nbytes)
        return max(1, count)

    def _flush(self, *, last: bool = False) -> None:
        """Pass the gathered rows on: as a row group, or each to its partition."""
        rows = self._gathered.take()
        if self._partitioner is None:
            # Files take turns; an only row group is written here and now.
            self._pass_on((), rows, home=self._turn, inline=last and not self._threads)
            self._turn += 1
            return
        whole = rows.combine_chunks().to_batches()[0]
        for key, part in self._partitioner.split(whole):
            gathered = self._part(key)
            self._part_bytes += gathered.add(part)
            if self._is_full(gathered):
                self._pass_on_part(key, inline=False)
        if self._part_bytes > self._options.buffer_bytes_max:
            self._release(self._options.buffer_bytes_max // 2, inline=False)

    def _part(self, key: Key) -> Gathering:
        if (gathered := self._parts.get(key)) is None:
            if key not in self._homes:
                if len(self._homes) >= self._options.partitions_max:
                    raise LimitExceeded(
                        "the rows belong to more partitions than one write may have"
                        f" limit=partitions_max={self._options.partitions_max}"
                    )
                self._homes[key] = len(self._homes)
            gathered = self._parts[key] = Gathering()
        return gathered

    def _release(self, bytes_kept: int, *, inline: bool | None = None) -> None:
        """Pass on what waits for its partition, the most first, until no more than that is held."""
        inline = not self._threads if inline is None else inline
        for key in sorted(self._parts, key=lambda each: -self._parts[each].bytes):
            if self._part_bytes <= bytes_kept:
                break
            self._pass_on_part(key, inline=inline)

    def _pass_on_part(self, key: Key, *, inline: bool) -> None:
        gathered = self._parts.pop(key)
        self._part_bytes -= gathered.bytes
        self._pass_on(key, gathered.take(), home=self._homes[key], inline=inline)

    def _pass_on(self, key: Key, rows: pa.Table, *, home: int, inline: bool) -> None:
        """Have a row group encoded, by this thread or by that of its file."""
        if inline:
            if not self._encoders:
                self._encoders.append(self._encoder())
            self._encoders[0].write(key, rows)
            return
        home %= self._options.writers_max
        while len(self._threads) <= home:
            encoder = self._encoder()
            thread = _Thread(encoder)
            thread.start()
            self._encoders.append(encoder)
            self._threads.append(thread)
        self._threads[home].put(key, rows)

    def _encoder(self) -> Encoder:
        return Encoder(self._layout, clock=self._clock, random_bytes=self._random_bytes)

    def _folders(self, files: list[EncodedFile]) -> list[Path]:
        """Return the folders that name new files or each other, inner ones first."""
        names = {parent for file in files for parent in PurePosixPath(file.name).parents}
        return [self._folder / name for name in sorted(names, key=lambda each: -len(each.parts))]

    def _described(self, file: EncodedFile) -> DataFile:
        return DataFile(
            path=quote(file.name, safe="/="),
            size=file.size,
            rows=file.rows,
            partition_values=MappingProxyType(dict(zip(self._columns, file.key, strict=True))),
            stats=file.stats,
            modified_ms=file.modified_ms,
        )


def remove_data_files(folder: Path, files: tuple[DataFile, ...]) -> None:
    """Remove files of a write that will not be committed."""
    remove_written(folder, [file.file_below(folder) for file in files])
