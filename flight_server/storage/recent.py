"""A bounded memory of what was used last, counted in entries and in a weight of each entry."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values used last, by key. Safe to share between threads.

    When there are more than ``entries_max``, or they weigh more than ``weight_max`` in all, the
    least recently used go; the newest stays whatever it weighs.
    """

    def __init__(self, weigh: Callable[[V], int], *, entries_max: int, weight_max: int) -> None:
        self._weigh = weigh
        self._entries_max = entries_max
        self._weight_max = weight_max
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the value of a key, now the most recently used, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key; the first to ask makes it."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return self._put(key, make())
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: K, value: V) -> V:
        """Remember a value, in place of another of the same key."""
        with self._lock:
            return self._put(key, value)

    def _put(self, key: K, value: V) -> V:
        if (old := self._entries.pop(key, None)) is not None:
            self._weight -= old[1]
        weight = self._weigh(value)
        self._entries[key] = (value, weight)
        self._weight += weight
        while len(self._entries) > 1 and (
            len(self._entries) > self._entries_max or self._weight > self._weight_max
        ):
            _, (_, dropped) = self._entries.popitem(last=False)
            self._weight -= dropped
        return value
