"""The text of values: exact for every type, and nothing that a terminal would obey."""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.client.cells import is_number, plain, texts, visible

MOMENT = dt.datetime(2026, 2, 1, 12, 30, 0, 120_000, dt.UTC)

CASES: list[tuple[Any, list[str | None]]] = [
    (pa.array([1, None, -5], pa.int8()), ["1", None, "-5"]),
    (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    (pa.array([1.0, 0.1, 1e20, float("nan")]), ["1.0", "0.1", "1e+20", "nan"]),
    (pa.array([0.1], pa.float32()), ["0.1"]),
    (pa.array([Decimal("1.10"), Decimal("-0.00")]), ["1.10", "0.00"]),
    (pa.array([Decimal(0)], pa.decimal128(38, 10)), ["0.0000000000"]),
    (pa.array([True, None]), ["true", None]),
    (pa.array(["", "x", None]), ["", "x", None]),
    (pa.array(["x"], pa.string_view()), ["x"]),
    (pa.array([b"\x00\xff", None]), ["\\x00ff", None]),
    (pa.array([b"a"], pa.binary(1)), ["\\x61"]),
    (pa.array([dt.date(2026, 1, 31)]), ["2026-01-31"]),
    (pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("us")), ["2026-02-01 12:30:00.12"]),
    (pa.array([MOMENT], pa.timestamp("ms", "UTC")), ["2026-02-01 12:30:00.12Z"]),
    (pa.array([1_000_000_000_000_000_001], pa.timestamp("ns")), ["2001-09-09 01:46:40.000000001"]),
    (pa.array([0], pa.timestamp("us", "UTC")), ["1970-01-01 00:00:00Z"]),
    (pa.array([3_600], pa.time32("s")), ["01:00:00"]),
    (pa.array([5], pa.duration("ms")), ["5 ms"]),
    (pa.nulls(2), [None, None]),
    (pa.array([[1, None], None, []]), ["[1, null]", None, "[]"]),
    (pa.array([{"a": Decimal("1.5"), "b": None}]), ['{"a": "1.5", "b": null}']),
    (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())), ['{"k": 1}']),
    (pa.array(["x", None]).dictionary_encode(), ["x", None]),
    (pa.array([], pa.int64()), []),
]


@pytest.mark.parametrize(("column", "expected"), CASES, ids=[str(case[0].type) for case in CASES])
def test_each_type_has_its_text(column: Any, expected: list[str | None]) -> None:
    assert texts(column) == expected
    json.dumps([plain(value) for value in column], allow_nan=False)


@given(st.lists(st.floats(width=64)))
def test_floats_come_back(numbers: list[float]) -> None:
    back = [float(text or "") for text in texts(pa.array(numbers, pa.float64()))]
    assert repr(back) == repr(numbers)


@given(st.text(st.characters()))
def test_nothing_shown_is_obeyed(text: str) -> None:
    shown = visible(text)
    for character in shown:
        category = unicodedata.category(character)
        assert category not in {"Cc", "Cs", "Zl", "Zp"}
        assert category != "Cf" or character in "\u200c\u200d"


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays(text: str) -> None:
    assert visible(text) == text


def test_escapes_are_named() -> None:
    assert visible("a\x1b[31m\n\t\u202e\U000e0001\x9b") == "a\\x1b[31m\\n\\t\\u202e\\U000e0001\\x9b"


def test_numbers_stand_right() -> None:
    numbers: list[pa.DataType] = [pa.int8(), pa.uint64(), pa.float16(), pa.decimal128(5, 2)]
    others: list[pa.DataType] = [pa.string(), pa.bool_(), pa.date32(), pa.list_(pa.int8())]
    assert all(map(is_number, numbers))
    assert not any(map(is_number, others))
