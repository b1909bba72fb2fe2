"""The figures of a run: one value for each target and round, and what is made of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of a table: what was measured, in which part, and in which unit."""

    part: str
    case: str
    name: str
    unit: str


@dataclass(slots=True)
class Figures:
    """All values of a run by metric and target, one for each round, and what went wrong."""

    values: dict[Metric, dict[str, list[float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, metric: Metric, target: str, value: float) -> None:
        """Record the value of one round."""
        self.values.setdefault(metric, defaultdict(list))[target].append(value)

    def median(self, metric: Metric, target: str) -> float | None:
        """Return the median over the rounds, or None when it was not measured."""
        rounds = self.values.get(metric, {}).get(target)
        return median(rounds) if rounds else None

    def ratio(self, metric: Metric, target: str, *, to: str) -> float | None:
        """Return the median over the rounds of the quotient of two targets, or None.

        Both values of a quotient come from one round, so a slow spell of the machine hits both.
        """
        by_target = self.values.get(metric, {})
        ours, theirs = by_target.get(target, []), by_target.get(to, [])
        if not ours or len(ours) != len(theirs) or not all(theirs):
            return None
        return median(mine / other for mine, other in zip(ours, theirs, strict=True))

    def as_json(self) -> list[dict[str, object]]:
        """Return every value of every round as plain data."""
        return [
            {
                "part": metric.part,
                "case": metric.case,
                "metric": metric.name,
                "unit": metric.unit,
                "rounds": dict(targets),
            }
            for metric, targets in self.values.items()
        ]
