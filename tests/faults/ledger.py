"""What several writers of one table were told: which batches are in it, how large, with which n.

Every row tells its batch and the batch's size, so that a reader notices a batch that is not whole;
a change of ``n`` concerns whole batches, so that a reader notices one that is half made.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

COLUMNS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64(), nullable=False),
    pa.field("batch", pa.int64(), nullable=False),
    pa.field("size", pa.int64(), nullable=False),
    pa.field("n", pa.int64()),
]
ROWS = pa.schema(COLUMNS)
BATCH_ROWS = 10_000


def rows_of(batch: int, size: int) -> pa.RecordBatch:
    """Return the rows of a batch as they are appended."""
    ids = range(batch * BATCH_ROWS, batch * BATCH_ROWS + size)
    values: Any = {"id": ids, "batch": [batch] * size, "size": [size] * size, "n": [0] * size}
    return pa.RecordBatch.from_pydict(values, schema=ROWS)


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch that was acknowledged."""

    size: int
    n: int = 0


@dataclass
class Ledger:
    """The batches that are in the table for sure; safe to share between threads."""

    entries: dict[int, Entry] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, batch: int, entry: Entry) -> None:
        """Note a batch that is there, and is nobody's work now."""
        with self._lock:
            self.entries[batch] = entry

    def take(self, chance: random.Random, count: int) -> dict[int, Entry]:
        """Return batches to change, which nobody else takes meanwhile; fewer where there are."""
        with self._lock:
            chosen = chance.sample(sorted(self.entries), min(count, len(self.entries)))
            return {batch: self.entries.pop(batch) for batch in chosen}

    def snapshot(self) -> dict[int, Entry]:
        """Return what is there now."""
        with self._lock:
            return dict(self.entries)

    def count(self, kind: str) -> None:
        """Note that something was acknowledged."""
        with self._lock:
            self.done[kind] += 1


def check_whole(table: pa.Table) -> dict[int, Entry]:
    """Return the batches of a table; fails where one is not whole, or has an id twice."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        found.setdefault(row["batch"], []).append(row)
    entries: dict[int, Entry] = {}
    for batch, rows in found.items():
        size = rows[0]["size"]
        expected = range(batch * BATCH_ROWS, batch * BATCH_ROWS + size)
        assert sorted(row["id"] for row in rows) == list(expected), f"batch {batch}"
        values = {row["n"] for row in rows}
        assert len(values) == 1, f"batch {batch} has the values {values}"
        entries[batch] = Entry(size, values.pop())
    return entries
