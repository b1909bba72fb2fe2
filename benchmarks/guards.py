"""What identity, limits and the audit log cost the smallest query: with them, and without."""

from __future__ import annotations

import contextlib
import json
import sys

from benchmarks import latency
from benchmarks.run import Run
from benchmarks.targets import LAKEFLIGHT, Served, serving_lakeflight

PART = "guards"
UNGUARDED = "unguarded"
MODES = ("direct", "cursor")
CONNECTIONS = (1, 8)
# Limits that are never reached, and are counted all the same.
_TIERS = {"enterprise": dict.fromkeys(("requests_per_minute_max", "queries_per_day_max"), 10**6)}


def measure(run: Run) -> None:
    """Load two servers of the same data in turns; they differ in nothing but the guards."""
    with contextlib.ExitStack() as stack:
        targets = []
        for name, program in (
            (LAKEFLIGHT, ()),
            (UNGUARDED, (sys.executable, "-m", "benchmarks.unguarded")),
        ):
            served = serving_lakeflight(
                run.dataset,
                program,
                LAKEFLIGHT_TIERS=json.dumps(_TIERS),
                LAKEFLIGHT_STORAGE__READ_ONLY="true",  # one folder, two servers
            )
            login, pid = stack.enter_context(served)
            targets.append(Served(name, login, pid=pid))
            stack.callback(targets[-1].close)
        for number in range(run.rounds):
            for mode in MODES:
                for connections in CONNECTIONS:
                    for target in targets if number % 2 else reversed(targets):
                        with run.noting_failure(target, f"{mode} at {connections} connections"):
                            latency.load(run, target, mode=mode, connections=connections, part=PART)
