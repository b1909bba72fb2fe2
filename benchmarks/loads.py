"""Writing: a bulk load of lineitem, and single rows, each acknowledged when it is durable.

What it is held against is the Delta library in this process, which does not sync.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from benchmarks.processes import Peak
from benchmarks.run import Run
from benchmarks.series import Metric
from benchmarks.targets import IN_PROCESS, LAKEFLIGHT, SCRATCH, Target, connect

PART = "loads"
# Of the batches that a client sends, about 2.5 MB each; larger ones leave the processor's cache.
BATCH_ROWS = 16_384
SINGLE_ROWS = 200

LOAD = Metric(PART, "lineitem", "time", "ms")
SPEED = Metric(PART, "lineitem", "speed", "rows/s")
PEAK = Metric(PART, "lineitem", "server peak memory (PSS)", "MB")
INSERT_P50 = Metric(PART, "one row", "INSERT with parameters, p50", "ms")
INSERT_P95 = Metric(PART, "one row", "INSERT with parameters, p95", "ms")
_MB = 1e6


def measure(run: Run) -> None:
    """Load the table in turns, watch the memory of one more load, then insert single rows."""
    rows = _lineitem(run)
    targets = [each for each in run.targets if each.name in (LAKEFLIGHT, IN_PROCESS)]
    for number in range(run.rounds):
        first = number % len(targets)
        for target in targets[first:] + targets[:first]:
            with run.noting_failure(target, "load of lineitem"):
                seconds = _load(target, rows)
                run.figures.add(LOAD, target.name, seconds * 1e3)
                run.figures.add(SPEED, target.name, rows.num_rows / seconds)
    for target in targets:
        if target.pid is not None:
            with run.noting_failure(target, "load of lineitem"), Peak(target.pid) as peak:
                _load(target, rows)
            run.figures.add(PEAK, target.name, peak.most.pss / _MB)
    for target in targets:
        with run.noting_failure(target, "single rows"):
            times = _singles(target)
            run.figures.add(INSERT_P50, target.name, median(times) * 1e3)
            run.figures.add(INSERT_P95, target.name, quantiles(times, n=20)[-1] * 1e3)


def _lineitem(run: Run) -> pa.Table:
    files = run.dataset.files("tpch", "lineitem")
    return pa.concat_tables([pq.read_table(file) for file in files])


def _reader(rows: pa.Table) -> pa.RecordBatchReader:
    batches = rows.to_batches(max_chunksize=BATCH_ROWS)
    return pa.RecordBatchReader.from_batches(rows.schema, batches)


def _load(target: Target, rows: pa.Table) -> float:
    """Return the seconds that it takes to load the rows as a new table."""
    if target.name == IN_PROCESS:
        with _folder() as folder:
            start = perf_counter()
            write_deltalake(str(folder), _reader(rows))
            return perf_counter() - start
    with connect(target.login) as connection, connection.cursor() as cursor:
        start = perf_counter()
        cursor.adbc_ingest("lineitem", _reader(rows), mode="create", catalog_name=SCRATCH)
        seconds = perf_counter() - start
        cursor.execute(f"DROP TABLE {SCRATCH}.public.lineitem")
        return seconds


def _singles(target: Target) -> list[float]:
    """Return the seconds of each of a number of single rows, after some that do not count."""
    times = list(itertools.islice(_inserts(target), SINGLE_ROWS + 20))
    return times[20:]


def _inserts(target: Target) -> Iterator[float]:
    if target.name == IN_PROCESS:
        with _folder() as folder:
            for number in itertools.count():
                start = perf_counter()
                write_deltalake(str(folder), _row(number), mode="append")
                yield perf_counter() - start
    with connect(target.login) as connection, connection.cursor() as cursor:
        name = f"{SCRATCH}.public.single"
        cursor.execute(f"CREATE OR REPLACE TABLE {name} (id BIGINT NOT NULL, name VARCHAR)")
        for number in itertools.count():
            start = perf_counter()
            cursor.execute(f"INSERT INTO {name} VALUES (?, ?)", (number, f"row {number}"))
            yield perf_counter() - start


def _row(number: int) -> Any:
    return pa.table({"id": [number], "name": [f"row {number}"]})


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lakeflight-bench-"))
    try:
        yield folder / "table"
    finally:
        shutil.rmtree(folder)
