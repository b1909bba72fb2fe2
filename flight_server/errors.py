"""The errors of the server: one root, one class for each reaction open to a caller.

    LakeflightError
     ├─ InvalidRequest     fix the request
     │   └─ SchemaMismatch the data does not fit the table; says which column
     ├─ NotFound           check the name (also for what the caller may not know of)
     ├─ AlreadyExists      take another name
     ├─ Conflict           read again and retry
     ├─ Unauthenticated    sign in
     ├─ PermissionDenied   ask an administrator
     ├─ LimitExceeded      slow down or ask for less
     ├─ Unavailable        retry later
     ├─ DeadlineExceeded   the time was up
     ├─ Cancelled          the caller asked for it
     ├─ Unsupported        this server does not do that
     └─ Internal           report the incident id

A class names the reaction; ``code`` is stable, may be finer than the class (``table_not_found``),
and is what programs test. Messages are for people and may change. They never hold row values,
secrets, server paths or tracebacks.
"""

from __future__ import annotations

from typing import ClassVar


class LakeflightError(Exception):
    """Root of every error that may reach a caller.

    ``code`` defaults to that of the class. ``retry_after_seconds`` is a hint for retryable errors,
    or None.
    """

    default_code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, code: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(LakeflightError):
    """The request cannot be understood or cannot work as it stands."""

    default_code = "invalid_request"


class SchemaMismatch(InvalidRequest):
    """The data does not fit the table; the message names the column."""

    default_code = "schema_mismatch"


class NotFound(LakeflightError):
    """Nothing of that name exists for this caller."""

    default_code = "not_found"


class AlreadyExists(LakeflightError):
    """The name is taken."""

    default_code = "already_exists"


class Conflict(LakeflightError):
    """A concurrent writer won."""

    default_code = "conflict"
    retryable = True


class Unauthenticated(LakeflightError):
    """The caller has not proven who they are."""

    default_code = "unauthenticated"


class PermissionDenied(LakeflightError):
    """The caller is known and may not do this."""

    default_code = "permission_denied"


class LimitExceeded(LakeflightError):
    """A limit was reached; the message names the setting."""

    default_code = "limit_exceeded"
    retryable = True


class Unavailable(LakeflightError):
    """Storage or a worker is away, or the server is draining."""

    default_code = "unavailable"
    retryable = True


class DeadlineExceeded(LakeflightError):
    """The time allowed for the call or the query is over."""

    default_code = "deadline_exceeded"


class Cancelled(LakeflightError):
    """The caller cancelled, or went away."""

    default_code = "cancelled"


class Unsupported(LakeflightError):
    """A part of the protocol, of SQL or of a table format that this server does not do."""

    default_code = "unsupported"


class Internal(LakeflightError):
    """A fault of ours; ``incident`` is the id under which the log keeps the rest."""

    default_code = "internal"

    def __init__(self, message: str, *, incident: str) -> None:
        super().__init__(message)
        self.incident = incident
