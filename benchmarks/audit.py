"""What the audit log absorbs: ``python -m benchmarks.audit [--rate 2000] [--seconds 30]``.

Threads append records at a rate, half of them intents whose sync they wait for, as calls do. Each
line is one second: the records taken, how far the table is behind, what the process and the
log's own threads used of a core. The lag must not grow.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from flight_server.audit.events import Event, Outcome
from flight_server.audit.log import AuditLog, LogOptions
from flight_server.clock import SystemClock
from flight_server.entropy import Entropy

CLOCK = SystemClock()
TICKS = os.sysconf("SC_CLK_TCK")
STATEMENT = "SELECT city, sum(amount) FROM lake.sales.orders WHERE day >= ? GROUP BY city"


@dataclass
class Taken:
    """What the threads have measured, in microseconds."""

    appends: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def event(number: int, outcome: Outcome) -> Event:
    is_over = outcome is not Outcome.INTENT
    return Event(
        timestamp=CLOCK.now(),
        action="query.run",
        outcome=outcome,
        request_id=f"4f1c2a-{number:012d}",
        user_id="0b9f2c1e6e2a4d0a9a55f1f0c3f0a111",
        username="ana",
        session_id="7d3e5a52c1f94a6ea9b0b0d7c1c8e222",
        resource="lake.sales.orders",
        purpose="analytics",
        details={"method": "get_flight_info", "statement": STATEMENT},
        row_count=10 if is_over else None,
        byte_count=480 if is_over else None,
        engine_ms=1.75 if is_over else None,
        duration_ms=3.125 if is_over else None,
        table_versions={"lake.sales.orders": 17} if is_over else {},
        policy_version="5f0d7c21",
        ip_address="10.0.0.7",
        user_agent="ADBC Flight SQL Driver 1.11.0",
    )


def append_steadily(log: AuditLog, taken: Taken, first: int, *, rate: float, until: float) -> None:
    """Append pairs at half the rate, each at its time, as late as that may be."""
    due = time.perf_counter()
    number = first
    pause = threading.Event()
    while (now := time.perf_counter()) < until:
        if due > now:
            pause.wait(due - now)
        due += 2 / rate
        number += 1
        for outcome in (Outcome.INTENT, Outcome.SUCCESS):
            subject = event(number, outcome)
            start = time.perf_counter()
            sequence = log.append(subject)
            end = time.perf_counter()
            taken.appends.append((end - start) * 1e6)
            if outcome is Outcome.INTENT:
                log.wait(sequence)
                taken.waits.append((time.perf_counter() - end) * 1e6)


def thread_seconds() -> float:
    """Return the processor time of the log's own threads."""
    total = 0
    for thread in threading.enumerate():
        if thread.name.startswith("audit-"):
            stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
            user, system = stat.rpartition(")")[2].split()[11:13]
            total += int(user) + int(system)
    return total / TICKS


def watch(log: AuditLog, seconds: int) -> list[int]:
    """Print a line each second; return the records that were behind at the end of each."""
    lags: list[int] = []
    before, cpu, own = log.head().sequence, time.process_time(), thread_seconds()
    pause = threading.Event()
    print(" s  records/s  behind  seconds   KiB  process CPU  log's threads")
    for second in range(1, seconds + 1):
        pause.wait(1)
        lag, now = log.lag(), log.head().sequence
        cpu_now, own_now = time.process_time(), thread_seconds()
        print(
            f"{second:2d} {now - before:10d} {lag.records:7d} {lag.seconds:8.2f}"
            f" {lag.bytes // 1024:5d} {cpu_now - cpu:11.0%} {own_now - own:14.0%}",
            flush=True,
        )
        lags.append(lag.records)
        before, cpu, own = now, cpu_now, own_now
    return lags


def main() -> None:
    """Run it in a fresh folder, verify the log, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--rate", type=float, default=2000, help="records per second")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        log = AuditLog(Path(folder), clock=CLOCK, random_bytes=Entropy(), options=LogOptions())
        log.start()
        taken = Taken()
        until = time.perf_counter() + options.seconds
        threads = [
            threading.Thread(
                target=append_steadily,
                args=(log, taken, lane * 1_000_000_000),
                kwargs={"rate": options.rate / options.threads, "until": until},
            )
            for lane in range(options.threads)
        ]
        for each in threads:
            each.start()
        lags = watch(log, options.seconds)
        for each in threads:
            each.join()
        half = len(lags) // 2
        print(f"most behind: {max(lags[:half])} in the first half, {max(lags[half:])} after it")
        for name, values in (("append", taken.appends), ("wait", taken.waits)):
            cuts = statistics.quantiles(values, n=100)
            print(f"{name}: p50 {cuts[49]:.0f} µs, p95 {cuts[94]:.0f} µs, p99 {cuts[98]:.0f} µs")
        start = time.perf_counter()
        log.flush()
        verdict = log.verify()
        took = time.perf_counter() - start
        print(f"verified: {verdict.records} records in {took:.1f} s, intact: {verdict.is_intact}")
        log.close()


if __name__ == "__main__":
    main()
