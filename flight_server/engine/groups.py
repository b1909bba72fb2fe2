"""Lets only aggregates over enough rows leave, for sessions whose purpose asks for that.

A query over such a table has one shape: at most one aggregation, directly over the table's rows or
some of them. It is taken apart and planned again with the number of rows of each group, and groups
of too few rows are gone before anything else of the query sees them. What cannot be taken apart
with certainty is refused: the names that a plan shows are compared with what we would have written.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from datafusion import DataFrame, Expr, SessionContext, col, functions, lit
from datafusion import expr as variants
from datafusion.expr import SortExpr
from datafusion.plan import LogicalPlan

from flight_server.engine.base import GovernedScan, GovernedTable, ViewScan
from flight_server.engine.leakproof import is_leakproof
from flight_server.errors import LakeflightError, PermissionDenied
from flight_server.sql.names import quoted

AGGREGATES_ONLY = "aggregates_only"
# Some show a value of one row, such as min; these do not, over enough rows.
AGGREGATES = (
    *("count", "sum", "avg"),
    *("var", "var_pop", "stddev", "stddev_pop"),
)
_ALLOWED = (
    "for the purpose of this session only figures over groups of rows leave: one SELECT over one"
    f" table with {', '.join(AGGREGATES)} of plain columns or count(*), and WHERE, GROUP BY,"
    " HAVING, ORDER BY and LIMIT"
)
# More groups than any result has; nothing of a query moves below a limit.
_NO_LIMIT = 2**63 - 1
# A name that no text of a user holds. It marks where a query ends, and its table begins.
_MARK = f"own_{secrets.token_hex(16)}"
_ROWS = f"{_MARK}_rows"
_NAME_PARTS_MAX = 3
_ABOVE = (
    variants.Projection,
    variants.Sort,
    variants.Limit,
    variants.Filter,
    variants.SubqueryAlias,
)


def marked(frame: DataFrame) -> DataFrame:
    """Return the rows of a table of which only aggregates may leave, so that they are known."""
    return frame.alias(_MARK)


def rows_min(opened: Iterable[GovernedTable]) -> int:
    """Return how many rows a group must have to leave; 0 where none of the tables asks for that.

    Raises PermissionDenied (``aggregates_only``) when one does, and there is another table.
    """
    scans = [table.scan for table in opened if not isinstance(table.scan, ViewScan)]
    found = max((s.group_rows_min for s in scans if isinstance(s, GovernedScan)), default=0)
    if found and len(scans) > 1:
        raise refused("it reads more than one table")
    return found


def refused(why: str) -> PermissionDenied:
    """Return the error for what is no aggregate over enough rows."""
    return PermissionDenied(f"{_ALLOWED}; {why}", code=AGGREGATES_ONLY)


def grouped(ctx: SessionContext, frame: DataFrame, *, rows_min: int) -> DataFrame:
    """Return a query without its groups of fewer rows than that.

    Of a group that stays, what is computed of a column with fewer values than that is NULL. Raises
    PermissionDenied (``aggregates_only``) for all but one aggregation over one table.
    """
    plan = frame.logical_plan()
    if plan.display_indent().count(_MARK) != 1:  # which shows queries in expressions, too
        raise refused("its table is read once, and in no subquery")
    try:
        above, aggregation = _taken_apart(ctx, plan)
        made = _large_groups(ctx, aggregation, rows_min=rows_min)
        for node in reversed(above):
            made = _over(made, node)
    except LakeflightError:
        raise
    except Exception:  # noqa: BLE001  the planner raises many kinds, which may name what is ours
        raise refused("this query is too involved") from None
    return made


@dataclass(frozen=True, slots=True)
class _Figure:
    """One aggregate as we write it, its name in the plan, and the column that it is of."""

    made: Expr
    name: str
    column: Expr | None


@dataclass(frozen=True, slots=True)
class _Aggregation:
    """The one aggregation of a query: what it is over, its keys and its figures."""

    source: LogicalPlan
    keys: tuple[Expr, ...]
    figures: tuple[_Figure, ...]


def _taken_apart(ctx: SessionContext, plan: LogicalPlan) -> tuple[list[Any], _Aggregation]:
    """Return the nodes above the aggregation, topmost first, and the aggregation."""
    above: list[Any] = []
    node = plan.to_variant()
    while isinstance(node, _ABOVE):
        above.append(node)
        (plan,) = plan.inputs()
        node = plan.to_variant()
    if not isinstance(node, variants.Aggregate):
        raise refused("it has no aggregation, or something over it")
    (source,) = plan.inputs()
    keys = tuple(Expr(each) for each in node.group_by_exprs())
    if any(key.variant_name() == "GroupingSet" for key in keys):
        raise refused("GROUPING SETS, ROLLUP and CUBE are not among it")
    _check_source(ctx, source, keys)
    figures = tuple(_figure(Expr(each)) for each in node.aggregate_exprs())
    return above, _Aggregation(source, keys, figures)


def _check_source(ctx: SessionContext, plan: LogicalPlan, keys: Sequence[Expr]) -> None:
    """Raise unless this is the table, or some rows and plain columns of it.

    What is asked of each row, the keys included, must not fail for any: that would tell of one.
    """
    nodes: list[Any] = []
    node = plan.to_variant()
    while not (isinstance(node, variants.SubqueryAlias) and node.alias() == _MARK):
        if isinstance(node, variants.Projection):
            if not all(map(_is_column, map(Expr, node.projections()))):
                raise refused("its aggregates are of plain columns")
        elif not isinstance(node, variants.Filter | variants.SubqueryAlias):
            raise refused("it aggregates something else than the rows of a table")
        nodes.append(node)
        (plan,) = plan.inputs()
        node = plan.to_variant()
    # The same over no rows at all, and without what the policies ask of them.
    schema = ctx.create_dataframe_from_logical_plan(plan).schema()
    empty = ctx.read_batches([pa.RecordBatch.from_pylist([], schema=schema)])
    asked = marked(empty)
    for node in reversed(nodes):
        asked = _over(asked, node)
    if keys:
        asked = asked.aggregate(list(keys), [functions.count(lit(1)).alias(_ROWS)])
    if not is_leakproof(ctx, asked.optimized_logical_plan()):
        raise refused("what it asks of single rows could fail for some of them")


def _is_column(expression: Expr) -> bool:
    if expression.variant_name() == "Alias":
        expression = Expr(expression.to_variant().expr())
    return expression.variant_name() == "Column"


def _figure(expression: Expr) -> _Figure:
    """Return an aggregate of the query as we write it.

    Raises for all that we would not have written: conditions, orders, expressions, other functions.
    """
    name = expression.schema_name()
    node: Any = expression.to_variant()
    if not isinstance(node, variants.AggregateFunction):
        raise refused("an aggregate stands alone")
    kind, arguments = node.aggregate_type(), [Expr(each) for each in node.args()]
    if kind not in AGGREGATES or len(arguments) != 1:
        raise refused(f"{kind} is not among it")
    if arguments[0].variant_name() == "Column":
        column: Expr | None = arguments[0]
        made = (
            functions.count(column, distinct=True)
            if kind == "count" and node.is_distinct()
            else _FUNCTIONS[kind](column)
        )
    else:
        column, made = None, functions.count(lit(1))
    if made.schema_name() != name:
        raise refused(f"{kind} is of a plain column, without DISTINCT but in count, or FILTER")
    return _Figure(made, name, column)


_FUNCTIONS: Mapping[str, Any] = {
    "count": functions.count,
    "sum": functions.sum,
    "avg": functions.avg,
    "var": functions.var_samp,
    "var_pop": functions.var_pop,
    "stddev": functions.stddev,
    "stddev_pop": functions.stddev_pop,
}


def _large_groups(ctx: SessionContext, of: _Aggregation, *, rows_min: int) -> DataFrame:
    """Return the groups of enough rows, with the columns that the aggregation has."""
    counts = {
        _name(figure.column): (f"{_MARK}_{number}", figure.column)
        for number, figure in enumerate(of.figures)
        if figure.column is not None
    }
    source = ctx.create_dataframe_from_logical_plan(of.source)
    all_groups = source.aggregate(
        list(of.keys),
        [
            *_unique(of.figures),
            functions.count(lit(1)).alias(_ROWS),
            *(functions.count(column).alias(name) for name, column in counts.values()),
        ],
    )
    enough = lit(rows_min)
    figures = (
        col(quoted(each.name))
        if each.column is None
        else functions.when(col(counts[_name(each.column)][0]) >= enough, col(quoted(each.name)))
        .end()
        .alias(each.name)
        for each in of.figures
    )
    large = all_groups.filter(col(_ROWS) >= enough)
    return large.select(*map(_of_key, of.keys), *figures).limit(_NO_LIMIT)


def _unique(figures: Sequence[_Figure]) -> Iterator[Expr]:
    return iter({each.name: each.made for each in figures}.values())


def _name(column: Expr) -> tuple[str | None, str]:
    """Return what tells a column from all others: its text does not, as a name may hold dots."""
    node: Any = column.to_variant()
    return node.relation(), node.name()


def _of_key(key: Expr) -> Expr:
    """Return the column that holds a key of the groups."""
    return key if key.variant_name() == "Column" else col(quoted(key.schema_name()))


def _over(frame: DataFrame, node: Any) -> DataFrame:
    """Return what a node of the query makes of its new input."""
    if isinstance(node, variants.Filter):
        return frame.filter(Expr(node.predicate()))
    if isinstance(node, variants.Projection):
        return frame.select(*map(Expr, node.projections()))
    if isinstance(node, variants.Sort) and node.get_fetch_val() is None:
        return frame.sort(*map(_order, node.sort_exprs()))
    if isinstance(node, variants.Limit):
        fetch = _NO_LIMIT if node.fetch() is None else _number(node.fetch())
        return frame.limit(fetch, 0 if node.skip() is None else _number(node.skip()))
    if isinstance(node, variants.SubqueryAlias):
        parts = str(node.alias()).split(".")
        if len(parts) <= _NAME_PARTS_MAX:
            return frame.alias(".".join(map(quoted, parts)))
    raise refused("this query is too involved")


def _order(by: Any) -> SortExpr:
    return SortExpr(Expr(by.expr()), ascending=by.ascending(), nulls_first=by.nulls_first())


def _number(expression: Any) -> int:
    return int(Expr(expression).python_value())


__all__ = ["AGGREGATES", "AGGREGATES_ONLY", "grouped", "marked", "refused", "rows_min"]
