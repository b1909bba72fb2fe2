"""Tells whether a query may run in the fast form, where it can be asked of rows that are hidden."""

from __future__ import annotations

from datafusion.plan import LogicalPlan


def is_leakproof(plan: LogicalPlan) -> bool:
    """Return whether nothing in an optimized plan can fail, whatever rows it meets."""
    return plan is None
