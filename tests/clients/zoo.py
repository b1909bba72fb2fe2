"""Every Arrow type, three rows of each: what a table makes of it, or that no table can hold it."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

_TEXTS = ["a", None, "a"]
_BYTES = [b"ab", None, b"cd"]
_LISTS = [[1], None, []]
_NUMBERS = [Decimal("1.5"), None, Decimal("-2.5")]
_DAYS = [date(2024, 2, 29), None, date(1, 1, 1)]
_TIMES = [time(1, 2, 3), None, time(0)]
_LIST = pa.list_(pa.field("element", pa.int64()))

# name: the array as it is sent, and the type that it comes back with
HELD: dict[str, tuple[Any, Any]] = {
    "booleans": (pa.array([True, None, False]), pa.bool_()),
    "int8": (pa.array([-128, None, 127], pa.int8()), pa.int8()),
    "int64": (pa.array([-(2**63), None, 2**63 - 1]), pa.int64()),
    "uint8": (pa.array([0, None, 2**8 - 1], pa.uint8()), pa.int16()),
    "uint16": (pa.array([0, None, 2**16 - 1], pa.uint16()), pa.int32()),
    "uint32": (pa.array([0, None, 2**32 - 1], pa.uint32()), pa.int64()),
    "uint64": (pa.array([0, None, 2**64 - 1], pa.uint64()), pa.decimal128(20, 0)),
    "float16": (pa.array([0.5, None, -2.0], pa.float16()), pa.float32()),
    "float32": (pa.array([0.5, None, -2.0], pa.float32()), pa.float32()),
    "float64": (pa.array([0.1, None, -2.0]), pa.float64()),
    "decimal32": (pa.array(_NUMBERS, pa.decimal32(5, 1)), pa.decimal128(5, 1)),
    "decimal64": (pa.array(_NUMBERS, pa.decimal64(15, 1)), pa.decimal128(15, 1)),
    "decimal128": (pa.array(_NUMBERS, pa.decimal128(38, 1)), pa.decimal128(38, 1)),
    "decimal256": (pa.array(_NUMBERS, pa.decimal256(38, 1)), pa.decimal128(38, 1)),
    "date32": (pa.array(_DAYS, pa.date32()), pa.date32()),
    "date64": (pa.array(_DAYS, pa.date64()), pa.date32()),
    "seconds": (pa.array([0, None, -1], pa.timestamp("s")), pa.timestamp("us")),
    "millis": (pa.array([0, None, -1], pa.timestamp("ms")), pa.timestamp("us")),
    "micros": (pa.array([0, None, -1], pa.timestamp("us")), pa.timestamp("us")),
    "nanos": (pa.array([0, None, -1000], pa.timestamp("ns")), pa.timestamp("us")),
    "utc": (pa.array([0, None, -1], pa.timestamp("ms", "UTC")), pa.timestamp("us", "UTC")),
    "paris": (
        pa.array([0, None, -1], pa.timestamp("us", "Europe/Paris")),
        pa.timestamp("us", "UTC"),
    ),
    "strings": (pa.array(_TEXTS), pa.string()),
    "large_strings": (pa.array(_TEXTS, pa.large_string()), pa.string()),
    "string_views": (pa.array(_TEXTS, pa.string_view()), pa.string()),
    "binary": (pa.array(_BYTES), pa.binary()),
    "large_binary": (pa.array(_BYTES, pa.large_binary()), pa.binary()),
    "binary_views": (pa.array(_BYTES, pa.binary_view()), pa.binary()),
    "fixed_binary": (pa.array(_BYTES, pa.binary(2)), pa.binary()),
    "lists": (pa.array(_LISTS, pa.list_(pa.int64())), _LIST),
    "large_lists": (pa.array(_LISTS, pa.large_list(pa.int64())), _LIST),
    "list_views": (pa.array(_LISTS, pa.list_view(pa.int64())), _LIST),
    "large_list_views": (pa.array(_LISTS, pa.large_list_view(pa.int64())), _LIST),
    "fixed_lists": (pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)), _LIST),
    "structs": (pa.array([{"a": 1}, None, {"a": None}]), pa.struct([pa.field("a", pa.int64())])),
    "maps": (
        pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        pa.map_(pa.string(), pa.int64()),
    ),
    "dictionaries": (pa.array(_TEXTS).dictionary_encode(), pa.string()),
    "dictionaries_of_views": (
        pa.DictionaryArray.from_arrays(
            pa.array([1, None, 0], pa.uint32()), pa.array(["x", "y"], pa.string_view())
        ),
        pa.string(),
    ),
    "lists_of_dictionaries": (
        pa.array([["a"], None, ["b"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.list_(pa.field("element", pa.string())),
    ),
    "runs": (
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3]), pa.array(["a", "b"])),
        pa.string(),
    ),
    "json": (pa.array(['{"a":1}', None, "2"], pa.json_()), pa.string()),
    "bool8": (
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None, 0], pa.int8())),
        pa.bool_(),
    ),
}
# A UUID comes back as its text.
UUIDS = pa.array([b"0" * 16, None, b"1" * 16], pa.uuid())
UUID_TEXTS = ["30303030-3030-3030-3030-303030303030", None, "31313131-3131-3131-3131-313131313131"]
# name: the array, and a word of the refusal
REFUSED: dict[str, tuple[Any, str]] = {
    "wide_decimals": (pa.array(_NUMBERS, pa.decimal256(60, 1)), "38 digits"),
    "time32": (pa.array(_TIMES, pa.time32("s")), "TIME"),
    "time64": (pa.array(_TIMES, pa.time64("us")), "TIME"),
    "durations": (pa.array([0, None, 1], pa.duration("us")), "DURATION"),
    "intervals": (pa.array([(1, 2, 3), None], pa.month_day_nano_interval()), "INTERVAL"),
    "nulls": (pa.nulls(3), "NULL"),
    "odd_nanos": (pa.array([0, None, 1], pa.timestamp("ns")), "TIMESTAMP"),
    "unions": (
        pa.UnionArray.from_sparse(
            pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
        ),
        "UNION",
    ),
    "dense_unions": (
        pa.UnionArray.from_dense(
            pa.array([0, 1], pa.int8()),
            pa.array([0, 0], pa.int32()),
            [pa.array([1]), pa.array(["b"])],
        ),
        "UNION",
    ),
    "empty_structs": (pa.array([{}, None], pa.struct([])), "STRUCT"),
}


def held() -> pa.Table:
    """Return a table with a column for each type that a table can hold."""
    return pa.table({name: array for name, (array, _) in HELD.items()})
