"""Keys from secrets and PEM files: which are taken, which sign, and how they are told apart."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x25519

from flight_server import errors
from flight_server.auth.keys import (
    OWN_ALGORITHMS,
    PEM_BYTES_MAX,
    SECRET_FILE,
    Key,
    KeyRing,
    KeySources,
    load_keys,
    load_secret,
    read_key,
)
from tests.auth import forging

SECRET = b"0123456789abcdef0123456789abcdef"
OTHER = b"another secret of enough bytes for us"


def load(folder: Path, **sources: Any) -> KeyRing:
    return load_keys(KeySources(folder / "system", **sources), random_bytes=os.urandom)


def refused(folder: Path, **sources: Any) -> str:
    with pytest.raises(errors.InvalidRequest) as caught:
        load(folder, **sources)
    assert caught.value.code == "invalid_settings"
    assert not (folder / "system").exists()
    return caught.value.message


def shape(ring: KeyRing) -> list[tuple[str, bool]]:
    return [(key.algorithm, key.signer is not None) for key in ring.keys]


def test_the_secret_signs_and_seals_when_there_is_nothing_else(tmp_path: Path) -> None:
    ring = load(tmp_path)
    assert shape(ring) == [("HS256", True)]
    assert ring.secrets == (ring.keys[0].verifier,)
    assert load(tmp_path) == ring


def test_previous_secrets_verify_and_open_and_never_sign(tmp_path: Path) -> None:
    before = load(tmp_path, secret=SECRET)
    ring = load(tmp_path, secret=OTHER, previous_secrets=(SECRET, OTHER))
    assert ring.secrets == (OTHER, SECRET)
    assert ring.keys == (Key.of_secret(OTHER), *before.keys)


def test_the_secret_that_the_server_made_can_become_a_previous_one(tmp_path: Path) -> None:
    made = load(tmp_path)
    text = (tmp_path / "system" / SECRET_FILE).read_bytes()
    for spelled in (text, text.strip(), text.strip().upper()):
        ring = load(tmp_path, secret=SECRET, previous_secrets=(spelled,))
        assert ring.keys[0] == Key.of_secret(SECRET)
        assert set(made.keys) < set(ring.keys)
        assert set(made.secrets) < set(ring.secrets)


@pytest.mark.parametrize("make", [forging.ed_key, forging.rsa_key])
def test_a_key_pair_signs_in_place_of_the_secret_which_goes_on_sealing(
    tmp_path: Path, make: Any
) -> None:
    path = forging.write_private(tmp_path / "new.pem", make())
    other = forging.write_public(tmp_path / "other.pem", forging.ed_key(1))
    algorithm = Key.of_pair(make()).algorithm
    ring = load(tmp_path, secret=SECRET, signing_key=path, verification_keys=(other, path))
    assert shape(ring) == [(algorithm, True), ("EdDSA", False), ("HS256", True)]
    assert ring.secrets == (SECRET,)


def test_the_secret_signs_beside_keys_that_only_verify(tmp_path: Path) -> None:
    path = forging.write_private(tmp_path / "old.pem", forging.ed_key())
    ring = load(tmp_path, secret=SECRET, verification_keys=(path,))
    assert [key.algorithm for key in ring.keys] == ["HS256", "EdDSA"]


def test_algorithms_leave_keys_out(tmp_path: Path) -> None:
    path = forging.write_private(tmp_path / "new.pem", forging.ed_key())
    old = forging.write_public(tmp_path / "old.pem", forging.rsa_key())
    sources = {"secret": SECRET, "signing_key": path, "verification_keys": (old,)}
    for algorithms, expected in (
        (OWN_ALGORITHMS, ["EdDSA", "RS256", "HS256"]),
        (("EdDSA",), ["EdDSA"]),
        (("RS256", "EdDSA"), ["EdDSA", "RS256"]),
    ):
        ring = load(tmp_path, algorithms=algorithms, **sources)
        assert [key.algorithm for key in ring.keys] == expected
        assert ring.secrets == (SECRET,)
    assert "leaves out EdDSA" in refused(tmp_path, algorithms=("HS256",), **sources)
    assert "leaves out HS256" in refused(tmp_path, algorithms=("EdDSA",))


def test_ids_are_the_thumbprints_that_others_compute() -> None:
    # The example of RFC 8037, appendix A.3.
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
    key = Key.of_pair(jwt.PyJWK.from_dict(jwk, "EdDSA").key)
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    for pair in (forging.rsa_key(), forging.ec_key()):
        made = Key.of_pair(pair.public_key())
        name = "RS256" if made.algorithm == "RS256" else "ES256"
        members = json.loads(jwt.get_algorithm_by_name(name).to_jwk(pair.public_key()))
        required = {
            each: members[each] for each in ("crv", "e", "kty", "n", "x", "y") if each in members
        }
        text = json.dumps(required, sort_keys=True, separators=(",", ":"))
        assert made.kid == forging.b64(hashlib.sha256(text.encode()).digest())


def test_keys_do_not_show_themselves() -> None:
    for key in (Key.of_secret(SECRET), Key.of_pair(forging.rsa_key())):
        assert "0123" not in repr(key)
        assert "object" not in repr(key)
    assert "0123" not in repr(KeyRing((), (SECRET,)))
    assert "0123" not in repr(KeySources(Path("x"), secret=SECRET, previous_secrets=(SECRET,)))


def test_files_that_hold_no_such_key_are_refused_by_name(tmp_path: Path) -> None:
    both = forging.private_pem(forging.ed_key()) + forging.public_pem(forging.ed_key())
    curve448, exchange = ed448.Ed448PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    der = forging.ed_key().private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    contents = {
        "empty": (b"", "not a PEM file with one key"),
        "text": (b"hello", "not a PEM file with one key"),
        "DER": (der, "not a PEM file with one key"),
        "two keys": (both, "not a PEM file with one key"),
        "damaged": (forging.private_pem(forging.ed_key()).replace(b"M", b"!"), "can be read"),
        "encrypted": (forging.private_pem(forging.ed_key(), b"x"), "without a passphrase"),
        "short RSA": (forging.private_pem(forging.rsa_key(0, 1024)), "2048 to 8192 bits"),
        "EC": (forging.private_pem(forging.ec_key()), "neither Ed25519 nor RSA"),
        "EC of another curve": (
            forging.private_pem(ec.generate_private_key(ec.SECP384R1())),
            "neither Ed25519 nor RSA",
        ),
        "Ed448": (forging.private_pem(curve448), "neither Ed25519 nor RSA"),  # type: ignore[arg-type]  # PEM all the same
        "X25519": (forging.private_pem(exchange), "neither Ed25519 nor RSA"),  # type: ignore[arg-type]  # as above
        "certificate": (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "read"),
        "huge": (b" " * (PEM_BYTES_MAX + 1), "larger than"),
    }
    for kind, (content, words) in contents.items():
        path = tmp_path / f"{kind}.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        for sources in ({"signing_key": path}, {"verification_keys": (path,)}):
            message = refused(tmp_path, **sources)
            assert message.startswith(f"auth.{next(iter(sources))}: {path}: "), kind
            assert words in message, kind


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path, signing_key=tmp_path / "none.pem")
    assert "not a file" in refused(tmp_path, signing_key=tmp_path)
    public = forging.write_public(tmp_path / "public.pem", forging.ed_key())
    assert "only a public key" in refused(tmp_path, signing_key=public)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610, 0o601])
def test_a_private_key_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = forging.write_private(tmp_path / "key.pem", forging.ed_key())
    path.chmod(mode)
    assert "chmod 600" in refused(tmp_path, signing_key=path)
    assert "chmod 600" in refused(tmp_path, verification_keys=(path,))


def test_a_mounted_key_may_be_open_to_the_group_and_a_public_one_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = forging.write_private(tmp_path / "key.pem", forging.ed_key())
    monkeypatch.setattr("flight_server.auth.keys.geteuid", lambda: path.stat().st_uid + 1)
    path.chmod(0o640)
    assert read_key(path, "x").signer is not None
    path.chmod(0o644)
    with pytest.raises(errors.InvalidRequest):
        read_key(path, "x")
    public = forging.write_public(tmp_path / "public.pem", forging.ed_key())
    public.chmod(0o666)
    assert read_key(public, "x").signer is None


def test_weak_secrets_are_refused(tmp_path: Path) -> None:
    pem = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    for secret in (b"", b"x" * 31, pem):
        with pytest.raises(errors.InvalidRequest):
            Key.of_secret(secret)
        refused(tmp_path, secret=secret)
        with pytest.raises(errors.InvalidRequest):
            load(tmp_path, secret=SECRET, previous_secrets=(secret,))


def test_the_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    folder = tmp_path / "lake" / ".lakeflight"
    first = load_secret(folder, configured=None, random_bytes=os.urandom)
    again = load_secret(folder, configured=None, random_bytes=os.urandom)
    assert first == again
    assert len(first) == 32
    assert stat.S_IMODE((folder / SECRET_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_servers_that_start_at_once_agree_on_the_secret(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    found: list[bytes] = []

    def start() -> None:
        barrier.wait()
        found.append(load_secret(tmp_path, configured=None, random_bytes=os.urandom))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_configured_secret_touches_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert load_secret(folder, configured=SECRET, random_bytes=os.urandom) == SECRET
    assert not folder.exists()


@pytest.mark.parametrize("content", ["", "zz", "ab" * 16, "é"])
def test_a_damaged_secret_file_is_said_to_be_so(tmp_path: Path, content: str) -> None:
    (tmp_path / SECRET_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(errors.Unavailable) as caught:
        load_secret(tmp_path, configured=None, random_bytes=os.urandom)
    assert str(tmp_path) not in str(caught.value)
