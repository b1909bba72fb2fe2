"""The entry point: ``python -m benchmarks [PART] [--scale 1] [--rounds N] [--json FILE]``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    analytics,
    data,
    export,
    governed,
    guards,
    latency,
    loads,
    logins,
    lookup,
    machine,
)
from benchmarks.processes import NotStarted
from benchmarks.report import Report
from benchmarks.run import Run
from benchmarks.series import Figures
from benchmarks.targets import ALL, started

PARTS = {
    export.PART: export.measure,
    analytics.PART: analytics.measure,
    lookup.PART: lookup.measure,
    latency.PART: latency.measure,
    guards.PART: guards.measure,
    governed.PART: governed.measure,
    loads.PART: loads.measure,
    logins.PART: logins.measure,
}


def main(arguments: Sequence[str]) -> int:
    """Measure, print the tables, and return 0, or 1 when something failed to run."""
    options = _parse(arguments)
    described = machine.describe()
    dataset = data.prepare(options.scale, cache=options.data)
    figures = Figures()
    try:
        with started(options.targets, dataset) as targets:
            run = Run(dataset, targets, options.rounds, figures, options.load_seconds)
            for name, measure in PARTS.items():
                if options.part in {name, "all"}:
                    print(f"measuring {name} …", file=sys.stderr, flush=True)
                    measure(run)
    except NotStarted as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report = Report(
        command=shlex.join(["python", "-m", "benchmarks", *arguments]),
        machine=described,
        data=dataset.describe(),
        targets=options.targets,
        rounds=options.rounds,
        figures=figures,
    )
    print(report.as_markdown())
    if options.json is not None:
        options.json.write_text(report.as_json())
    return 1 if figures.failures else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, "all"])
    parser.add_argument("--scale", type=float, default=1.0, help="of TPC-H (default 1)")
    parser.add_argument("--rounds", type=int, default=3, help="of every measure (default 3)")
    parser.add_argument("--load-seconds", type=float, default=1.5, help="of each latency case")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument("--data", type=Path, default=data.CACHE, help="where the data is kept")
    parser.add_argument(
        "--targets", nargs="+", default=list(ALL), choices=ALL, help="leave some out"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
