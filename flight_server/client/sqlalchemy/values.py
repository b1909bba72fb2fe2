"""Values both ways: rows of Python objects from Arrow batches, and Arrow batches of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import adbc_driver_manager as adbc
import pyarrow as pa
import pyarrow.types as pt


def rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Return the rows of a batch; times finer than microseconds are cut to what Python can hold."""
    columns = [_objects(column) for column in batch.columns]
    return list(zip(*columns, strict=True))


def parameters_batch(sets: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Return parameters as a batch: one row for each set, fields called 0, 1, and so on.

    The type of a parameter is that of its values over all sets; only NULLs make a null type.
    Raises DataError when the values of one parameter have no common type.
    """
    columns = zip(*sets, strict=True)
    arrays = [_array(position, values) for position, values in enumerate(columns)]
    return pa.record_batch(arrays, names=[str(i) for i in range(len(arrays))])


def _array(position: int, values: Iterable[Any]) -> Any:
    listed = list(values)
    try:
        if any(isinstance(value, Decimal) for value in listed):
            listed = [Decimal(str(v)) if isinstance(v, float) else v for v in listed]
        return pa.array(listed)
    except (pa.ArrowException, ArithmeticError, ValueError, TypeError) as error:
        raise adbc.DataError(
            f"the values of parameter {position + 1} have no common type",
            status_code=adbc.AdbcStatusCode.INVALID_ARGUMENT,
        ) from error


def _objects(column: Any) -> list[Any]:
    kind = column.type
    if (plain := _coarse(kind)) != kind:
        column = column.cast(plain, safe=False)
    values: list[Any] = column.to_pylist()
    if pt.is_map(kind):
        return [None if value is None else dict(value) for value in values]
    return values


def _coarse(kind: Any) -> Any:
    """Return the type with microseconds in the place of nanoseconds, at any depth."""
    if pt.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pt.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pt.is_time64(kind) and kind.unit == "ns":
        return pa.time64("us")
    if pt.is_list(kind):
        return pa.list_(kind.value_field.with_type(_coarse(kind.value_type)))
    if pt.is_struct(kind):
        return pa.struct([field.with_type(_coarse(field.type)) for field in kind])
    if pt.is_map(kind):
        return pa.map_(
            kind.key_field.with_type(_coarse(kind.key_type)),
            kind.item_field.with_type(_coarse(kind.item_type)),
        )
    return kind
