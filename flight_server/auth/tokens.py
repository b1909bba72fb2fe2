"""Tokens that prove who is calling: signed JWTs, issued at sign-in and verified on every call.

A token proves identity only; what its holder may do is looked up at each call.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import jwt

from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, Unauthenticated, Unavailable
from flight_server.storage.durable import make_folder, write_once

ALGORITHM = "HS256"
TOKEN_BYTES_MAX = 8192
SECRET_BYTES_MIN = 32
CLOCK_SKEW_SECONDS_MAX = 60
VERIFIED_TOKENS_MAX = 10_000
SECRET_FILE = "secret.key"  # noqa: S105 - the name of a file
_HEADER_NAMES = frozenset({"alg", "typ", "kid"})
_REQUIRED_TEXTS = ("iss", "sub", "sid", "jti")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret for HS256 and the id under which tokens name it."""

    kid: str
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> SigningKey:
        """Return the key of a secret; its id follows from it. InvalidRequest when unfit."""
        if len(secret) < SECRET_BYTES_MIN:
            raise InvalidRequest(f"the signing secret needs at least {SECRET_BYTES_MIN} bytes")
        try:
            jwt.encode({}, secret, ALGORITHM)
        except jwt.PyJWTError:
            raise InvalidRequest("the signing secret looks like a public or private key") from None
        return cls(kid=hashlib.sha256(b"lakeflight kid\0" + secret).hexdigest()[:16], secret=secret)


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
        keys: Sequence[SigningKey],
        issuer: str,
        *,
        audience: str,
        life_seconds: int,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        if not keys:
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
        text = jwt.encode(
            payload, self._signing.secret, ALGORITHM, headers={"kid": self._signing.kid}
        )
        return Token(text=text, claims=claims)

    def verify(self, text: str) -> Claims:
        """Return what a token says once it is proven genuine and current.

        Raises Unauthenticated, with the code token_expired for a genuine one whose time is over.
        """
        if len(text) > TOKEN_BYTES_MAX:
            _refuse()
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
        parts = text.split(".")
        if len(parts) != 3 or not text.isascii():
            _refuse()
        header, payload, _ = (_canonical(part) for part in parts)
        key = self._key_of(_object(header))
        try:
            # Times are checked below, against our own clock.
            jwt.decode(
                text,
                key.secret,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError, RecursionError):
            _refuse()
        return self._claims_of(_object(payload), now)

    def _key_of(self, header: dict[str, Any]) -> SigningKey:
        """Choose the key; a token without a key id, as other issuers make it, means the first."""
        if header.get("alg") != ALGORITHM or not header.keys() <= _HEADER_NAMES:
            _refuse()
        if header.get("typ", "JWT") != "JWT":
            _refuse()
        kid = header.get("kid", self._signing.kid)
        if not isinstance(kid, str) or kid not in self._keys:
            _refuse()
        return self._keys[kid]

    def _claims_of(self, payload: dict[str, Any], now: float) -> Claims:
        for name in _REQUIRED_TEXTS:
            if not isinstance(payload.get(name), str) or not payload[name]:
                _refuse()
        for name in ("role", "tier"):
            if not isinstance(payload.get(name), str | None):
                _refuse()
        issued_at, expires_at = _seconds(payload, "iat"), _seconds(payload, "exp")
        not_before = _seconds(payload, "nbf") if "nbf" in payload else issued_at
        latest = now + CLOCK_SKEW_SECONDS_MAX
        if max(issued_at, not_before) > latest or expires_at > latest + self._life_seconds:
            _refuse()
        return Claims(
            user_id=payload["sub"],
            session_id=payload["sid"],
            token_id=payload["jti"],
            role=payload.get("role"),
            tier=payload.get("tier"),
            issued_at=issued_at,
            expires_at=expires_at,
        )


def load_key(
    system_folder: Path, *, configured: bytes | None, random_bytes: Callable[[int], bytes]
) -> SigningKey:
    """Return the configured secret's key, or the one kept in the system folder, made if missing.

    The file has mode 0600; of several servers that start at once, all use the one that was first.
    Raises InvalidRequest when the configured secret is short, Unavailable when the file cannot be
    used.
    """
    if configured is not None:
        return SigningKey.of(configured)
    path = system_folder / SECRET_FILE
    try:
        if not path.exists():
            make_folder(system_folder, mode=0o700)
            write_once(path, random_bytes(SECRET_BYTES_MIN).hex().encode() + b"\n", mode=0o600)
        return SigningKey.of(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except OSError:
        raise Unavailable(f"the signing secret cannot be read or made file={SECRET_FILE}") from None
    except ValueError:
        raise Unavailable(f"the signing secret is damaged file={SECRET_FILE}") from None
    except InvalidRequest:
        raise Unavailable(f"the signing secret is too short file={SECRET_FILE}") from None


def _refuse() -> NoReturn:
    # One text for every reason: the difference would help only who forges.
    raise Unauthenticated("the token is not valid")


def _canonical(part: str) -> bytes:
    """Decode base64url as exactly one text spells it: no padding, no stray bits or characters."""
    try:
        content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (ValueError, binascii.Error):
        _refuse()
    if base64.urlsafe_b64encode(content).rstrip(b"=").decode() != part:
        _refuse()
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
        _refuse()
    if not isinstance(value, dict):
        _refuse()
    return value


def _seconds(payload: dict[str, Any], name: str) -> int:
    value = payload.get(name)
    # The largest time that still leaves room for sums in any reader.
    if type(value) is not int or not 0 <= value < 2**53:
        _refuse()
    return value
