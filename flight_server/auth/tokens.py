"""Tokens that prove who is calling: signed JWTs, issued at sign-in and verified on every call.

A token proves identity only; what its holder may do is looked up at each call.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flight_server.auth.keys import Key
from flight_server.auth.signed import (
    CLOCK_SKEW_SECONDS_MAX,
    TOKEN_BYTES_MAX,
    SignedText,
    refuse,
)
from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, Unauthenticated

VERIFIED_TOKENS_MAX = 10_000
_HEADER_NAMES = frozenset({"alg", "typ", "kid"})


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says; times are seconds since 1970."""

    user_id: str
    session_id: str
    token_id: str
    role: str | None
    tier: str | None
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it goes to its holder, and what it says."""

    text: str = field(repr=False)
    claims: Claims


class Tokens:
    """Issues and verifies tokens; safe to use from many threads.

    The first key signs and every key verifies, so that a new key signs nobody out.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        issuer: str,
        *,
        audience: str,
        life_seconds: int,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        if not keys or keys[0].signer is None:
            raise InvalidRequest("tokens need a signing key")
        self._signing = keys[0]
        self._keys = {key.kid: key for key in keys}
        self._issuer = issuer
        self._audience = audience
        self._life_seconds = life_seconds
        self._clock = clock
        self._random_bytes = random_bytes
        self._verified: OrderedDict[str, Claims] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self, user_id: str, session_id: str, *, role: str, tier: str) -> Token:
        """Return a new token for a session."""
        now = int(self._clock.now().timestamp())
        claims = Claims(
            user_id=user_id,
            session_id=session_id,
            token_id=self._random_bytes(16).hex(),
            role=role,
            tier=tier,
            issued_at=now,
            expires_at=now + self._life_seconds,
        )
        payload = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": user_id,
            "sid": session_id,
            "role": role,
            "tier": tier,
            "iat": now,
            "nbf": now,
            "exp": claims.expires_at,
            "jti": claims.token_id,
        }
        return Token(text=self._signing.sign(payload), claims=claims)

    def knows(self, text: str) -> bool:
        """Whether a token is among those that were verified lately; it may have expired since."""
        return text in self._verified

    def verify(self, text: str) -> Claims:
        """Return what a token says once it is proven genuine and current.

        Raises Unauthenticated, with the code token_expired for a genuine one whose time is over.
        """
        if len(text) > TOKEN_BYTES_MAX:
            refuse()
        now = self._clock.now().timestamp()
        claims = self._verified.get(text)
        if claims is None:
            claims = self._prove(text, now)
            self._remember(text, claims)
        elif now < claims.expires_at:
            self._touch(text)
        if now >= claims.expires_at:
            with self._lock:
                self._verified.pop(text, None)
            raise Unauthenticated("the token has expired", code="token_expired")
        return claims

    def _remember(self, text: str, claims: Claims) -> None:
        with self._lock:
            self._verified[text] = claims
            while len(self._verified) > VERIFIED_TOKENS_MAX:
                self._verified.popitem(last=False)

    def _touch(self, text: str) -> None:
        with self._lock:
            if text in self._verified:
                self._verified.move_to_end(text)

    def _prove(self, text: str, now: float) -> Claims:
        signed = SignedText.read(text)
        signed.prove(self._key_of(signed.header))
        signed.check_parties(self._issuer, self._audience)
        return self._claims_of(signed, now)

    def _key_of(self, header: dict[str, Any]) -> Key:
        """Choose the key; a token without a key id, as other issuers make it, means the first."""
        if not header.keys() <= _HEADER_NAMES or header.get("typ", "JWT") != "JWT":
            refuse()
        kid = header.get("kid", self._signing.kid)
        if not isinstance(kid, str) or kid not in self._keys:
            refuse()
        return self._keys[kid]

    def _claims_of(self, signed: SignedText, now: float) -> Claims:
        payload = signed.payload
        for name in ("role", "tier"):
            if not isinstance(payload.get(name), str | None):
                refuse()
        issued_at, expires_at = signed.times(now)
        if expires_at > now + CLOCK_SKEW_SECONDS_MAX + self._life_seconds:
            refuse()
        return Claims(
            user_id=signed.text("sub"),
            session_id=signed.text("sid"),
            token_id=signed.text("jti"),
            role=payload.get("role"),
            tier=payload.get("tier"),
            issued_at=issued_at,
            expires_at=expires_at,
        )
