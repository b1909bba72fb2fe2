"""Small results that need not be computed again, up to a number of bytes.

The key is the whole query: statement, principal with roles, default names, and the exact state of
every table. So an entry cannot go stale, two principals never share one, and nothing is ever
invalidated; entries are only dropped, the least recently used first. Whether the caller may still
see those tables is asked before anybody looks in here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import pyarrow as pa

from flight_server.engine.base import Query

# Larger results are worth a scan, and a few of them would push everything else out.
ENTRY_BYTES_MAX = 64 * 1024
# What an entry costs beside its rows: keys, schema, Python's own objects.
_ENTRY_BYTES = 4 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """A whole result; ``size`` is that of its batches in bytes, as they came from the worker."""

    schema: pa.Schema
    batches: tuple[pa.RecordBatch, ...]
    size: int


class ResultCache:
    """The results used last; safe to use from many threads. ``bytes_max`` 0 keeps nothing.

    ``bytes`` is what is kept, ``hits`` and ``misses`` how often it was there for who asked.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self.hits = self.misses = 0
        self._results: OrderedDict[Query, Result] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, query: Query) -> Result | None:
        """Return the result of exactly this query, if it is kept."""
        with self._lock:
            result = self._results.get(query)
            if result is None:
                self.misses += 1
            else:
                self.hits += 1
                self._results.move_to_end(query)
            return result

    def put(self, query: Query, result: Result) -> None:
        """Keep a result that the same query would give again, unless it is too large."""
        if result.size > ENTRY_BYTES_MAX:
            return
        with self._lock:
            self._forget(query)
            self._results[query] = result
            self.bytes += _weight(query, result)
            while self.bytes > self.bytes_max:
                self._forget(next(iter(self._results)))

    def _forget(self, query: Query) -> None:
        result = self._results.pop(query, None)
        if result is not None:
            self.bytes -= _weight(query, result)


def _weight(query: Query, result: Result) -> int:
    return result.size + len(query.sql) + len(result.schema) * 128 + _ENTRY_BYTES
