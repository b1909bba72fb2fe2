"""Requests as the border makes them, for use cases that are tested without it."""

from __future__ import annotations

from typing import Any

from flight_server.service.request import Request
from policies.names import Principal
from tests.service.opened import ADMIN


def request(principal: Principal = ADMIN, *, mark: str = "a", **changes: Any) -> Request:
    """Return a request; those of one ``mark`` and principal share a session."""
    values: dict[str, Any] = {
        "session_id": mark,
        "request_id": f"request-{mark}",
        "bucket": "primary",
        "schema": "public",
        "is_cancelled": lambda: False,
        "session_keys": (("token", principal.user_id, mark),),
    }
    return Request(principal, **{**values, **changes})
