"""Splits rows by their partition values, and spells these values as a Delta log does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from flight_server.errors import InvalidRequest, SchemaMismatch

# What file systems allow for one name.
_FOLDER_BYTES_MAX = 255
_DIGEST_BYTES = 16
_NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"

# The values of the partition columns, in their order.
Key = tuple[str | None, ...]


def check_partitioning(schema: pa.Schema, columns: Sequence[str]) -> None:
    """Raise InvalidRequest unless a table of that schema can be partitioned by those columns."""
    if len(set(columns)) < len(columns):
        raise InvalidRequest("a table cannot be partitioned by the same column twice")
    for name in columns:
        place = schema.get_field_index(name)
        if place < 0:
            raise InvalidRequest(f'the partition column "{name}" is not a column of the table')
        kind = schema.field(place).type
        # The text of a binary value in the log is read differently by different readers.
        if pt.is_nested(kind) or pt.is_binary(kind):
            raise InvalidRequest(f'a table cannot be partitioned by "{name}", a column of its type')
    if len(columns) == len(schema):
        raise InvalidRequest("at least one column must not be a partition column")


class Partitioner:
    """Splits batches of one schema by some of their columns."""

    def __init__(self, schema: pa.Schema, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._stored = [name for name in schema.names if name not in self._columns]

    def split(self, batch: pa.RecordBatch) -> Iterator[tuple[Key, pa.RecordBatch]]:
        """Give the rows of each partition, without the partition columns, in their order.

        They hold no memory of the batch. Raises SchemaMismatch for a value that has no text.
        """
        codes = self._codes(batch)
        order = pc.sort_indices(codes)
        sorted_codes = codes.take(order)
        runs: Any = pc.call_function("run_end_encode", [sorted_codes])
        ends = runs.run_ends.to_pylist()
        stored = batch.select(self._stored)
        start = 0
        for end in ends:
            first = order[start].as_py()
            key = tuple(_text_at(batch.column(name), first, name) for name in self._columns)
            yield key, stored.take(order.slice(start, end - start))
            start = end

    def _codes(self, batch: pa.RecordBatch) -> Any:
        """Return a number for each row, the same for the same values and smaller for earlier."""
        codes: Any = None
        for name in self._columns:
            encoded: Any = pc.dictionary_encode(batch.column(name), null_encoding="encode")
            indices = encoded.indices.cast(pa.int64())
            if codes is None:
                codes = indices
                continue
            # Numbered anew after each column, so that the product stays small.
            paired = pc.add(pc.multiply(codes, len(encoded.dictionary)), indices)
            renumbered: Any = pc.dictionary_encode(paired)
            codes = renumbered.indices.cast(pa.int64())
        return codes


def _text_at(values: pa.Array[Any], row: int, column: str) -> str | None:
    value: Any = values[row : row + 1]
    if pt.is_timestamp(value.type):
        value = value.view(pa.timestamp("us"))
    try:
        return partition_text(value[0].as_py(), column)
    except (OverflowError, ValueError):
        raise SchemaMismatch(
            f'the column "{column}" is a partition column and holds a time beyond the year 9999'
        ) from None


def partition_text(value: Any, column: str) -> str | None:
    """Return a partition value as the log spells it; an empty text is NULL by the protocol.

    Times are in UTC. https://github.com/delta-io/delta/blob/master/PROTOCOL.md#partition-value-serialization
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return repr(value) if value == value else "NaN"  # noqa: PLR0124 - only NaN differs from itself
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int | str):
        return str(value)
    raise SchemaMismatch(f'the column "{column}" cannot be a partition column')


def partition_folder(columns: Sequence[str], key: Key) -> str:
    """Return the folder of a partition, relative to the table, or nothing without columns.

    Names only help people: what counts is in the log. So a long one may be cut.
    """
    return "/".join(_folder(name, value) for name, value in zip(columns, key, strict=True))


def _folder(column: str, value: str | None) -> str:
    name = f"{quote(column, safe=' ')}={_NULL_FOLDER if value is None else quote(value, safe='')}"
    if len(name) <= _FOLDER_BYTES_MAX:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{name[: _FOLDER_BYTES_MAX - len(digest) - 1]}-{digest}"
