"""One table with a column for every type that Delta can hold, and the values that break readers."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from math import inf, nan
from typing import Any

import pyarrow as pa

INT8, INT16, INT32, INT64 = (2 ** (bits - 1) for bits in (8, 16, 32, 64))
WIDEST = Decimal("9" * 38)
FINEST = Decimal("0." + "9" * 38)
_MAP = pa.map_(pa.string(), pa.int64())
_STRUCT = pa.struct([pa.field("x", pa.int32()), pa.field("y", pa.string())])
_DEEP = pa.struct(
    [
        pa.field("rows", pa.list_(pa.struct([pa.field("k", pa.string()), pa.field("m", _MAP)]))),
        pa.field("inner", pa.struct([pa.field("d", pa.decimal128(38, 18))])),
    ]
)

# Each column: its type, and values of which the first is plain and the others are extremes. A NULL
# is added to each.
COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "a_boolean": (pa.bool_(), [True, False, True, False]),
    "an_int8": (pa.int8(), [1, -INT8, INT8 - 1, 0]),
    "an_int16": (pa.int16(), [1, -INT16, INT16 - 1, 0]),
    "an_int32": (pa.int32(), [1, -INT32, INT32 - 1, 0]),
    "an_int64": (pa.int64(), [1, -INT64, INT64 - 1, 0]),
    "a_float32": (pa.float32(), [1.5, inf, -inf, -0.0]),
    "a_float64": (pa.float64(), [0.1, 1.7976931348623157e308, 5e-324, -0.0]),
    "odd_float64": (pa.float64(), [0.0, inf, -inf, nan]),
    "odd_float32": (pa.float32(), [0.0, 1e-45, 3.4028234663852886e38, nan]),
    "a_decimal": (pa.decimal128(10, 2), [Decimal("1.50"), Decimal("-99999999.99"), 0, 1]),
    "widest_decimal": (pa.decimal128(38, 0), [Decimal(1), WIDEST, WIDEST.copy_negate(), 0]),
    "finest_decimal": (
        pa.decimal128(38, 38),
        [FINEST, FINEST.copy_negate(), Decimal("0.1"), Decimal("1e-38")],
    ),
    "a_string": (pa.string(), ["plain", "", "zürich ☃ 𝄞 \u202e", "a\nb\t'c' \"d\" \\ % _\0"]),
    "a_binary": (pa.binary(), [b"plain", b"", b"\0\xff\xfe", bytes(range(256))]),
    "a_date": (
        pa.date32(),
        [date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31), date(1582, 10, 10)],
    ),
    "a_timestamp": (
        pa.timestamp("us", "UTC"),
        [
            datetime(2024, 2, 29, 1, 2, 3, 456789, UTC),
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        ],
    ),
    "a_timestamp_ntz": (
        pa.timestamp("us"),
        [
            datetime(2024, 3, 31, 2, 30),  # noqa: DTZ001  it has no zone, that is the point
            datetime(1, 1, 1),  # noqa: DTZ001  as above
            datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001  as above
            datetime(1970, 1, 1),  # noqa: DTZ001  as above
        ],
    ),
    "a_list": (pa.list_(pa.int64()), [[1, 2], [], [None], [INT64 - 1, None, -INT64]]),
    "a_list_of_lists": (pa.list_(pa.list_(pa.string())), [[["a"], []], [], [None], [[None, ""]]]),
    "a_struct": (_STRUCT, [{"x": 1, "y": "a"}, {"x": None, "y": None}, {"x": 0, "y": ""}, None]),
    "a_map": (_MAP, [[("a", 1)], [], [("", None)], [("x", INT64 - 1), ("y", -INT64)]]),
    "a_deep_one": (
        _DEEP,
        [
            {"rows": [{"k": "a", "m": [("b", 1)]}, None], "inner": {"d": Decimal("0.5")}},
            {"rows": [], "inner": None},
            {"rows": None, "inner": {"d": None}},
            {
                "rows": [{"k": None, "m": None}],
                "inner": {"d": Decimal("-" + "9" * 20 + "." + "9" * 18)},
            },
        ],
    ),
    "a_map_of_structs": (
        pa.map_(pa.int32(), pa.struct([pa.field("tags", pa.list_(pa.string()))])),
        [[(1, {"tags": ["a", None]})], [], [(2, None)], [(3, {"tags": None}), (4, {"tags": []})]],
    ),
}
SCHEMA = pa.schema(
    [pa.field("row", pa.int64()), *(pa.field(name, kind) for name, (kind, _) in COLUMNS.items())]
)


def every_kind() -> pa.Table:
    """Return five rows of every type: a plain one, three of extremes, and one of NULLs."""
    columns: list[pa.Array[Any]] = [pa.array(range(5), pa.int64())]
    columns += [pa.array([*values, None], kind) for kind, values in COLUMNS.values()]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def same(left: pa.Table, right: pa.Table) -> bool:
    """Tell whether two tables are the same to the bit: -0.0 is not 0.0, and NaN is NaN."""
    return left.schema.equals(right.schema) and _bits(left) == _bits(right)


def _bits(table: pa.Table) -> list[dict[str, str]]:
    return [{name: repr(value) for name, value in row.items()} for row in table.to_pylist()]
