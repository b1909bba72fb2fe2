"""The Delta log as files: which versions it can rebuild, of what times, and whether it is whole.

Facts about names and times are those of the protocol document (PROTOCOL.md in delta-io/delta).
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flight_server.storage.snapshots import Snapshot, damaged, no_version

LOG_FOLDER = "_delta_log"
COMMIT_FIRST_LINE_BYTES_MAX = 1024 * 1024
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(
    r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10})|\.[0-9A-Za-z-]+)?\.(?:parquet|json)"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Mark:
    """What identifies a file of the log: two tables never share all of it."""

    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class LogListing:
    """The commits and checkpoints of one log."""

    folder: str
    commits: Mapping[int, Mark]
    checkpoints: Mapping[int, Mark]
    rebuildable: tuple[int, ...] = field(default=())

    @property
    def latest(self) -> int:
        """The newest version that has any file, or -1."""
        return max(max(self.commits, default=-1), max(self.checkpoints, default=-1))

    def mark(self, version: int) -> Mark | None:
        """Return the mark of a version's commit, or of its checkpoint where the commit is gone."""
        return self.commits.get(version) or self.checkpoints.get(version)


def commit_path(folder: str, version: int) -> str:
    """Return where the commit of a version lies."""
    return f"{folder}/{version:020d}.json"


def mark_of(path: str) -> Mark | None:
    """Return the mark of a file, or None when there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - ten times as fast as pathlib, and on the path of every query
    except OSError:
        return None
    return Mark(status.st_size, status.st_mtime_ns, status.st_ino)


def list_log(folder: str, name: str) -> LogListing:
    """List a log once.

    Raises Unavailable (``table_damaged``) when it cannot be listed or holds no version.
    """
    commits: dict[int, Mark] = {}
    whole: dict[int, Mark] = {}
    parts: dict[tuple[int, int], dict[int, Mark]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                commit = _COMMIT.fullmatch(entry.name)
                found = commit or _CHECKPOINT.fullmatch(entry.name)
                # A file that a cleanup takes away meanwhile was not needed.
                if found is None or (mark := mark_of(entry.path)) is None:
                    continue
                version = int(found[1])
                if commit:
                    commits[version] = mark
                elif found[2] is None:
                    whole[version] = mark
                else:
                    parts.setdefault((version, int(found[3])), {})[int(found[2])] = mark
    except OSError:
        raise damaged(name, "its log cannot be listed") from None
    for (version, count), several in parts.items():
        if len(several) == count:
            whole.setdefault(version, several[min(several)])
    if not commits and not whole:
        raise damaged(name, "its log holds no commit")
    return LogListing(folder, commits, whole, _rebuildable(commits, whole))


def _rebuildable(commits: Mapping[int, Mark], checkpoints: Mapping[int, Mark]) -> tuple[int, ...]:
    """Versions with an unbroken line of commits from a checkpoint or from the very first one."""
    versions = []
    before = -1  # the last rebuildable version; the state before version 0 is the empty one
    for version in sorted({*commits, *checkpoints}):
        if version in checkpoints or version == before + 1:
            versions.append(version)
            before = version
    return tuple(versions)


def check_version(listing: LogListing, version: int, name: str) -> None:
    """Check that a version is there and that the log up to it is whole.

    Raises NotFound (``version_not_found``) or Unavailable (``table_damaged``).
    """
    if version < 0:
        raise no_version(name, f"has no version {version}: versions count from 0")
    if version > listing.latest:
        raise no_version(name, f"has no version {version}; the newest is {listing.latest}")
    place = bisect_right(listing.rebuildable, version) - 1
    if place < 0 or listing.rebuildable[place] != version:
        if version == listing.latest:
            raise damaged(name, "a commit is missing from its log")
        raise no_version(name, f"no longer has version {version}")
    base = max((v for v in listing.checkpoints if v <= version), default=-1)
    for number in range(base + 1, version + 1):
        check_commit(listing.folder, number, name)


def check_commit(folder: str, version: int, name: str) -> None:
    """Check that a commit starts as one.

    The Delta library takes an empty commit for no change, and its rows are gone without a word.
    """
    try:
        with Path(commit_path(folder, version)).open("rb") as file:
            head = file.read(64)
    except OSError:
        raise damaged(name, f"the commit of version {version} cannot be read") from None
    if not head.lstrip().startswith(b"{"):
        raise damaged(name, f"the commit of version {version} is empty or is no commit")


def version_at(listing: LogListing, snapshot: Snapshot, *, time: datetime, name: str) -> int:
    """Return the version that was the newest at a time: the last one made at or before it.

    A commit's time is the one written in it where the table keeps those, else that of its file,
    to the millisecond, and at least a millisecond after the one before. Raises NotFound when
    the time is before the first that is left.
    """
    versions = [version for version in listing.rebuildable if version in listing.commits]
    first_inside = _first_with_time_inside(snapshot)
    outside = [version for version in versions if version < first_inside]
    inside = [version for version in versions if version >= first_inside]
    wanted = (time - _EPOCH) // timedelta(milliseconds=1)
    place = bisect_right(
        inside, wanted, key=lambda version: _time_inside(listing, version, name=name)
    )
    if place:
        return inside[place - 1]
    times: list[int] = []
    for version in outside:
        stamp = listing.commits[version].mtime_ns // 1_000_000
        times.append(max(stamp, times[-1] + 1) if times else stamp)
    place = bisect_right(times, wanted)
    if not place:
        raise no_version(name, "has no version that old")
    return outside[place - 1]


def _first_with_time_inside(snapshot: Snapshot) -> int | float:
    """Return the first version that carries its own time, or infinity."""
    if snapshot.configuration.get("delta.enableInCommitTimestamps", "").lower() != "true":
        return float("inf")
    text = snapshot.configuration.get("delta.inCommitTimestampEnablementVersion", "0")
    return int(text) if text.isdigit() else 0


def _time_inside(listing: LogListing, version: int, *, name: str) -> int:
    """Return the time in milliseconds that a commit carries in its first line."""
    try:
        with Path(commit_path(listing.folder, version)).open("rb") as file:
            line = json.loads(file.readline(COMMIT_FIRST_LINE_BYTES_MAX))
        return int(line["commitInfo"]["inCommitTimestamp"])
    except (OSError, ValueError, KeyError, TypeError):
        raise damaged(name, f"the commit of version {version} lacks its time") from None
