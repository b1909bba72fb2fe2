"""What exists: the buckets of this server and the tables in them, whoever asks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flight_server.catalog import folders
from flight_server.catalog.folders import Kind
from flight_server.errors import InvalidRequest, Unavailable
from flight_server.storage.locations import Location
from flight_server.storage.parquet import is_visible
from policies.names import TableRef

_NESTING_MAX = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A table that exists: its full name, how it is stored, and its file or folder."""

    ref: TableRef
    kind: Kind
    path: Path


class Registry:
    """Finds and lists tables; keeps nothing, so new tables appear by themselves.

    Buckets are given by their catalog names. A bucket that lies inside another one's folder is
    invisible there: its tables have one name only.
    """

    def __init__(self, buckets: Mapping[str, Location]) -> None:
        self._buckets = dict(buckets)
        self._hidden = {name: _hidden_in(name, self._buckets) for name in self._buckets}

    def buckets(self) -> tuple[str, ...]:
        """Return the names of all buckets, sorted."""
        return tuple(sorted(self._buckets))

    def find(self, ref: TableRef) -> Entry | None:
        """Find a table by its exact name, or return None.

        Raises Unavailable when its bucket or its folder cannot be read.
        """
        location = self._buckets.get(ref.bucket)
        if location is None:
            return None
        try:
            found = folders.find(
                location.root, ref.schema, ref.table, hidden=self._hidden[ref.bucket]
            )
        except OSError:
            raise _unreadable(ref.bucket) from None
        if found is not None:
            return Entry(ref, found.kind, found.path)
        if not os.access(location.root, os.R_OK | os.X_OK) or not location.root.is_dir():
            raise _unreadable(ref.bucket)
        return None

    def tables(self, bucket: str) -> list[Entry]:
        """List the tables of a bucket by schema and name; an unknown bucket has none.

        Raises Unavailable when the bucket's folder cannot be read.
        """
        location = self._buckets.get(bucket)
        if location is None:
            return []
        try:
            entries = [
                Entry(TableRef(bucket, found.schema, found.table), found.kind, found.path)
                for found in folders.scan(location.root, hidden=self._hidden[bucket])
            ]
        except OSError:
            raise _unreadable(bucket) from None
        return sorted(entries, key=lambda entry: entry.ref)


def _unreadable(bucket: str) -> Unavailable:
    return Unavailable(f"the bucket {bucket} cannot be read", code="bucket_unavailable")


def _hidden_in(bucket: str, buckets: Mapping[str, Location]) -> frozenset[str]:
    """Folders inside a bucket's own that belong to other buckets."""
    root = buckets[bucket].root
    hidden = set()
    for name, other in buckets.items():
        if name == bucket or not other.root.is_relative_to(root):
            continue
        parts = other.root.relative_to(root).parts
        if not parts:
            raise InvalidRequest(f"the buckets {bucket} and {name} are one folder")
        if any(not is_visible(part) for part in parts):
            continue
        if len(parts) > _NESTING_MAX:
            raise InvalidRequest(f"the bucket {name} lies too deep inside the bucket {bucket}")
        hidden.add(str(other.root))
    return frozenset(hidden)
