"""Rows as plain JSON data, in the spellings that actions also take rows in.

Numbers are numbers, and texts where JSON has none for them: decimals keep all their digits, and of
floats those that are none. Times are texts of RFC 3339, bytes are base64, what is nested stays so.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flight_server.engine.base import JSON


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, JSON]]:
    """Return each row of a batch by column, whose names are unique."""
    columns = [[_cell(value) for value in _plain(column).to_pylist()] for column in batch.columns]
    for cells in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, cells, strict=True))


def _plain(column: Any) -> Any:
    """Return a column without what Python has no values for: a thousandth of a microsecond."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pc.cast(column, pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return pc.cast(column, pa.time64("us"), safe=False)
    return column


def _cell(value: object) -> JSON:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, dict):
        return {str(name): _cell(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cell(each) for each in value]
    return str(value)
