"""The smallest query at 1, 8 and 32 connections: percentiles and queries a second."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import quantiles

from benchmarks.client import MODES, Order, as_json, direct
from benchmarks.run import Run
from benchmarks.series import Metric
from benchmarks.targets import Target

PART = "latency"
CONNECTIONS = (1, 8, 32)
_START_SECONDS_MAX = 60.0


def metric(mode: str, connections: int, *, name: str, part: str = PART) -> Metric:
    """Return the metric ``p50``, ``p95``, ``p99``, ``server cpu`` or ``rate`` of one case."""
    unit = "queries/s" if name == "rate" else "ms"
    return Metric(part, f"{mode}, {connections} conn.", name, unit)


def measure(run: Run) -> None:
    """Let a fresh client process load one target after the other, case by case."""
    for number in range(run.rounds):
        for mode in MODES:
            for connections in CONNECTIONS:
                for target in run.order(number):
                    if target.login.uri is None and MODES[mode] is not direct:
                        continue  # in process there is but one way to ask
                    with run.noting_failure(target, f"{mode} at {connections} connections"):
                        load(run, target, mode=mode, connections=connections)


def load(run: Run, target: Target, *, mode: str, connections: int, part: str = PART) -> None:
    """Let a client process ask one target the smallest query for a while, and note the figures."""
    order = Order(
        login=target.login,
        pid=target.pid,
        root=str(run.dataset.root),
        mode=mode,
        connections=connections,
        seconds=run.load_seconds,
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.client"],
        input=as_json(order),
        capture_output=True,
        text=True,
        timeout=_START_SECONDS_MAX + run.load_seconds,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["silent"])[-1])
    report = json.loads(done.stdout)
    if report["errors"]:
        raise RuntimeError(f"{len(report['errors'])} failed, the first: {report['errors'][0]}")
    cuts = quantiles(report["latencies"], n=100)
    for name, value in (("p50", cuts[49]), ("p95", cuts[94]), ("p99", cuts[98])):
        run.figures.add(metric(mode, connections, name=name, part=part), target.name, value * 1e3)
    if report["cpu"] is not None:
        each = report["cpu"] / len(report["latencies"]) * 1e3
        run.figures.add(metric(mode, connections, name="server cpu", part=part), target.name, each)
    rate = len(report["latencies"]) / report["elapsed"]
    run.figures.add(metric(mode, connections, name="rate", part=part), target.name, rate)
