"""Rows of JSON as rows of a table: every digit is kept, and what does not fit names its column."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest, LimitExceeded, SchemaMismatch
from flight_server.service import json_rows
from flight_server.service.json_rows import Number, columns_of, fitted, new_columns
from flight_server.sql.column_types import arrow_type


def read(text: str) -> Any:
    return json.loads(text, parse_float=Number)


def declared(**kinds: str) -> pa.Schema:
    return pa.schema([pa.field(name, arrow_type(kind)) for name, kind in kinds.items()])


def one(value: str, kind: str) -> Any:
    """Return what a value in JSON is in a column of a type in SQL."""
    schema = declared(c=kind)
    batch = fitted([{"c": read(value)}, {}], schema, names=("c",))
    assert batch.schema == schema
    first, second = batch.column(0).to_pylist()
    assert second is None
    return first


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("9223372036854775807", "BIGINT", 2**63 - 1),
        ("9007199254740993.0", "BIGINT", 2**53 + 1),
        ("2.5", "INTEGER", 3),
        ("-25e-1", "INTEGER", -3),
        ('"12"', "SMALLINT", 12),
        ("0.1", "DOUBLE", 0.1),
        ("3", "REAL", 3.0),
        ('"-Infinity"', "DOUBLE", -math.inf),
        ("0.1", "DECIMAL(38, 30)", Decimal("0.1")),
        ("12345678901234567890123456789012345.678", "DECIMAL(38, 3)", None),
        ('"12345678901234567890123456789012345.678"', "DECIMAL(38, 3)", None),
        ("99999999999999999999999999999999999999", "DECIMAL(38, 0)", None),
        ("1E+3", "DECIMAL(9, 2)", Decimal("1000.00")),
        ("true", "BOOLEAN", True),
        ('"no"', "BOOLEAN", False),
        ('"x"', "VARCHAR", "x"),
        ("1.50", "VARCHAR", "1.50"),
        ("false", "VARCHAR", "false"),
        ('"2026-02-28"', "DATE", date(2026, 2, 28)),
        ('"2026-02-28T23:00:00+01:00"', "TIMESTAMP", datetime.fromisoformat("2026-02-28T22:00")),
        ('"2026-02-28 23:00"', "TIMESTAMPTZ", datetime(2026, 2, 28, 23, tzinfo=UTC)),
        ('"/wA="', "BINARY", b"\xff\x00"),
        ("[1, null, 3]", "BIGINT[]", [1, None, 3]),
        ("[]", "DATE[]", []),
        ('{"B": "1.10"}', "STRUCT<a: DATE, b: DECIMAL(4, 2)>", {"a": None, "b": Decimal("1.10")}),
        ('{"1": ["/w=="], "2": null}', "MAP<INT, BINARY[]>", [(1, [b"\xff"]), (2, None)]),
        ("{}", "MAP<INT, INT>", []),
    ],
)
def test_values_of_each_type(value: str, kind: str, expected: object) -> None:
    wanted = Decimal(value.strip('"')) if expected is None else expected
    assert one(value, kind) == wanted


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("9223372036854775808", "BIGINT"),
        ("1e400000000", "BIGINT"),
        ("128", "TINYINT"),
        ("1" + "0" * 400, "DOUBLE"),
        ("1e999", "DOUBLE"),
        ("1e999", "DECIMAL(38, 0)"),
        ("100", "DECIMAL(4, 2)"),
        ('"ten"', "DECIMAL(4, 2)"),
        ("true", "BIGINT"),
        ("1", "BOOLEAN"),
        ("1767225600", "TIMESTAMP"),
        ('"yesterday"', "DATE"),
        ('"no base64"', "BINARY"),
        ('"ÿ"', "BINARY"),
        ("5", "BINARY"),
        ("[1]", "VARCHAR"),
        ('{"a": 1}', "VARCHAR"),
        ("1", "BIGINT[]"),
        ("[1]", "STRUCT<a: INT>"),
        ('{"b": 1}', "STRUCT<a: INT>"),
        ('{"a": "x"}', "STRUCT<a: INT>"),
        ('[["x"]]', "INT[][]"),
        ('{"a": 1}', "MAP<INT, INT>"),
    ],
)
def test_values_that_do_not_fit(value: str, kind: str) -> None:
    with pytest.raises(SchemaMismatch, match=r'"c[."]'):
        one(value, kind)


def test_columns_mix_what_their_type_can_hold() -> None:
    schema = declared(n="BIGINT", d="DECIMAL(20, 2)", s="VARCHAR")
    rows = read('[{"n": 1, "d": 2}, {"n": "2", "d": 2.5}, {"d": "3.255", "s": 1}, {"s": "x"}]')
    assert fitted(rows, schema, names=columns_of(rows)).to_pydict() == {
        "n": [1, 2, None, None],
        "d": [Decimal("2.00"), Decimal("2.50"), Decimal("3.26"), None],
        "s": [None, None, "1", "x"],
    }


def test_names_are_those_of_the_table() -> None:
    schema = pa.schema([("Id", pa.int64()), ("x", pa.int64()), ("X", pa.int64())])
    assert fitted([{"id": 1, "X": 2}], schema, names=("id", "X")).to_pydict() == {
        "Id": [1],
        "X": [2],
    }
    for name in ("other", "ID "):
        with pytest.raises(SchemaMismatch, match=name):
            fitted([{name: 1}], schema, names=(name,))
    required = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    with pytest.raises(SchemaMismatch, match="cannot be NULL"):
        fitted([{}], required, names=("id",))


@given(st.lists(st.integers(-(10**37), 10**37), min_size=1))
def test_no_digit_is_lost(numbers: list[int]) -> None:
    schema = declared(d="DECIMAL(38, 0)", t="VARCHAR")
    rows = read(json.dumps([{"d": n, "t": str(n)} for n in numbers]))
    batch = fitted(rows, schema, names=("d", "t"))
    assert batch.column(0).to_pylist() == list(map(Decimal, numbers))
    assert batch.column(1).to_pylist() == list(map(str, numbers))


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)))
def test_floats_come_through(numbers: list[float | None]) -> None:
    rows = read(json.dumps([{"f": number} for number in numbers]))
    batch = fitted(rows, pa.schema([("f", pa.float64())]), names=("f",))
    assert batch.column(0).to_pylist() == numbers


@given(st.lists(st.none() | st.dictionaries(st.text(), st.lists(st.none() | st.binary()))))
def test_nested_values_come_through(values: list[Any]) -> None:
    encoded = [
        value
        and {
            key: [each if each is None else base64.b64encode(each).decode() for each in inside]
            for key, inside in value.items()
        }
        for value in values
    ]
    kind = pa.map_(pa.string(), pa.list_(pa.binary()))
    batch = fitted([{"m": each} for each in encoded], pa.schema([("m", kind)]), names=("m",))
    batch.validate(full=True)
    back = batch.column(0).to_pylist()
    assert [None if each is None else dict(each) for each in back] == [
        {} if each == {} else each for each in values
    ]


def test_types_of_new_columns() -> None:
    schema = pa.schema([("id", pa.int64())])
    rows = read(
        """[{"id": 1, "i": 1, "f": 1, "s": "x", "b": true, "gone": null, "big": 1},
            {"f": 0.5, "big": 18446744073709551616, "l": [[], [1]], "o": {"a b": {"x": "y"}}}]"""
    )
    types, names = new_columns(rows, schema, names=columns_of(rows))
    assert types == {
        "i": "BIGINT",
        "f": "DOUBLE",
        "s": "VARCHAR",
        "b": "BOOLEAN",
        "big": "DECIMAL(38, 0)",
        "l": "ARRAY<ARRAY<BIGINT>>",
        "o": 'STRUCT<"a b": STRUCT<"x": VARCHAR>>',
    }
    assert names == ("id", *types)
    for text in types.values():
        arrow_type(text)


@pytest.mark.parametrize(
    "values", ['[1, "x"]', "[[]]", "[{}]", '[{"a": []}]', "[" * 40 + "1" + "]" * 40, f"[{10**38}]"]
)
def test_new_columns_whose_type_cannot_be_told(values: str) -> None:
    rows = [{"new": value} for value in read(values)]
    with pytest.raises(SchemaMismatch, match=r'"new[."]'):
        new_columns(rows, pa.schema([]), names=("new",))


def test_rows_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="row=2"):
        columns_of([{}, []])
    monkeypatch.setattr(json_rows, "ROWS_MAX", 5)
    monkeypatch.setattr(json_rows, "VALUES_MAX", 10)
    with pytest.raises(LimitExceeded, match="rows_max=5"):
        columns_of([{}] * 6)
    with pytest.raises(LimitExceeded, match="values_max=10"):
        columns_of([{str(i): 1} for i in range(4)])
    schema = pa.schema([("l", pa.list_(pa.int64()))])
    with pytest.raises(LimitExceeded, match="values_max=10"):
        fitted([{"l": [1] * 10}], schema, names=("l",))
