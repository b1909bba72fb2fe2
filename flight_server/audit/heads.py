"""Signed heads: what the log was at one moment, sealed so that nobody can say it was otherwise.

A head names the last record by its number and its hash, and the hash stands for the whole log up to
it. Whoever keeps a head elsewhere can prove later that not a byte before it was changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from flight_server.audit.events import time_text
from flight_server.errors import InvalidRequest, Unavailable
from flight_server.storage.durable import sync_folder, write_once

KEY_FILE = "audit.key"
HEAD_FILE = "head.json"
HEADS_FILE = "heads.ndjson"
# When more heads than this are kept, every second one of the older half goes.
HEADS_MAX = 4096
_PURPOSE = b"lakeflight audit head 1\n"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class SignedHead:
    """The end of the log at a time.

    ``hash`` is that of record ``sequence``, the last one; 0 is the log before its first record.
    ``public_key`` (Ed25519) and ``signature`` are base64, ``key_id`` is the beginning of the
    SHA-256 of the public key in hexadecimal, ``timestamp`` is text in UTC.
    """

    sequence: int
    hash: str
    timestamp: str
    key_id: str
    public_key: str
    signature: str

    def to_json(self) -> dict[str, Any]:
        """Return this as plain JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Return what ``to_json`` was made of. Raises InvalidRequest for anything else."""
        try:
            head = cls(**{name: value[name] for name in cls.__slots__})
        except (KeyError, TypeError):
            raise InvalidRequest("this is no signed head of an audit log") from None
        texts = (head.hash, head.timestamp, head.key_id, head.public_key, head.signature)
        if type(head.sequence) is not int or not all(isinstance(text, str) for text in texts):
            raise InvalidRequest("this is no signed head of an audit log")
        return head

    def is_genuine(self) -> bool:
        """Whether the signature is that of the key that the head names."""
        try:
            public = base64.b64decode(self.public_key, validate=True)
            signature = base64.b64decode(self.signature, validate=True)
            Ed25519PublicKey.from_public_bytes(public).verify(signature, self._signed())
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return self.key_id == key_id_of(public)

    def _signed(self) -> bytes:
        return signed_bytes(self.sequence, self.hash, self.timestamp, key_id=self.key_id)


def signed_bytes(sequence: int, digest: str, timestamp: str, *, key_id: str) -> bytes:
    """Return the bytes that the signature of a head is made over."""
    value = {"hash": digest, "key_id": key_id, "sequence": sequence, "timestamp": timestamp}
    return _PURPOSE + json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def key_id_of(public_key: bytes) -> str:
    """Return the short name of a public key."""
    return hashlib.sha256(public_key).hexdigest()[:16]


class SigningKey:
    """Signs heads. The key never leaves the file that it was made in."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._private.public_key().public_bytes_raw()
        self.key_id = key_id_of(self.public_key)

    @classmethod
    def load(cls, folder: Path, *, random_bytes: Callable[[int], bytes] | None = None) -> Self:
        """Return the key in a folder; with ``random_bytes`` it is made where there is none.

        Raises Unavailable (``audit_unavailable``).
        """
        path = folder / KEY_FILE
        try:
            if random_bytes is not None and not path.exists():
                write_once(path, random_bytes(_KEY_BYTES).hex().encode() + b"\n", mode=0o600)
            return cls(bytes.fromhex(path.read_text("ascii").strip()))
        except (OSError, ValueError):
            raise Unavailable(
                "the key of the audit log cannot be read", code="audit_unavailable"
            ) from None

    def sign(self, sequence: int, digest: str, time: datetime) -> SignedHead:
        """Return the signed head of a log that ends so."""
        timestamp = time_text(time)
        content = signed_bytes(sequence, digest, timestamp, key_id=self.key_id)
        return SignedHead(
            sequence=sequence,
            hash=digest,
            timestamp=timestamp,
            key_id=self.key_id,
            public_key=base64.b64encode(self.public_key).decode(),
            signature=base64.b64encode(self._private.sign(content)).decode(),
        )


class HeadFiles:
    """The heads that the log keeps of itself: the newest, and a thinning row of older ones."""

    def __init__(self, folder: Path) -> None:
        self._newest = folder / HEAD_FILE
        self._row = folder / HEADS_FILE
        self._count = -1

    def newest(self) -> SignedHead | None:
        """Return the newest head; None when there is none, or none that can be read."""
        try:
            return SignedHead.from_json(json.loads(self._newest.read_bytes()))
        except (OSError, ValueError, InvalidRequest):
            return None

    def older(self) -> list[SignedHead]:
        """Return all that are left, lowest first; what is no head is passed over."""
        found: list[SignedHead] = []
        try:
            lines = self._row.read_bytes().splitlines()
        except OSError:
            return []
        for line in lines:
            try:
                found.append(SignedHead.from_json(json.loads(line)))
            except (ValueError, InvalidRequest):
                continue  # torn by a power cut: the newest head has a file of its own
        return sorted(found, key=lambda head: head.sequence)

    def keep(self, head: SignedHead) -> None:
        """Put a head down as the newest, durably. Raises OSError."""
        line = json.dumps(head.to_json(), separators=(",", ":")).encode() + b"\n"
        replace_file(self._newest, line)
        if self._count < 0:
            self._count = len(self.older())
        with self._row.open("ab") as file:
            if not self._count:
                os.fchmod(file.fileno(), 0o600)
            file.write(line if not file.tell() else _after_torn(self._row) + line)
        self._count += 1
        if self._count > HEADS_MAX:
            self._thin()

    def _thin(self) -> None:
        heads = self.older()
        half = len(heads) // 2
        kept = [*heads[:half:2], *heads[half:]]
        lines = (json.dumps(head.to_json(), separators=(",", ":")) for head in kept)
        replace_file(self._row, "".join(f"{line}\n" for line in lines).encode())
        self._count = len(kept)


def replace_file(path: Path, content: bytes) -> None:
    """Put a private file in the place of another, whole and durable. Raises OSError."""
    other = path.with_name(f"_{path.name}.tmp")
    descriptor = os.open(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    other.replace(path)
    sync_folder(path.parent)


def _after_torn(path: Path) -> bytes:
    """Return what keeps a new line apart from one that was torn."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return b"" if file.read(1) == b"\n" else b"\n"
