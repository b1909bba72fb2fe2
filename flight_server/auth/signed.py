"""The text of a signed token: read in the one way that leaves no room for a second reading."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, NoReturn

from flight_server.auth.keys import Key
from flight_server.errors import Unauthenticated

TOKEN_BYTES_MAX = 8192
CLOCK_SKEW_SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class SignedText:
    """A token taken apart; nothing in it is true until ``prove`` says so."""

    header: dict[str, Any]
    payload: dict[str, Any]
    message: bytes
    signature: bytes

    @classmethod
    def read(cls, text: str) -> SignedText:
        """Take a token apart; Unauthenticated when it is not spelled exactly as tokens are."""
        if len(text) > TOKEN_BYTES_MAX or not text.isascii():
            refuse()
        parts = text.split(".")
        if len(parts) != 3:
            refuse()
        header, payload, signature = (_canonical(part) for part in parts)
        message = text.rpartition(".")[0].encode()
        return cls(_object(header), _object(payload), message, signature)

    def prove(self, key: Key) -> None:
        """Raise Unauthenticated unless this key made the signature, with its own algorithm."""
        if self.header.get("alg") != key.algorithm or not key.verifies(
            self.message, self.signature
        ):
            refuse()

    def text(self, name: str) -> str:
        """Return a claim that must be there and be printable text; Unauthenticated."""
        value = self.payload.get(name)
        if not isinstance(value, str) or not value or not value.isprintable():
            refuse()
        return value

    def check_parties(self, issuer: str, audience: str) -> None:
        """Raise Unauthenticated unless the token is of this issuer and for this audience."""
        named = self.payload.get("aud")
        audiences = named if isinstance(named, list) else [named]
        if not all(isinstance(each, str) for each in audiences) or audience not in audiences:
            refuse()
        if self.payload.get("iss") != issuer:
            refuse()

    def times(self, now: float) -> tuple[int, int]:
        """Return when the token was issued and when it expires, in seconds since 1970.

        Raises Unauthenticated when one of them is missing or no number, and for a token of the
        future; whether it has expired is left to the caller.
        """
        issued_at, expires_at = self._seconds("iat"), self._seconds("exp")
        not_before = self._seconds("nbf") if "nbf" in self.payload else issued_at
        if max(issued_at, not_before) > now + CLOCK_SKEW_SECONDS_MAX:
            refuse()
        return issued_at, expires_at

    def _seconds(self, name: str) -> int:
        value = self.payload.get(name)
        # The largest time that still leaves room for sums in any reader.
        if type(value) is not int or not 0 <= value < 2**53:
            refuse()
        return value


def refuse() -> NoReturn:
    """Raise Unauthenticated, in one text for every reason: the difference would help forgers."""
    raise Unauthenticated("the token is not valid")


def _canonical(part: str) -> bytes:
    """Decode base64url as exactly one text spells it: no padding, no stray bits or characters."""
    try:
        content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (ValueError, binascii.Error):
        refuse()
    if base64.urlsafe_b64encode(content).rstrip(b"=").decode() != part:
        refuse()
    return content


def _object(content: bytes) -> dict[str, Any]:
    """Read one JSON object; a name that occurs twice would mean one thing here, another there."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a name occurs twice")
        return dict(pairs)

    def no_constant(text: str) -> NoReturn:
        raise ValueError(text)

    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant
        )
    except (ValueError, RecursionError):
        refuse()
    if not isinstance(value, dict):
        refuse()
    return value
