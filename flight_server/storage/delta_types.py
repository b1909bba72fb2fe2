"""Which Arrow types a Delta table can hold, and the one in which it holds values of the others."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from flight_server.errors import InvalidRequest, SchemaMismatch
from flight_server.storage.arrow_types import COMMENT

COLUMNS_MAX = 10_000
COLUMN_NAME_CHARACTERS_MAX = 255
COMMENT_BYTES_MAX = 4096
NESTING_MAX = 32
# A decimal of Delta, and of most clients.
_DIGITS_MAX = 38
# What names of Parquet columns cannot hold, by the rules of Delta without column mapping.
_FORBIDDEN = frozenset(" ,;{}()=")
_FIRST_PRINTABLE = " "

TIMESTAMP = pa.timestamp("us", "UTC")
TIMESTAMP_NTZ = pa.timestamp("us")

_HELD_AS: dict[pa.DataType, pa.DataType] = {
    **{kind: kind for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.bool_())},
    **{kind: kind for kind in (pa.float32(), pa.float64(), pa.date32(), pa.string(), pa.binary())},
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
}
# Canonical extension types that are more than their storage.
_EXTENSIONS: dict[str, pa.DataType] = {
    "arrow.uuid": pa.string(),
    "arrow.json": pa.string(),
    "arrow.bool8": pa.bool_(),
}
_INSTEAD = (
    (pt.is_time, "cast it to VARCHAR or to a number of microseconds"),
    (pt.is_duration, "cast it to BIGINT"),
    (pt.is_interval, "cast it to VARCHAR or to a number"),
    (pt.is_union, "use a STRUCT with a field for each alternative"),
    (pt.is_null, "give the column a type, such as CAST(NULL AS VARCHAR)"),
    (pt.is_decimal, f"use at most {_DIGITS_MAX} digits"),
)
_WORDS: dict[pa.DataType, str] = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "TINYINT UNSIGNED",
    pa.uint16(): "SMALLINT UNSIGNED",
    pa.uint32(): "INTEGER UNSIGNED",
    pa.uint64(): "BIGINT UNSIGNED",
    pa.float16(): "HALF FLOAT",
    pa.float32(): "REAL",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    pa.date64(): "DATE",
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.string_view(): "VARCHAR",
    pa.binary(): "VARBINARY",
    pa.large_binary(): "VARBINARY",
    pa.binary_view(): "VARBINARY",
    pa.null(): "NULL",
}
_KINDS = (
    (pt.is_fixed_size_binary, "VARBINARY"),
    (pt.is_time, "TIME"),
    (pt.is_duration, "DURATION"),
    (pt.is_interval, "INTERVAL"),
    (pt.is_union, "UNION"),
    (pt.is_struct, "STRUCT"),
    (pt.is_map, "MAP"),
    (pt.is_nested, "ARRAY"),
)


def table_schema(incoming: pa.Schema) -> pa.Schema:
    """Return the schema of a new table for such data: every value keeps its meaning.

    Smaller and unsigned numbers become the next type that holds them all, texts and lists their
    plain form, times microseconds. Nullability and comments stay, other metadata goes.

    Raises SchemaMismatch for a type that Delta cannot hold, InvalidRequest for names that it cannot
    take, both naming the column, and InvalidRequest for no columns or too many.
    """
    try:
        fields = list(incoming)
        if not fields:
            raise InvalidRequest("a table needs at least one column")
        if len(fields) > COLUMNS_MAX:
            raise InvalidRequest(f"too many columns limit=columns_max={COLUMNS_MAX}")
        check_names([field.name for field in fields])
        return pa.schema([_held(field, field.name, 0) for field in fields])
    except UnicodeDecodeError:
        raise InvalidRequest("the name of a column is not valid UTF-8") from None


def check_names(names: list[str], *, inside: str = "") -> None:
    """Raise InvalidRequest unless columns of one table, or fields of one struct, may be so named.

    ``inside`` is the struct's name. Names differ in more than upper and lower case.
    """
    seen: set[str] = set()
    for name in names:
        title = shown(f"{inside}.{name}" if inside else name)
        if not name:
            where = f' in "{shown(inside)}"' if inside else ""
            raise InvalidRequest(f"a column{where} has an empty name")
        if len(name) > COLUMN_NAME_CHARACTERS_MAX:
            raise InvalidRequest(
                f'the name of the column "{title}" is too long'
                f" limit=column_name_characters_max={COLUMN_NAME_CHARACTERS_MAX}"
            )
        if any(char in _FORBIDDEN or char < _FIRST_PRINTABLE for char in name):
            raise InvalidRequest(
                f'a column of a table cannot be named "{title}": names hold no spaces and none of'
                " ,;{}()= and no line breaks; give it another name, in SQL with AS"
            )
        if name.lower() in seen:
            raise InvalidRequest(f'the column "{title}" appears twice')
        seen.add(name.lower())


def shown(name: str) -> str:
    """Return a column's name as messages show it: bounded, on one line."""
    short = name if len(name) <= COLUMN_NAME_CHARACTERS_MAX else name[:COLUMN_NAME_CHARACTERS_MAX]
    return "".join(char if char.isprintable() else "?" for char in short)


def type_words(kind: Any) -> str:
    """Return what SQL calls a type, for messages."""
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return type_words(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        held = _EXTENSIONS.get(str(kind.extension_name))
        return type_words(held or kind.storage_type)
    if pt.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pt.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE" if kind.tz else "TIMESTAMP"
    if (word := _WORDS.get(kind)) is not None:
        return word
    return next((word for is_kind, word in _KINDS if is_kind(kind)), "a type of its own")


def _held(field: pa.Field[Any], path: str, depth: int) -> pa.Field[Any]:
    comment = (field.metadata or {}).get(COMMENT)
    if comment is not None:
        comment.decode()
        if len(comment) > COMMENT_BYTES_MAX:
            raise InvalidRequest(
                f'the comment of the column "{shown(path)}" is too long'
                f" limit=comment_bytes_max={COMMENT_BYTES_MAX}"
            )
    return pa.field(
        field.name,
        _held_type(field.type, path, depth),
        nullable=field.nullable,
        metadata=None if comment is None else {COMMENT: comment},
    )


def _held_type(kind: Any, path: str, depth: int) -> pa.DataType:
    if depth > NESTING_MAX:
        raise InvalidRequest(
            f'the column "{shown(path)}" is nested too deeply limit=nesting_max={NESTING_MAX}'
        )
    if (held := _HELD_AS.get(kind)) is not None:
        return held
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return _held_type(kind.value_type, path, depth + 1)
    if isinstance(kind, pa.BaseExtensionType):
        extension = _EXTENSIONS.get(str(kind.extension_name))
        return extension or _held_type(kind.storage_type, path, depth + 1)
    if pt.is_timestamp(kind):
        return TIMESTAMP if kind.tz else TIMESTAMP_NTZ
    if pt.is_fixed_size_binary(kind):
        return pa.binary()
    if pt.is_decimal(kind):
        scale = max(kind.scale, 0)
        precision = max(kind.precision - min(kind.scale, 0), scale)
        if precision <= _DIGITS_MAX:
            return pa.decimal128(precision, scale)
    elif pt.is_nested(kind) and not pt.is_union(kind):
        return _held_nested(kind, path, depth)
    raise _cannot_hold(kind, path)


def _held_nested(kind: Any, path: str, depth: int) -> pa.DataType:
    if pt.is_struct(kind):
        if kind.num_fields == 0:
            raise SchemaMismatch(
                f'the column "{shown(path)}" is a STRUCT without fields, which a table cannot hold'
            )
        check_names([child.name for child in kind.fields], inside=path)
        return pa.struct([_held(child, f"{path}.{child.name}", depth + 1) for child in kind.fields])
    if pt.is_map(kind):
        key = _held_type(kind.key_type, f"{path}.key", depth + 1)
        item = _held_type(kind.item_type, f"{path}.value", depth + 1)
        made: pa.DataType = pa.map_(
            pa.field("key", key, nullable=False),
            pa.field("value", item, nullable=kind.item_field.nullable),
        )  # type: ignore[call-overload]  # fields too are accepted
        return made
    element = _held_type(kind.value_type, f"{path}.element", depth + 1)
    return pa.list_(pa.field("element", element, nullable=kind.value_field.nullable))


def _cannot_hold(kind: pa.DataType, path: str) -> SchemaMismatch:
    instead = next((text for is_kind, text in _INSTEAD if is_kind(kind)), "cast it to another type")
    return SchemaMismatch(
        f'the column "{shown(path)}" has the type {type_words(kind)},'
        f" which a table cannot hold; {instead}"
    )
