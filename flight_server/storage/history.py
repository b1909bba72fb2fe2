"""What the log of a Delta table says of its versions: when, who, what, and how many rows.

Read from the commits themselves: the Delta library counts versions by the entries that describe
themselves, and is off by one behind each commit that does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from flight_server.storage.delta import table_folder
from flight_server.storage.log import LOG_FOLDER, LogListing, commit_path, list_log

HISTORY_VERSIONS_MAX = 1_000
FRESH_VERSIONS_MAX = 100
# Where it is not among a commit's first bytes, the commit counts as one that says nothing.
COMMIT_BYTES_READ_MAX = 16 * 1024 * 1024
_FIELDS: list[pa.Field[Any]] = [
    pa.field("version", pa.int64(), nullable=False),
    pa.field("timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
    pa.field("operation", pa.string()),
    pa.field("user_name", pa.string()),
    pa.field("request_id", pa.string()),
    pa.field("operation_parameters", pa.string()),
    pa.field("rows", pa.int64()),
]
COLUMNS = pa.schema(_FIELDS)
_OURS = "lakeflight/"
# Others keep conditions and settings here, and conditions hold values of rows.
_HARMLESS = frozenset(
    {
        "mode",
        "partitionBy",
        "version",
        "timestamp",
        "datetime",
        "targetSize",
        "zOrderBy",
        "isManaged",
        "retentionCheckEnabled",
        "defaultRetentionMillis",
        "minRetentionMillis",
        "specifiedRetentionMillis",
    }
)
# How writers call the number of rows that an operation changed: the first set that is there counts.
_ROWS = (
    ("numAffectedRows",),
    ("num_target_rows_inserted", "num_target_rows_updated", "num_target_rows_deleted"),
    ("numTargetRowsInserted", "numTargetRowsUpdated", "numTargetRowsDeleted"),
    ("num_updated_rows",),
    ("numUpdatedRows",),
    ("num_deleted_rows",),
    ("numDeletedRows",),
    ("num_added_rows",),
    ("numOutputRows",),
)


def history(path: Path, *, name: str) -> pa.Table:
    """Return the versions whose commits are left, newest first, as ``COLUMNS``.

    At most ``HISTORY_VERSIONS_MAX``. ``timestamp`` is the time that time travel goes by; what a
    commit does not say is NULL. Raises Unavailable (``table_damaged``) when the log cannot be
    listed.
    """
    folder = f"{table_folder(path)}/{LOG_FOLDER}"
    listing = list_log(folder, name)
    times = _file_times(listing)
    newest = sorted(listing.commits, reverse=True)[:HISTORY_VERSIONS_MAX]
    rows = [_row(version, times[version], _said(folder, version)) for version in newest]
    return pa.Table.from_pylist(rows, COLUMNS)


def without_counts(rows: pa.Table) -> pa.Table:
    """Return versions without what their operations were told, and how many rows they changed.

    Both speak of rows that whoever reads this may not see.
    """
    for name in ("operation_parameters", "rows"):
        place = rows.schema.get_field_index(name)
        field = rows.schema.field(place)
        rows = rows.set_column(place, field, pa.nulls(rows.num_rows, field.type))
    return rows


def version_of(path: Path, *, request_id: str, app_id: str | None, name: str) -> int | None:
    """Return the version that a request made, or the one that remembers its idempotency key.

    ``app_id`` is that of ``Change.app_id``; without it only the newest ``FRESH_VERSIONS_MAX``
    versions are looked at. None when no version that is left says so. Raises as ``history``.
    """
    folder = f"{table_folder(path)}/{LOG_FOLDER}"
    newest = sorted(list_log(folder, name).commits, reverse=True)
    if app_id is None:
        for version in newest[:FRESH_VERSIONS_MAX]:
            said = _said(folder, version)
            if any(each.get("requestId") == request_id for each in _writes(said)):
                return version
        return None
    mark = json.dumps(app_id).encode()
    for version in newest[:HISTORY_VERSIONS_MAX]:
        # An app id is a digest, which no other text of a log holds.
        if mark in _beginning(folder, version):
            return version
    return None


def _beginning(folder: str, version: int) -> bytes:
    try:
        with Path(commit_path(folder, version)).open("rb") as file:
            return file.read(COMMIT_BYTES_READ_MAX)
    except OSError:
        return b""


def _file_times(listing: LogListing) -> dict[int, int]:
    """Return the time of each commit's file in milliseconds, each later than the one before."""
    times: dict[int, int] = {}
    before = -1
    for version in sorted(listing.commits):
        before = max(listing.commits[version].mtime_ns // 1_000_000, before + 1)
        times[version] = before
    return times


def _said(folder: str, version: int) -> Mapping[str, Any]:
    """Return what a commit says of itself, nothing when it is silent or cannot be read."""
    try:
        with Path(commit_path(folder, version)).open("rb") as file:
            for line in file.readlines(COMMIT_BYTES_READ_MAX):
                if b'"commitInfo"' in line[:64]:
                    said = json.loads(line)["commitInfo"]
                    return said if isinstance(said, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {}


def _row(version: int, file_time: int, said: Mapping[str, Any]) -> dict[str, Any]:
    own_time = said.get("inCommitTimestamp")
    writes = _writes(said)
    return {
        "version": version,
        "timestamp": (own_time if isinstance(own_time, int) else file_time) * 1000,
        "operation": _text(said.get("operation")),
        "user_name": _joined(writes, "userName"),
        "request_id": _joined(writes, "requestId"),
        "operation_parameters": _parameters(said),
        "rows": _rows(said.get("operationMetrics")),
    }


def _writes(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a commit says of each write in it, itself first."""
    return [said, *(each for each in _list(said.get("writes")) if isinstance(each, dict))]


def _joined(writes: list[Mapping[str, Any]], key: str) -> str | None:
    """Return a field of all writes that share a commit, each value once."""
    values = dict.fromkeys(text for each in writes if (text := _text(each.get(key))))
    return ", ".join(values) or None


def _parameters(said: Mapping[str, Any]) -> str | None:
    parameters = said.get("operationParameters")
    if not isinstance(parameters, dict):
        return None
    is_ours = str(said.get("engineInfo")).startswith(_OURS)
    kept = {key: parameters[key] for key in sorted(parameters) if is_ours or key in _HARMLESS}
    return json.dumps(kept)


def _rows(metrics: object) -> int | None:
    if not isinstance(metrics, dict):
        return None
    for names in _ROWS:
        counts = list(_counts(metrics, names))
        if counts:
            return sum(counts)
    return None


def _counts(metrics: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[int]:
    for name in names:
        text = str(metrics.get(name, ""))
        if text.isascii() and text.isdigit():
            yield int(text[:18])


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
