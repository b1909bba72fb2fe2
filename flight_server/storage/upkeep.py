"""Looks after tables: their history, older states brought back, small files, files nobody needs."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
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
from flight_server.storage.log import LOG_FOLDER, LogListing, commit_path, list_log, mark_of
from flight_server.storage.replay import LogState, checkpoint_actions, read_entry, read_state
from flight_server.storage.snapshots import damaged, file_uri, no_version

HISTORY_VERSIONS_MAX = 10_000
RETENTION_HOURS = 168.0
RETENTION_HOURS_MAX = 24.0 * 36_500
_HISTORY_COLUMNS: list[pa.Field[Any]] = [
    pa.field("version", pa.int64(), nullable=False),
    pa.field("timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
    pa.field("operation", pa.string()),
    pa.field("operation_parameters", pa.string()),
    pa.field("user_name", pa.string()),
    pa.field("request_id", pa.string()),
    pa.field("read_version", pa.int64()),
    pa.field("is_blind_append", pa.bool_()),
    pa.field("rows", pa.int64()),
    pa.field("files_added", pa.int64()),
    pa.field("files_removed", pa.int64()),
    pa.field("engine", pa.string()),
]
HISTORY = pa.schema(_HISTORY_COLUMNS)
# What a history shows of an operation; other writers note conditions too, with values in them.
_PARAMETERS_SHOWN = frozenset(
    {"mode", "partitionBy", "targetSize", "zOrderBy", "version", "columns", "files"}
)
_ROWS = ("numAffectedRows", "numOutputRows", "num_added_rows", "num_output_rows")
_ADDED = ("numFiles", "numAddedFiles", "num_added_files", "numTargetFilesAdded")
_REMOVED = ("numRemovedFiles", "num_removed_files", "numTargetFilesRemoved")
_COMMIT_INFO = b'{"commitInfo"'
_CHANGE_DATA = "_change_data"
_VECTORS = "deletionVectors"
_SPAN = re.compile(r"(\d+)\s*(week|day|hour|minute|second)s?", re.IGNORECASE)
_HOURS_IN = {"week": 168.0, "day": 24.0, "hour": 1.0, "minute": 1 / 60, "second": 1 / 3600}


def history(path: Path, *, limit: int | None = None, name: str) -> pa.Table:
    """Return the versions that the log still has, newest first, in the columns of ``HISTORY``.

    At most ``limit``, and never more than HISTORY_VERSIONS_MAX. ``operation_parameters`` is JSON
    text without conditions and values; ``user_name`` and ``request_id`` name all, separated by
    commas, whose appends became one version. Raises Unavailable (``table_damaged``).
    """
    folder = f"{table_folder(path)}/{LOG_FOLDER}"
    listing = list_log(folder, name)
    count = HISTORY_VERSIONS_MAX if limit is None else max(0, min(limit, HISTORY_VERSIONS_MAX))
    times = _times(listing)
    versions = sorted(listing.commits, reverse=True)[:count]
    rows = [
        _history_row(version, times[version], _commit_info(folder, version, name))
        for version in versions
    ]
    return pa.Table.from_pylist(rows, schema=HISTORY)


def _times(listing: LogListing) -> dict[int, int]:
    """Return the times of the commits in milliseconds, as time travel counts them."""
    times: dict[int, int] = {}
    before = 0
    for version in sorted(listing.commits):
        before = max(listing.commits[version].mtime_ns // 1_000_000, before + 1)
        times[version] = before
    return times


def _commit_info(folder: str, version: int, name: str) -> Mapping[str, Any]:
    try:
        with Path(commit_path(folder, version)).open("rb") as file:
            for line in file:
                if line.lstrip().startswith(_COMMIT_INFO):
                    info = json.loads(line)["commitInfo"]
                    return info if isinstance(info, dict) else {}
    except (OSError, ValueError):
        raise damaged(name, f"the commit of version {version} cannot be read") from None
    return {}


def _history_row(version: int, time_ms: int, info: Mapping[str, Any]) -> dict[str, Any]:
    metrics = info.get("operationMetrics") or {}
    given = info.get("operationParameters") or {}
    writes = info.get("writes") or [info]
    shown = {key: given[key] for key in sorted(given) if key in _PARAMETERS_SHOWN}
    inside = _count(info, ("inCommitTimestamp",))
    return {
        "version": version,
        "timestamp": datetime.fromtimestamp((inside or time_ms) / 1000, UTC),
        "operation": _text(info.get("operation")),
        "operation_parameters": json.dumps(shown),
        "user_name": _joined(write.get("userName") for write in writes),
        "request_id": _joined(write.get("requestId") for write in writes),
        "read_version": _count(info, ("readVersion",)),
        "is_blind_append": info.get("isBlindAppend") if "isBlindAppend" in info else None,
        "rows": _count(metrics, _ROWS),
        "files_added": _count(metrics, _ADDED),
        "files_removed": _count(metrics, _REMOVED),
        "engine": _text(info.get("engineInfo")),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _joined(values: Iterable[object]) -> str | None:
    texts = dict.fromkeys(value for value in values if isinstance(value, str) and value)
    return ", ".join(texts) or None


def _count(found: Mapping[str, Any], keys: Iterable[str]) -> int | None:
    for key in keys:
        value = found.get(key)
        if isinstance(value, str) and value.isdigit():
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


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
) -> tuple[str, ...]:
    """Remove the files that no version within the retention needs; return them, table-relative.

    ``retain_hours`` None is the table's own retention, or RETENTION_HOURS. With ``dry_run`` nothing
    is removed. Nobody writes meanwhile. Raises InvalidRequest for a retention that is no time,
    LimitExceeded while writes are under way, Unsupported for tables with deletion vectors.
    """
    if retain_hours is not None and not 0 <= retain_hours <= RETENTION_HOURS_MAX:
        raise InvalidRequest(f"retained are 0 to retention_hours_max={RETENTION_HOURS_MAX:g} hours")
    root = table_folder(path)
    if dry_run:
        return tuple(_unneeded(root, clock, retain_hours=retain_hours, name=name))
    with commits.vacuuming(path):
        unneeded = _unneeded(root, clock, retain_hours=retain_hours, name=name)
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
