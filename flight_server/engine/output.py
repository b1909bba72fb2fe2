"""Shapes results for the wire: plain types, one fixed schema, batches of a bounded size.

Types are changed by DataFusion (``plain_frame``), where it costs least; cutting and joining happens
here, per batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import pyarrow as pa
from datafusion import DataFrame, col

from flight_server.engine.base import BatchLimits
from flight_server.errors import Cancelled, InvalidRequest, LimitExceeded
from flight_server.sql.names import quoted

# A batch below this part of the target is joined with its neighbours; a larger one is not worth the
# copy.
_SMALL_PART = 2
_FIRST_JOINED_BYTES = 64 * 1024

_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type for the same values that every client reads: no views, no dictionaries."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_nested(kind):
        return _plain_nested(kind)
    return kind


def _plain_nested(kind: Any) -> pa.DataType:
    """Return the plain type of a nested one; a type of any other kind, such as a union, stays."""
    nested: pa.DataType = kind
    if pa.types.is_struct(kind):
        nested = pa.struct([_plain_field(kind.field(i)) for i in range(kind.num_fields)])
    elif pa.types.is_map(kind):
        entries = (_plain_field(kind.key_field), _plain_field(kind.item_field))
        nested = pa.map_(*entries)  # type: ignore[call-overload]  # the stubs know no fields here
    elif pa.types.is_fixed_size_list(kind):
        nested = pa.list_(_plain_field(kind.value_field), kind.list_size)
    elif any(is_kind(kind) for is_kind in _LISTS):
        nested = pa.list_(_plain_field(kind.value_field))
    return nested


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema in plain types, without metadata; names, order and nullability stay."""
    return pa.schema([_plain_field(field) for field in schema])


def plain_frame(frame: DataFrame, schema: pa.Schema) -> DataFrame:
    """Return the query with casts on top for those columns of its ``schema`` that are not plain.

    Columns that share a name cannot be told apart by a projection; then the query stays as it is
    and ``conform`` casts instead.
    """
    plain = plain_schema(schema)
    is_plain = all(a.type == b.type for a, b in zip(schema, plain, strict=True))
    if is_plain or len(set(schema.names)) < len(schema.names):
        return frame
    columns = (
        col(quoted(new.name)) if old.type == new.type
        # The alias keeps the name, which would otherwise become that of the cast.
        else col(quoted(new.name)).cast(new.type).alias(new.name)
        for old, new in zip(schema, plain, strict=True)
    )  # fmt: skip
    return frame.select(*columns)


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the batch under exactly this schema, which has the same columns in plain types."""
    if batch.num_columns == 0 or batch.schema.equals(schema, check_metadata=True):
        return batch
    columns = [
        column if column.type == field.type else _cast(column, field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def bounded(
    batches: Iterable[pa.RecordBatch], limits: BatchLimits, *, is_cancelled: Callable[[], bool]
) -> Generator[pa.RecordBatch, None, None]:
    """Return the same rows in batches of about the target size and never above the maximum.

    Sizes are bytes of an IPC message.
    The first rows leave at once. Small batches that follow are joined, up to a size that grows from
    64 KiB to the target, so that a slow query is not held back by more than it has already shown.
    Raises LimitExceeded when one row is above the maximum or the whole is above
    ``result_bytes_max``, Cancelled when the caller said so.
    """
    total = 0
    for batch, size in _joined(_cut(batches, limits, is_cancelled=is_cancelled), limits):
        total += size
        if total > limits.result_bytes_max:
            raise LimitExceeded(
                "the result is larger than allowed"
                f" setting=result_bytes_max limit={limits.result_bytes_max}"
            )
        yield batch


def body_bytes(batch: pa.RecordBatch) -> int:
    """Return the size of a batch as an IPC message; a slice counts only what it shows."""
    return int(pa.ipc.get_record_batch_size(batch))


def _plain_field(field: pa.Field[Any]) -> pa.Field[Any]:
    if "\0" in field.name:
        raise InvalidRequest("a column name holds a NUL character")
    return pa.field(field.name, plain_type(field.type), nullable=field.nullable)


def _cast(column: pa.Array[Any], kind: pa.DataType) -> pa.Array[Any]:
    return column.cast(kind)


def _cut(
    batches: Iterable[pa.RecordBatch], limits: BatchLimits, *, is_cancelled: Callable[[], bool]
) -> Iterator[tuple[pa.RecordBatch, int]]:
    for batch in batches:
        if is_cancelled():
            raise Cancelled("the query was cancelled")
        if batch.num_rows:
            yield from _pieces(batch, limits)


def _pieces(batch: pa.RecordBatch, limits: BatchLimits) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Cut into equal slices of about the target, and cut those again that hold the large rows."""
    size = body_bytes(batch)
    # A batch somewhat above the target is left whole: cutting it would give two that are much
    # below.
    if size <= min(limits.batch_bytes_max, limits.batch_bytes_target * 3 // 2):
        yield batch, size
        return
    if batch.num_rows == 1:
        if size > limits.batch_bytes_max:
            raise LimitExceeded(
                "one row is larger than a batch may be"
                f" setting=batch_bytes_max limit={limits.batch_bytes_max}"
            )
        yield batch, size
        return
    parts = min(batch.num_rows, max(2, -(-size // limits.batch_bytes_target)))
    rows = -(-batch.num_rows // parts)
    for start in range(0, batch.num_rows, rows):
        yield from _pieces(batch.slice(start, rows), limits)


def _joined(
    pieces: Iterator[tuple[pa.RecordBatch, int]], limits: BatchLimits
) -> Iterator[tuple[pa.RecordBatch, int]]:
    waiting: list[pa.RecordBatch] = []
    waiting_bytes = 0
    enough = 0  # nothing is held back before the first rows have left
    for batch, size in pieces:
        is_small = size <= limits.batch_bytes_target // _SMALL_PART
        if waiting and (not is_small or waiting_bytes + size > limits.batch_bytes_target):
            yield _concatenated(waiting, waiting_bytes)
            waiting, waiting_bytes = [], 0
        if not is_small:
            yield batch, size
            enough = limits.batch_bytes_target
            continue
        waiting.append(batch)
        waiting_bytes += size
        if waiting_bytes >= enough:
            yield _concatenated(waiting, waiting_bytes)
            waiting, waiting_bytes = [], 0
            enough = min(max(enough * 2, _FIRST_JOINED_BYTES), limits.batch_bytes_target)
    if waiting:
        yield _concatenated(waiting, waiting_bytes)


def _concatenated(batches: list[pa.RecordBatch], size: int) -> tuple[pa.RecordBatch, int]:
    if len(batches) == 1:
        return batches[0], size
    joined: pa.RecordBatch = pa.concat_batches(batches)  # type: ignore[attr-defined]  # not in the stubs
    return joined, size
