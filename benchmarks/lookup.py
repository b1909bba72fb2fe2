"""Point lookups: the lines of one order out of all, each time of another order."""

from __future__ import annotations

import random
from statistics import median, quantiles
from time import perf_counter

from benchmarks.run import Run
from benchmarks.series import Metric
from benchmarks.targets import Target

PART = "lookup"
P50 = Metric(PART, "by order key", "p50", "ms")
P95 = Metric(PART, "by order key", "p95", "ms")

_KEYS_PER_ROUND = 40
_ORDERS_AT_SCALE_1 = 1_500_000


def measure(run: Run) -> None:
    """Ask every target for the same keys, which no round repeats."""
    keys = _keys(run.dataset.scale, _KEYS_PER_ROUND * (run.rounds + 1))
    for number in range(run.rounds + 1):
        start = number * _KEYS_PER_ROUND
        statements = [_sql(key) for key in keys[start : start + _KEYS_PER_ROUND]]
        for sql in statements:
            run.warm(sql, only_memory=True)
        for target in run.order(number):
            with run.noting_failure(target, PART):
                times = [_time(target, sql) for sql in statements]
                if number > 0:  # the first round warms
                    run.figures.add(P50, target.name, median(times))
                    run.figures.add(P95, target.name, quantiles(times, n=20)[-1])


def _keys(scale: float, count: int) -> list[int]:
    """Draw order keys that exist: TPC-H leaves out 24 of every 32 numbers."""
    orders = range(1, int(_ORDERS_AT_SCALE_1 * scale) + 1)
    return [order // 8 * 32 + order % 8 for order in random.Random(7).sample(orders, count)]


def _sql(key: int) -> str:
    return f"SELECT * FROM tpch.lineitem WHERE l_orderkey = {key}"


def _time(target: Target, sql: str) -> float:
    """Return the milliseconds until the last row."""
    start = perf_counter()
    rows = sum(batch.num_rows for batch in target.stream(sql))
    elapsed = (perf_counter() - start) * 1e3
    if rows == 0:
        raise RuntimeError("an order without lines")
    return elapsed
