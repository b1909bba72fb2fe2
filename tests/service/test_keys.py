from __future__ import annotations

import base64
import json
import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server import errors
from flight_server.service.json_rows import Number
from flight_server.service.keys import (
    KEY_BYTES_MAX,
    Refused,
    check_key_column,
    is_key_type,
    read_key,
    shown_keys,
    typed,
    typed_if_possible,
)
from flight_server.storage.key_states import KEY_TYPE

UTC = pa.timestamp("us", tz="UTC")
LOCAL = pa.timestamp("us")
MONEY = pa.decimal128(10, 2)


def from_json(text: str) -> Any:
    return json.loads(text, parse_float=Number)


def values_of(kind: pa.DataType, *texts: str) -> list[Any]:
    return typed(pa.array(texts, KEY_TYPE), kind).to_pylist()


# What JSON says, the type of the column, and the canonical text.
TAKEN: list[tuple[str, pa.DataType, str]] = [
    ("1", pa.int64(), "1"),
    ('"1"', pa.int64(), "1"),
    ("-9223372036854775808", pa.int64(), "-9223372036854775808"),
    ("127", pa.int8(), "127"),
    ("0.1", pa.float64(), "0.1"),
    ("0.10", pa.float64(), "0.1"),
    ("1e2", pa.float64(), "100"),
    ("1", pa.float64(), "1"),
    ("-0.0", pa.float64(), "0"),
    ("0.1", pa.float32(), "0.1"),
    ('"1.5"', pa.float64(), "1.5"),
    ('"inf"', pa.float64(), "inf"),
    ("1.5", MONEY, "1.50"),
    ("1", MONEY, "1.00"),
    ('"1.50"', MONEY, "1.50"),
    ("99999999.99", MONEY, "99999999.99"),
    ("true", pa.bool_(), "true"),
    ('"false"', pa.bool_(), "false"),
    ('" x "', pa.string(), " x "),
    ('""', pa.string(), ""),
    ('"e\\u0301"', pa.string(), "e\u0301"),
    ('"\\u00e9"', pa.string(), "\u00e9"),
    ('"AAH/"', pa.binary(), "AAH/"),
    ('"2026-02-01"', pa.date32(), "2026-02-01"),
    ('"2026-02-01T12:00:00Z"', UTC, "2026-02-01T12:00:00.000000Z"),
    ('"2026-02-01T13:30:00.5+01:30"', UTC, "2026-02-01T12:00:00.500000Z"),
    ('"2026-02-01T12:00:00.0000010"', LOCAL, "2026-02-01T12:00:00.000001"),
    ('"2026-02-01T12:00:00.000000001"', pa.timestamp("ns"), "2026-02-01T12:00:00.000000001"),
    ('"2026-02-01T12:00:00"', pa.timestamp("s"), "2026-02-01T12:00:00"),
]
REFUSED: list[tuple[str, pa.DataType]] = [
    ("null", pa.int64()),
    ("1.0", pa.int64()),
    ("1.5", pa.int64()),
    ("true", pa.int64()),
    ('"01"', pa.int64()),
    ('" 1"', pa.int64()),
    ('"+1"', pa.int64()),
    ('"\uff11"', pa.int64()),
    ("9223372036854775808", pa.int64()),
    ("128", pa.int8()),
    ("[1]", pa.int64()),
    ("9007199254740993", pa.float64()),
    ("1e400", pa.float64()),
    ("1e-400", pa.float64()),
    ("16777217", pa.float32()),
    ('"NaN"', pa.float64()),
    ('"nan"', pa.float64()),
    ('"1.50"', pa.float64()),
    ("true", pa.float64()),
    ("1.555", MONEY),
    ("100000000", MONEY),
    ("1e999999999", MONEY),
    ('"1e2"', MONEY),
    ('"NaN"', MONEY),
    ("true", MONEY),
    ("1", pa.bool_()),
    ('"TRUE"', pa.bool_()),
    ("1", pa.string()),
    ("true", pa.string()),
    ('"AAH"', pa.binary()),
    ('"AAH=/"', pa.binary()),
    ('"AB=="', pa.binary()),
    ('"2026-2-1"', pa.date32()),
    ('"20260201"', pa.date32()),
    ('"2026-02-30"', pa.date32()),
    ('"2026-02-01T12:00:00"', UTC),
    ('"2026-02-01 12:00:00Z"', UTC),
    ('"2026-02-30T12:00:00Z"', UTC),
    ('"2026-02-01T12:00:00.1234567Z"', UTC),
    ('"0001-01-01T00:00:00+01:00"', UTC),
    ('"2026-02-01T12:00:00Z"', LOCAL),
    ('"9999-12-31T00:00:00"', pa.timestamp("ns")),
    ("1", UTC),
]


@pytest.mark.parametrize(("text", "kind", "canonical"), TAKEN)
def test_a_value_that_the_column_holds_exactly_is_a_key(
    text: str, kind: pa.DataType, canonical: str
) -> None:
    assert read_key(from_json(text), kind) == canonical
    assert read_key(canonical, kind) == canonical
    (shown,) = shown_keys([canonical], kind)
    assert read_key(from_json(json.dumps(shown)), kind) == canonical
    assert typed(pa.array([canonical], KEY_TYPE), kind).type == kind


@pytest.mark.parametrize(("text", "kind"), REFUSED)
def test_a_value_that_does_not_come_back_as_it_was_is_refused(text: str, kind: pa.DataType) -> None:
    found = read_key(from_json(text), kind)
    assert isinstance(found, Refused)
    assert len(text) < 6 or text not in found.message


def test_too_long_a_key_is_refused() -> None:
    assert read_key("x" * KEY_BYTES_MAX, pa.string()) == "x" * KEY_BYTES_MAX
    assert isinstance(read_key("x" * KEY_BYTES_MAX + "y", pa.string()), Refused)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int64()), pa.struct([pa.field("a", pa.int64())]), pa.null()]
)
def test_nested_columns_name_no_rows(kind: pa.DataType) -> None:
    assert not is_key_type(kind)
    with pytest.raises(errors.InvalidRequest, match='"c"'):
        check_key_column(pa.field("c", kind))


def test_both_zeros_are_one_key() -> None:
    assert [repr(value) for value in values_of(pa.float64(), "1.5", "0")] == ["1.5", "0.0", "-0.0"]


def test_texts_that_mean_nothing_in_the_type_are_left_out_where_that_is_asked_for() -> None:
    texts = pa.array(["1", "x", "2", "02", "9223372036854775808"], KEY_TYPE)
    assert typed_if_possible(pa.array(["2", "02"], KEY_TYPE), pa.int64()).to_pylist() == [2]
    assert typed_if_possible(pa.array(["2", "3"], KEY_TYPE), pa.int64()).to_pylist() == [2, 3]
    assert typed_if_possible(pa.array(["1.50", "1.5"], KEY_TYPE), MONEY).to_pylist() == [
        Decimal("1.50")
    ]
    assert typed_if_possible(texts, pa.int64()).to_pylist() == [1, 2]
    with pytest.raises(ValueError, match="parse"):
        typed(texts, pa.int64())


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_whole_number_comes_back(value: int) -> None:
    text = read_key(value, pa.int64())
    assert isinstance(text, str)
    assert values_of(pa.int64(), text) == [value]


@given(st.floats(allow_nan=False))
def test_every_double_comes_back(value: float) -> None:
    written: object = str(value) if value in (float("inf"), float("-inf")) else Number(repr(value))
    text = read_key(written, pa.float64())
    assert isinstance(text, str)
    assert values_of(pa.float64(), text)[0] == value


@given(st.binary(min_size=4, max_size=4))
def test_every_float_comes_back(content: bytes) -> None:
    (value,) = struct.unpack("f", content)
    if value != value:
        return
    spelled = pa.scalar(value, pa.float32()).cast(pa.string()).as_py()
    text = read_key(spelled if "inf" in spelled else Number(spelled), pa.float32())
    assert isinstance(text, str)
    assert values_of(pa.float32(), text)[0] == value


@given(st.decimals(-(10**8) + 1, 10**8 - 1, places=2))
def test_every_decimal_comes_back(value: Any) -> None:
    text = read_key(str(value), MONEY)
    assert isinstance(text, str)
    assert values_of(MONEY, text) == [value]


@given(st.binary(max_size=20))
def test_all_bytes_come_back(value: bytes) -> None:
    (shown,) = shown_keys(
        [str(read_key(base64.b64encode(value).decode(), pa.binary()))], pa.binary()
    )
    assert values_of(pa.binary(), str(shown)) == [value]


@given(st.datetimes())
def test_every_moment_comes_back(value: Any) -> None:
    text = read_key(value.isoformat(), LOCAL)
    assert isinstance(text, str)
    assert values_of(LOCAL, text) == [value]
    assert read_key(value.isoformat() + "Z", UTC) == text + "Z"


@given(st.one_of(st.text(max_size=20), st.integers(), st.floats(), st.booleans(), st.none()))
def test_nothing_but_a_text_or_a_refusal_comes_of_anything(value: object) -> None:
    for kind in (pa.int32(), pa.float32(), MONEY, pa.bool_(), pa.binary(), pa.date32(), UTC):
        found = read_key(value, kind)
        if isinstance(found, str):
            assert read_key(found, kind) == found
            assert typed(pa.array([found], KEY_TYPE), kind).null_count == 0
