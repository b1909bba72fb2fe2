"""Keeps the rows of a query while a statement reads them several times: in memory, else on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flight_server.engine.base import FileGroup, FileScan
from flight_server.engine.planning import Job, Own, Planner, Source, unguessable
from flight_server.errors import LimitExceeded, Unsupported

MEMORY_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows under the name of a relation; the column ``number`` tells one row from another."""

    name: str
    number: str
    schema: pa.Schema
    own: Own


@contextmanager
def kept(
    planner: Planner, source: Source, job: Job, *, memory_bytes_max: int = MEMORY_BYTES_MAX
) -> Iterator[Kept]:
    """Run a query once and keep its rows until the block ends.

    Raises what running it raises, Unsupported for a type that files cannot hold, LimitExceeded
    when the disk is full.
    """
    number = unguessable()
    rows = _numbered(planner.rows(source, job), number, schema=source.schema)
    schema = source.schema.append(pa.field(number, pa.int64()))
    batches, size = [], 0
    for batch in rows:
        batches.append(batch)
        size += batch.nbytes
        if size > memory_bytes_max:
            break
    else:
        name, own = planner.memory(batches, schema)
        yield Kept(name, number, source.schema, own)
        return
    with tempfile.TemporaryDirectory(dir=planner.spill_directory) as folder:
        path = Path(folder) / "rows.parquet"
        try:
            with pq.ParquetWriter(path, schema, compression="lz4") as writer:
                while batches:
                    writer.write_batch(batches.pop(0))
                for batch in rows:
                    writer.write_batch(batch)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            raise Unsupported("the source has a type of column that cannot be kept") from None
        except OSError:
            raise LimitExceeded(
                "the rows of the source need more disk space than there is setting=spill_bytes_max"
            ) from None
        scan = FileScan(schema, (), (FileGroup((), (path.as_uri(),)),))
        name, own = planner.files(scan)
        yield Kept(name, number, source.schema, own)


def _numbered(
    batches: Iterator[pa.RecordBatch], column: str, *, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    numbered = schema.append(pa.field(column, pa.int64()))
    start = 0
    for batch in batches:
        numbers = pa.array(range(start, start + batch.num_rows), pa.int64())
        start += batch.num_rows
        yield pa.RecordBatch.from_arrays([*batch.columns, numbers], schema=numbered)
