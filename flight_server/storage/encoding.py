"""Encodes rows into Parquet files of a bounded size, several open at a time, and syncs them."""

from __future__ import annotations

import logging
import os
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flight_server.clock import Clock
from flight_server.errors import Unavailable
from flight_server.storage.durable import remove_files
from flight_server.storage.partitions import Key, partition_folder
from flight_server.storage.statistics import FileStatistics

_log = logging.getLogger(__name__)

# Another writer that gives up may remove an empty folder that we are about to use.
_OPEN_ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """A complete and synced file; ``name`` is its path below the folder of the table."""

    name: str
    key: Key
    size: int
    rows: int
    stats: str
    modified_ms: int


@contextmanager
def writing() -> Iterator[None]:
    """Turn what the file system refuses into an error of ours, without its paths."""
    try:
        yield
    except OSError as error:
        _log.error("data files cannot be written: %s", error)
        raise Unavailable("the storage of the table cannot be written") from None


@dataclass(frozen=True, slots=True)
class FileLayout:
    """Where the files of one write go and what they look like.

    ``schema`` is that of the files. A file ends once it has ``file_bytes_target``; no more than
    ``open_files_max`` are open.
    """

    folder: Path
    schema: pa.Schema
    partition_columns: tuple[str, ...]
    statistics: FileStatistics
    file_bytes_target: int
    open_files_max: int


class _OpenFile:
    """One Parquet file that still takes row groups."""

    def __init__(self, path: Path, layout: FileLayout) -> None:
        self.path = path
        self._statistics = layout.statistics
        self._footers: list[Any] = []
        self._not_numbers: frozenset[int] = frozenset()
        self._file = pa.OSFile(str(path), mode="wb")
        self._writer = pq.ParquetWriter(
            self._file,
            layout.schema,
            compression="snappy",
            version="2.6",
            use_deprecated_int96_timestamps=False,
            store_schema=False,
            store_decimal_as_integer=True,
            write_page_index=True,
            metadata_collector=self._footers,
        )

    def write(self, rows: pa.Table) -> int:
        """Add a row group; return the size of the file so far."""
        self._not_numbers |= self._statistics.not_numbers(rows)
        self._writer.write_table(rows, row_group_size=rows.num_rows)
        return int(self._file.tell())

    def finish(self) -> tuple[int, int, str]:
        """Complete and sync the file; return its size, rows and statistics."""
        self._writer.close()
        self._file.close()
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        footer = self._footers[0]
        return size, footer.num_rows, self._statistics.render(
            footer, not_numbers=self._not_numbers
        )  # fmt: skip

    def abandon(self) -> None:
        """Close the file whatever is in it; never raises."""
        for each in (self._writer, self._file):
            # A writer that has failed raises what it likes, a RuntimeError for one.
            with suppress(Exception):
                each.close()
        # A writer whose close has failed closes again when it is collected, and that would print.
        self._writer.is_open = False


class Encoder:
    """Files of one layout, one open for each partition. For one thread at a time."""

    def __init__(
        self, layout: FileLayout, *, clock: Clock, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._layout = layout
        self._clock = clock
        self._random_bytes = random_bytes
        self._open: OrderedDict[Key, _OpenFile] = OrderedDict()
        self._paths: list[Path] = []
        self._done: list[EncodedFile] = []

    def write(self, key: Key, rows: pa.Table) -> None:
        """Add a row group to the partition's file. Raises Unavailable."""
        with writing():
            if (file := self._open.get(key)) is None:
                if len(self._open) >= self._layout.open_files_max:
                    self._complete(next(iter(self._open)))
                file = self._open[key] = self._start(key)
            self._open.move_to_end(key)
            if file.write(rows) >= self._layout.file_bytes_target:
                self._complete(key)

    def finish(self) -> list[EncodedFile]:
        """Complete and sync all files; the folders are not synced yet. Raises Unavailable."""
        with writing():
            for key in list(self._open):
                self._complete(key)
        return self._done

    def abandon(self) -> None:
        """Remove all files, complete ones too, and folders that are empty without them."""
        for file in self._open.values():
            file.abandon()
        self._open.clear()
        remove_written(self._layout.folder, self._paths)
        self._paths.clear()

    def _start(self, key: Key) -> _OpenFile:
        name = uuid.UUID(bytes=self._random_bytes(16), version=4)
        folder = self._layout.folder / partition_folder(self._layout.partition_columns, key)
        path = folder / f"part-00000-{name}-c000.snappy.parquet"
        for _ in range(_OPEN_ATTEMPTS_MAX):
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self._paths.append(path)
                return _OpenFile(path, self._layout)
        raise FileNotFoundError(path)

    def _complete(self, key: Key) -> None:
        file = self._open[key]
        size, rows, stats = file.finish()
        del self._open[key]
        self._done.append(
            EncodedFile(
                name=file.path.relative_to(self._layout.folder).as_posix(),
                key=key,
                size=size,
                rows=rows,
                stats=stats,
                modified_ms=int(self._clock.now().timestamp() * 1000),
            )
        )


def remove_written(folder: Path, paths: Sequence[Path]) -> None:
    """Remove files below a folder, and those folders in between that are empty without them."""
    with suppress(OSError):
        remove_files(paths)
    between = {parent for path in paths for parent in path.parents if folder in parent.parents}
    for each in sorted(between, key=lambda path: -len(path.parts)):
        with suppress(OSError):
            each.rmdir()
