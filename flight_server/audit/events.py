"""What one record of the audit log says, and the exact bytes that its hash is taken over.

The canonical form of a record is a JSON object of all its columns but ``hash``: the keys sorted,
no spaces, ASCII only, absent values as ``null``. ``prev_hash``, the hash of the record before, is
one of the columns, so that each hash stands for the whole log up to it. Nested values are columns
of text that hold JSON. Whoever has the columns can make the same bytes again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from flight_server.errors import InvalidRequest

# What a detail may be: a value that JSON can hold, flat.
Detail = str | int | float | bool | None

# A text in a record ends after so many characters, and a record after so many bytes.
TEXT_CHARACTERS_MAX = 4096
RECORD_BYTES_MAX = 32 * 1024
# What is left of each text of a record that would be longer than that.
_CUT_CHARACTERS = 64
_INTEGER_MAX = 2**63 - 1
# The record before the first one.
GENESIS_HASH = "0" * 64

_TEXTS = (
    "action",
    "ip_address",
    "outcome",
    "policy_version",
    "purpose",
    "request_id",
    "resource",
    "session_id",
    "user_agent",
    "user_id",
    "username",
)
# Every column of a record but its hash, in the order of the canonical form.
HASHED_COLUMNS = (
    "action",
    "audit_id",
    "byte_count",
    "date_partition",
    "details",
    "duration_ms",
    "engine_ms",
    "ip_address",
    "outcome",
    "policy_version",
    "prev_hash",
    "purpose",
    "request_id",
    "resource",
    "row_count",
    "sequence",
    "session_id",
    "table_versions",
    "timestamp",
    "user_agent",
    "user_id",
    "username",
)
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Outcome(StrEnum):
    """How far a deed came. ``interrupted`` is said at a start of what the last run left open."""

    INTENT = "intent"
    SUCCESS = "success"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Event:
    """What somebody is about to do, or what came of it.

    ``timestamp`` is aware. ``details`` are flat JSON values, without secrets, bound values and
    cells. ``table_versions`` maps the full names of the tables that were read or changed to their
    versions. Intent and outcome of one call share the ``request_id``. Texts that are too long are
    cut when the event goes on record.
    """

    timestamp: datetime
    action: str
    outcome: Outcome
    request_id: str
    user_id: str | None = None
    username: str | None = None
    session_id: str | None = None
    resource: str | None = None
    purpose: str | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)
    row_count: int | None = None
    byte_count: int | None = None
    engine_ms: float | None = None
    duration_ms: float | None = None
    table_versions: Mapping[str, int | None] = field(default_factory=dict)
    policy_version: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return this as plain JSON."""
        value: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        value["timestamp"] = time_text(self.timestamp)
        value["outcome"] = str(self.outcome)
        value["details"] = dict(self.details)
        value["table_versions"] = dict(self.table_versions)
        return value

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Return what ``to_json`` was made of. Raises InvalidRequest for anything else."""
        try:
            fields = {name: value[name] for name in cls.__slots__ if name in value}
            fields["timestamp"] = datetime.fromisoformat(fields["timestamp"])
            fields["outcome"] = Outcome(fields["outcome"])
            event = cls(**fields)
            columns(event, sequence=0, audit_id="", prev_hash="")
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InvalidRequest("this does not describe an audit event") from None
        return event


@dataclass(frozen=True, slots=True)
class Tip:
    """The last record of a chain; number 0 is the chain before its first one."""

    sequence: int = 0
    hash: str = GENESIS_HASH


def columns(event: Event, *, sequence: int, audit_id: str, prev_hash: str) -> dict[str, Any]:
    """Return the columns of the record that an event becomes, in canonical order."""
    time = time_text(event.timestamp)
    return {
        "action": _clean(event.action),
        "audit_id": audit_id,
        "byte_count": _integer(event.byte_count),
        "date_partition": time[:10],
        "details": _nested(event.details),
        "duration_ms": _milliseconds(event.duration_ms),
        "engine_ms": _milliseconds(event.engine_ms),
        "ip_address": _clean(event.ip_address),
        "outcome": str(event.outcome),
        "policy_version": _clean(event.policy_version),
        "prev_hash": prev_hash,
        "purpose": _clean(event.purpose),
        "request_id": _clean(event.request_id),
        "resource": _clean(event.resource),
        "row_count": _integer(event.row_count),
        "sequence": sequence,
        "session_id": _clean(event.session_id),
        "table_versions": _nested(event.table_versions),
        "timestamp": time,
        "user_agent": _clean(event.user_agent),
        "user_id": _clean(event.user_id),
        "username": _clean(event.username),
    }


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return the canonical form of a record, whose keys are in the order of HASHED_COLUMNS."""
    return _encode(record).encode("ascii")


def encode(event: Event, *, sequence: int, audit_id: str, prev_hash: str) -> bytes:
    """Return the canonical form of the record that an event becomes, within RECORD_BYTES_MAX."""
    record = columns(event, sequence=sequence, audit_id=audit_id, prev_hash=prev_hash)
    content = canonical(record)
    if len(content) > RECORD_BYTES_MAX:
        for name in _TEXTS:
            if record[name] is not None:
                record[name] = record[name][:_CUT_CHARACTERS]
        for name in ("details", "table_versions"):
            if len(record[name]) > TEXT_CHARACTERS_MAX:
                record[name] = '{"cut":true}'
        content = canonical(record)
    return content


def hash_of(content: bytes) -> str:
    """Return the hash of a record, whose canonical form this is, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def line_of(content: bytes, digest: str) -> bytes:
    """Return the line of the journal for a record: its canonical form, with the hash at the end."""
    return b'%b,"hash":"%b"}\n' % (content[:-1], digest.encode("ascii"))


def time_text(time: datetime) -> str:
    """Return a time as records hold it: in UTC, with microseconds, ending in Z."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _clean(text: str | None) -> str | None:
    """Return text that every reader of UTF-8 takes, and no more than is kept."""
    if text is None or (text.isascii() and len(text) <= TEXT_CHARACTERS_MAX):
        return text
    if len(text) > TEXT_CHARACTERS_MAX:
        text = text[: TEXT_CHARACTERS_MAX - 1] + "…"
    return text.encode("utf-8", "replace").decode("utf-8")


def _nested(values: Mapping[str, Detail]) -> str:
    if not values:
        return "{}"
    return _encode({str(_clean(name)): _value(value) for name, value in values.items()})


def _value(value: Detail) -> Detail:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _clean(str(value))


def _integer(value: int | None) -> int | None:
    return None if value is None else max(-_INTEGER_MAX, min(_INTEGER_MAX, int(value)))


def _milliseconds(value: float | None) -> float | None:
    """Return a time to the microsecond; what is no number is not known."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), 3)
