"""The purpose of a call: one of the privacy table, and one that the caller may state."""

from __future__ import annotations

from typing import Protocol

from flight_server.errors import InvalidRequest, PermissionDenied
from policies.names import Principal
from policies.purposes import PURPOSES

PURPOSE_DENIED = "purpose_denied"


class Stating(Protocol):
    """Who may state what."""

    def purposes(self, principal: Principal) -> frozenset[str]:
        """Return the purposes that somebody may state."""
        ...


def check_purpose(stating: Stating, principal: Principal, purpose: str) -> None:
    """Raise unless somebody may state this purpose.

    InvalidRequest for one that there is not, PermissionDenied (``purpose_denied``) for one that no
    grant lets them state.
    """
    if purpose not in PURPOSES:
        raise InvalidRequest(f"there is no such purpose; there are {', '.join(PURPOSES)}")
    if purpose not in stating.purposes(principal):
        raise PermissionDenied(
            f"you may not state the purpose {purpose}: set the session option purpose to another"
            " one, or to nothing",
            code=PURPOSE_DENIED,
        )
