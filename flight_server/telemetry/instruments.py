"""Counters, histograms and readings as plain objects; ``exposition`` writes them down.

To count costs less than a microsecond: one lock and one dictionary. What is kept somewhere anyway
is not counted again but read when somebody asks (``Reading``). No series of its own is made for a
value that comes from outside: labels are codes, methods and names of ours, and beyond
``SERIES_MAX`` of them everything falls under ``other``.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

SERIES_MAX = 500
OTHER = "other"
# From a kept result to a query at the default limit of time; in seconds.
SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip

Labels = tuple[str, ...]


class Kind(StrEnum):
    """What the number of a reading does over time."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Counts:
    """A counter for each combination of labels; safe to use from many threads."""

    def __init__(
        self, name: str, meaning: str, labels: Labels = (), *, expected: Iterable[Labels] = ()
    ) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = labels
        self._lock = threading.Lock()
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}
        self.expect(expected)

    def expect(self, series: Iterable[Labels]) -> None:
        """Show series at zero before anything happens: an increase is seen only from there."""
        for labels in series:
            self.add(labels, 0.0)

    def add(self, labels: Labels = (), amount: float = 1.0) -> None:
        """Count something."""
        with self._lock:
            try:
                self._values[labels] += amount
            except KeyError:
                labels = _bounded(labels, len(self._values))
                self._values[labels] = self._values.get(labels, 0.0) + amount

    def samples(self) -> dict[Labels, float]:
        """Return the numbers so far."""
        with self._lock:
            return dict(self._values)


@dataclass(frozen=True, slots=True)
class Observed:
    """One series of a histogram: how many fell up to each bound, and beyond; and their sum."""

    counts: tuple[int, ...]
    total: float


class Times:
    """A histogram of seconds for each combination of labels; safe to use from many threads."""

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: Labels = (),
        *,
        bounds: tuple[float, ...] = SECONDS,
    ) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = labels
        self.bounds = bounds
        self._lock = threading.Lock()
        # For each series the counts by bound, and last the sum.
        self._series: dict[Labels, list[float]] = {} if labels else {(): self._empty()}

    def observe(self, seconds: float, labels: Labels = ()) -> None:
        """Take in one duration."""
        index = bisect_left(self.bounds, seconds)
        with self._lock:
            try:
                series = self._series[labels]
            except KeyError:
                labels = _bounded(labels, len(self._series))
                series = self._series.setdefault(labels, self._empty())
            series[index] += 1
            series[-1] += seconds

    def samples(self) -> dict[Labels, Observed]:
        """Return the numbers so far."""
        with self._lock:
            return {
                labels: Observed(tuple(map(int, series[:-1])), series[-1])
                for labels, series in self._series.items()
            }

    def _empty(self) -> list[float]:
        return [0] * (len(self.bounds) + 1) + [0.0]


@dataclass(frozen=True, slots=True)
class Reading:
    """Numbers that something else keeps, read when somebody asks; ``read`` must not wait."""

    name: str
    meaning: str
    read: Callable[[], Iterable[tuple[Labels, float]]]
    labels: Labels = ()
    kind: Kind = Kind.GAUGE


Instrument = Counts | Times | Reading


def one(read: Callable[[], float]) -> Callable[[], Iterable[tuple[Labels, float]]]:
    """Return how a single number is read as the only series of its metric."""
    return lambda: [((), read())]


def _bounded(labels: Labels, series: int) -> Labels:
    return labels if series < SERIES_MAX else (OTHER,) * len(labels)
