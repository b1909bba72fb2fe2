"""Signs anything, well-formed or not, as the true holder of a key would; and makes keys."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

PrivateKey = rsa.RSAPrivateKey | Ed25519PrivateKey | ec.EllipticCurvePrivateKey
Signer = bytes | PrivateKey


def b64(content: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def sign(header: Any, payload: Any, signer: Signer, *, digest: Any = hashlib.sha256) -> str:
    """Return a token; bytes as header or payload are taken as they are, all else as JSON.

    A secret signs with HMAC and ``digest``, a private key as is usual for its kind.
    """
    parts = [
        b64(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, payload)
    ]
    message = ".".join(parts).encode()
    return ".".join([*parts, b64(_signature(message, signer, digest))])


def _signature(message: bytes, signer: Signer, digest: Any) -> bytes:
    if isinstance(signer, bytes):
        return hmac.new(signer, message, digest).digest()
    if isinstance(signer, Ed25519PrivateKey):
        return signer.sign(message)
    if isinstance(signer, rsa.RSAPrivateKey):
        return signer.sign(message, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(signer.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@functools.cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return an RSA key, the same for the same number."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def ed_key(number: int = 0) -> Ed25519PrivateKey:
    """Return an Ed25519 key, the same for the same number."""
    return Ed25519PrivateKey.generate()


@functools.cache
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """Return a P-256 key, the same for the same number."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    """Return a private key as PKCS 8."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def public_pem(key: PrivateKey) -> bytes:
    """Return the public half of a key as PEM."""
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def write_private(path: Path, key: PrivateKey) -> Path:
    """Write a private key that only its owner can read."""
    path.touch(mode=0o600)
    path.write_bytes(private_pem(key))
    return path


def write_public(path: Path, key: PrivateKey) -> Path:
    """Write a public key."""
    path.write_bytes(public_pem(key))
    return path
