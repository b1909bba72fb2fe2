"""The columns of the audit table, and lines of the journal turned into them without Python."""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from flight_server.audit.segments import LINE_BYTES_MAX, parse_line

PARTITION_COLUMN = "date_partition"
_TIME = pa.timestamp("us", tz="UTC")
_FIELDS: dict[str, tuple[pa.DataType, bool]] = {
    "audit_id": (pa.string(), False),
    "sequence": (pa.int64(), False),
    "timestamp": (_TIME, False),
    "user_id": (pa.string(), True),
    "username": (pa.string(), True),
    "session_id": (pa.string(), True),
    "action": (pa.string(), False),
    "resource": (pa.string(), True),
    "purpose": (pa.string(), True),
    "outcome": (pa.string(), False),
    "details": (pa.string(), False),
    "row_count": (pa.int64(), True),
    "byte_count": (pa.int64(), True),
    "engine_ms": (pa.float64(), True),
    "duration_ms": (pa.float64(), True),
    "table_versions": (pa.string(), False),
    "policy_version": (pa.string(), True),
    "request_id": (pa.string(), False),
    "ip_address": (pa.string(), True),
    "user_agent": (pa.string(), True),
    "prev_hash": (pa.string(), False),
    "hash": (pa.string(), False),
    PARTITION_COLUMN: (pa.date32(), False),
}
SCHEMA = pa.schema(
    [pa.field(name, kind, nullable=nullable) for name, (kind, nullable) in _FIELDS.items()]
)
# The same as JSON holds it: a date is text, and what may be absent shows only when it is cast.
_WRITTEN = pa.schema(
    [
        pa.field(name, pa.string() if name == PARTITION_COLUMN else kind)
        for name, (kind, _) in _FIELDS.items()
    ]
)

_log = logging.getLogger(__name__)


def parse(lines: bytes) -> pa.Table:
    """Return whole lines of the journal as rows of the table.

    A line that is none is left out: its number stays empty, and a verification names it.
    """
    try:
        return _parse(lines)
    except (pa.ArrowException, ValueError, UnicodeDecodeError):
        return _parse_each(lines)


def after(rows: pa.Table, sequence: int) -> pa.Table:
    """Return the rows behind a record, which are all of them as good as always."""
    column: Any = rows["sequence"]
    if not rows.num_rows or column[0].as_py() > sequence:
        return rows
    return rows.filter(pc.greater(column, pa.scalar(sequence)))


def _parse(lines: bytes) -> pa.Table:
    source: Any = pa.BufferReader(lines)  # the stubs ask for a file of Python's own
    read: Any = pj.read_json(
        source,
        read_options=pj.ReadOptions(use_threads=False, block_size=max(len(lines), LINE_BYTES_MAX)),
        parse_options=pj.ParseOptions(explicit_schema=_WRITTEN, unexpected_field_behavior="error"),
    )
    if any(read[field.name].null_count for field in SCHEMA if not field.nullable):
        raise ValueError("a column that every record has is missing")
    for name in ("details", "prev_hash", "hash"):
        read[name].validate(full=True)
    columns = [read[field.name].cast(field.type) for field in SCHEMA]
    table: pa.Table = pa.Table.from_arrays(columns, schema=SCHEMA)
    return table


def _parse_each(lines: bytes) -> pa.Table:
    """Save what can be saved of lines that somebody or something has damaged."""
    good: list[pa.Table] = []
    lost = 0
    for line in lines.splitlines(keepends=True):
        try:
            if parse_line(line) is None:
                raise ValueError("this is no record")
            good.append(_parse(line))
        except (pa.ArrowException, ValueError, UnicodeDecodeError):
            lost += 1
    _log.error("records of the audit journal cannot be read any more lines=%d", lost)
    return pa.concat_tables(good) if good else SCHEMA.empty_table()
