"""The targets that this project set itself, and whether a run meets them."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import analytics, export, governed, guards, latency, loads, logins
from benchmarks.client import MODES
from benchmarks.series import Figures, Metric
from benchmarks.targets import BARE, IN_PROCESS, LAKEFLIGHT

# Peaks of two runs never match exactly; more than this is growth.
_MEMORY_GROWTH_MAX = 1.15


@dataclass(frozen=True, slots=True)
class Goal:
    """A claim with its bound and what was measured; None when it was not."""

    claim: str
    measured: float | None
    bound: float
    at_least: bool

    @property
    def met(self) -> bool | None:
        """Tell whether the bound holds; None when nothing was measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


def goals(figures: Figures) -> list[Goal]:
    """Hold a run against all targets."""
    found = [
        _at_least("export of lineitem, rows/s ÷ bare", _ratio(figures, export.ROWS), 0.9),
        _at_most(
            "TPC-H total time ÷ DataFusion in process",
            figures.ratio(analytics.TOTAL, LAKEFLIGHT, to=IN_PROCESS),
            1.15,
        ),
    ]
    for mode in MODES:
        p50 = latency.metric(mode, 1, name="p50")
        claim = f"smallest query ({mode}), p50 at 1 connection ÷ bare"
        found.append(_at_most(claim, _ratio(figures, p50), 1.3))
        for connections in latency.CONNECTIONS[1:]:
            rate = latency.metric(mode, connections, name="rate")
            claim = f"smallest query ({mode}), queries/s at {connections} connections ÷ bare"
            found.append(_at_least(claim, _ratio(figures, rate), 0.9))
    first = figures.median(export.FIRST, LAKEFLIGHT)
    peak = figures.median(export.PEAK, LAKEFLIGHT)
    quarter = figures.median(export.PEAK_QUARTER, LAKEFLIGHT)
    growth = peak / quarter if peak and quarter else None
    return [
        *found,
        _at_most("first batch of the export, ms", first, 120),
        _at_most("peak memory (PSS) of gateway and workers in the export, MB", peak, 600),
        _at_most("that peak ÷ the peak with a quarter of the rows", growth, _MEMORY_GROWTH_MAX),
        _at_most(
            "bulk load of lineitem, time ÷ write_deltalake in process",
            figures.ratio(loads.LOAD, LAKEFLIGHT, to=IN_PROCESS),
            1.3,
        ),
        _at_most(
            "peak memory (PSS) of gateway and workers in the load, MB",
            figures.median(loads.PEAK, LAKEFLIGHT),
            1000,
        ),
        *_guards(figures),
        *_governed(figures),
        _at_most(
            f"smallest query while {logins.CROWD} sign in at once, p95 ms",
            figures.median(logins.select("p95", crowded=True), LAKEFLIGHT),
            100,
        ),
        _at_most(
            f"memory (PSS) that {logins.CROWD} sign-ins at once take on top, MB",
            figures.median(logins.MEMORY, LAKEFLIGHT),
            100,
        ),
        _at_most(
            "one row inserted durably, p50 ms", figures.median(loads.INSERT_P50, LAKEFLIGHT), 40
        ),
    ]


def _guards(figures: Figures) -> list[Goal]:
    """Return the claims on what identity, limits and audit cost, for what was measured of them."""
    found = []
    for mode in guards.MODES:
        p50 = latency.metric(mode, 1, name="p50", part=guards.PART)
        claim = f"smallest query ({mode}), p50 ÷ without identity, limits and audit"
        ratio = figures.ratio(p50, LAKEFLIGHT, to=guards.UNGUARDED)
        found.append(_at_most(claim, ratio, 1.15))
    return found


def _governed(figures: Figures) -> list[Goal]:
    """Return the claims on what rules cost."""
    bounds = {
        "one order through a row filter, p50 ÷ raw": (governed.POINT, 1.2),
        "a range of keys through a row filter, p50 ÷ raw": (governed.RANGE, 1.2),
        "export of lineitem through masks, time ÷ raw": (governed.EXPORT, 1.5),
        "one order with 100,000 tombstones, p50 ÷ raw": (governed.TOMBSTONE_POINT, 1.5),
        "export of lineitem with 100,000 tombstones, time ÷ raw": (governed.TOMBSTONE_EXPORT, 1.3),
    }
    return [
        _at_most(claim, figures.ratio(metric, LAKEFLIGHT, to=governed.RAW), bound)
        for claim, (metric, bound) in bounds.items()
    ]


def _ratio(figures: Figures, metric: Metric) -> float | None:
    return figures.ratio(metric, LAKEFLIGHT, to=BARE)


def _at_least(claim: str, measured: float | None, bound: float) -> Goal:
    return Goal(claim, measured, bound, at_least=True)


def _at_most(claim: str, measured: float | None, bound: float) -> Goal:
    return Goal(claim, measured, bound, at_least=False)
