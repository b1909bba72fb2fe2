"""Versioned table names: ``t@v5`` and ``t@2026-02-01T12:00:00Z`` to name and version, and back.

Pure: no DataFusion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flight_server.errors import InvalidRequest
from policies.names import TableRef


@dataclass(frozen=True, slots=True)
class AsOf:
    """Which version of a table is meant; exactly one field is set."""

    version: int | None = None
    time: datetime | None = None


_BY_VERSION = re.compile(r"(?P<name>.+)@v(?P<version>\d{1,18})", re.DOTALL)
_BY_TIME = re.compile(r"(?P<name>.+)@(?P<time>\d{4}-\d{2}.*)", re.DOTALL)
# What RFC 3339 and ISO 8601 have in common, and the two spellings that people type: a space for the
# T, and no zone.
_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.IGNORECASE,
)
VERSION_MAX = 2**53
# Stands for the session's own bucket and schema where a name has none; no SQL text can hold it.
DEFAULT = "\0default"


def parse_version(text: str) -> AsOf:
    """Return the table version that a decimal number means; InvalidRequest for anything else."""
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > VERSION_MAX:
        raise InvalidRequest(f"a table version is a whole number from 0 to {VERSION_MAX}")
    return AsOf(version=int(text))


def parse_time(text: str) -> AsOf:
    """Return the moment that an RFC 3339 or ISO timestamp or a date means.

    Without a zone it is UTC, a date is its midnight. InvalidRequest for anything else.
    """
    text = text.strip()
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        # Python reads at most microseconds; a finer part can only lie between two commits of one
        # microsecond.
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.upper()))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return AsOf(time=moment.astimezone(UTC))
    except (ValueError, OverflowError):
        raise InvalidRequest(
            "a point in time is written like 2026-02-01, 2026-02-01T12:00:00Z or"
            " 2026-02-01T12:00:00+01:00"
        ) from None


def parse_versioned_name(name: str) -> tuple[str, AsOf | None]:
    """Return the table and the version that a name means; None when it names the newest one.

    Raises InvalidRequest when what follows the ``@`` starts like a date and is none.
    """
    if "@" in name:
        if match := _BY_VERSION.fullmatch(name):
            return match["name"], parse_version(match["version"])
        if match := _BY_TIME.fullmatch(name):
            return match["name"], parse_time(match["time"])
    return name, None


def versioned_name(name: str, as_of: AsOf) -> str:
    """Return the name that ``parse_versioned_name`` reads as this table at this version."""
    if as_of.time is not None:
        return f"{name}@{as_of.time.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"
    return f"{name}@v{as_of.version}"


def table_ref(parts: Sequence[str], *, bucket: str, schema: str) -> TableRef:
    """Return the table that one to three parts of a name mean, with defaults for what is left out.

    A versioned name keeps its version.
    """
    return TableRef(*((bucket, schema)[: 3 - len(parts)] + tuple(parts)))


def written_name(ref: TableRef) -> str:
    """Return a table's name as SQL, as short as it was written where its parts are ``DEFAULT``."""
    parts = (ref.bucket, ref.schema, ref.table)
    return ".".join(quoted(part) for part in parts if part != DEFAULT)


_HISTORY = "@history"


def history_name(name: str) -> str:
    """Return the name of the table of a table's versions, which ``parse_history_name`` reads."""
    return name + _HISTORY


def parse_history_name(name: str) -> str | None:
    """Return the table whose versions the table of this name lists; None when it is no such name.

    It is ``t`` for ``t@history``.
    """
    return name.removesuffix(_HISTORY) or None if name.endswith(_HISTORY) else None


_RAW = "__raw__"


def parse_raw_name(name: str) -> str | None:
    """Return the table that the table of this name is without its tombstones; None for any other.

    It is ``t`` for ``__raw__t``. No table can be called so.
    """
    return name.removeprefix(_RAW) or None if name.startswith(_RAW) else None


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"
