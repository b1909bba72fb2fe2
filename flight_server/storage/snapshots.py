"""A table at one moment, as plain data: what to read, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from flight_server.errors import LakeflightError, NotFound, Unavailable

PARTITION_TUPLES_MAX = 256


class Reading(StrEnum):
    """Who can read the table right."""

    NATIVE = "native"  # its files, as they are
    PROVIDER = "provider"  # only the Delta library, as it streams
    ROWS = "rows"  # only the Delta library, all rows at once
    REFUSED = "refused"  # nobody here


@dataclass(frozen=True, slots=True)
class FileSet:
    """Data files that share one tuple of partition values, in the order of the partition columns.

    ``uris`` are ``file:///`` URIs, percent-encoded.
    """

    partition: tuple[pa.Scalar[Any], ...]
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One state of one table.

    ``version`` is the Delta version, or None for plain Parquet; ``stamp`` changes when another
    table takes the same name and version. ``schema`` is in plain types and in the table's
    order, partition columns included; fields keep their comments. ``refusal`` says in words why
    ``reading`` is REFUSED.
    """

    version: int | None
    stamp: str
    schema: pa.Schema
    partition_columns: tuple[str, ...] = ()
    file_sets: tuple[FileSet, ...] = ()
    reading: Reading = Reading.NATIVE
    refusal: str = ""
    table_id: str = ""
    configuration: dict[str, str] = field(default_factory=dict)
    paths: frozenset[str] = frozenset()

    @property
    def file_count(self) -> int:
        """How many data files are active."""
        return len(self.paths)


def file_uri(path: str) -> str:
    """Return an absolute path as a ``file:///`` URI."""
    return "file://" + quote(path, safe="/")


def damaged(name: str, what: str) -> LakeflightError:
    """Return the error for a table that is there and cannot be read."""
    return Unavailable(f"the table {name} is damaged: {what}", code="table_damaged")


def no_version(name: str, what: str) -> LakeflightError:
    """Return the error for a state of a table that is not there."""
    return NotFound(f"the table {name} {what}", code="version_not_found")
