"""The keys that sign and verify tokens: secrets, and key pairs from PEM files.

Each key is for one algorithm alone, and that algorithm follows from the key, never from a token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from os import geteuid
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from flight_server.errors import InvalidRequest, LakeflightError, Unavailable
from flight_server.storage.durable import make_folder, write_once

SECRET_BYTES_MIN = 32
SECRET_FILE = "secret.key"  # noqa: S105 - the name of a file
RSA_BITS_MIN = 2048
# Verifying takes longer with every bit; nobody has keys beyond these.
RSA_BITS_MAX = 8192
PEM_BYTES_MAX = 64 * 1024
OWN_ALGORITHMS = ("HS256", "EdDSA", "RS256")
_SPELLED_SECRET = re.compile(r"[0-9a-fA-F]{64}")
_PEM_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_ALGORITHMS = {name: jwt.get_algorithm_by_name(name) for name in (*OWN_ALGORITHMS, "ES256")}
PublicKey = RSAPublicKey | Ed25519PublicKey | EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Key:
    """A key, the one algorithm that it is for, and the id under which tokens name it.

    ``verifier`` is a secret or a public key, ``signer`` a secret or a private key; it is None for a
    key that only verifies.
    """

    kid: str
    algorithm: str
    verifier: bytes | PublicKey = field(repr=False)
    signer: bytes | RSAPrivateKey | Ed25519PrivateKey | None = field(default=None, repr=False)

    @classmethod
    def of_secret(cls, secret: bytes) -> Key:
        """Return the key of a secret; its id follows from it. InvalidRequest when unfit."""
        if len(secret) < SECRET_BYTES_MIN:
            raise InvalidRequest(f"the signing secret needs at least {SECRET_BYTES_MIN} bytes")
        try:
            _ALGORITHMS["HS256"].prepare_key(secret)
        except jwt.PyJWTError:
            raise InvalidRequest("the signing secret looks like a public or private key") from None
        kid = hashlib.sha256(b"lakeflight kid\0" + secret).hexdigest()[:16]
        return cls(kid=kid, algorithm="HS256", verifier=secret, signer=secret)

    @classmethod
    def of_pair(cls, key: object, *, kid: str | None = None) -> Key:
        """Return the key of a public or private key object.

        Its id is the thumbprint of RFC 7638 unless one is given. Raises InvalidRequest for a kind
        that is not used, and for a weak one.
        """
        signer = key if isinstance(key, RSAPrivateKey | Ed25519PrivateKey) else None
        public = key if signer is None else signer.public_key()
        if isinstance(public, RSAPublicKey):
            if not RSA_BITS_MIN <= public.key_size <= RSA_BITS_MAX:
                raise InvalidRequest(f"an RSA key has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")
            return cls(kid or thumbprint(public), "RS256", public, signer)
        if isinstance(public, Ed25519PublicKey):
            return cls(kid or thumbprint(public), "EdDSA", public, signer)
        if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
            return cls(kid or thumbprint(public), "ES256", public)
        raise InvalidRequest("the key is neither Ed25519 nor RSA")

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether this key made the signature; anything else about it is False, never an error."""
        try:
            return bool(_ALGORITHMS[self.algorithm].verify(message, self.verifier, signature))
        except (jwt.PyJWTError, ValueError):
            return False

    def sign(self, payload: dict[str, Any]) -> str:
        """Return a signed token with this payload; InvalidRequest for a key that only verifies."""
        if self.signer is None:
            raise InvalidRequest("this key only verifies")
        return jwt.encode(payload, self.signer, self.algorithm, headers={"kid": self.kid})


@dataclass(frozen=True, slots=True)
class KeySources:
    """Where the keys of a server come from; ``secret`` None means the one that it makes itself.

    ``algorithms`` says which keys may be used for tokens; the secrets seal tickets in any case.
    """

    system_folder: Path
    secret: bytes | None = field(default=None, repr=False)
    previous_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    signing_key: Path | None = None
    verification_keys: tuple[Path, ...] = ()
    algorithms: tuple[str, ...] = OWN_ALGORITHMS


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys of a server: of ``keys`` the first signs and all verify.

    Of ``secrets`` the first seals tickets and all open them.
    """

    keys: tuple[Key, ...]
    secrets: tuple[bytes, ...] = field(repr=False)


def load_keys(sources: KeySources, *, random_bytes: Callable[[int], bytes]) -> KeyRing:
    """Read all keys; the secret is made when there is none.

    Raises InvalidRequest (``invalid_settings``) for files and secrets that cannot be used,
    Unavailable as ``load_secret``.
    """
    pairs = pair_keys(sources)
    current = load_secret(
        sources.system_folder, configured=sources.secret, random_bytes=random_bytes
    )
    secrets = tuple(dict.fromkeys((current, *_previous(sources))))
    try:
        of_secrets = [Key.of_secret(secret) for secret in secrets]
    except InvalidRequest as error:
        raise _invalid(error.message) from None
    ordered = {key.kid: key for key in (*pairs, *of_secrets)}
    if sources.signing_key is None:
        ordered = {of_secrets[0].kid: of_secrets[0], **ordered}
    usable = [key for key in ordered.values() if key.algorithm in sources.algorithms]
    return KeyRing(tuple(usable), secrets)


def pair_keys(sources: KeySources) -> tuple[Key, ...]:
    """Return the keys of the PEM files, the signing one first; raises as ``load_keys``."""
    signing, path = "HS256", sources.signing_key
    keys = [read_key(each, "auth.verification_keys") for each in sources.verification_keys]
    if path is not None:
        key = read_key(path, "auth.signing_key")
        if key.signer is None:
            raise _invalid(f"auth.signing_key: {path}: holds only a public key")
        keys.insert(0, key)
        signing = key.algorithm
    if signing not in sources.algorithms:
        raise _invalid(f"auth.algorithms: leaves out {signing}, which signs the tokens")
    return tuple(keys)


def read_key(path: Path, setting: str) -> Key:
    """Return the key of a PEM file.

    Raises InvalidRequest (``invalid_settings``), also for a private key that others may read.
    """
    try:
        key = Key.of_pair(_loaded(path))
        if key.algorithm not in OWN_ALGORITHMS:
            raise InvalidRequest("the key is neither Ed25519 nor RSA")
    except OSError as error:
        problem = error.strerror or "cannot be read"
    except TypeError:
        problem = "the key is encrypted; store it without a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        problem = "is not a key that can be read"
    except InvalidRequest as error:
        problem = error.message
    else:
        return key
    raise _invalid(f"{setting}: {path}: {problem}")


def _loaded(path: Path) -> object:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InvalidRequest("is not a file")
    if status.st_size > PEM_BYTES_MAX:
        raise InvalidRequest(f"is larger than {PEM_BYTES_MAX} bytes")
    content = path.read_bytes()
    labels = _PEM_BEGIN.findall(content)
    if len(labels) != 1:
        raise InvalidRequest("is not a PEM file with one key")
    if b"PRIVATE" not in labels[0]:
        return serialization.load_pem_public_key(content)
    # As ssh does: of a file that is somebody else's, such as a mounted secret, its group is theirs.
    unwanted = 0o077 if status.st_uid == geteuid() else 0o007
    if stat.S_IMODE(status.st_mode) & unwanted:
        raise InvalidRequest("the private key is open to others; chmod 600 it")
    return serialization.load_pem_private_key(content, password=None)


def thumbprint(key: PublicKey) -> str:
    """Return the thumbprint of RFC 7638: SHA-256 over the key's required members, in base64url."""
    members: dict[str, Any]
    if isinstance(key, RSAPublicKey):
        numbers = key.public_numbers()
        members = {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
    elif isinstance(key, Ed25519PublicKey):
        members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_bytes_raw())}
    else:
        point = key.public_numbers()
        x, y = (_base64url(each.to_bytes(32, "big")) for each in (point.x, point.y))
        members = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(text.encode()).digest())


def load_secret(
    system_folder: Path, *, configured: bytes | None, random_bytes: Callable[[int], bytes]
) -> bytes:
    """Return the configured secret, or the one kept in the system folder, made if missing.

    The file has mode 0600; of several servers that start at once, all use the one that was first.
    Raises InvalidRequest (``invalid_settings``) when the configured secret is unfit, Unavailable
    when the file cannot be used.
    """
    if configured is not None:
        try:
            Key.of_secret(configured)
        except InvalidRequest as error:
            raise _invalid(error.message) from None
        return configured
    path = system_folder / SECRET_FILE
    try:
        if not path.exists():
            make_folder(system_folder, mode=0o700)
            write_once(path, random_bytes(SECRET_BYTES_MIN).hex().encode() + b"\n", mode=0o600)
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
        Key.of_secret(secret)
    except OSError:
        raise Unavailable(f"the signing secret cannot be read or made file={SECRET_FILE}") from None
    except ValueError:
        raise Unavailable(f"the signing secret is damaged file={SECRET_FILE}") from None
    except LakeflightError:
        raise Unavailable(f"the signing secret is too short file={SECRET_FILE}") from None
    return secret


def _previous(sources: KeySources) -> Iterator[bytes]:
    """Yield the earlier secrets; one may be the text of the file that the server made."""
    for secret in sources.previous_secrets:
        yield secret
        text = secret.decode("ascii", "replace").strip()
        if _SPELLED_SECRET.fullmatch(text):
            yield bytes.fromhex(text)


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_settings")


def _number(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
