"""Sealed tickets and statement handles: the client carries them, only this server reads them.

What is sealed says what to do, on what, for whom and until when; it never is a permission.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from flight_server.errors import InvalidRequest

KEY_BYTES = 32
SECRET_BYTES_MIN = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_TIME_BYTES = 8
_VERSION = b"\x01"
_CONTEXT = b"lakeflight sealed 1 "
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

# A value that JSON can hold; ``Any`` inside, because mypy has no finite name for the nesting.
JSON = str | int | float | bool | list[Any] | dict[str, Any] | None


class Sealer:
    """Seals small JSON objects and opens them again.

    Layout: version byte, random nonce of 12 bytes, AES-256-GCM of (time of expiry in microseconds
    since 1970 as 8 bytes, JSON in UTF-8). The kind is authenticated, so that a ticket of one kind
    never opens as another. The first key seals, all keys open: to rotate, put the new key first and
    drop the old one when the last ticket has expired. With random nonces a key is good for 2**32
    tickets; at 1,000 a second that is 49 days.
    """

    def __init__(self, keys: Sequence[bytes], *, random_bytes: Callable[[int], bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a sealer needs at least one key, each of {KEY_BYTES} bytes")
        self._ciphers = tuple(AESGCM(key) for key in keys)
        self._random_bytes = random_bytes

    def seal(self, kind: str, payload: Mapping[str, JSON], *, expires_at: datetime) -> bytes:
        """Seal a payload that ``open`` gives back until ``expires_at`` (an aware time).

        Raises ValueError or TypeError when the payload is no JSON.
        """
        expiry = ((expires_at - _EPOCH) // _MICROSECOND).to_bytes(_TIME_BYTES, "big", signed=True)
        nonce = self._random_bytes(_NONCE_BYTES)
        if len(nonce) != _NONCE_BYTES:
            raise ValueError("the source of random bytes gave a wrong number of them")
        plain = expiry + _ENCODE(payload).encode()
        return _VERSION + nonce + self._ciphers[0].encrypt(nonce, plain, _associated(kind))

    def open(self, kind: str, data: bytes, *, now: datetime) -> dict[str, Any]:
        """Open what was sealed as this kind.

        Raises InvalidRequest when a single bit differs, when another kind or an unknown key sealed
        it, and, with the code ``ticket_expired``, when its time is over.
        """
        plain = self._decrypt(kind, data)
        expiry = int.from_bytes(plain[:_TIME_BYTES], "big", signed=True)
        if (now - _EPOCH) // _MICROSECOND >= expiry:
            raise InvalidRequest("the ticket has expired; ask again", code="ticket_expired")
        payload: dict[str, Any] = json.loads(plain[_TIME_BYTES:])
        return payload

    def _decrypt(self, kind: str, data: bytes) -> bytes:
        start = len(_VERSION) + _NONCE_BYTES
        if data.startswith(_VERSION) and len(data) >= start + _TIME_BYTES + _TAG_BYTES:
            nonce, sealed, associated = data[len(_VERSION) : start], data[start:], _associated(kind)
            for cipher in self._ciphers:
                try:
                    return cipher.decrypt(nonce, sealed, associated)
                except InvalidTag:
                    continue
        raise InvalidRequest("the ticket is not one of this server's or was changed")


def derive_key(secret: bytes, purpose: str) -> bytes:
    """Derive a key of 32 bytes from the server's secret, a different one for each purpose.

    Raises ValueError when the secret has fewer than 32 bytes.
    """
    if len(secret) < SECRET_BYTES_MIN:
        raise ValueError(f"the secret must have at least {SECRET_BYTES_MIN} bytes")
    info = b"lakeflight key 1 " + purpose.encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)


def _associated(kind: str) -> bytes:
    return _CONTEXT + kind.encode()
