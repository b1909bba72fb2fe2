"""Our errors to Flight statuses: the only translator, and the border that nothing else crosses.

pyarrow gives a handler three ways to end a call with a status of its choice, none of which does
everything:

* ``Flight*Error`` carries clean text and ``extra_info``, but exists for six statuses only, and not
  in GetSchema;
* ``ValueError``, ``KeyError`` and ``NotImplementedError`` reach three more, but take the Python
  traceback along;
* anything else is UNKNOWN with the traceback.

The traceback is kept at home by exceptions whose ``__cause__`` cannot be read: Arrow's formatter
then falls back to the name of the class, which is why the classes below are named like a code. The
JSON body of the error travels twice: as the trailer ``x-lakehouse-error``, which every client can
read, and as ``grpc-status-details-bin``, which Arrow's C++ clients hand out as ``extra_info``.
Clients over grpc-go and grpc-java read that second trailer as a ``google.rpc.Status``
(https://google.aip.dev/193) and show its message alone, so they get one.
"""

from __future__ import annotations

import json
import logging
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, Protocol

import pyarrow.flight as fl

from flight_server import errors

_log = logging.getLogger(__name__)

# gRPC core refuses metadata above 8 KiB, and the text of an error travels up to four times. Counted
# as it travels, where one letter beyond ASCII may take nine bytes.
MESSAGE_BYTES_MAX = 1500
ERROR_TRAILER = "x-lakehouse-error"
_DETAILS_TRAILER = "grpc-status-details-bin"


class _Silent:
    """Mixed into built-in exceptions so that Arrow cannot print where they came from."""

    @property
    def __cause__(self) -> None:
        raise AttributeError

    def __str__(self) -> str:
        return str(self.args[0])  # type: ignore[attr-defined]  # KeyError would show the repr


# The base class has a settable __cause__; hiding it is the very point.
class InvalidArgument(_Silent, ValueError):  # type: ignore[misc]
    """INVALID_ARGUMENT."""


class NotFound(_Silent, KeyError):  # type: ignore[misc]
    """NOT_FOUND."""


class Unimplemented(_Silent, NotImplementedError):  # type: ignore[misc]
    """UNIMPLEMENTED."""


# gRPC's numbers of the statuses: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
_CANCELLED, _INVALID, _DEADLINE, _NOT_FOUND, _DENIED = 1, 3, 4, 5, 7
_UNIMPLEMENTED, _INTERNAL, _UNAVAILABLE, _UNAUTHENTICATED = 12, 13, 14, 16

_STATUS: dict[type[errors.LakeflightError], tuple[int, Callable[..., Exception]]] = {
    errors.InvalidRequest: (_INVALID, InvalidArgument),
    errors.NotFound: (_NOT_FOUND, NotFound),
    errors.AlreadyExists: (_INVALID, InvalidArgument),
    errors.Conflict: (_UNAVAILABLE, fl.FlightUnavailableError),
    errors.Unauthenticated: (_UNAUTHENTICATED, fl.FlightUnauthenticatedError),
    errors.PermissionDenied: (_DENIED, fl.FlightUnauthorizedError),
    errors.LimitExceeded: (_UNAVAILABLE, fl.FlightUnavailableError),
    errors.Unavailable: (_UNAVAILABLE, fl.FlightUnavailableError),
    errors.DeadlineExceeded: (_DEADLINE, fl.FlightTimedOutError),
    errors.Cancelled: (_CANCELLED, fl.FlightCancelledError),
    errors.Unsupported: (_UNIMPLEMENTED, Unimplemented),
    errors.Internal: (_INTERNAL, fl.FlightInternalError),
}


class Trailers(Protocol):
    """The part of a Flight call context that the border needs."""

    def add_trailer(self, key: str, value: str | bytes) -> None:
        """Add a trailing header to the answer."""
        ...


def body(error: errors.LakeflightError) -> dict[str, Any]:
    """Return the JSON body of an error as the contract words it."""
    result: dict[str, Any] = {
        "code": error.code,
        "message": _cut(error.message),
        "retryable": error.retryable,
    }
    if isinstance(error, errors.Internal):
        result["incident"] = error.incident
    if error.retry_after_seconds is not None:
        result["retry_after_seconds"] = error.retry_after_seconds
    return result


def translate(
    error: BaseException,
    *,
    incident: str,
    context: Trailers | None = None,
    reads_rpc_status: bool = False,
    flight_errors: bool = True,
) -> Exception:
    """Return the exception that pyarrow turns into the right status.

    What is not one of ours is logged under ``incident`` and becomes INTERNAL with nothing in it but
    that id. With ``context`` the trailers are added; ``reads_rpc_status`` says that the client
    takes the details for a ``google.rpc.Status``. ``flight_errors`` is false where pyarrow cannot
    translate Flight errors (GetSchema, start of a call without context).
    """
    if not isinstance(error, errors.LakeflightError):
        _log.error("incident %s", incident, exc_info=error)
        error = errors.Internal(f"internal error; incident={incident}", incident=incident)
    number, make = next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)
    message = _cut(error.message)
    text = json.dumps(body(error))
    details = _rpc_status(number, message) if reads_rpc_status else text.encode()
    if context is not None:
        context.add_trailer(ERROR_TRAILER, _ascii(text))
    if make in (InvalidArgument, NotFound, Unimplemented):
        if context is not None:
            context.add_trailer(_DETAILS_TRAILER, details)
        return make(message)
    if not flight_errors:
        return InvalidArgument(message)
    return make(message, details)


def _cut(message: str) -> str:
    """Return the message on one line, or as much of it as may travel."""
    message = message.encode("utf-8", "replace").decode()
    if not message.isprintable():  # names come from outside
        message = "".join(char if char.isprintable() else "?" for char in message)
    if len(message) <= MESSAGE_BYTES_MAX and _travelling_bytes(message) <= MESSAGE_BYTES_MAX:
        return message
    lengths = range(MESSAGE_BYTES_MAX)
    kept = bisect_right(
        lengths, MESSAGE_BYTES_MAX - 3, key=lambda length: _travelling_bytes(message[:length])
    )
    return message[: kept - 1] + "..."


def _travelling_bytes(message: str) -> int:
    """Return the size of a message in the larger of its forms: as JSON, and percent-encoded."""
    encoded = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in message.encode())
    return max(len(json.dumps(message)) - 2, encoded)


def _ascii(text: str) -> str:
    # Text metadata of gRPC is printable ASCII; json.dumps escapes the rest already.
    return text.encode("ascii", "replace").decode("ascii")


def _rpc_status(code: int, message: str) -> bytes:
    """Encode google.rpc.Status: field 1 the code, field 2 the message."""
    text = message.encode()
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
