"""Who may do what to a table at the same time: writers side by side, one rewrite, vacuum alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flight_server.clock import Clock
from flight_server.errors import LimitExceeded


@dataclass(slots=True)
class _Turn:
    """Who is at one table now, and how many care about it."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    users: int = 0
    writers: int = 0
    rewriting: bool = False
    vacuuming: bool = False
    vacuums_waiting: int = 0


class Turns:
    """The turns at all tables, by the table's folder. Safe to share between threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._turns: dict[str, _Turn] = {}

    @contextmanager
    def writing(self, key: str, *, seconds_max: float) -> Iterator[None]:
        """Hold while data files are written and until they are committed; many may.

        Raises LimitExceeded when a vacuum does not end in time.
        """
        with self._at(key) as turn:
            with turn.changed:
                self._wait(turn, lambda: not (turn.vacuuming or turn.vacuums_waiting), seconds_max)
                turn.writers += 1
            try:
                yield
            finally:
                with turn.changed:
                    turn.writers -= 1
                    turn.changed.notify_all()

    @contextmanager
    def rewriting(self, key: str, *, seconds_max: float) -> Iterator[None]:
        """Hold while rows that are there are changed; one may, beside those who only append.

        Raises LimitExceeded when the one before does not end in time.
        """
        with self._at(key) as turn:
            with turn.changed:
                self._wait(turn, lambda: not turn.rewriting, seconds_max)
                turn.rewriting = True
            try:
                with self.writing(key, seconds_max=seconds_max):
                    yield
            finally:
                with turn.changed:
                    turn.rewriting = False
                    turn.changed.notify_all()

    @contextmanager
    def vacuuming(self, key: str, *, seconds_max: float) -> Iterator[None]:
        """Hold while files are removed; nobody writes meanwhile.

        Raises LimitExceeded when the writers do not end in time.
        """
        with self._at(key) as turn:
            with turn.changed:
                turn.vacuums_waiting += 1
                try:
                    self._wait(turn, lambda: not (turn.writers or turn.vacuuming), seconds_max)
                    turn.vacuuming = True
                finally:
                    turn.vacuums_waiting -= 1
                    turn.changed.notify_all()
            try:
                yield
            finally:
                with turn.changed:
                    turn.vacuuming = False
                    turn.changed.notify_all()

    @contextmanager
    def _at(self, key: str) -> Iterator[_Turn]:
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
            turn.users += 1
        try:
            yield turn
        finally:
            with self._lock:
                turn.users -= 1
                if not turn.users:
                    del self._turns[key]

    def _wait(self, turn: _Turn, is_free: Callable[[], bool], seconds_max: float) -> None:
        until = self._clock.monotonic() + seconds_max
        while not is_free():
            left = until - self._clock.monotonic()
            if left <= 0 or not turn.changed.wait(left):
                if is_free():
                    return
                raise LimitExceeded(
                    "other work on this table did not end in time "
                    f"turn_seconds_max={seconds_max:g}",
                    retry_after_seconds=1.0,
                )
