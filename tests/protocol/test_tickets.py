from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest
from flight_server.protocol.tickets import Sealer, derive_key

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
KEY, OLD_KEY = bytes(range(32)), bytes(range(32, 64))
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = st.dictionaries(st.text("xyz", max_size=3), JSON_VALUES, max_size=4)


def make_sealer(*keys: bytes, random_bytes: Callable[[int], bytes] = os.urandom) -> Sealer:
    return Sealer(keys or (KEY,), random_bytes=random_bytes)


def assert_refused(sealer: Sealer, kind: str, data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not one of this server's") as caught:
        sealer.open(kind, data, now=NOW)
    assert caught.value.code == "invalid_request"


@given(PAYLOADS, st.text("abc", max_size=5))
def test_what_is_sealed_opens_again(payload: dict[str, Any], kind: str) -> None:
    sealer = make_sealer()
    assert sealer.open(kind, sealer.seal(kind, payload, expires_at=LATER), now=NOW) == payload


def test_every_flipped_bit_is_refused() -> None:
    sealer = make_sealer()
    sealed = sealer.seal("query", {"sql": "SELECT 1"}, expires_at=LATER)
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        assert_refused(sealer, "query", bytes(changed))


def test_every_truncation_and_extension_is_refused() -> None:
    sealer = make_sealer()
    sealed = sealer.seal("query", {"sql": "SELECT 1"}, expires_at=LATER)
    for length in range(len(sealed)):
        assert_refused(sealer, "query", sealed[:length])
    assert_refused(sealer, "query", sealed + b"\0")


@given(st.binary(max_size=100))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert_refused(make_sealer(), "query", data)
    assert_refused(make_sealer(), "query", b"\x01" + data)


def test_another_kind_is_refused() -> None:
    sealer = make_sealer()
    assert_refused(sealer, "prepared", sealer.seal("query", {}, expires_at=LATER))


def test_a_ticket_expires_at_its_time() -> None:
    sealer = make_sealer()
    sealed = sealer.seal("query", {"a": 1}, expires_at=LATER)
    assert sealer.open("query", sealed, now=LATER - timedelta(microseconds=1)) == {"a": 1}
    with pytest.raises(InvalidRequest) as caught:
        sealer.open("query", sealed, now=LATER)
    assert caught.value.code == "ticket_expired"


def test_keys_rotate() -> None:
    before, after = make_sealer(OLD_KEY), make_sealer(KEY, OLD_KEY)
    old = before.seal("query", {"a": 1}, expires_at=LATER)
    new = after.seal("query", {"a": 2}, expires_at=LATER)
    assert after.open("query", old, now=NOW) == {"a": 1}
    assert after.open("query", new, now=NOW) == {"a": 2}
    assert_refused(before, "query", new)
    assert_refused(make_sealer(KEY), "query", old)


def test_the_content_is_not_readable_and_two_seals_differ() -> None:
    sealer = make_sealer()
    first, second = (sealer.seal("q", {"sql": "SELECT"}, expires_at=LATER) for _ in range(2))
    assert first != second
    assert b"SELECT" not in first


def test_the_encoding_is_compact() -> None:
    payload = {"sql": "SELECT 1", "user": "ü"}
    sealed = make_sealer().seal("query", payload, expires_at=LATER)
    plain = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    assert len(sealed) == len(plain) + 37


@pytest.mark.parametrize("keys", [(), (b"short",), (KEY, b"short")])
def test_wrong_keys_are_refused_at_once(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(keys, random_bytes=os.urandom)


def test_a_broken_source_of_random_bytes_is_noticed() -> None:
    with pytest.raises(ValueError, match="random bytes"):
        make_sealer(random_bytes=lambda _: b"").seal("query", {}, expires_at=LATER)


def test_what_is_no_json_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="JSON"):
        make_sealer().seal("query", {"a": float("nan")}, expires_at=LATER)


def test_derived_keys_differ_by_purpose_and_secret() -> None:
    secret = b"s" * 32
    assert derive_key(secret, "tickets") == derive_key(secret, "tickets")
    keys = {
        derive_key(secret, "tickets"),
        derive_key(secret, "hash"),
        derive_key(b"t" * 32, "hash"),
    }
    assert len(keys) == 3
    assert {len(key) for key in keys} == {32}
    with pytest.raises(ValueError, match="at least 32"):
        derive_key(b"short", "tickets")
