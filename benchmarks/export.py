"""Bulk export: all of lineitem to one client, its speed, its first batch, the server's memory."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from benchmarks.processes import Peak, memory_of
from benchmarks.run import Run
from benchmarks.series import Metric
from benchmarks.targets import Target

PART = "export"
SQL = "SELECT * FROM tpch.lineitem"
_QUARTER = "SELECT * FROM quarter.lineitem"

ROWS = Metric(PART, "lineitem", "speed", "rows/s")
BYTES = Metric(PART, "lineitem", "throughput", "MB/s")
TOTAL = Metric(PART, "lineitem", "time", "ms")
CPU = Metric(PART, "lineitem", "processor time of the server", "ms")
FIRST = Metric(PART, "lineitem", "first batch", "ms")
IDLE = Metric(PART, "before", "server memory (PSS)", "MB")
PEAK = Metric(PART, "lineitem", "server peak memory (PSS)", "MB")
PEAK_RSS = Metric(PART, "lineitem", "server peak memory (sum of RSS)", "MB")
PEAK_QUARTER = Metric(PART, "lineitem of a quarter", "server peak memory (PSS)", "MB")

_MB = 1e6


@dataclass(frozen=True, slots=True)
class Export:
    """One export. Bytes are those of the Arrow buffers that arrived; times are in seconds."""

    rows: int
    bytes: int
    first: float
    total: float


def measure(run: Run) -> None:
    """Time the export in turns, then repeat it in turns while memory is watched.

    Watching costs the watched process time, so a timed export is never watched.
    """
    for target in run.targets:
        _measure_idle(run, target)
    run.warm(SQL)
    for target in run.turns():
        with run.noting_failure(target, SQL):
            with run.counting_cpu(target, CPU):
                export = _export(target, SQL)
            add = run.figures.add
            add(ROWS, target.name, export.rows / export.total)
            add(BYTES, target.name, export.bytes / export.total / _MB)
            add(TOTAL, target.name, export.total * 1e3)
            add(FIRST, target.name, export.first * 1e3)
    for sql in (_QUARTER, SQL):
        for target in run.turns():
            with run.noting_failure(target, sql):
                _watch(run, target, sql)


def _measure_idle(run: Run, target: Target) -> None:
    if target.pid is not None:
        run.figures.add(IDLE, target.name, memory_of(target.pid).pss / _MB)


def _export(target: Target, sql: str) -> Export:
    rows = size = 0
    first = 0.0
    start = perf_counter()
    for batch in target.stream(sql):
        first = first or perf_counter() - start
        rows += batch.num_rows
        size += batch.nbytes
    return Export(rows, size, first, perf_counter() - start)


def _watch(run: Run, target: Target, sql: str) -> None:
    if target.pid is None:
        return
    with Peak(target.pid) as peak:
        _export(target, sql)
    if sql == SQL:
        run.figures.add(PEAK, target.name, peak.most.pss / _MB)
        run.figures.add(PEAK_RSS, target.name, peak.most.rss / _MB)
    else:
        run.figures.add(PEAK_QUARTER, target.name, peak.most.pss / _MB)
