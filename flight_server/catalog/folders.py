"""Which tables a bucket's folder holds: found by name without a listing, or listed.

A Delta table is ``schema/table`` or, in the schema ``public``, ``table``. So are Parquet files
and folders of them, read-only, wherever there is no Delta table; see ``docs`` for the exact
layout.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path

from flight_server.storage.parquet import SUFFIX, holds_parquet

PUBLIC = "public"
LOG_FOLDER = "_delta_log"
# An empty file by which a folder directly under the root is a schema, whatever else it holds.
SCHEMA_MARKER = "_schema"
NAME_BYTES_MAX = 255
# How writers call the files of one data set: part-00000-…, 12, a UUID, ….c000…
_PART = re.compile(
    r"part[-_.].*|\d+|[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}.*|.*[-.]c\d{3}\b.*",
    re.IGNORECASE,
)


class Kind(StrEnum):
    """How a table is stored."""

    DELTA = "delta"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Found:
    """A table's schema and name in its bucket, how it is stored, and where."""

    schema: str
    table: str
    kind: Kind
    path: Path


def is_name(name: str) -> bool:
    """Whether a schema or table may be called so; nothing else ever reaches the disk."""
    if not name or name.startswith(("_", ".")) or ".." in name:
        return False
    if any(character in name for character in "/\\\0"):
        return False
    try:
        return len(name.encode()) <= NAME_BYTES_MAX
    except UnicodeEncodeError:
        return False


def find(root: Path, schema: str, table: str, *, hidden: frozenset[str]) -> Found | None:
    """Find a table by its exact name, or return None.

    ``hidden`` are folders that belong to other buckets. A Delta table is found by one look for
    each place that it can be in; only a Parquet table's own folders are listed. Raises OSError
    when the folder cannot be read.
    """
    if not (is_name(schema) and is_name(table)):
        return None
    base = str(root)
    inside, above = f"{base}/{schema}", f"{base}/{table}"
    places = [f"{inside}/{table}"] if _may_see(inside, hidden) else []
    if schema == PUBLIC:
        places.append(above)
    for path in places:
        if _is_delta(path) and _may_see(path, hidden):
            return Found(schema, table, Kind.DELTA, Path(path))
    if _is_delta(base):
        return None
    if _may_see(inside, hidden) and os.path.isdir(inside):  # noqa: PTH112 - text paths, for speed
        found = _find_parquet_inside(inside, schema, table, hidden=hidden)
        if found is not None:
            return found
    return _find_parquet_above(above, table, hidden=hidden) if schema == PUBLIC else None


def _find_parquet_inside(
    folder: str, schema: str, table: str, *, hidden: frozenset[str]
) -> Found | None:
    """Look for Parquet in a schema's folder, unless that folder is itself one table."""
    file, path = f"{folder}/{table}{SUFFIX}", f"{folder}/{table}"
    is_file = os.path.isfile(file)  # noqa: PTH113 - text paths, for speed
    is_folder = os.path.isdir(path) and _may_see(path, hidden)  # noqa: PTH112 - as above
    if not (is_file or is_folder) or _is_delta(folder) or _is_one_table(folder):
        return None
    if is_file:
        return Found(schema, table, Kind.PARQUET, Path(file))
    if "=" not in table and holds_parquet(path):
        return Found(schema, table, Kind.PARQUET, Path(path))
    return None


def _find_parquet_above(path: str, table: str, *, hidden: frozenset[str]) -> Found | None:
    """Look for Parquet directly under the root."""
    if os.path.isfile(path + SUFFIX):  # noqa: PTH113 - text paths, for speed
        return Found(PUBLIC, table, Kind.PARQUET, Path(path + SUFFIX))
    if _may_see(path, hidden) and os.path.isdir(path) and _is_one_table(path):  # noqa: PTH112
        return Found(PUBLIC, table, Kind.PARQUET, Path(path))
    return None


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder directly under a root, with what lies in it."""

    name: str
    path: str
    files: list[str]
    folders: list[str]
    is_delta: bool
    is_one_table: bool


def scan(root: Path, *, hidden: frozenset[str]) -> Iterator[Found]:
    """List the tables of a bucket, each name once, folders that cannot be read left out.

    Raises OSError when the root itself cannot be read.
    """
    base = str(root)
    files, names = _entries(base)
    below = list(_folders(base, names, hidden=hidden))
    candidates = [_delta_tables(below, hidden=hidden)]
    if not _is_delta(base):
        candidates.append(_parquet_tables(base, files, below, hidden=hidden))
    seen: set[tuple[str, str]] = set()
    # The first of a name hides the others: Delta comes before Parquet, as in ``find``.
    for found in chain.from_iterable(candidates):
        if (found.schema, found.table) not in seen:
            seen.add((found.schema, found.table))
            yield found


def is_marked(root: Path, schema: str, *, hidden: frozenset[str]) -> bool:
    """Whether a folder is marked as a schema; a Delta table is none. Raises OSError."""
    path = f"{root}/{schema}"
    return (
        is_name(schema)
        and _may_see(path, hidden)
        and os.path.lexists(f"{path}/{SCHEMA_MARKER}")
        and not _is_delta(path)
    )


def marked(root: Path, *, hidden: frozenset[str]) -> list[str]:
    """List the folders that are marked as schemas. Raises OSError when the root cannot be read."""
    _, names = _entries(str(root))
    return [name for name in names if is_marked(root, name, hidden=hidden)]


def _folders(base: str, names: list[str], *, hidden: frozenset[str]) -> Iterator[_Folder]:
    for name in names:
        path = f"{base}/{name}"
        if not _may_see(path, hidden):
            continue
        try:
            files, folders = _entries(path)
        except OSError:
            continue
        is_delta = _is_delta(path)
        is_one = not is_delta and _looks_like_one_table(files, folders, path)
        yield _Folder(name, path, files, folders, is_delta, is_one)


def _delta_tables(below: list[_Folder], *, hidden: frozenset[str]) -> Iterator[Found]:
    for folder in below:
        for table in folder.folders:
            path = f"{folder.path}/{table}"
            if _may_see(path, hidden) and _is_delta(path):
                yield Found(folder.name, table, Kind.DELTA, Path(path))
    for folder in below:
        if folder.is_delta:
            yield Found(PUBLIC, folder.name, Kind.DELTA, Path(folder.path))


def _parquet_tables(
    base: str, files: list[str], below: list[_Folder], *, hidden: frozenset[str]
) -> Iterator[Found]:
    for folder in below:
        if folder.is_delta or folder.is_one_table:
            continue
        for table in folder.files:
            yield Found(folder.name, table, Kind.PARQUET, Path(folder.path, table + SUFFIX))
        for table in folder.folders:
            path = f"{folder.path}/{table}"
            if "=" not in table and _may_see(path, hidden) and _holds_parquet(path):
                yield Found(folder.name, table, Kind.PARQUET, Path(path))
    for table in files:
        yield Found(PUBLIC, table, Kind.PARQUET, Path(base, table + SUFFIX))
    for folder in below:
        if folder.is_one_table:
            yield Found(PUBLIC, folder.name, Kind.PARQUET, Path(folder.path))


def _entries(folder: str) -> tuple[list[str], list[str]]:
    """Names of the Parquet files, without suffix, and of the folders in a folder, sorted."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as listing:
        for entry in listing:
            if entry.name.endswith(SUFFIX) and entry.is_file():
                name = entry.name.removesuffix(SUFFIX)
                if is_name(name):
                    files.append(name)
            elif is_name(entry.name) and entry.is_dir():
                folders.append(entry.name)
    return sorted(files), sorted(folders)


def _is_one_table(folder: str) -> bool:
    files, folders = _entries(folder)
    return _looks_like_one_table(files, folders, folder)


def _looks_like_one_table(files: list[str], folders: list[str], path: str) -> bool:
    """Whether a folder directly under the root is one data set and not a schema of tables."""
    if any("=" in name for name in folders):
        return _holds_parquet(path)
    if not files:
        return False
    if all(_PART.fullmatch(name) for name in files):
        return True
    return os.path.lexists(f"{path}/_SUCCESS")


def _is_delta(path: str) -> bool:
    return os.path.isdir(f"{path}/{LOG_FOLDER}")  # noqa: PTH112 - text paths, for speed


def _holds_parquet(path: str) -> bool:
    try:
        return holds_parquet(path)
    except OSError:
        return False


def _may_see(path: str, hidden: frozenset[str]) -> bool:
    return path not in hidden
