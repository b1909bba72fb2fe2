"""The SQL names and sizes of Arrow types, and the rows of GetXdbcTypeInfo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from flight_server.protocol import flight_sql_pb2 as pb

_TEXT_LENGTH_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class SqlType:
    """One row of GetXdbcTypeInfo; ``digits`` is its size in digits, characters or bytes."""

    name: str
    data_type: int
    digits: int | None = None
    prefix: str | None = None
    suffix: str | None = None
    parameters: tuple[str, ...] | None = None
    case_sensitive: bool = False
    searchable: int = pb.SEARCHABLE_BASIC
    unsigned: bool | None = None
    scale_min: int | None = None
    scale_max: int | None = None
    sql_data_type: int | None = None
    datetime_subcode: int | None = None
    radix: int | None = None


def _integer(name: str, data_type: int, digits: int, *, unsigned: bool = False) -> SqlType:
    return SqlType(name, data_type, digits, unsigned=unsigned, scale_min=0, scale_max=0, radix=10)


def _float(name: str, data_type: int, digits: int) -> SqlType:
    return SqlType(name, data_type, digits, unsigned=False, radix=10)


def _moment(name: str, data_type: int, digits: int, *, scale: int, subcode: int) -> SqlType:
    literal = name.removesuffix(" WITH TIME ZONE")
    return SqlType(
        name,
        data_type,
        digits,
        prefix=f"{literal} '",
        suffix="'",
        scale_min=0,
        scale_max=scale,
        sql_data_type=pb.XDBC_DATETIME,
        datetime_subcode=subcode,
    )


# What a query can return or a table can hold, by name. Sizes of moments count nanoseconds, the
# finest that the SQL dialect has. Nested types have no number in ODBC; comparing them works, LIKE
# does not.
SQL_TYPES: tuple[SqlType, ...] = (
    _integer("TINYINT", pb.XDBC_TINYINT, 3),
    _integer("TINYINT UNSIGNED", pb.XDBC_TINYINT, 3, unsigned=True),
    _integer("SMALLINT", pb.XDBC_SMALLINT, 5),
    _integer("SMALLINT UNSIGNED", pb.XDBC_SMALLINT, 5, unsigned=True),
    _integer("INTEGER", pb.XDBC_INTEGER, 10),
    _integer("INTEGER UNSIGNED", pb.XDBC_INTEGER, 10, unsigned=True),
    _integer("BIGINT", pb.XDBC_BIGINT, 19),
    _integer("BIGINT UNSIGNED", pb.XDBC_BIGINT, 20, unsigned=True),
    _float("REAL", pb.XDBC_REAL, 7),
    _float("DOUBLE", pb.XDBC_DOUBLE, 15),
    SqlType(
        "DECIMAL",
        pb.XDBC_DECIMAL,
        38,
        parameters=("precision", "scale"),
        unsigned=False,
        scale_min=0,
        scale_max=38,
        radix=10,
    ),
    SqlType("BOOLEAN", pb.XDBC_BIT, 1),
    SqlType(
        "VARCHAR",
        pb.XDBC_VARCHAR,
        _TEXT_LENGTH_MAX,
        prefix="'",
        suffix="'",
        case_sensitive=True,
        searchable=pb.SEARCHABLE_FULL,
    ),
    SqlType("VARBINARY", pb.XDBC_VARBINARY, _TEXT_LENGTH_MAX, prefix="X'", suffix="'"),
    _moment("DATE", pb.XDBC_DATE, 10, scale=0, subcode=pb.XDBC_SUBCODE_DATE),
    _moment("TIME", pb.XDBC_TIME, 18, scale=9, subcode=pb.XDBC_SUBCODE_TIME),
    _moment("TIMESTAMP", pb.XDBC_TIMESTAMP, 29, scale=9, subcode=pb.XDBC_SUBCODE_TIMESTAMP),
    _moment(
        "TIMESTAMP WITH TIME ZONE",
        pb.XDBC_TIMESTAMP,
        35,
        scale=9,
        subcode=pb.XDBC_SUBCODE_TIMESTAMP_WITH_TIMEZONE,
    ),
    SqlType("INTERVAL", pb.XDBC_INTERVAL, prefix="INTERVAL '", suffix="'"),
    SqlType("ARRAY", pb.XDBC_UNKNOWN_TYPE),
    SqlType("STRUCT", pb.XDBC_UNKNOWN_TYPE),
    SqlType("MAP", pb.XDBC_UNKNOWN_TYPE),
)
_BY_NAME = {sql_type.name: sql_type for sql_type in SQL_TYPES}

_NAMES: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (pt.is_int8, "TINYINT"),
    (pt.is_int16, "SMALLINT"),
    (pt.is_int32, "INTEGER"),
    (pt.is_int64, "BIGINT"),
    (pt.is_uint8, "TINYINT UNSIGNED"),
    (pt.is_uint16, "SMALLINT UNSIGNED"),
    (pt.is_uint32, "INTEGER UNSIGNED"),
    (pt.is_uint64, "BIGINT UNSIGNED"),
    (pt.is_float16, "REAL"),
    (pt.is_float32, "REAL"),
    (pt.is_float64, "DOUBLE"),
    (pt.is_decimal, "DECIMAL"),
    (pt.is_boolean, "BOOLEAN"),
    (pt.is_string, "VARCHAR"),
    (pt.is_large_string, "VARCHAR"),
    (pt.is_string_view, "VARCHAR"),
    (pt.is_binary, "VARBINARY"),
    (pt.is_large_binary, "VARBINARY"),
    (pt.is_binary_view, "VARBINARY"),
    (pt.is_fixed_size_binary, "VARBINARY"),
    (pt.is_date, "DATE"),
    (pt.is_time, "TIME"),
    (pt.is_duration, "INTERVAL"),
    (pt.is_interval, "INTERVAL"),
    (pt.is_struct, "STRUCT"),
    (pt.is_map, "MAP"),
    (pt.is_list, "ARRAY"),
    (pt.is_large_list, "ARRAY"),
    (pt.is_fixed_size_list, "ARRAY"),
    (pt.is_list_view, "ARRAY"),
    (pt.is_large_list_view, "ARRAY"),
    (pt.is_union, "UNION"),
    (pt.is_null, "NULL"),
)
_DIGITS_OF_UNIT = {"s": 0, "ms": 3, "us": 6, "ns": 9}


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a client is told about the type of one column; sizes are None where there are none."""

    name: str
    precision: int | None
    scale: int | None
    case_sensitive: bool


def column_type(arrow: pa.DataType) -> ColumnType:
    """Describe an Arrow type in SQL terms; encodings count as what they hold.

    A decimal is called with its precision and scale, ``DECIMAL(12,2)``.
    """
    arrow = _plain(arrow)
    if isinstance(arrow, pa.Decimal128Type | pa.Decimal256Type) or pt.is_decimal(arrow):
        name = f"DECIMAL({arrow.precision},{arrow.scale})"
        return ColumnType(name, arrow.precision, arrow.scale, case_sensitive=False)
    name = _base_name(arrow)
    known = _BY_NAME.get(name)
    if known is None or pt.is_fixed_size_binary(arrow):
        width = arrow.byte_width if pt.is_fixed_size_binary(arrow) else None
        return ColumnType(name, width, None, case_sensitive=False)
    if pt.is_timestamp(arrow) or pt.is_time(arrow):
        return _moment_type(known, _DIGITS_OF_UNIT[arrow.unit])
    size = None if known.digits == _TEXT_LENGTH_MAX else known.digits
    return ColumnType(name, size, known.scale_max, known.case_sensitive)


def sql_type_name(arrow: pa.DataType) -> str:
    """Name an Arrow type in SQL, such as BIGINT, DECIMAL(12,2) or TIMESTAMP WITH TIME ZONE."""
    return column_type(arrow).name


def _moment_type(known: SqlType, fraction: int) -> ColumnType:
    # The full size holds nine digits of a second and the point before them.
    full = known.digits or 0
    size = full - 9 + fraction if fraction else full - 10
    return ColumnType(known.name, size, fraction, case_sensitive=False)


def _base_name(arrow: pa.DataType) -> str:
    if pt.is_timestamp(arrow):
        return "TIMESTAMP" if arrow.tz is None else "TIMESTAMP WITH TIME ZONE"
    return next((name for fits, name in _NAMES if fits(arrow)), "OTHER")


def _plain(arrow: pa.DataType) -> pa.DataType:
    while True:
        if isinstance(arrow, pa.BaseExtensionType):
            arrow = arrow.storage_type
        elif isinstance(arrow, pa.DictionaryType | pa.RunEndEncodedType):
            arrow = arrow.value_type
        else:
            return arrow
