"""A run as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmarks.goals import Goal, goals
from benchmarks.series import Figures, Metric
from benchmarks.targets import LAKEFLIGHT

_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Report:
    """All that is said about one run."""

    command: str
    machine: dict[str, object]
    data: dict[str, object]
    targets: Sequence[str]
    rounds: int
    figures: Figures

    def as_json(self) -> str:
        """Return every figure of every round, and the goals."""
        found = {
            "command": self.command,
            "machine": self.machine,
            "data": self.data,
            "rounds": self.rounds,
            "figures": self.figures.as_json(),
            "goals": [_goal_json(goal) for goal in goals(self.figures)],
            "failures": self.figures.failures,
        }
        return json.dumps(found, indent=2)

    def as_markdown(self) -> str:
        """Return the tables that are printed."""
        blocks = [
            "# Benchmarks",
            "\n".join(self._preamble()),
            *(
                f"## {part}\n\n{self._part(list(metrics))}"
                for part, metrics in groupby(self.figures.values, key=lambda metric: metric.part)
            ),
        ]
        if LAKEFLIGHT in self.targets:
            blocks.append(f"## Targets\n\n{_goal_table(goals(self.figures))}")
        if self.figures.failures:
            lines = "\n".join(f"- {failure}" for failure in self.figures.failures)
            blocks.append(f"## Failed\n\n{lines}")
        return "\n\n".join(blocks) + "\n"

    def _preamble(self) -> Iterable[str]:
        machine, data = self.machine, self.data
        memory = int(str(machine["memory_bytes"])) / _GIB
        load = machine["load_average"]
        versions = machine["versions"]
        assert isinstance(load, list)
        assert isinstance(versions, dict)
        yield f"- command: `{self.command}`"
        yield (
            f"- machine: {machine['processor']}, {machine['cores']} cores, {memory:.0f} GiB,"
            f" {machine['system']}; load average at start {load[0]:.2f}"
        )
        yield "- versions: " + ", ".join(f"{name} {text}" for name, text in versions.items())
        yield (
            f"- data: TPC-H scale {data['scale']}; lineitem has {data['lineitem_rows']:,} rows in"
            f" {data['lineitem_files']} files with {data['lineitem_row_groups']} row groups,"
            f" {int(str(data['lineitem_parquet_bytes'])) / 1e6:.0f} MB of Parquet"
        )
        yield (
            f"- {self.rounds} rounds, targets in turns over loopback, files in the cache of the"
            " system; medians, and medians of each round's quotient. MB/s counts Arrow buffers."
            " Memory is that of the server and all its worker processes, sampled every 20 ms from"
            " smaps_rollup in separate exports"
        )

    def _part(self, metrics: Sequence[Metric]) -> str:
        others = [name for name in self.targets if name != LAKEFLIGHT]
        compared = others if LAKEFLIGHT in self.targets else []
        head = ["case", "metric", "unit", *self.targets, *(f"÷ {name}" for name in compared)]
        rows = [
            [
                metric.case,
                metric.name,
                metric.unit,
                *(_number(self.figures.median(metric, name)) for name in self.targets),
                *(
                    _number(self.figures.ratio(metric, LAKEFLIGHT, to=name), ratio=True)
                    for name in compared
                ),
            ]
            for metric in metrics
        ]
        return _table(head, rows)


def _goal_table(found: Sequence[Goal]) -> str:
    verdicts = {True: "met", False: "**missed**", None: "not measured"}
    rows = [
        [
            goal.claim,
            f"{'≥' if goal.at_least else '≤'} {goal.bound:g}",
            _number(goal.measured, ratio=goal.bound < 10),
            verdicts[goal.met],
        ]
        for goal in found
    ]
    return _table(["target", "bound", "measured", ""], rows)


def _goal_json(goal: Goal) -> dict[str, object]:
    return {"claim": goal.claim, "bound": goal.bound, "measured": goal.measured, "met": goal.met}


def _number(value: float | None, *, ratio: bool = False) -> str:
    if value is None:
        return "-"
    if ratio:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
