"""A bounded memory of ids."""

from __future__ import annotations

import threading
from collections import OrderedDict


class Remembered:
    """The ids put in last, up to a number; safe to use from many threads."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._ids: OrderedDict[str, None] = OrderedDict()
        # A stream that is dropped adds its id, and may be dropped by a collection in here.
        self._lock = threading.RLock()

    def __contains__(self, query_id: str) -> bool:
        return query_id in self._ids

    def add(self, query_id: str) -> None:
        """Remember an id, now the newest one."""
        with self._lock:
            self._ids[query_id] = None
            self._ids.move_to_end(query_id)
            if len(self._ids) > self._count_max:
                self._ids.popitem(last=False)
