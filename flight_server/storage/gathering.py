"""Gathers small batches until they make a row group, holding no more memory than their rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

# That many small batches are joined at a time: each has a cost of its own beside its values.
_JOINED_BATCHES = 64
_BATCH_OVERHEAD_BYTES = 512
_COLUMN_OVERHEAD_BYTES = 256
# A batch that keeps more memory alive than this, and twice what it shows, is copied.
_SPARE_BYTES = 64 * 1024


def held_bytes(batch: pa.RecordBatch) -> int:
    """Return about how much memory the rows of a batch take, its own bookkeeping included."""
    overhead = _BATCH_OVERHEAD_BYTES + _COLUMN_OVERHEAD_BYTES * batch.num_columns
    return int(batch.nbytes) + overhead


def compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the same rows, copied when the batch keeps far more memory alive than it shows.

    Such as a slice of a large one, or one that came with bytes that no value uses.
    """
    if batch.get_total_buffer_size() <= 2 * batch.nbytes + _SPARE_BYTES:
        return batch
    # Arrow returns a single array as it is, and copies as soon as there are two.
    columns: list[Any] = [pa.concat_arrays([each, each[:0]]) for each in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


class Gathering:
    """Batches of one schema on their way into a row group.

    ``rows`` and ``bytes`` say how much is held.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.bytes = 0
        self._joined: list[pa.RecordBatch] = []
        self._small: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> int:
        """Take a batch, which must not be a part of a larger one; return the bytes it adds."""
        added = held_bytes(batch)
        self.rows += batch.num_rows
        self.bytes += added
        self._small.append(batch)
        if len(self._small) >= _JOINED_BATCHES:
            whole = pa.Table.from_batches(self._small).combine_chunks()
            self._joined += whole.to_batches()
            self._small.clear()
        return added

    def take(self) -> pa.Table:
        """Return what was gathered, and hold nothing any more; there must be something."""
        table = pa.Table.from_batches([*self._joined, *self._small])
        self.rows = self.bytes = 0
        self._joined.clear()
        self._small.clear()
        return table
