"""Who asks, in which session, and where their short names are looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from policies.names import Principal


@dataclass(frozen=True, slots=True)
class Request:
    """One call, as looked up for that very call.

    ``is_cancelled`` turns true when the client cancelled, went away or ran out of its own time; it
    may be asked for as long as the call runs.
    """

    principal: Principal
    session_id: str
    request_id: str
    bucket: str
    schema: str
    is_cancelled: Callable[[], bool]
