"""The plain form of Arrow types: one spelling for each kind of value, as every client reads it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.types as pt

COMMENT = b"comment"


def holds_dictionary(kind: Any) -> bool:
    """Whether values of a type are spelled by a dictionary, at any depth."""
    if pt.is_dictionary(kind):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return holds_dictionary(kind.storage_type)
    if pt.is_run_end_encoded(kind):
        return holds_dictionary(kind.value_type)
    return any(holds_dictionary(kind.field(i).type) for i in range(kind.num_fields))


def stream_bytes(rows: pa.Table | pa.RecordBatch) -> bytes:
    """Return rows as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return sink.getvalue().to_pybytes()


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a type without views, large offsets, dictionaries and run ends, through all nesting.

    Half floats become floats, and small decimals 128-bit ones. What is already plain comes back
    as it is.
    """
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pt.is_large_string(kind) or pt.is_string_view(kind):
        return pa.string()
    if pt.is_large_binary(kind) or pt.is_binary_view(kind):
        return pa.binary()
    if pt.is_float16(kind):
        return pa.float32()
    if pt.is_decimal32(kind) or pt.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pt.is_struct(kind):
        return pa.struct([plain_field(child) for child in kind.fields])
    if pt.is_map(kind):
        return _map(plain_field(kind.key_field), plain_field(kind.item_field))
    if (
        pt.is_list(kind)
        or pt.is_large_list(kind)
        or pt.is_list_view(kind)
        or pt.is_large_list_view(kind)
    ):
        return pa.list_(plain_field(kind.value_field))
    return kind


def plain_field(column: pa.Field[Any]) -> pa.Field[Any]:
    """Return a field in its plain type, with its comment and no other metadata."""
    comment = (column.metadata or {}).get(COMMENT)
    return pa.field(
        column.name,
        plain_type(column.type),
        nullable=column.nullable,
        metadata=None if comment is None else {COMMENT: comment},
    )


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema in plain types; of all metadata only the columns' comments stay."""
    return pa.schema([plain_field(column) for column in schema])


def _map(key: pa.Field[Any], item: pa.Field[Any]) -> pa.DataType:
    made: pa.DataType = pa.map_(key, item)  # type: ignore[call-overload]  # fields too are accepted
    return made


def commented(schema: pa.Schema, comment: str | None) -> pa.Schema:
    """Return a schema with what the table as a whole is said to hold, where anything is."""
    return schema.with_metadata({COMMENT: comment.encode()}) if comment else schema


def without_metadata(schema: pa.Schema) -> pa.Schema:
    """Return a plain schema without comments at any depth: the form of scans and results."""
    return pa.schema([_bare(column) for column in schema])


def _bare(column: pa.Field[Any]) -> pa.Field[Any]:
    return pa.field(column.name, _bare_type(column.type), nullable=column.nullable)


def _bare_type(kind: pa.DataType) -> pa.DataType:
    if pt.is_struct(kind):
        return pa.struct([_bare(child) for child in kind.fields])
    if pt.is_map(kind):
        return _map(_bare(kind.key_field), _bare(kind.item_field))
    if pt.is_list(kind):
        return pa.list_(_bare(kind.value_field))
    return kind
