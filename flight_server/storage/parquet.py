"""Opens Parquet files and folders of them as read-only tables."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from flight_server.errors import LimitExceeded, NotFound, Unsupported
from flight_server.storage.arrow_types import plain_schema, without_metadata
from flight_server.storage.recent import Recent
from flight_server.storage.snapshots import (
    PARTITION_TUPLES_MAX,
    FileSet,
    Snapshot,
    damaged,
    file_uri,
)

SUFFIX = ".parquet"
LOG_FOLDER = "_delta_log"
FOOTERS_READ_MAX = 64
FOLDER_DEPTH_MAX = 16
FOLDER_FILES_MAX = 100_000
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_INT64_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class _File:
    """A data file, what shows that it changed, and the ``key=value`` folders above it."""

    path: str
    size: int
    mtime_ns: int
    partition: tuple[tuple[str, str], ...]


class ParquetTables:
    """Snapshots of Parquet tables, remembered by what their files look like.

    Safe to share between threads.
    """

    def __init__(self, *, tables_max: int = 512, files_max: int = 500_000) -> None:
        self._recent = Recent[str, Snapshot](
            lambda snapshot: snapshot.file_count, entries_max=tables_max, weight_max=files_max
        )

    def open(self, path: Path, *, name: str) -> Snapshot:
        """Return the present state of the file or folder; ``name`` is for messages.

        Raises NotFound when there is no Parquet file, Unavailable (``table_damaged``) when one
        cannot be read, Unsupported when the files do not make one table.
        """
        root = str(path.absolute())
        try:
            files = sorted(_files(root), key=lambda file: file.path)
        except OSError:
            raise damaged(name, "its files cannot be listed") from None
        if not files:
            raise NotFound(f"the table {name} does not exist", code="table_not_found")
        stamp = _stamp(files)
        kept = self._recent.get(root)
        if kept is not None and kept.stamp == stamp:
            return kept
        return self._recent.put(root, _read(files, stamp, name))


def is_visible(name: str) -> bool:
    """Whether a file or folder of that name can hold data: ``_`` and ``.`` hide what is not."""
    return not name.startswith(("_", "."))


def holds_parquet(folder: str) -> bool:
    """Whether Parquet lies in a folder or below it, Delta tables left out. Raises OSError."""
    return any(True for _ in _files(folder))


def _files(root: str) -> Iterator[_File]:
    """Yield data files at or below a path, without those of Delta tables."""
    if root.endswith(SUFFIX) and not os.path.isdir(root):  # noqa: PTH112 - text paths throughout, for speed
        status = os.stat(root)  # noqa: PTH116 - as above
        yield _File(root, status.st_size, status.st_mtime_ns, ())
        return
    waiting: list[tuple[str, tuple[tuple[str, str], ...], int]] = [(root, (), 0)]
    count = 0
    while waiting:
        folder, partition, depth = waiting.pop()
        with os.scandir(folder) as listing:
            entries = [
                entry for entry in listing if is_visible(entry.name) or entry.name == LOG_FOLDER
            ]
        if any(entry.name == LOG_FOLDER for entry in entries):
            continue
        for entry in entries:
            if entry.is_dir():
                key, separator, value = entry.name.partition("=")
                below = (*partition, (unquote(key), unquote(value))) if separator else partition
                if depth < FOLDER_DEPTH_MAX:
                    waiting.append((entry.path, below, depth + 1))
            elif entry.name.endswith(SUFFIX) and entry.is_file():
                count += 1
                if count > FOLDER_FILES_MAX:
                    raise LimitExceeded(
                        f"a folder of Parquet has more than folder_files_max={FOLDER_FILES_MAX}"
                    )
                status = entry.stat()
                yield _File(entry.path, status.st_size, status.st_mtime_ns, partition)


def _stamp(files: Iterable[_File]) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for file in files:
        digest.update(
            f"{file.path}\0{file.size}\0{file.mtime_ns}\n".encode(errors="surrogateescape")
        )
    return digest.hexdigest()


def _read(files: list[_File], stamp: str, name: str) -> Snapshot:
    keys = tuple(key for key, _ in files[0].partition)
    if any(tuple(key for key, _ in file.partition) != keys for file in files):
        raise Unsupported(f"the table {name} has files under different partition columns")
    if len(set(keys)) != len(keys):
        raise Unsupported(f"the table {name} has a partition column twice")
    stored = _stored_schema(files, name)
    columns = [
        _partition_values([file.partition[i][1] for file in files]) for i in range(len(keys))
    ]
    fields = [column for column in stored if column.name not in keys]
    fields += [pa.field(key, column.type) for key, column in zip(keys, columns, strict=True)]
    grouped: dict[tuple[str, ...], list[int]] = {}
    for place, file in enumerate(files):
        grouped.setdefault(tuple(value for _, value in file.partition), []).append(place)
    if len(grouped) > PARTITION_TUPLES_MAX:
        raise Unsupported(
            f"the table {name} is Parquet in more than partition_tuples_max={PARTITION_TUPLES_MAX} "
            "partitions; as a Delta table it can be read"
        )
    sets = tuple(
        FileSet(
            tuple(column[places[0]] for column in columns),
            tuple(file_uri(files[place].path) for place in places),
        )
        for places in grouped.values()
    )
    return Snapshot(
        version=None,
        stamp=stamp,
        schema=pa.schema(fields),
        partition_columns=keys,
        file_sets=sets,
        paths=frozenset(file.path for file in files),
    )


def _stored_schema(files: list[_File], name: str) -> pa.Schema:
    """Return what the footers say together; of many files a sample, first and last included."""
    step = max(1, -(-len(files) // FOOTERS_READ_MAX))
    sample = [*files[::step], files[-1]] if len(files) > 1 else files
    schemas = []
    for file in sample:
        try:
            schemas.append(without_metadata(plain_schema(pq.read_schema(file.path))))
        except (OSError, pa.ArrowException):
            raise damaged(name, "one of its files is no readable Parquet") from None
    if any(len(set(schema.names)) < len(schema.names) for schema in schemas):
        raise Unsupported(f"the table {name} has two columns of one name")
    first = schemas[0]
    if len(files) == 1:
        return first
    # A file that lacks a column is read as NULL there, so no column can promise more.
    nullable = [pa.schema([column.with_nullable(True) for column in schema]) for schema in schemas]  # noqa: FBT003
    try:
        return pa.unify_schemas(nullable, promote_options="permissive")
    except pa.ArrowException:
        raise Unsupported(f"the files of the table {name} do not have one schema") from None


def _partition_values(texts: list[str]) -> pa.Array[Any]:
    """Return one partition column: 64-bit integers if all values are, else text."""
    values = [None if text == HIVE_NULL else text for text in texts]
    present = [value for value in values if value is not None]
    if present and all(_is_int64(value) for value in present):
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    return pa.array(values, pa.string())


def _is_int64(text: str) -> bool:
    return bool(_INTEGER.fullmatch(text)) and -_INT64_LIMIT <= int(text) < _INT64_LIMIT
