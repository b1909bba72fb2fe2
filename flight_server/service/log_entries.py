"""An entry that a user adds to the audit log: small, flat, without secrets, under a name apart."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flight_server.audit.events import Detail
from flight_server.errors import InvalidRequest, LimitExceeded

# No action of the server's own starts so: an entry cannot pass for one that the server made.
PREFIX = "app."
RESOURCE_CHARACTERS_MAX = 256
DETAILS_MAX = 32
DETAIL_CHARACTERS_MAX = 1024
DETAILS_BYTES_MAX = 8192
_INTEGER_MAX = 2**63 - 1
_ACTION = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)*")
_ACTION_CHARACTERS_MAX = 64
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_SECRET_NAME = re.compile(
    r"passw(?:or)?d|passphrase|secret|token|credential|authorization|api_?-?key|private_?-?key",
    re.IGNORECASE,
)
# Tokens of this server, tokens of any, and headers that hold credentials.
_SECRET_VALUE = re.compile(
    r"\blf[pr]_|\beyJ[\w-]+\.[\w-]+\.|-----BEGIN |^(?:Basic|Bearer) \S", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry as it goes on record; ``action`` starts with PREFIX."""

    action: str
    resource: str | None
    details: Mapping[str, Detail]


def log_entry(action: str, resource: str | None, details: Mapping[str, Any] | None) -> LogEntry:
    """Check what somebody wants on record.

    Raises InvalidRequest for a name, a resource or details that cannot be, with the code
    ``secret_refused`` for what looks like a secret, and LimitExceeded for too much.
    """
    if len(action) > _ACTION_CHARACTERS_MAX or not _ACTION.fullmatch(action):
        raise InvalidRequest(
            "'action' is a name of lower-case letters, digits, '_' and '-', with dots between its"
            f" parts; characters_max={_ACTION_CHARACTERS_MAX}"
        )
    if resource is not None:
        if len(resource) > RESOURCE_CHARACTERS_MAX or not resource.isprintable():
            raise InvalidRequest(
                f"'resource' is a printable text; characters_max={RESOURCE_CHARACTERS_MAX}"
            )
        _refuse_secret(resource, "the resource")
    return LogEntry(PREFIX + action, resource or None, _details(details or {}))


def _details(details: Mapping[str, Any]) -> dict[str, Detail]:
    if len(details) > DETAILS_MAX:
        raise LimitExceeded(f"an entry has too many details; details_max={DETAILS_MAX}")
    checked = {name: _detail(name, value) for name, value in details.items()}
    if len(json.dumps(checked)) > DETAILS_BYTES_MAX:
        raise LimitExceeded(
            f"the details of an entry are too long; details_bytes_max={DETAILS_BYTES_MAX}"
        )
    return checked


def _detail(name: str, value: object) -> Detail:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "a detail has a name of a letter, then letters, digits, '_', '-' or '.', 64 at most"
        )
    if _SECRET_NAME.search(name):
        raise InvalidRequest(
            f"the detail {name!r} is named like a secret, which the audit log does not keep",
            code="secret_refused",
        )
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > _INTEGER_MAX:
            raise InvalidRequest(f"the detail {name!r} is a number of more than 64 bits")
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"the detail {name!r} is a text, a number, a flag or null")
    if len(value) > DETAIL_CHARACTERS_MAX:
        raise LimitExceeded(
            f"the detail {name!r} is too long; detail_characters_max={DETAIL_CHARACTERS_MAX}"
        )
    _refuse_secret(value, f"the detail {name!r}")
    return value


def _refuse_secret(text: str, what: str) -> None:
    if _SECRET_VALUE.search(text):
        raise InvalidRequest(
            f"{what} looks like a secret, which the audit log does not keep", code="secret_refused"
        )
