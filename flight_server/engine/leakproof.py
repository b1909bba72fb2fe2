"""Tells whether a query may run in the fast form, where what it asks may be asked of hidden rows.

It may when nothing in its optimized plan can fail, whatever value it meets: then it says of a row
that is not to be seen what it says of any other, which is nothing until the row is returned. The
plan holds the query's expressions and those of the policies, and all of them are looked at. What is
not listed, here or in ``leakproof_expressions``, is taken for what fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import pyarrow as pa
from datafusion import Expr, SessionContext
from datafusion.plan import LogicalPlan

from flight_server.engine.leakproof_expressions import Expressions
from flight_server.engine.leakproof_reading import Doubt


def is_leakproof(ctx: SessionContext, plan: LogicalPlan) -> bool:
    """Return whether nothing in an optimized plan of this session can fail."""
    try:
        _check(ctx, plan)
    except (Doubt, LookupError, ValueError, RuntimeError):  # of what is not as we know it
        return False
    return True


def _check(ctx: SessionContext, plan: LogicalPlan) -> None:
    try:
        node = plan.to_variant()
    except Exception:  # noqa: BLE001  whatever the library cannot show is a doubt
        raise Doubt from None
    expressions = NODES.get(type(node).__name__)
    if expressions is None:
        raise Doubt
    inputs = plan.inputs()
    look = Expressions(_Columns(ctx, inputs or [plan]).type)
    for expression in expressions(node):
        look.check(_serialized(expression))
    for each in inputs:
        _check(ctx, each)


def _serialized(expression: Any) -> bytes:
    try:
        return Expr(getattr(expression, "expr", expression)).to_bytes(_by_name())
    except Exception:  # noqa: BLE001  whatever the library cannot write is a doubt
        raise Doubt from None


@cache
def _by_name() -> SessionContext:
    """Return a session that writes functions by their names; else their code would be written."""
    return SessionContext().with_python_udf_inlining(enabled=False)


class _Columns:
    """The types of the columns that come from some plans, made when the first one is asked for."""

    def __init__(self, ctx: SessionContext, plans: list[LogicalPlan]) -> None:
        self._ctx = ctx
        self._plans = plans
        self._types: dict[str, pa.DataType | None] | None = None

    def type(self, name: str) -> pa.DataType | None:
        """Return the type of a column, None when it is not known."""
        if self._types is None:
            self._types = self._read()
        return self._types.get(name)

    def _read(self) -> dict[str, pa.DataType | None]:
        types: dict[str, pa.DataType | None] = {}
        for plan in self._plans:
            for field in self._ctx.create_dataframe_from_logical_plan(plan).schema():
                is_other = types.get(field.name, field.type) != field.type
                types[field.name] = None if is_other else field.type
        return types


def _of_aggregate(node: Any) -> Iterator[Any]:
    yield from node.group_by_exprs()
    yield from node.aggregate_exprs()


def _of_join(node: Any) -> Iterator[Any]:
    for left, right in node.on():
        yield left
        yield right
    if (condition := node.filter()) is not None:
        yield condition


def _of_limit(node: Any) -> Iterator[Any]:
    yield from (each for each in (node.skip(), node.fetch()) if each is not None)


def _of_values(node: Any) -> Iterator[Any]:
    for row in node.values():
        yield from row


# The nodes that are known, each with its expressions.
NODES: Mapping[str, Callable[[Any], Iterator[Any]]] = {
    "Aggregate": _of_aggregate,
    "EmptyRelation": lambda _: iter(()),
    "Filter": lambda node: iter((node.predicate(),)),
    "Join": _of_join,
    "Limit": _of_limit,
    "Projection": lambda node: iter(node.projections()),
    "Sort": lambda node: (each.expr() for each in node.sort_exprs()),
    "SubqueryAlias": lambda _: iter(()),
    "TableScan": lambda node: iter(node.filters()),
    "Union": lambda _: iter(()),
    "Values": _of_values,
    "WindowExpr": lambda node: iter(node.get_window_expr()),
}
