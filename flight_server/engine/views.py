"""Views in a plan: the text of a view that a query names is planned first, then the query again.

The planner asks for names from within its own runtime, where nothing can be planned. So a lookup
that meets a view notes it and gives no table; the attempt fails, the view's query is planned by
itself, with its own short names, into a table, and the attempt is repeated. What a view reads is
opened through the lookup of the query that uses it: with the caller's rights, at that query's pins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from datafusion import DataFrame, SessionContext, col
from datafusion.catalog import Table
from datafusion.plan import LogicalPlan

from flight_server.engine import groups
from flight_server.engine.base import ViewScan
from flight_server.engine.explain import stand_in
from flight_server.engine.faults import Stage, translate
from flight_server.engine.leakproof import is_leakproof
from flight_server.engine.lookup import Lookup, LookupCatalogs
from flight_server.engine.session import (
    NO_FILTERS_FROM_RUNNING,
    READ_ONLY,
    collecting,
    with_settings,
)
from flight_server.errors import InvalidRequest, LakeflightError, NotFound, Unsupported
from flight_server.sql.names import quoted
from flight_server.sql.statements import StatementKind, read_statement
from policies.lens import Readable
from policies.names import TableRef

VIEWS_DEPTH_MAX = 16
_RECURSIVE = "view_recursive"
_BROKEN = "view_broken"


@dataclass(frozen=True, slots=True)
class ViewPlanner:
    """Plans queries that may name views; ``beside`` runs what lookups do."""

    ctx: SessionContext
    beside: Executor

    def plan(self, plan: Callable[[], DataFrame], lookup: Lookup) -> tuple[DataFrame, LogicalPlan]:
        """Return what ``plan`` returns once each view that it names is a table, and its best plan.

        ``plan`` has the session plan a text, once more for each round of views, and sees the names
        of ``lookup``. Raises what it raises; ``lookup.failure`` then says what a name met, such as
        NotFound, or InvalidRequest for a view that cannot be planned, naming the view.
        """
        if lookup.is_explained:
            frame = self._explained(plan, lookup)
            return frame, frame.optimized_logical_plan()
        frame = self._whole(plan, lookup)
        optimized = self._leakproof(frame) if lookup.narrows else frame.optimized_logical_plan()
        if optimized is None:
            lookup.fence()
            frame = self._whole(plan, lookup)
            optimized = frame.optimized_logical_plan()
        settings: dict[str, str] = {}
        if lookup.is_behind_fence:
            # A filter that a join or a sort makes as it runs passes the limit that is the fence.
            settings.update(NO_FILTERS_FROM_RUNNING)
        settings.update(collecting(lookup.key_bytes))
        return (with_settings(self.ctx, frame, settings) if settings else frame), optimized

    def _leakproof(self, frame: DataFrame) -> LogicalPlan | None:
        """Return the best plan of a frame, or None when something in it can fail."""
        try:
            optimized = frame.optimized_logical_plan()
        except Exception:  # noqa: BLE001  said again behind the fence, if it is not of hidden rows
            # Values of partitions are constants: the planner itself computes with those of all.
            return None
        return optimized if is_leakproof(self.ctx, optimized) else None

    def _explained(self, plan: Callable[[], DataFrame], lookup: Lookup) -> DataFrame:
        """Return what ``plan`` returns, without anything of tables that hide something."""
        frame = self._plan(plan, lookup, within=())
        if lookup.hides and not lookup.is_shape_only:
            lookup.leave_shapes()
            frame = self._plan(plan, lookup, within=())
        return frame

    def _whole(self, plan: Callable[[], DataFrame], lookup: Lookup) -> DataFrame:
        """Return what ``plan`` returns, without what only leaves in larger groups."""
        frame = self._plan(plan, lookup, within=())
        rows_min = groups.rows_min(lookup.opened.values())
        return groups.grouped(self.ctx, frame, rows_min=rows_min) if rows_min else frame

    def _plan(
        self, plan: Callable[[], DataFrame], lookup: Lookup, *, within: tuple[TableRef, ...]
    ) -> DataFrame:
        while True:
            lookup.begin()
            self.ctx.register_catalog_provider_list(LookupCatalogs(lookup, self.beside))
            try:
                return plan()
            except Exception:
                is_final = lookup.failure is not None and not isinstance(lookup.failure, NotFound)
                if is_final or not lookup.awaited:
                    raise
            for ref, view in tuple(lookup.awaited.items()):
                lookup.views[ref] = self._made(ref, view, lookup, within=within)

    def _made(
        self, ref: TableRef, view: ViewScan, lookup: Lookup, *, within: tuple[TableRef, ...]
    ) -> Table | LakeflightError:
        """Return the table of a view, or why there is none: the query may do without it."""
        inner = lookup.inside(view)
        try:
            _check_nesting(ref, within)
            statement = read_statement(
                view.sql, bucket=view.bucket, schema=view.schema, username=lookup.username
            )
            if statement.kind is not StatementKind.QUERY:
                raise InvalidRequest("it is not a query")
            lookup.uses(statement)
            text = _renamed(statement.sql, view.columns)
            frame = self._plan(
                lambda: self.ctx.sql_with_options(text, READ_ONLY), inner, within=(*within, ref)
            )
            names = frame.schema().names
            if len(set(names)) < len(names):
                raise InvalidRequest("two of its columns have one name")
            frame = _readable(frame, names, view.readable)
            is_closed = lookup.is_shape_only and not view.is_open
            return stand_in(frame.schema()) if is_closed else Table(frame)
        except Exception as error:
            failure = inner.failure or translate(error, stage=Stage.PLANNING, is_rewritten=True)
            if not isinstance(failure, LakeflightError):
                raise
            return _as_seen(failure, ref, view)


def _readable(frame: DataFrame, names: Sequence[str], readable: Readable) -> DataFrame:
    """Return a view's rows with those of its columns that its caller may read."""
    shown = [name for name in names if readable.shows(name)]
    if not shown:
        raise NotFound("it has no column that you may read", code="table_not_found")
    return frame if len(shown) == len(names) else frame.select(*(col(quoted(n)) for n in shown))


def _check_nesting(ref: TableRef, within: tuple[TableRef, ...]) -> None:
    if ref in within:
        raise InvalidRequest(f"the view {ref} reads itself", code=_RECURSIVE)
    if len(within) >= VIEWS_DEPTH_MAX:
        raise InvalidRequest(
            f"views over views are too deep at {ref}: views_depth_max={VIEWS_DEPTH_MAX}",
            code=_RECURSIVE,
        )


def _renamed(sql: str, columns: tuple[str, ...]) -> str:
    """Return a query under other names of columns; the text may end in a comment."""
    if not columns:
        return sql
    names = ", ".join(map(quoted, columns))
    return "".join(("SELECT * FROM (", sql, "\n) AS renamed(", names, ")"))


def _as_seen(failure: LakeflightError, ref: TableRef, view: ViewScan) -> LakeflightError:
    """Return the error of a view as this caller may hear it.

    Whoever may not read a view's text learns neither names nor columns of what it reads.
    """
    if failure.code == _RECURSIVE:
        return failure
    if isinstance(failure, NotFound):
        said = failure.message if view.is_open else "it reads a table that does not exist for you"
        return NotFound(f"the view {ref} cannot be used: {said}", code=failure.code)
    if isinstance(failure, InvalidRequest | Unsupported):
        said = failure.message if view.is_open else "it does not fit the tables that it reads"
        return InvalidRequest(f"the view {ref} cannot be used: {said}", code=_BROKEN)
    return failure
