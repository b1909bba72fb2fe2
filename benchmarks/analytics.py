"""The 22 queries of TPC-H: time of each and of all, and whether all targets answer the same."""

from __future__ import annotations

import itertools
from time import perf_counter

import pyarrow as pa

from benchmarks import tpch
from benchmarks.run import Run
from benchmarks.series import Metric
from benchmarks.targets import Target

PART = "tpch"
TOTAL = Metric(PART, "all 22", "time", "ms")


def measure(run: Run) -> None:
    """Run each query on every target before the next one, in every round."""
    queries = tpch.queries(run.dataset.scale)
    for name, sql in queries.items():
        _compare(run, name, sql)
    for number in range(run.rounds):
        totals = {target.name: 0.0 for target in run.targets}
        complete = set(totals)
        for name, sql in queries.items():
            for target in run.order(number):
                # A text of its own in each round: nobody is to answer from what was kept, but for
                # the server that does nothing else.
                text = sql if target.name == "memory" else f"{sql}\n-- round {number}"
                elapsed = _time(run, target, text)
                if elapsed is None:
                    complete.discard(target.name)
                    continue
                totals[target.name] += elapsed
                run.figures.add(Metric(PART, name, "time", "ms"), target.name, elapsed)
        for target_name in sorted(complete):
            run.figures.add(TOTAL, target_name, totals[target_name])


def _time(run: Run, target: Target, sql: str) -> float | None:
    """Return the milliseconds until the last row, or None when it failed."""
    try:
        start = perf_counter()
        for _ in target.stream(sql):
            pass
        return (perf_counter() - start) * 1e3
    except Exception as error:  # noqa: BLE001 - any failure of any target is a result
        run.note(target, sql, error)
        return None


def _compare(run: Run, name: str, sql: str) -> None:
    """Fetch the answer of every target, which also warms it, and note those that differ."""
    answers: dict[str, pa.Table] = {}
    for target in run.targets:
        with run.noting_failure(target, name):
            batches = list(target.stream(sql))
            answers[target.name] = pa.Table.from_batches(batches) if batches else pa.table({})
    for (one, left), (other, right) in itertools.pairwise(answers.items()):
        if not tpch.same(left, right):
            run.figures.failures.append(f"{name}: {other} answers otherwise than {one}")
