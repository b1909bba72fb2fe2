"""Turns what the ADBC driver raises into the errors of this package."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import adbc_driver_manager as adbc
import pyarrow as pa

from flight_server import errors

# The server's own description of an error: a JSON object with code and message at least.
_DESCRIPTION: Final = "x-lakehouse-error"
# What any pyarrow server says beside a status: the text without the driver's additions.
_CLEAN_TEXT: Final = "x-arrow-status-message-bin"

_Kind = type[errors.LakeflightError]
_CLASSES: Final[tuple[_Kind, ...]] = (
    errors.InvalidRequest,
    errors.SchemaMismatch,
    errors.NotFound,
    errors.AlreadyExists,
    errors.Conflict,
    errors.Unauthenticated,
    errors.PermissionDenied,
    errors.LimitExceeded,
    errors.Unavailable,
    errors.DeadlineExceeded,
    errors.Cancelled,
    errors.Unsupported,
)
_BY_CODE: Final[dict[str, _Kind]] = {cls.default_code: cls for cls in _CLASSES}
_BY_STATUS: Final[dict[int, _Kind]] = {
    adbc.AdbcStatusCode.NOT_IMPLEMENTED: errors.Unsupported,
    adbc.AdbcStatusCode.NOT_FOUND: errors.NotFound,
    adbc.AdbcStatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    adbc.AdbcStatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    adbc.AdbcStatusCode.INVALID_DATA: errors.InvalidRequest,
    adbc.AdbcStatusCode.IO: errors.Unavailable,
    adbc.AdbcStatusCode.CANCELLED: errors.Cancelled,
    adbc.AdbcStatusCode.TIMEOUT: errors.DeadlineExceeded,
    adbc.AdbcStatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    adbc.AdbcStatusCode.UNAUTHORIZED: errors.PermissionDenied,
}
# How grpc-go spells the statuses in texts, for errors that reach us as text alone.
_BY_NAME: Final[dict[str, _Kind]] = {
    "Canceled": errors.Cancelled,
    "InvalidArgument": errors.InvalidRequest,
    "DeadlineExceeded": errors.DeadlineExceeded,
    "NotFound": errors.NotFound,
    "AlreadyExists": errors.AlreadyExists,
    "PermissionDenied": errors.PermissionDenied,
    "ResourceExhausted": errors.LimitExceeded,
    "Unimplemented": errors.Unsupported,
    "Unavailable": errors.Unavailable,
    "Unauthenticated": errors.Unauthenticated,
}
_BEFORE: Final = re.compile(r"^(?:[A-Z_]+: )?\[FlightSQL\] ")
_AFTER: Final = re.compile(
    r" \((?P<status>[A-Za-z]+); [^()]*\)(?:\. Vendor code: \d+)?$", re.DOTALL
)
_UNKNOWN_INCIDENT: Final = "unknown"


def translate(error: Exception) -> errors.LakeflightError:
    """Return the error of this package that says the same as one of the driver's.

    The server's own code and message are kept where it sent them; a foreign server is understood by
    its status.
    """
    details = _details(error)
    described = _described(details.get(_DESCRIPTION, ""))
    shown = str(error)
    status = _AFTER.search(shown)
    kind = _kind(error, status.group("status") if status else "")
    if described is not None:
        return _make(kind, described)
    text = details.get(_CLEAN_TEXT) or _AFTER.sub("", _BEFORE.sub("", shown))
    return _make(kind, {"message": text})


def _details(error: Exception) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in getattr(error, "details", None) or ():
        name = key.decode("ascii", "replace") if isinstance(key, bytes) else str(key)
        found[name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return found


def _described(text: str) -> dict[str, Any] | None:
    try:
        said = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(said, dict) and all(
        isinstance(said.get(k), str) for k in ("code", "message")
    )
    return said if whole else None


def _kind(error: Exception, status_name: str) -> _Kind:
    if isinstance(error, adbc.Error):
        status = int(error.status_code)
        if status in _BY_STATUS:
            return _BY_STATUS[status]
    if status_name in _BY_NAME:
        return _BY_NAME[status_name]
    if "context canceled" in str(error):  # grpc-go's words when the caller itself gave up
        return errors.Cancelled
    if isinstance(error, (pa.ArrowInvalid, pa.ArrowNotImplementedError)):
        return errors.Unsupported  # the driver cannot carry this type of data
    return errors.Internal


def _make(kind: _Kind, said: dict[str, Any]) -> errors.LakeflightError:
    """Build the error: of the class that its code names, else that of its status."""
    code = said.get("code")
    if isinstance(code, str) and code in _BY_CODE:
        kind = _BY_CODE[code]
    if issubclass(kind, errors.Internal) or code == errors.Internal.default_code:
        incident = said.get("incident")
        return errors.Internal(
            said["message"], incident=incident if isinstance(incident, str) else _UNKNOWN_INCIDENT
        )
    wait = said.get("retry_after_seconds")
    return kind(
        said["message"],
        code=code,
        retry_after_seconds=float(wait) if isinstance(wait, (int, float)) else None,
    )
