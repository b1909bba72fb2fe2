"""What an issuer publishes: the keys that can be used are taken, all else is left out."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from hypothesis import given
from hypothesis import strategies as st

from flight_server import errors
from flight_server.auth.key_sets import KEYS_MAX, discover, read_key_set
from tests.auth import forging
from tests.auth.issuing import public_jwk

ALL = ("RS256", "ES256", "EdDSA")
RSA, EC, ED = forging.rsa_key(), forging.ec_key(), forging.ed_key()


def names(*jwks: object, algorithms: tuple[str, ...] = ALL) -> set[tuple[str | None, str]]:
    return set(read_key_set({"keys": list(jwks)}, algorithms))


def refused(document: dict[str, Any]) -> None:
    with pytest.raises(errors.Unavailable):
        read_key_set(document, ALL)


def test_each_kind_is_for_its_one_algorithm() -> None:
    jwks = [public_jwk(RSA, kid="r"), public_jwk(EC, kid="e"), public_jwk(ED, kid="d")]
    assert names(*jwks) == {
        ("r", "RS256"),
        ("e", "ES256"),
        ("d", "EdDSA"),
        (None, "RS256"),
        (None, "ES256"),
        (None, "EdDSA"),
    }
    assert names(*jwks, algorithms=("ES256",)) == {("e", "ES256"), (None, "ES256")}
    bare = public_jwk(RSA, kid="r", alg=None, use=None)
    assert names(bare) == {("r", "RS256"), (None, "RS256")}


def test_a_private_part_that_was_published_is_not_kept() -> None:
    private = json.loads(jwt.get_algorithm_by_name("EdDSA").to_jwk(ED))
    assert "d" in private
    keys = read_key_set({"keys": [{**private, "kid": "a"}]}, ALL)
    assert keys["a", "EdDSA"].signer is None


def test_keys_for_other_purposes_are_left_out() -> None:
    good = public_jwk(EC, kid="good")
    others: list[object] = [
        public_jwk(RSA, kid="a", use="enc"),
        public_jwk(RSA, kid="b", alg="RS512"),
        public_jwk(RSA, kid="c", alg="RSA-OAEP"),
        public_jwk(RSA, kid="d", key_ops=["encrypt"]),
        public_jwk(RSA, kid="e", key_ops="verify"),
        public_jwk(RSA, kid=1),
        public_jwk(RSA, kid=""),
        public_jwk(RSA, kid="x" * 257),
        public_jwk(RSA, kid="f", n="!!!"),
        public_jwk(RSA, kid="g", n=5),
        public_jwk(RSA, kid="h", n="A" * 100_000),
        public_jwk(RSA, kid="i", e=None),
        public_jwk(RSA, kid="j", kty="EC", crv="P-256"),
        public_jwk(RSA, kid="k", kty=["RSA"]),
        public_jwk(RSA, kid="l", crv={}),
        public_jwk(forging.rsa_key(0, 1024), kid="m"),
        public_jwk(EC, kid="n", x="AAAA"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "o", "alg": "HS256"},
        {**json.loads(jwt.get_algorithm_by_name("EdDSA").to_jwk(_ed448())), "kid": "p"},
        {**json.loads(jwt.get_algorithm_by_name("ES384").to_jwk(_p384())), "kid": "q"},
        {},
        None,
        "key",
        [good],
    ]
    assert names(*others, good) == {("good", "ES256"), (None, "ES256")}
    for each in others:
        refused({"keys": [each]})


def _ed448() -> Any:
    return ed448.Ed448PrivateKey.generate().public_key()


def _p384() -> Any:
    return ec.generate_private_key(ec.SECP384R1()).public_key()


def test_of_one_id_the_first_counts_and_two_keys_need_an_id() -> None:
    first, second = public_jwk(RSA, kid="a"), public_jwk(forging.rsa_key(1), kid="a")
    keys = read_key_set({"keys": [first, second]}, ALL)
    assert keys["a", "RS256"].verifier == RSA.public_key()
    assert (None, "RS256") not in keys


def test_sets_that_are_none_are_refused() -> None:
    good = public_jwk(EC, kid="good")
    values: list[object] = [{}, None, [], "x"]
    for value in values:
        refused({"keys": value})
    refused({})
    refused({"keys": [good] * (KEYS_MAX + 1)})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    ),
    st.sampled_from(["kty", "crv", "kid", "use", "alg", "key_ops", "n", "e", "x", "y"]),
    st.sampled_from([RSA, EC, ED]),
)
def test_odd_members_never_break_anything(value: object, name: str, key: Any) -> None:
    jwk = {**public_jwk(key, kid="a"), name: value}
    for found in names(jwk, public_jwk(EC, kid="good")):
        assert isinstance(found[0], str | None)


def test_garbage_in_place_of_documents_is_refused() -> None:
    for content in (b"", b"\xff", b"[]", b"5", b"{", b"<html>", b"[" * 100_000):
        with pytest.raises(errors.Unavailable):
            discover("https://x.org", ALL, jwks_uri=None, fetch=lambda _, found=content: found)  # type: ignore[misc]  # a default binds it
    for uri in (None, 1, "http://127.0.0.1/k", "http://x.org/k", "file:///etc/passwd", "k"):
        about = json.dumps({"issuer": "https://x.org", "jwks_uri": uri}).encode()
        with pytest.raises(errors.Unavailable):
            discover("https://x.org", ALL, jwks_uri=None, fetch=lambda _, found=about: found)  # type: ignore[misc]  # as above
