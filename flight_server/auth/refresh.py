"""Refresh tokens: sealed, so that a forged one is told before anything is looked up."""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import datetime

from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, Unauthenticated
from flight_server.protocol.tickets import JSON, Sealer

PREFIX = "lfr_"
_KIND = "refresh"
_CHARACTERS_MAX = 512


class RefreshTokens:
    """Makes and reads them; what they are worth is known to the table of sessions alone."""

    def __init__(self, sealer: Sealer, *, clock: Clock) -> None:
        self._sealer = sealer
        self._clock = clock

    def make(self, session_id: str, generation: int, *, expires_at: datetime) -> str:
        """Return the token of that number of a session."""
        payload: dict[str, JSON] = {"sid": session_id, "generation": generation}
        sealed = self._sealer.seal(_KIND, payload, expires_at=expires_at)
        return PREFIX + _encoded(sealed)

    def read(self, text: str) -> tuple[str, int]:
        """Return session id and number.

        Raises Unauthenticated, with the code token_expired for a genuine one whose time is over.
        """
        try:
            if not text.startswith(PREFIX) or len(text) > _CHARACTERS_MAX:
                raise ValueError("this is something else")
            encoded = text.removeprefix(PREFIX)
            sealed = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            if _encoded(sealed) != encoded:  # other texts that happen to mean the same bytes
                raise ValueError("this is not how it was written")
            payload = self._sealer.open(_KIND, sealed, now=self._clock.now())
        except InvalidRequest as error:
            if error.code == "ticket_expired":
                raise Unauthenticated(
                    "the refresh token has expired; sign in again", code="token_expired"
                ) from None
            raise _not_valid() from None
        except (ValueError, binascii.Error):
            raise _not_valid() from None
        return str(payload["sid"]), int(payload["generation"])


def digest(text: str) -> str:
    """Return what is kept of a refresh token."""
    return hashlib.sha256(text.encode()).hexdigest()


def _encoded(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _not_valid() -> Unauthenticated:
    return Unauthenticated("the refresh token is not valid")
