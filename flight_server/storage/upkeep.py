"""Looks after tables: older states brought back, small files, files nobody needs."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, Unsupported
from flight_server.storage.changes import Author, Change
from flight_server.storage.commits import Commits
from flight_server.storage.delta import table_folder
from flight_server.storage.delta_actions import ActiveFile, millis
from flight_server.storage.heads import Head, check_writable, definition
from flight_server.storage.log import LOG_FOLDER, commit_path, list_log, mark_of
from flight_server.storage.replay import LogState, checkpoint_actions, read_entry, read_state
from flight_server.storage.snapshots import damaged, file_uri, no_version

RETENTION_HOURS = 168.0
RETENTION_HOURS_MAX = 24.0 * 36_500
_CHANGE_DATA = "_change_data"
_VECTORS = "deletionVectors"
_SPAN = re.compile(r"(\d+)\s*(week|day|hour|minute|second)s?", re.IGNORECASE)
_HOURS_IN = {"week": 168.0, "day": 24.0, "hour": 1.0, "minute": 1 / 60, "second": 1 / 3600}


def restoring(
    path: Path, head: Head, *, version: int, author: Author, idempotency_key: str | None, name: str
) -> Change:
    """Return the change that makes an older version the newest state, its columns included.

    Hold ``Commits.rewriting`` from before this call until after the commit. Raises NotFound
    (``version_not_found``) when the version or one of its files is gone, Unsupported.
    """
    root = table_folder(path)
    state = read_state(root, name, version=version, with_files=True)
    protocol, metadata = definition(state, name)
    check_writable(protocol, metadata, name=name)
    files = tuple((state.files or {}).values())
    if any(file.deletion_vector is not None for file in files):
        raise Unsupported(f"the table {name} had deletion vectors in version {version}")
    if not all(os.path.exists(f"{root}/{file.key}") for file in files):  # noqa: PTH110 - thousands
        raise no_version(name, f"no longer has the data of version {version}")
    return Change(
        operation="RESTORE",
        author=author,
        removes_all=True,
        restores=files,
        metadata=replace(metadata, id=head.table_id),
        parameters={"version": str(version)},
        table_id=head.table_id,
        idempotency_key=idempotency_key,
    )


def small_files(
    files: Iterable[ActiveFile], *, target_bytes: int
) -> tuple[tuple[ActiveFile, ...], ...]:
    """Return groups of at least two small files of one partition, to be joined into one each.

    Small is less than three quarters of ``target_bytes``, and a group does not exceed it by more
    than its last file. Groups together are what OPTIMIZE rewrites.
    """
    by_partition: dict[tuple[tuple[str, str | None], ...], list[ActiveFile]] = {}
    for file in files:
        if file.size < target_bytes * 3 // 4 and file.deletion_vector is None:
            key = tuple(sorted(file.partition_values.items()))
            by_partition.setdefault(key, []).append(file)
    groups: list[tuple[ActiveFile, ...]] = []
    for several in by_partition.values():
        group: list[ActiveFile] = []
        for file in sorted(several, key=lambda each: (each.size, each.path)):
            group.append(file)
            if sum(each.size for each in group) >= target_bytes:
                groups.append(tuple(group))
                group = []
        groups.append(tuple(group))
    return tuple(group for group in groups if len(group) > 1)


def uris_of(path: Path, files: Iterable[ActiveFile]) -> tuple[str, ...]:
    """Return files as the ``file://`` URIs by which scans and ``WriteTarget`` know them."""
    root = table_folder(path)
    return tuple(file_uri(f"{root}/{file.key}") for file in files)


def vacuum(
    path: Path,
    commits: Commits,
    *,
    clock: Clock,
    retain_hours: float | None,
    dry_run: bool,
    name: str,
    check: Callable[[], None] | None = None,
) -> tuple[str, ...]:
    """Remove the files that no version within the retention needs; return them, table-relative.

    ``retain_hours`` None is the table's own retention, or RETENTION_HOURS. With ``dry_run`` nothing
    is removed. Nobody writes meanwhile; ``check`` is called right before, and raises to give up.
    Raises InvalidRequest for a retention that is no time, LimitExceeded while writes are under
    way, Unsupported for tables with deletion vectors.
    """
    if retain_hours is not None and not 0 <= retain_hours <= RETENTION_HOURS_MAX:
        raise InvalidRequest(f"retained are 0 to retention_hours_max={RETENTION_HOURS_MAX:g} hours")
    root = table_folder(path)
    if dry_run:
        return tuple(_unneeded(root, clock, retain_hours=retain_hours, name=name))
    with commits.vacuuming(path):
        unneeded = _unneeded(root, clock, retain_hours=retain_hours, name=name)
        if check is not None:
            check()
        for each in unneeded:
            Path(root, each).unlink(missing_ok=True)
    return tuple(unneeded)


def _unneeded(root: str, clock: Clock, *, retain_hours: float | None, name: str) -> list[str]:
    state = read_state(root, name, with_files=True)
    protocol, metadata = definition(state, name)
    check_writable(protocol, metadata, name=name)
    if _VECTORS in protocol.features:
        raise Unsupported(
            f"the table {name} may have deletion vectors, which are not vacuumed here"
        )
    if retain_hours is None:
        retain_hours = retention_hours(metadata.configuration)
    cutoff_ms = millis(clock.now()) - math.ceil(retain_hours * 3_600_000)
    removed_ms = _removed(state, name)
    unneeded: list[str] = []
    for key, modified_ms in _files(root):
        if key in (state.files or {}):
            continue
        # What the log does not know was never committed, or removed long before.
        if max(removed_ms.get(key, 0), modified_ms) <= cutoff_ms:
            unneeded.append(key)
    return sorted(unneeded)


def retention_hours(configuration: Mapping[str, str]) -> float:
    """Return how long a table keeps files that were removed, in hours."""
    text = configuration.get("delta.deletedFileRetentionDuration", "")
    spans = _SPAN.findall(text)
    if not spans:
        return RETENTION_HOURS
    return sum(int(count) * _HOURS_IN[unit.lower()] for count, unit in spans)


def _removed(state: LogState, name: str) -> dict[str, int]:
    """When each file was last removed, in milliseconds, as far as the log still says."""
    removed: dict[str, int] = {}

    def note(actions: Iterable[Mapping[str, Any]], otherwise_ms: int) -> None:
        for action in actions:
            if (remove := action.get("remove")) is not None:
                key = unquote(str(remove["path"]))
                time_ms = int(remove.get("deletionTimestamp") or otherwise_ms)
                removed[key] = max(removed.get(key, 0), time_ms)

    if state.base >= 0:
        for actions in checkpoint_actions(
            state.folder, state.base, name=name, with_files=False, with_removes=True
        ):
            note(actions, 0)
    for version in list_log(state.folder, name).commits:
        mark = mark_of(commit_path(state.folder, version))
        if mark is not None:
            note(read_entry(state.folder, version, name), mark.mtime_ns // 1_000_000)
    return removed


def is_overtaken(path: Path, version: int) -> bool:
    """Whether a table has a version after this one."""
    return mark_of(commit_path(f"{table_folder(path)}/{LOG_FOLDER}", version + 1)) is not None


def files_before(path: Path, *, version: int, active: Iterable[str], name: str) -> tuple[str, ...]:
    """Return the data files that states up to a version may need and are still there, but for some.

    ``active`` are those, as paths on disk below the table's folder, like the answer. Raises
    Unavailable (``table_damaged``).
    """
    root = table_folder(path)
    listing = list_log(f"{root}/{LOG_FOLDER}", name)
    found: set[str] = set()

    def note(actions: Iterable[Mapping[str, Any]]) -> None:
        found.update(unquote(str(each["add"]["path"])) for each in actions if each.get("add"))

    for number in listing.commits:
        if number <= version:
            note(read_entry(listing.folder, number, name))
    covered = -1
    for base in sorted(listing.checkpoints):
        # Of others the entries before them say the same.
        if base <= version and any(n not in listing.commits for n in range(covered + 1, base + 1)):
            covered = base
            try:
                for actions in checkpoint_actions(listing.folder, base, name=name, with_files=True):
                    note(actions)
            except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
                raise damaged(name, f"its checkpoint of version {base} cannot be read") from None
    found.difference_update(active)
    return tuple(sorted(key for key in found if os.path.exists(f"{root}/{key}")))  # noqa: PTH110 - thousands


def _files(root: str) -> Iterator[tuple[str, int]]:
    """Give all files that could be data, table-relative, and when they were written."""
    for folder, names, files in os.walk(root):
        names[:] = [each for each in names if _may_hold_data(each)]
        for each in files:
            if each.startswith(("_", ".")):
                continue
            full = f"{folder}/{each}"
            try:
                status = os.lstat(full)
            except FileNotFoundError:
                continue
            yield full.removeprefix(f"{root}/"), status.st_mtime_ns // 1_000_000


def _may_hold_data(folder: str) -> bool:
    hidden = folder.startswith(("_", ".")) and "=" not in folder
    return not hidden or folder == _CHANGE_DATA
