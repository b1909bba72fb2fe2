"""What all measurements share: the targets, the rounds, and the order in which they take turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.data import Dataset
from benchmarks.series import Figures, Metric
from benchmarks.targets import MEMORY, Target


@dataclass(frozen=True, slots=True)
class Run:
    """One interleaved run. ``load_seconds`` is how long each case of the latency part lasts."""

    dataset: Dataset
    targets: list[Target]
    rounds: int
    figures: Figures
    load_seconds: float

    def turns(self) -> Iterator[Target]:
        """Yield every target once a round, each round starting with another one."""
        for number in range(self.rounds):
            yield from self.order(number)

    def order(self, number: int) -> list[Target]:
        """Return the targets in the order of one round."""
        first = number % len(self.targets)
        return self.targets[first:] + self.targets[:first]

    def warm(self, sql: str, *, only_memory: bool = False) -> None:
        """Run a statement once, untimed; after it the memory server holds the result."""
        for target in self.targets:
            if only_memory and target.name != MEMORY:
                continue
            with self.noting_failure(target, sql):
                for _ in target.stream(sql):
                    pass

    @contextmanager
    def noting_failure(self, target: Target, what: str) -> Iterator[None]:
        """Go on with the others when one target fails, and say so at the end."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - any failure of any target is a result
            self.note(target, what, error)

    @contextmanager
    def counting_cpu(self, target: Target, metric: Metric) -> Iterator[None]:
        """Record the milliseconds of processor time that the target's server uses in the block."""
        before = target.cpu_seconds()
        yield
        after = target.cpu_seconds()
        if before is not None and after is not None:
            self.figures.add(metric, target.name, (after - before) * 1e3)

    def note(self, target: Target, what: str, error: Exception) -> None:
        """Record that a target failed at something."""
        reason = str(error).partition("\n")[0][:200]
        self.figures.failures.append(f"{target.name}: {what[:60]!r}: {reason}")
