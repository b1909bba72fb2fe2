"""The records of a log as they lie on disk, read one after another in bounded memory."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flight_server.audit.columns import PARTITION_COLUMN
from flight_server.audit.events import HASHED_COLUMNS
from flight_server.audit.segments import Segment, limits, parse_line
from flight_server.audit.table import Span
from flight_server.errors import Unavailable

# A record by the columns that are hashed, in their order, and the hash that it claims.
Row = tuple[int, dict[str, Any], Any]
UNREADABLE = "audit_unreadable"
_BATCH_ROWS = 2048
_TIME = pa.timestamp("us", tz="UTC")


def table_rows(root: Path, spans: Sequence[Span]) -> Iterator[Row]:
    """Give the rows of files, merged by number, as far as each file is in order.

    Few files are open at once: those whose records lie between each other's. Raises Unavailable
    (``audit_unreadable``) at the first file that cannot be read.
    """
    waiting = deque(spans)
    open_ones: list[tuple[int, int, Row, Iterator[Row]]] = []
    count = 0
    while waiting or open_ones:
        while waiting and (not open_ones or waiting[0].first <= open_ones[0][0]):
            rows = _file_rows(root, waiting.popleft())
            if (row := next(rows, None)) is not None:
                count += 1  # so that rows of one number are never compared
                heapq.heappush(open_ones, (row[0], count, row, rows))
        if not open_ones:
            continue
        _, number, row, rows = open_ones[0]
        yield row
        if (following := next(rows, None)) is None:
            heapq.heappop(open_ones)
        else:
            heapq.heapreplace(open_ones, (following[0], number, following, rows))


def _file_rows(root: Path, span: Span) -> Iterator[Row]:
    if span.file.deletion_vector is not None:
        raise _unreadable("rows of a file are hidden by a deletion vector")
    try:
        with pq.ParquetFile(root / span.file.key) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield from _batch_rows(batch, span.day)
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        raise _unreadable("a file of the table cannot be read") from None


def _batch_rows(batch: pa.RecordBatch, day: str) -> Iterator[Row]:
    columns: list[list[Any]] = []
    for name in HASHED_COLUMNS:
        if name == PARTITION_COLUMN:
            columns.append([day] * batch.num_rows)
        elif name == "timestamp":
            columns.append(_times(batch.column(name)))
        else:
            columns.append(batch.column(name).to_pylist())
    hashes = batch.column("hash").to_pylist()
    place = HASHED_COLUMNS.index("sequence")
    for values, digest in zip(zip(*columns, strict=True), hashes, strict=True):
        number = values[place]
        record = dict(zip(HASHED_COLUMNS, values, strict=True))
        yield (number if isinstance(number, int) else -1, record, digest)


def _times(column: Any) -> list[Any]:
    texts: Any = pc.strftime(column.cast(_TIME), format="%Y-%m-%dT%H:%M:%S")
    return [None if text is None else f"{text}Z" for text in texts.to_pylist()]


def journal_rows(segments: Sequence[Segment], *, behind: int, until: int | None) -> Iterator[Row]:
    """Give the records of the journal with numbers above ``behind``, and no more than ``until``.

    Each segment counts up to the first record that a later one begins with. A line that is no
    record is passed over. Raises Unavailable (``audit_unreadable``).
    """
    for segment, limit in zip(segments, limits(segments), strict=True):
        try:
            for _, line in segment.lines():
                record = parse_line(line)
                if record is None:
                    continue
                number = record["sequence"]
                if (limit is not None and number >= limit) or (
                    until is not None and number > until
                ):
                    break
                if number > behind:
                    yield _line_row(number, record)
        except OSError:
            raise _unreadable("the journal cannot be read") from None


def _line_row(number: int, record: dict[str, Any]) -> Row:
    digest = record.pop("hash", None)
    if record.keys() == set(HASHED_COLUMNS):
        record = {name: record[name] for name in HASHED_COLUMNS}
    return number, record, digest


def journal_end(segments: Sequence[Segment]) -> int:
    """Return the number of the last record of a journal, or of the one before its first."""
    last = 0
    for segment in segments:
        if segment.header is not None:
            last = max(last, segment.header.first_sequence - 1)
        with suppress(OSError):
            for _, line in segment.lines():
                record = parse_line(line)
                last = last if record is None else max(last, record["sequence"])
    return last


def _unreadable(what: str) -> Unavailable:
    return Unavailable(f"the audit log is damaged: {what}", code=UNREADABLE)
