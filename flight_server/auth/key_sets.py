"""The keys that an issuer publishes (a JWK set, RFC 7517), as far as they can be used here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from flight_server.auth.fetching import check_url, is_local
from flight_server.auth.keys import RSA_BITS_MAX, Key
from flight_server.errors import InvalidRequest, Unavailable

KEYS_MAX = 100
KID_CHARACTERS_MAX = 256
DISCOVERY_PATH = "/.well-known/openid-configuration"
# What makes up a public key of each kind; everything else about it, such as a private part that
# somebody published by mistake, is left out.
_MEMBERS = {
    ("RSA", None): ("RS256", ("kty", "n", "e")),
    ("EC", "P-256"): ("ES256", ("kty", "crv", "x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("kty", "crv", "x")),
}
# A number of this many bits is this long in base64url.
_NUMBER_CHARACTERS_MAX = RSA_BITS_MAX // 6 + 1

# Keys by the id under which tokens name them (None: a token that names none) and algorithm.
KeySet = Mapping[tuple[str | None, str], Key]


def discover(
    issuer: str,
    algorithms: Collection[str],
    *,
    jwks_uri: str | None,
    fetch: Callable[[str], bytes],
) -> KeySet:
    """Fetch what an issuer publishes and return its keys for these algorithms.

    Raises Unavailable when it cannot be had or does not fit the issuer.
    """
    if jwks_uri is None:
        about = _object(fetch(issuer.rstrip("/") + DISCOVERY_PATH), "configuration")
        if about.get("issuer") != issuer:
            raise Unavailable("its configuration is that of another issuer")
        found = about.get("jwks_uri")
        if not isinstance(found, str):
            raise Unavailable("its configuration names no keys")
        try:
            check_url(found, local=is_local(issuer))
        except InvalidRequest as error:
            raise Unavailable(f"its configuration names no keys: {error.message}") from None
        jwks_uri = found
    return read_key_set(_object(fetch(jwks_uri), "set of keys"), algorithms)


def read_key_set(document: Mapping[str, Any], algorithms: Collection[str]) -> KeySet:
    """Return the keys of a JWK set for these algorithms; those of other kinds are left out.

    Of two keys of one id and algorithm the first counts. A token without a key id means the only
    key of its algorithm. Raises Unavailable when none can be used.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise Unavailable(f"its set of keys is not a list of at most {KEYS_MAX}")
    keys: dict[tuple[str | None, str], Key] = {}
    found = [key for each in listed if (key := _key(each)) and key.algorithm in algorithms]
    count = Counter(key.algorithm for key in found)
    for key in found:
        keys.setdefault((key.kid, key.algorithm), key)
        if count[key.algorithm] == 1:
            keys[None, key.algorithm] = key
    if not keys:
        raise Unavailable("its set of keys has none that can be used")
    return keys


def _key(jwk: object) -> Key | None:
    """Return the key of one entry; None for one that is of no use here, or malformed."""
    if not isinstance(jwk, dict):
        return None
    kind, curve = jwk.get("kty"), jwk.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return None
    algorithm, names = _MEMBERS.get((kind, curve), (None, ()))
    kid = jwk.get("kid")
    is_named = kid is None or (isinstance(kid, str) and 0 < len(kid) <= KID_CHARACTERS_MAX)
    if algorithm is None or not is_named or not _is_for_signatures(jwk, algorithm):
        return None
    members = {name: jwk.get(name) for name in names}
    if not all(isinstance(each, str) for each in members.values()):
        return None
    if any(len(str(each)) > _NUMBER_CHARACTERS_MAX for each in members.values()):
        return None
    try:
        return Key.of_pair(jwt.PyJWK.from_dict(members, algorithm).key, kid=kid)
    except (jwt.PyJWTError, InvalidRequest, UnsupportedAlgorithm, ValueError, TypeError):
        return None


def _is_for_signatures(jwk: Mapping[str, Any], algorithm: str) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and jwk.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
    )


def _object(content: bytes, title: str) -> dict[str, Any]:
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Unavailable(f"its {title} is not JSON") from None
    if not isinstance(value, dict):
        raise Unavailable(f"its {title} is not an object")
    return value
