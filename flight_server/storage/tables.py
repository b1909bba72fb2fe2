"""Opens Delta tables at their newest state, a version, a time, or exactly a pinned state."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deltalake import DeltaTable

from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, NotFound
from flight_server.storage.delta import delta_errors, open_delta, read_snapshot, table_folder
from flight_server.storage.log import (
    LOG_FOLDER,
    Mark,
    check_commit,
    check_version,
    commit_path,
    list_log,
    mark_of,
    version_at,
)
from flight_server.storage.recent import Recent
from flight_server.storage.snapshots import Snapshot, damaged, no_version

COMMITS_PER_UPDATE_MAX = 10_000


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """How much is remembered: states in all, and active files over all of them."""

    snapshots_max: int = 1024
    snapshot_files_max: int = 1_000_000


@dataclass(frozen=True, slots=True)
class _Kept:
    """A snapshot, its mark in the log, and where its commit and the next one lie."""

    snapshot: Snapshot
    version: int
    mark: Mark
    commit: str
    following: str


@dataclass(slots=True)
class _Head:
    """The newest state known of one table; ``table`` moves along with it, under the lock."""

    lock: threading.Lock
    kept: _Kept | None = None
    table: DeltaTable | None = None

    def current(self) -> Snapshot | None:
        """Return the newest snapshot if nothing was committed since: two looks at the folder."""
        kept = self.kept
        if kept is None or mark_of(kept.commit) != kept.mark:
            return None
        return None if os.path.lexists(kept.following) else kept.snapshot


class DeltaTables:
    """Snapshots of Delta tables, remembered within limits. Safe to share between threads."""

    def __init__(self, clock: Clock, limits: SnapshotLimits | None = None) -> None:
        self._clock = clock
        limits = limits or SnapshotLimits()
        entries, files = limits.snapshots_max, limits.snapshot_files_max
        self._heads = Recent[str, _Head](_head_files, entries_max=entries, weight_max=files)
        self._past = Recent[tuple[str, int], _Kept](
            _kept_files, entries_max=entries, weight_max=files
        )

    def newest(self, path: Path, *, name: str) -> Snapshot:
        """Return the newest state of the table in that folder; ``name`` is for messages.

        Raises Unavailable (``table_damaged``) or Unsupported.
        """
        root = table_folder(path)
        head = self._heads.get_or_make(root, lambda: _Head(threading.Lock()))
        if (snapshot := head.current()) is not None:
            return snapshot
        with head.lock:
            if (snapshot := head.current()) is not None:
                return snapshot
            try:
                snapshot = self._advance(root, head, name)
            except NotFound:  # of the newest version, missing files are damage
                raise damaged(name, "data files are missing") from None
        self._heads.put(root, head)
        return snapshot

    def at_version(self, path: Path, version: int, *, name: str) -> Snapshot:
        """Return the state of one version.

        Raises NotFound (``version_not_found``) when it never was or is no longer, Unavailable,
        or Unsupported.
        """
        root = table_folder(path)
        folder = f"{root}/{LOG_FOLDER}"
        if 0 <= version < 10**19 and (mark := mark_of(commit_path(folder, version))):
            kept = self._remembered(root, version, mark)
            if kept is not None:
                return kept
        listing = list_log(folder, name)
        check_version(listing, version, name)
        mark = listing.mark(version)
        if mark is None:
            raise no_version(name, f"no longer has version {version}")
        table = open_delta(root, version, name)
        try:
            snapshot = read_snapshot(table, root, mark=mark, name=name)
        except NotFound:
            raise self._lacking(version, listing.latest, name) from None
        self._past.put((root, version), _keep(folder, snapshot, version, mark))
        return snapshot

    def at_time(self, path: Path, time: datetime, *, name: str) -> Snapshot:
        """Return the state that was the newest at a time.

        Raises InvalidRequest for a time without zone or in the future, NotFound
        (``version_not_found``) for one before the first version that is left.
        """
        if time.tzinfo is None:
            raise InvalidRequest("a time to read a table at needs a time zone")
        if time > self._clock.now():
            raise InvalidRequest("a time to read a table at cannot be in the future")
        newest = self.newest(path, name=name)
        listing = list_log(f"{table_folder(path)}/{LOG_FOLDER}", name)
        version = version_at(listing, newest, time=time, name=name)
        return newest if version == newest.version else self.at_version(path, version, name=name)

    def pinned(self, path: Path, version: int, *, stamp: str, name: str) -> Snapshot:
        """Return exactly the state of that version and stamp.

        Raises NotFound (``version_not_found``) when it is gone, and what ``at_version`` raises.
        """
        snapshot = self.at_version(path, version, name=name)
        if snapshot.stamp != stamp:
            raise no_version(name, "was replaced by another one")
        return snapshot

    def _remembered(self, root: str, version: int, mark: Mark) -> Snapshot | None:
        """Return a state already known, if its commit is the same and its files are still there."""
        head = self._heads.get(root)
        kept = head.kept if head is not None else None
        if kept is not None and kept.version == version and kept.mark == mark:
            return kept.snapshot
        past = self._past.get((root, version))
        if past is None or past.mark != mark:
            return None
        return past.snapshot if all(map(os.path.exists, past.snapshot.paths)) else None

    @staticmethod
    def _lacking(version: int, latest: int, name: str) -> Exception:
        if version == latest:
            return damaged(name, "data files are missing")
        return no_version(name, f"no longer has the data of version {version}")

    def _advance(self, root: str, head: _Head, name: str) -> Snapshot:
        """Bring a head up to the newest commit: in steps where they follow on, else anew."""
        folder = f"{root}/{LOG_FOLDER}"
        kept, table = head.kept, head.table
        known: frozenset[str] = frozenset()
        head.kept = head.table = None  # a failure half-way leaves nothing to build on
        if kept is not None and table is not None and mark_of(kept.commit) == kept.mark:
            version = _last_commit(folder, kept.version, name)
            with delta_errors(name):
                table.update_incremental()
            known = kept.snapshot.paths
            self._past.put((root, kept.version), kept)
        else:
            listing = list_log(folder, name)
            version = listing.latest
            check_version(listing, version, name)
            table = open_delta(root, None, name)
        for number in range(version + 1, table.version() + 1):  # committed in between
            check_commit(folder, number, name)
            version = number
        mark = mark_of(commit_path(folder, version)) or list_log(folder, name).mark(version)
        if mark is None or table.version() != version:
            raise damaged(name, "its log changed while it was read")
        snapshot = read_snapshot(table, root, mark=mark, name=name, known=known)
        head.table, head.kept = table, _keep(folder, snapshot, version, mark)
        return snapshot


def _keep(folder: str, snapshot: Snapshot, version: int, mark: Mark) -> _Kept:
    commit, following = (commit_path(folder, number) for number in (version, version + 1))
    return _Kept(snapshot, version, mark, commit, following)


def _last_commit(folder: str, version: int, name: str) -> int:
    """Follow the commits from a version on, checking each."""
    for _ in range(COMMITS_PER_UPDATE_MAX):
        if not os.path.lexists(commit_path(folder, version + 1)):
            break
        version += 1
        check_commit(folder, version, name)
    return version


def _head_files(head: _Head) -> int:
    return head.kept.snapshot.file_count if head.kept else 0


def _kept_files(kept: _Kept) -> int:
    return kept.snapshot.file_count
