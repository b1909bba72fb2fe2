"""Random bytes as an argument: who needs them is handed a source, so that tests own it."""

from __future__ import annotations

import os
import threading

_STOCK_BYTES = 4096


class Entropy:
    """The system's random bytes, fetched in advance; safe to use from many threads.

    Each call to the system lets another thread run first, which under load costs a hundred times
    what the bytes do. Not for a process that forks: both would go on with the same bytes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stock = b""

    def __call__(self, count: int) -> bytes:
        """Return that many bytes, which nobody else gets."""
        with self._lock:
            if count > len(self._stock):
                self._stock = os.urandom(max(_STOCK_BYTES, count))
            taken, self._stock = self._stock[:count], self._stock[count:]
        return taken
