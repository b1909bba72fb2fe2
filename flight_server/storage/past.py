"""Older states of the server's own tables: what was in them at a version, or at a moment.

The time of a version is the one written in its log entry, which outlives copies and backups, and
that of the entry's file where none is written.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from flight_server.errors import NotFound, Unavailable
from flight_server.storage.delta_actions import millis
from flight_server.storage.edits import Row, Rows
from flight_server.storage.log import LOG_FOLDER, Mark, commit_path, list_log, mark_of
from flight_server.storage.system_tables import TableSpec, rows_by_key

# The state before the first version: there is no table, and so no row.
NO_VERSION = -1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PastStates:
    """The versions of one of the server's own tables that are still there; keeps none of them."""

    def __init__(self, root: Path, spec: TableSpec) -> None:
        self._spec = spec
        self._folder = root / spec.name
        self._log = str(self._folder / LOG_FOLDER)
        self._title = spec.name.replace("/", ".")

    def versions(self) -> tuple[int, ...]:
        """Return the versions that can be read, oldest first; none without a table.

        Raises Unavailable, also when the newest one is not among them.
        """
        if not any(Path(self._log).glob("*[0-9].json")):
            return ()
        listing = list_log(self._log, self._title)
        found = tuple(version for version in listing.rebuildable if version in listing.commits)
        if not found or found[-1] != listing.latest:
            raise self._unreadable()
        return found

    def mark(self, version: int) -> Mark | None:
        """Return what tells a version from that of another table of the same name."""
        return mark_of(commit_path(self._log, version))

    def newest(self) -> int:
        """Return the newest version, NO_VERSION without a table; raises Unavailable."""
        return max(self.versions(), default=NO_VERSION)

    def time_of(self, version: int) -> datetime:
        """Return since when a version is there, to the millisecond.

        Raises NotFound (``version_not_found``) for one that is not.
        """
        path = Path(commit_path(self._log, version))
        try:
            text = path.read_text(encoding="utf-8")
            found = path.stat().st_mtime_ns // 1_000_000
        except (OSError, ValueError):
            raise self._missing(version) from None
        written = _written(text.splitlines())
        return _EPOCH + timedelta(milliseconds=found if written is None else written)

    def version_at(self, moment: datetime) -> int:
        """Return the version that was the newest at a moment, NO_VERSION before the first one.

        Raises NotFound (``version_not_found``) when what was there then is no longer kept.
        """
        versions = self.versions()
        wanted = millis(moment)
        place = bisect_right(versions, wanted, key=lambda each: millis(self.time_of(each)))
        found = versions[place - 1] if place else NO_VERSION
        if versions[place:] and versions[place] != found + 1:
            raise NotFound(
                f"of that time, nothing is left in the history of {self._title}",
                code="version_not_found",
            )
        return found

    def rows(self, version: int) -> Rows:
        """Return all rows of a version by key; none of NO_VERSION.

        Raises NotFound (``version_not_found``) when it never was or is no longer, Unavailable when
        it cannot be read.
        """
        if version == NO_VERSION:
            return {}
        if version not in self.versions():
            raise self._missing(version)
        try:
            table = DeltaTable(str(self._folder), version=version).to_pyarrow_table()
            return rows_by_key(table, self._spec)
        except FileNotFoundError:
            raise self._missing(version) from None
        except (DeltaError, OSError, ValueError, pa.ArrowException):
            raise self._unreadable() from None

    def _unreadable(self) -> Unavailable:
        return Unavailable(f"the server's own table cannot be read table={self._title}")

    def _missing(self, version: int) -> NotFound:
        return NotFound(
            f"{self._title} has no version {version}, or no longer", code="version_not_found"
        )


def left_at(
    states: PastStates, rows: Mapping[str, Row], *, after: int, before: int
) -> dict[str, int]:
    """Return for each of some rows the first version without it.

    Version ``after`` has all of them and ``before`` none. A row that went does not come back, so
    few of the versions between the two are looked at.
    """
    if not rows or before - after <= 1:
        return dict.fromkeys(rows, before)
    middle = (after + before) // 2
    then = states.rows(middle)
    stayed = {key: row for key, row in rows.items() if then.get(key) == row}
    gone = {key: row for key, row in rows.items() if key not in stayed}
    return {
        **left_at(states, gone, after=after, before=middle),
        **left_at(states, stayed, after=middle, before=before),
    }


def _written(lines: Sequence[str]) -> int | None:
    """Return the time in milliseconds that a log entry states, which we write at its end."""
    for line in reversed(lines):
        if '"commitInfo"' not in line:
            continue
        try:
            action: Any = json.loads(line)
            return int(action["commitInfo"]["timestamp"])
        except (ValueError, KeyError, TypeError):
            continue
    return None
