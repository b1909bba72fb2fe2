"""A hundred sign-ins at once, and what somebody who is signed in notices of them.

Run as a program it is the crowd: ``python -m benchmarks.logins``, the login as JSON on its input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from statistics import quantiles
from time import perf_counter

import pyarrow.flight as fl

from benchmarks.processes import Peak, memory_of
from benchmarks.run import Run
from benchmarks.series import Metric
from benchmarks.targets import LAKEFLIGHT, Login, Served, serving_lakeflight

PART = "logins"
CROWD = 100
# What is measured without a crowd lasts as long.
_ALONE_SECONDS = 2.0
_CROWD_SECONDS_MAX = 120.0
_MB = 1e6
_CASE = f"{CROWD} at once"

ALL_IN = Metric(PART, _CASE, "until the last one is signed in", "ms")
MEMORY = Metric(PART, _CASE, "memory on top (PSS)", "MB")
_SELECT = "SELECT 1"


def select(name: str, *, crowded: bool) -> Metric:
    """Return the metric ``p50``, ``p95`` or ``most`` of the smallest query."""
    return Metric(PART, f"{_SELECT} {'meanwhile' if crowded else 'alone'}", name, "ms")


def measure(run: Run) -> None:
    """Let a crowd sign in at a fresh server, once for the times and once for the memory."""
    read_only = {"LAKEFLIGHT_STORAGE__READ_ONLY": "true"}  # one folder, two servers
    with serving_lakeflight(run.dataset, **read_only) as (login, pid):
        target = Served(LAKEFLIGHT, login, pid=pid)
        try:
            for _ in range(run.rounds):
                with run.noting_failure(target, "a crowd that signs in"):
                    _times(run, target)
                    _memory(run, target)
        finally:
            target.close()


def _times(run: Run, target: Served) -> None:
    _note(run, _asked_until(target, after(_ALONE_SECONDS)), crowded=False)
    with _crowd(target.login) as crowd:
        _note(run, _asked_until(target, crowd.is_in), crowded=True)
    run.figures.add(ALL_IN, target.name, crowd.seconds * 1e3)


def _memory(run: Run, target: Served) -> None:
    assert target.pid is not None
    before = memory_of(target.pid).pss
    with Peak(target.pid) as peak, _crowd(target.login) as crowd:
        crowd.is_in.wait(_CROWD_SECONDS_MAX)
    run.figures.add(MEMORY, target.name, (peak.most.pss - before) / _MB)


def _note(run: Run, latencies: list[float], *, crowded: bool) -> None:
    cuts = quantiles(latencies, n=100)
    for name, value in (("p50", cuts[49]), ("p95", cuts[94]), ("most", max(latencies))):
        run.figures.add(select(name, crowded=crowded), LAKEFLIGHT, value * 1e3)


def after(seconds: float) -> threading.Event:
    """Return an event that happens so much later."""
    over = threading.Event()
    threading.Timer(seconds, over.set).start()
    return over


def _asked_until(target: Served, over: threading.Event) -> list[float]:
    """Ask the smallest query again and again; return how long each answer took."""
    latencies = []
    while not over.is_set():
        start = perf_counter()
        for _ in target.stream(_SELECT):
            pass
        latencies.append(perf_counter() - start)
    return latencies


class Crowd:
    """People in another process; ``is_in`` once all are signed in, after so many ``seconds``."""

    def __init__(self) -> None:
        self.is_in = threading.Event()
        self.seconds = 0.0


@contextmanager
def _crowd(login: Login) -> Iterator[Crowd]:
    """Let a crowd sign in while the block runs; it has begun when the block does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.logins"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdout, crowd = process.stdout, Crowd()

    def wait() -> None:
        crowd.seconds = float(stdout.readline() or "nan")
        crowd.is_in.set()

    waiting = threading.Thread(target=wait)
    try:
        process.stdin.write(json.dumps(asdict(login)) + "\n")
        process.stdin.flush()
        stdout.readline()  # everybody is there
        waiting.start()
        yield crowd
        waiting.join(_CROWD_SECONDS_MAX)
    finally:
        process.stdin.close()
        if process.wait(_CROWD_SECONDS_MAX) != 0:
            raise RuntimeError("somebody could not sign in")


def sign_in(login: Login) -> None:
    """Be the crowd: say when all are there, and when all are signed in."""
    assert login.uri is not None
    clients = [fl.FlightClient(login.uri) for _ in range(CROWD)]
    start = threading.Barrier(CROWD + 1)
    failed: list[Exception] = []

    def join(client: fl.FlightClient) -> None:
        start.wait()
        try:
            client.authenticate_basic_token(login.user, login.password)
        except Exception as error:  # noqa: BLE001 - whatever it is, it counts
            failed.append(error)

    threads = [threading.Thread(target=join, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    print("there", flush=True)
    start.wait()
    began = perf_counter()
    for thread in threads:
        thread.join()
    print(perf_counter() - began, flush=True)
    if failed:
        sys.exit(f"{len(failed)} could not sign in, the first: {failed[0]}")


if __name__ == "__main__":
    sign_in(Login(**json.loads(sys.stdin.readline())))
