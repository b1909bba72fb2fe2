"""What exists: the buckets of this server and the tables in them, whoever asks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flight_server.catalog import folders
from flight_server.catalog.folders import PUBLIC, Kind
from flight_server.catalog.safe_views import SafeViews, StoredSafeView
from flight_server.catalog.views import View, Views
from flight_server.errors import InvalidRequest, Unavailable
from flight_server.storage.locations import Location
from flight_server.storage.parquet import LOG_FOLDER, is_visible
from policies.decide import SYSTEM_BUCKET
from policies.names import TableRef
from policies.rules import SafeView

_NESTING_MAX = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A table that exists: its full name, how it is stored, and its file or folder."""

    ref: TableRef
    kind: Kind
    path: Path


# What has columns under a name of its own, and no rows.
AnyView = View | StoredSafeView


class Registry:
    """Finds and lists tables and views; keeps no table, so new ones appear by themselves.

    Buckets are given by their catalog names. A bucket that lies inside another one's folder is
    invisible there: its tables have one name only. A table hides a view of the same name, but an
    AI-safe view hides the table: who was given the view must not come to see what it hides. Without
    ``views`` and ``safe_views`` nobody has made any. ``own_views`` are the server's own, whose
    names nothing can take; ``placed`` are Delta tables that lie elsewhere than below their bucket's
    root.
    """

    def __init__(
        self,
        buckets: Mapping[str, Location],
        views: Views | None = None,
        *,
        safe_views: SafeViews | None = None,
        own_views: Mapping[TableRef, View] | None = None,
        placed: Mapping[TableRef, Path] | None = None,
    ) -> None:
        self._buckets = dict(buckets)
        self._views = views
        self._safe_views = safe_views
        self._own_views = dict(own_views or {})
        self._placed = dict(placed or {})
        self._hidden = {name: _hidden_in(name, self._buckets) for name in self._buckets}

    def buckets(self) -> tuple[str, ...]:
        """Return the names of all buckets, sorted."""
        return tuple(sorted(self._buckets))

    def find(self, ref: TableRef) -> Entry | None:
        """Find a table by its exact name, or return None, as for a name that means a view.

        Raises Unavailable when its bucket or its folder cannot be read.
        """
        return None if self._is_taken(ref) else self.find_below(ref)

    def find_below(self, ref: TableRef) -> Entry | None:
        """Find a table whose name may mean an AI-safe view; for those who look after names."""
        location = self._buckets.get(ref.bucket)
        if location is None or ref in self._own_views:
            return None
        if ref in self._placed:
            return self._find_placed(ref)
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
        fixed = self._own_views.keys() | self._placed.keys()
        entries = [
            entry for entry in entries if entry.ref not in fixed and not self._is_taken(entry.ref)
        ]
        placed = (self._find_placed(ref) for ref in self._placed if ref.bucket == bucket)
        entries += [entry for entry in placed if entry is not None]
        return sorted(entries, key=lambda entry: entry.ref)

    def _find_placed(self, ref: TableRef) -> Entry | None:
        path = self._placed[ref]
        return Entry(ref, Kind.DELTA, path) if (path / LOG_FOLDER).is_dir() else None

    def _is_taken(self, ref: TableRef) -> bool:
        """Whether a name means an AI-safe view whatever else has it."""
        return self._safe_views is not None and self._safe_views.is_name(ref)

    def find_view(self, ref: TableRef) -> AnyView | None:
        """Find a view by its exact name, or return None; Unavailable when views cannot be read.

        Whether a table hides it is the caller's to ask first.
        """
        if ref.bucket not in self._buckets:
            return None
        if (own := self._own_views.get(ref)) is not None:
            return own
        if self._safe_views is not None and (safe := self._safe_views.get(ref)) is not None:
            return safe
        return None if self._views is None else self._views.get(ref)

    def made_of(self, view: StoredSafeView) -> tuple[Entry | None, tuple[SafeView, ...]]:
        """Return the table below an AI-safe view, and the views from that one up to this.

        None for a table that is not there any more. Raises InvalidRequest (``view_recursive``),
        Unavailable.
        """
        views: tuple[SafeView, ...] = (view.rule,)
        if self._safe_views is not None:
            views = tuple(self._safe_views.chain(view.rule))
        base = views[-1].base
        # Its own tables are read under rules of their own, which no view takes part in.
        found = None if base.bucket == SYSTEM_BUCKET else self.find(base)
        return found, views[::-1]

    def views(self, bucket: str) -> tuple[AnyView, ...]:
        """List the views of a bucket; an unknown bucket has none.

        Those hidden by a table are listed too. Raises Unavailable.
        """
        if bucket not in self._buckets:
            return ()
        own = [view for ref, view in sorted(self._own_views.items()) if ref.bucket == bucket]
        stored = self._views.list(bucket) if self._views else ()
        return (
            *own,
            *(self._safe_views.list(bucket) if self._safe_views else ()),
            *(view for view in stored if not self._is_taken(view.ref)),
        )

    def schemas(self, bucket: str) -> frozenset[str]:
        """Return the schemas of a bucket: ``public``, those marked, those of its tables and views.

        The server's own bucket has no ``public``; an unknown one has no schema at all. Raises
        Unavailable when the bucket's folder cannot be read.
        """
        location = self._buckets.get(bucket)
        if location is None:
            return frozenset()
        names = {entry.ref.schema for entry in self.tables(bucket)}
        try:
            names.update(folders.marked(location.root, hidden=self._hidden[bucket]))
        except OSError:
            raise _unreadable(bucket) from None
        names.update(view.ref.schema for view in self.views(bucket))
        if bucket != SYSTEM_BUCKET:
            names.add(PUBLIC)
        return frozenset(names)

    def has_schema(self, bucket: str, schema: str) -> bool:
        """Whether there is such a schema; see ``schemas``. Raises Unavailable."""
        location = self._buckets.get(bucket)
        if location is None:
            return False
        if schema == PUBLIC and bucket != SYSTEM_BUCKET:
            return True
        try:
            if folders.is_marked(location.root, schema, hidden=self._hidden[bucket]):
                return True
        except OSError:
            raise _unreadable(bucket) from None
        return schema in self.schemas(bucket)

    def folder(self, bucket: str, *names: str) -> Path | None:
        """Return where a schema or, with a second name, a table of this bucket is to be made.

        None for an unknown bucket and for a place that belongs to another bucket.
        """
        location = self._buckets.get(bucket)
        if location is None:
            return None
        place = location.root
        for name in names:
            place /= name
            if str(place) in self._hidden[bucket]:
                return None
        return place


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
