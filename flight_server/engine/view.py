"""Turns what a principal may see of a table into a plan: the fast form, or the fenced one.

In the fast form the narrowings are filters, joins and projections like any other, between which an
optimizer may move what a query asks: only for queries whose expressions cannot tell anything of
rows that they do not return, see ``engine.leakproof``. In the fenced form each narrowing lies under
a limit that no table reaches. No condition, no expression and no sort moves below a limit, so none
of them is asked of a row that is not to be seen, whose values an error would tell. What DataFusion
makes up while it runs moves nevertheless: ``views.ViewPlanner`` sees to that.
"""

from __future__ import annotations

import functools
import operator
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
from datafusion import DataFrame, Expr, SessionContext, lit
from datafusion import functions as f
from datafusion.catalog import Table

from flight_server.engine.base import (
    FencedScan,
    FileScan,
    GovernedScan,
    KeyFilter,
    Narrowing,
    Scan,
    ViewScan,
)
from flight_server.engine.groups import marked
from flight_server.engine.plans import Recent
from flight_server.engine.redaction import shown
from flight_server.engine.scan import frame_as_declared, source_frame
from flight_server.engine.scan import table_of as scan_table
from flight_server.errors import InvalidRequest, LakeflightError
from flight_server.sql.names import quoted

# More rows than any table has: a limit that takes none away.
NO_LIMIT = 2**63 - 1
# Sets of keys can be large, and each change makes another one.
KEY_RELATIONS_MAX = 8
_NAME_BYTES = 16
# Rules that fitted the columns that they were put on.
_FITTING: Recent[object] = Recent(1024)


class KeyRelations:
    """The keys of key filters as relations of a session, each made once as long as it is used."""

    def __init__(self, ctx: SessionContext) -> None:
        self._ctx = ctx
        self._made: Recent[DataFrame] = Recent(KEY_RELATIONS_MAX)
        # The one column has a name that no column of a table has.
        self._column = f"key_{secrets.token_hex(_NAME_BYTES)}"

    def apply(self, frame: DataFrame, keys: KeyFilter) -> DataFrame:
        """Return the rows that a filter leaves: a NULL is among none of the keys."""
        kind = frame.schema().field(keys.column).type
        relation = self._made.get((keys.stamp, kind))
        if relation is None:
            values = keys.keys if keys.keys.type == kind else keys.keys.cast(kind)
            batch = pa.RecordBatch.from_arrays([values], names=[self._column])
            relation = self._ctx.read_batches([batch])
            self._made.put((keys.stamp, kind), relation)
        column = quoted(keys.column)
        if keys.keeps:
            return frame.join(relation, left_on=column, right_on=self._column, how="semi")
        return frame.join(relation, left_on=column, right_on=self._column, how="anti")


def table_of(ctx: SessionContext, scan: Scan, *, is_fenced: bool, keys: KeyRelations) -> Table:
    """Return the table of what a scan shows; blocks, so call it outside the session's runtime.

    Raises InvalidRequest (``policy_misfit``) as ``governed_frame`` does.
    """
    if isinstance(scan, ViewScan):
        raise TypeError("a view is planned, not scanned")
    if isinstance(scan, FencedScan):
        return Table(fenced_frame(ctx, scan))
    if isinstance(scan, GovernedScan):
        return Table(governed_frame(ctx, scan, is_fenced=is_fenced, keys=keys))
    return scan_table(ctx, scan)


def governed_frame(
    ctx: SessionContext, scan: GovernedScan, *, is_fenced: bool, keys: KeyRelations
) -> DataFrame:
    """Return what a governed scan shows, in the fast form or the fenced one.

    Raises InvalidRequest (``policy_misfit``) when its rules do not fit the columns of the source.
    What only aggregates may leave of is marked, for ``groups`` to see to that.
    """
    frame = named(frame_as_declared(ctx, scan.source))
    with misfits():
        for narrowing in scan.narrowings:
            frame = visible(frame, narrowing, keys=keys)
            frame = frame.select(*columns_of(frame, narrowing, secret=scan.secret))
            if is_fenced:
                frame = named(frame).limit(NO_LIMIT)
        _check(frame, scan)
    return marked(frame) if scan.group_rows_min else frame


def _check(frame: DataFrame, scan: GovernedScan) -> None:
    """Have the types of rules compared, unless the same rules fitted the same columns before.

    Else what is wrong with them would be said of the query, in its words.
    """
    source = scan.source
    rules = None
    # Of partitions the planner compares values as well, which are others in each state.
    if isinstance(source, FileScan) and not source.partition_columns:
        rules = (scan.narrowings, source.schema)
    if rules is None or _FITTING.get(rules) is None:
        frame.optimized_logical_plan()
    if rules is not None:
        _FITTING.put(rules, rules)


def named(frame: DataFrame) -> DataFrame:
    """Return the same rows, whose columns know where they are from.

    Conditions that the optimizer makes of a subquery, such as ``id IN (SELECT id …)``, come to
    stand next to these rows, and could not tell their columns from those of the subquery otherwise.
    """
    return frame.alias(f"rows_{secrets.token_hex(_NAME_BYTES)}")


def visible(frame: DataFrame, narrowing: Narrowing, *, keys: KeyRelations) -> DataFrame:
    """Return the rows that a narrowing leaves of a frame, with all columns as they are."""
    for each in narrowing.keys:
        frame = keys.apply(frame, each)
    conditions = [frame.parse_sql_expr(condition) for condition in narrowing.conditions]
    while len(conditions) > 1:  # pairwise: filters over filters are planned in square time
        odd = conditions[len(conditions) // 2 * 2 :]
        conditions = [*map(operator.and_, conditions[::2], conditions[1::2]), *odd]
    return frame.filter(*conditions) if conditions else frame


def unmet(frame: DataFrame, conditions: Sequence[str]) -> DataFrame:
    """Return the rows for which not all conditions are true, with all columns as they are.

    Raises InvalidRequest (``policy_misfit``) when a condition does not fit the columns.
    """
    with misfits():
        met = [f.coalesce(frame.parse_sql_expr(each), lit(value=False)) for each in conditions]
        return frame.filter(~functools.reduce(operator.and_, met))


def columns_of(frame: DataFrame, narrowing: Narrowing, *, secret: bytes) -> list[Expr]:
    """Return the columns that a narrowing leaves of a frame, redacted."""
    schema = frame.schema()
    return [
        shown(frame, schema.field(column.name), column.redactions, secret=secret)
        for column in narrowing.columns
    ]


def fenced_frame(ctx: SessionContext, scan: FencedScan) -> DataFrame:
    """Return the rows and columns of a fenced scan, which has no fast form."""
    frame = source_frame(ctx, scan.source)
    chosen = frame.filter(frame.parse_sql_expr(scan.condition))
    columns = (frame.parse_sql_expr(text).alias(name) for name, text in scan.columns)
    return chosen.select(*columns).limit(NO_LIMIT)


@contextmanager
def misfits() -> Iterator[None]:
    """Say of rules that cannot be planned no more than that: their text is not the caller's."""
    try:
        yield
    except LakeflightError as error:
        if error.code == "policy_misfit":
            raise
        raise _misfit() from None
    except Exception:  # noqa: BLE001  the planner raises many kinds, all of them about the rules
        raise _misfit() from None


def _misfit() -> InvalidRequest:
    return InvalidRequest(
        "the rules on a table do not fit its columns, so nothing of it is shown",
        code="policy_misfit",
    )
