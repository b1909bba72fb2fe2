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
from pathlib import Path

from flight_server.storage.parquet import SUFFIX, holds_parquet, is_visible

PUBLIC = "public"
LOG_FOLDER = "_delta_log"
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
    for path in (f"{inside}/{table}", *((above,) if schema == PUBLIC else ())):
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


def scan(root: Path, *, hidden: frozenset[str]) -> Iterator[Found]:
    """List the tables of a bucket, each name once, folders that cannot be read left out.

    Raises OSError when the root itself cannot be read.
    """
    base = str(root)
    parquet_counts = not _is_delta(base)
    seen: set[tuple[str, str]] = set()
    for found in _candidates(base, parquet_counts, hidden=hidden):
        if (found.schema, found.table) not in seen:
            seen.add((found.schema, found.table))
            yield found


def _candidates(base: str, parquet_counts: bool, *, hidden: frozenset[str]) -> Iterator[Found]:  # noqa: FBT001 - private
    """Everything that could be a table, in the order in which one hides another of its name."""
    files, folders = _entries(base)
    folders = [name for name in folders if _may_see(f"{base}/{name}", hidden)]
    nested: dict[str, tuple[list[str], list[str]]] = {}
    for name in folders:
        try:
            nested[name] = _entries(f"{base}/{name}")
        except OSError:
            continue
    later: list[Found] = []
    for schema, (inner_files, inner_folders) in nested.items():
        path = f"{base}/{schema}"
        is_table = _is_delta(path)
        one = not is_table and _looks_like_one_table(inner_files, inner_folders, path)
        shown = parquet_counts and not is_table and not one
        for table in inner_folders:
            below = f"{path}/{table}"
            if not _may_see(below, hidden):
                continue
            if _is_delta(below):
                yield Found(schema, table, Kind.DELTA, Path(below))
            elif shown and "=" not in table and _holds_parquet(below):
                later.append(Found(schema, table, Kind.PARQUET, Path(below)))
        if shown:
            later[:0] = [
                Found(schema, file, Kind.PARQUET, Path(f"{path}/{file}{SUFFIX}"))
                for file in inner_files
            ]
    for name in nested:
        if _is_delta(f"{base}/{name}"):
            yield Found(PUBLIC, name, Kind.DELTA, Path(base, name))
    yield from later
    if not parquet_counts:
        return
    for file in files:
        yield Found(PUBLIC, file, Kind.PARQUET, Path(base, file + SUFFIX))
    for name, (inner_files, inner_folders) in nested.items():
        path = f"{base}/{name}"
        if not _is_delta(path) and _looks_like_one_table(inner_files, inner_folders, path):
            yield Found(PUBLIC, name, Kind.PARQUET, Path(path))


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


__all__ = ["LOG_FOLDER", "PUBLIC", "Found", "Kind", "find", "is_name", "is_visible", "scan"]
