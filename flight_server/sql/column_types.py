"""Turns the SQL name of a type into the Arrow type that a Delta table holds for it.

Names of PostgreSQL, Spark, DuckDB and the SQL standard are known. What ``protocol.sql_types`` calls
a type is read back as that type.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from flight_server.errors import InvalidRequest, SchemaMismatch
from flight_server.sql.cursor import SHOWN_CHARACTERS_MAX, Cursor
from flight_server.sql.lexer import Kind, heard

TYPE_DEPTH_MAX = 32
DECIMAL_DIGITS_MAX = 38
# What DECIMAL means by itself, as in the engine's own casts.
_DECIMAL_DEFAULT = (38, 10)
_MICROSECOND_DIGITS = 6
_FLOAT_BITS_MAX = 24

_SIMPLE: dict[str, pa.DataType] = {
    name: kind
    for names, kind in (
        ("BOOLEAN BOOL", pa.bool_()),
        ("TINYINT INT1 BYTE", pa.int8()),
        ("SMALLINT INT2 SHORT", pa.int16()),
        ("INTEGER INT INT4 MEDIUMINT", pa.int32()),
        ("BIGINT INT8 LONG", pa.int64()),
        ("REAL FLOAT4", pa.float32()),
        ("DOUBLE FLOAT8", pa.float64()),
        ("DATE DATE32", pa.date32()),
        ("STRING TEXT CLOB TINYTEXT MEDIUMTEXT LONGTEXT UUID JSON JSONB", pa.string()),
        ("BYTEA BLOB BYTES", pa.binary()),
        ("TIMESTAMP_NTZ DATETIME TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_US", pa.timestamp("us")),
        ("TIMESTAMPTZ TIMESTAMP_LTZ", pa.timestamp("us", "UTC")),
    )
    for name in names.split()
}
# Those that may have a length, which is read and not kept: values of any length fit.
_SIZED: dict[str, pa.DataType] = {
    **dict.fromkeys(("VARCHAR", "NVARCHAR", "CHAR", "NCHAR", "CHARACTER", "BPCHAR"), pa.string()),
    **dict.fromkeys(("BINARY", "VARBINARY"), pa.binary()),
}
_REFUSED = {
    "TIME": "VARCHAR, or a TIMESTAMP",
    "TIMETZ": "VARCHAR, or a TIMESTAMP",
    "INTERVAL": "BIGINT, and say the unit in the name",
    "UTINYINT": "SMALLINT",
    "USMALLINT": "INTEGER",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20, 0)",
    "HUGEINT": "DECIMAL(38, 0)",
    "UHUGEINT": "DECIMAL(38, 0)",
    "TIMESTAMP_NS": "TIMESTAMP: tables keep microseconds",
    "SERIAL": "INTEGER: no column makes its own values",
    "BIGSERIAL": "BIGINT: no column makes its own values",
    "SMALLSERIAL": "SMALLINT: no column makes its own values",
    "BIT": "BOOLEAN or VARBINARY",
    "MONEY": "DECIMAL(19, 4)",
    "VARIANT": "VARCHAR",
    "UNION": "STRUCT",
    "ENUM": "VARCHAR",
    "XML": "VARCHAR",
    "GEOMETRY": "VARBINARY",
    "GEOGRAPHY": "VARBINARY",
}
_UNSIGNED = {
    "TINYINT": "UTINYINT",
    "SMALLINT": "USMALLINT",
    "INTEGER": "UINTEGER",
    "INT": "UINTEGER",
    "BIGINT": "UBIGINT",
}
_CLOSING = {"(": ")", "<": ">"}


def arrow_type(text: str) -> pa.DataType:
    """Return the type that a table holds for a type's SQL name, such as ``DECIMAL(12, 2)``.

    ``TIMESTAMP`` has no zone, ``TIMESTAMP WITH TIME ZONE`` is in UTC; both count microseconds.
    Nested types are ``T[]``, ``ARRAY<T>``, ``MAP<K, V>``, ``STRUCT<a: T>`` and ``STRUCT(a T)``.

    Raises InvalidRequest for what is no type, and SchemaMismatch for a type that a table cannot
    hold, saying what to use instead.
    """
    cursor = Cursor(text, heard(text), bucket="", schema="")
    kind = _type(cursor, depth=1)
    if not cursor.is_done:
        raise InvalidRequest(f"there is no type {_shown(text)}")
    return kind


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "…"


def _type(cursor: Cursor, *, depth: int) -> pa.DataType:
    if depth > TYPE_DEPTH_MAX:
        raise InvalidRequest(f"the type is nested too deeply; type_depth_max={TYPE_DEPTH_MAX}")
    token = cursor.next()
    word = token.name.upper() if token.kind in (Kind.WORD, Kind.QUOTED) else ""
    kind = _nested(cursor, word, depth=depth) or _scalar(cursor, word)
    if kind is None:
        raise InvalidRequest(
            f"there is no type {_shown(token.text)}" if word else "a type is missing"
        )
    while cursor.take_symbol("["):
        depth += 1
        if depth > TYPE_DEPTH_MAX:
            raise InvalidRequest(f"the type is nested too deeply; type_depth_max={TYPE_DEPTH_MAX}")
        if not cursor.take_symbol("]"):
            raise SchemaMismatch("a table cannot hold arrays of a fixed size: write T[]")
        kind = pa.list_(kind)
    return kind


def _scalar(cursor: Cursor, word: str) -> pa.DataType | None:
    if word in _UNSIGNED and cursor.take("UNSIGNED"):
        word = _UNSIGNED[word]
    if word in _REFUSED:
        raise SchemaMismatch(f"a table cannot hold the type {word}: use {_REFUSED[word]}")
    if word in ("DECIMAL", "NUMERIC", "DEC"):
        return _decimal(cursor)
    if word == "FLOAT":
        bits = _numbers(cursor, at_most=1)
        return pa.float64() if bits and bits[0] > _FLOAT_BITS_MAX else pa.float32()
    if word == "TIMESTAMP":
        return _timestamp(cursor)
    if word in _SIZED:
        cursor.take("VARYING")
        _numbers(cursor, at_most=1)
        return _SIZED[word]
    if word == "DOUBLE":
        cursor.take("PRECISION")
    kind = _SIMPLE.get(word)
    if kind is not None and pa.types.is_timestamp(kind):
        _check_fraction(_numbers(cursor, at_most=1))
    return kind


def _decimal(cursor: Cursor) -> pa.DataType:
    given = _numbers(cursor, at_most=2)
    precision, scale = (*given, 0)[:2] if given else _DECIMAL_DEFAULT
    if not 1 <= precision <= DECIMAL_DIGITS_MAX or scale > precision:
        raise SchemaMismatch(
            f"a table cannot hold the type DECIMAL({precision}, {scale}): it has at most"
            f" {DECIMAL_DIGITS_MAX} digits, and no more behind the point than in all"
        )
    return pa.decimal128(precision, scale)


def _timestamp(cursor: Cursor) -> pa.DataType:
    _check_fraction(_numbers(cursor, at_most=1))
    if cursor.take("WITH", "TIME", "ZONE") or cursor.take("WITH", "LOCAL", "TIME", "ZONE"):
        return pa.timestamp("us", "UTC")
    cursor.take("WITHOUT", "TIME", "ZONE")
    return pa.timestamp("us")


def _check_fraction(digits: tuple[int, ...]) -> None:
    if digits and digits[0] > _MICROSECOND_DIGITS:
        raise SchemaMismatch(
            f"a table cannot hold the type TIMESTAMP({digits[0]}): use TIMESTAMP, with microseconds"
        )


def _numbers(cursor: Cursor, *, at_most: int) -> tuple[int, ...]:
    """Return the numbers in parentheses that come next, if some do."""
    if not cursor.sees_symbol("("):
        return ()

    def number() -> int:
        token = cursor.next()
        if token.upper == "MAX":
            return 0
        if token.kind is not Kind.NUMBER or not token.text.isdecimal() or len(token.text) > 9:
            cursor.fail("a type takes whole numbers", at=token)
        return int(token.text)

    opening = cursor.peek()
    found = tuple(cursor.items(number))
    if len(found) > at_most:
        cursor.fail(f"the type takes {at_most} at most", at=opening)
    return found


def _nested(cursor: Cursor, word: str, *, depth: int) -> pa.DataType | None:
    opening = cursor.peek().text
    if word not in ("ARRAY", "LIST", "MAP", "STRUCT", "ROW"):
        return None
    if opening not in _CLOSING:
        raise InvalidRequest(f"the type {word} needs the types in it, as in {word}<…>")
    cursor.next()
    kind: pa.DataType
    if word in ("ARRAY", "LIST"):
        kind = pa.list_(_type(cursor, depth=depth + 1))
    elif word == "MAP":
        key = _type(cursor, depth=depth + 1)
        cursor.expect_symbol(",")
        kind = pa.map_(key, _type(cursor, depth=depth + 1))
    else:
        kind = pa.struct(_fields(cursor, depth=depth + 1))
    cursor.expect_symbol(_CLOSING[opening])
    return kind


def _fields(cursor: Cursor, *, depth: int) -> list[pa.Field[Any]]:
    opening = cursor.peek()
    fields = [_field(cursor, depth=depth)]
    while cursor.take_symbol(","):
        fields.append(_field(cursor, depth=depth))
    cursor.check_once([field.name for field in fields], at=opening)
    return fields


def _field(cursor: Cursor, *, depth: int) -> pa.Field[Any]:
    name = cursor.name("the name of a field")
    cursor.take_symbol(":")
    kind = _type(cursor, depth=depth)
    is_nullable = not cursor.take("NOT", "NULL")
    comment = cursor.string("a comment") if cursor.take("COMMENT") else None
    metadata = None if comment is None else {"comment": comment}
    return pa.field(name, kind, nullable=is_nullable, metadata=metadata)
