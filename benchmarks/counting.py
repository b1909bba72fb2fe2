"""What limits cost a call: ``python -m benchmarks.counting [FOLDER]``.

Counts as the server does, into real files in a folder (a temporary one unless given), which are
synced to the disk once a second meanwhile. Prints nanoseconds for each check, as the median over
rounds, and the longest that any single one took.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import machine
from flight_server.auth.throttle import WIDTH as FAILURES_WIDTH
from flight_server.auth.throttle import Throttle, ThrottleRules
from flight_server.clock import SystemClock
from flight_server.ops.counting import FAILURES_MAX, USERS_MAX
from flight_server.service.limits import WIDTH, Limits, Step, Tier
from flight_server.storage.counters import Counters

ROUNDS, SECONDS = 7, 0.5
MANY_USERS = 10_000
_HIGH = 10**9
_TIERS = {
    "free": Tier(_HIGH, _HIGH, 16),
    "enterprise": Tier(),
}


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=arguments[0] if arguments else None) as folder:
        clock = SystemClock()
        users = Counters(
            Path(folder, "counters"), key=b"k" * 32, width=WIDTH, slots=USERS_MAX, clock=clock
        )
        failures = Counters(
            Path(folder, "failures"),
            key=b"k" * 32,
            width=FAILURES_WIDTH,
            slots=FAILURES_MAX,
            clock=clock,
        )
        throttle = Throttle(failures, ThrottleRules(), clock=clock)
        print("; ".join(f"{name}: {value}" for name, value in machine.describe().items()), "\n")
        print("| check | ns | longest, µs |\n|---|---|---|")
        for name, check in _checks(Limits(_TIERS, users), throttle).items():
            each, longest = _measured(check)
            print(f"| {name} | {each:,.0f} | {longest:,.0f} |", flush=True)
        users.close()
        failures.close()
    return 0


def _checks(limits: Limits, throttle: Throttle) -> dict[str, Callable[[], object]]:
    names = itertools.cycle([f"00000000-0000-4000-8000-{n:012}" for n in range(MANY_USERS)])
    one = next(names)

    def sign_in() -> None:
        with throttle.attempt("ada", "192.0.2.1"):
            pass

    def described() -> None:
        limits.request(one, "free", step=Step.DESCRIBE)
        limits.request(one, "free", step=Step.FETCH)

    def query() -> None:
        for step in (Step.PREPARE, Step.EXECUTE, Step.FETCH):
            limits.request(one, "free", step=step)
        limits.enter(one, "free").leave()

    return {
        "a request": lambda: limits.request(one, "free", step=Step.WHOLE),
        f"a request of one of {MANY_USERS:,} users": lambda: limits.request(
            next(names), "free", step=Step.WHOLE
        ),
        "a request, and the call that goes on with it": described,
        "a call of a tier without limits": lambda: limits.request(
            one, "enterprise", step=Step.WHOLE
        ),
        "a query that enters and leaves": lambda: limits.enter(one, "free").leave(),
        "the same of a tier without limits": lambda: limits.enter(one, "enterprise").leave(),
        "all checks of a query of the ADBC driver, four calls": query,
        "an attempt to sign in, with address": sign_in,
    }


def _measured(check: Callable[[], object]) -> tuple[float, float]:
    """Return the nanoseconds of one check, and the microseconds of the longest."""
    rounds: list[float] = []
    longest = 0
    for _ in range(ROUNDS):
        end = time.perf_counter_ns() + int(SECONDS * 1e9)
        count, started = 0, time.perf_counter_ns()
        before = started
        while before < end:
            check()
            now = time.perf_counter_ns()
            longest = max(longest, now - before)
            before = now
            count += 1
        rounds.append((before - started) / count)
    return statistics.median(rounds), longest / 1000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
