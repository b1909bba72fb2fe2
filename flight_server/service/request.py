"""Who asks, in which session, and everything that their headers and their session say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flight_server.engine.base import Temporary
from flight_server.service.recording import UNRECORDED, Record
from policies.names import Principal, Privilege, TableRef

# What a session is found by: the kind of mark, whose it is, and the mark itself. The owner is part
# of the key, so that nobody can reach the session of somebody else with it.
SessionKey = tuple[str, str, str]

# A right that a call goes on with for as long as it runs.
Need = tuple[Privilege, TableRef]


def _relies_on_nothing(privilege: Privilege, ref: TableRef) -> None:
    """Forget it: nobody watches this call."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call, as looked up for that very call.

    ``is_cancelled`` turns true when the client cancelled, went away or ran out of its own time; it
    may be asked for as long as the call runs. ``bucket``, ``schema``, ``purpose``, ``query_tag``
    and ``timeout_seconds`` are what settings, headers and the options of the session come to.
    ``temporary`` are the temporary tables of the session, None when it has none. The first of
    ``session_keys`` finds the session; the others will find it too when it is made by this call.
    ``session_id`` and ``token_id`` name the sign-in and the token that prove the caller, ``tier``
    is what they may use; ``record`` is what goes on record of the call. ``address`` is where the
    call came from, without the port. ``rely_on`` is told which rights the call goes on with.
    """

    principal: Principal
    session_id: str
    request_id: str
    bucket: str
    schema: str
    is_cancelled: Callable[[], bool]
    purpose: str | None = None
    query_tag: str | None = None
    timeout_seconds: float | None = None
    idempotency_key: str | None = None
    temporary: Temporary | None = None
    session_keys: tuple[SessionKey, ...] = ()
    peer: str = ""
    user_agent: str = ""
    address: str = ""
    token_id: str = ""
    tier: str = ""
    record: Record = UNRECORDED
    rely_on: Callable[[Privilege, TableRef], None] = _relies_on_nothing
