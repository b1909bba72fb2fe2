from __future__ import annotations

import pyarrow as pa
import pytest

from flight_server.protocol.sql_types import SQL_TYPES, ColumnType, column_type, sql_type_name


@pytest.mark.parametrize(
    ("arrow", "name", "precision", "scale"),
    [
        (pa.int8(), "TINYINT", 3, 0),
        (pa.int16(), "SMALLINT", 5, 0),
        (pa.int32(), "INTEGER", 10, 0),
        (pa.int64(), "BIGINT", 19, 0),
        (pa.uint64(), "BIGINT UNSIGNED", 20, 0),
        (pa.float32(), "REAL", 7, None),
        (pa.float64(), "DOUBLE", 15, None),
        (pa.decimal128(12, 2), "DECIMAL(12,2)", 12, 2),
        (pa.decimal256(50, 5), "DECIMAL(50,5)", 50, 5),
        (pa.bool_(), "BOOLEAN", 1, None),
        (pa.string(), "VARCHAR", None, None),
        (pa.large_string(), "VARCHAR", None, None),
        (pa.string_view(), "VARCHAR", None, None),
        (pa.binary(), "VARBINARY", None, None),
        (pa.binary(16), "VARBINARY", 16, None),
        (pa.date32(), "DATE", 10, 0),
        (pa.time64("us"), "TIME", 15, 6),
        (pa.timestamp("us"), "TIMESTAMP", 26, 6),
        (pa.timestamp("s"), "TIMESTAMP", 19, 0),
        (pa.timestamp("ns", "UTC"), "TIMESTAMP WITH TIME ZONE", 35, 9),
        (pa.duration("s"), "INTERVAL", None, None),
        (pa.month_day_nano_interval(), "INTERVAL", None, None),
        (pa.list_(pa.int8()), "ARRAY", None, None),
        (pa.struct([("a", pa.int8())]), "STRUCT", None, None),
        (pa.map_(pa.string(), pa.int8()), "MAP", None, None),
        (pa.null(), "NULL", None, None),
        (pa.dictionary(pa.int8(), pa.string()), "VARCHAR", None, None),
        (pa.uuid(), "VARBINARY", 16, None),
    ],
    ids=str,
)
def test_types_in_sql_terms(
    arrow: pa.DataType, name: str, precision: int | None, scale: int | None
) -> None:
    expected = ColumnType(name, precision, scale, case_sensitive=name == "VARCHAR")
    assert column_type(arrow) == expected
    assert sql_type_name(arrow) == name


def test_names_of_types_are_unique() -> None:
    assert len({kind.name for kind in SQL_TYPES}) == len(SQL_TYPES)
