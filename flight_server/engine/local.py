"""Runs governed queries with DataFusion in this process: the engine inside a worker.

One query at a time, from one thread. A query sees no name but those that ``Tables`` opens for its
principal.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import pyarrow as pa
from datafusion import DataFrame
from datafusion.catalog import Table
from datafusion.plan import LogicalPlan

from flight_server.engine.base import (
    BatchLimits,
    Description,
    FileScan,
    GovernedTable,
    Pin,
    Query,
    Scan,
    Tables,
)
from flight_server.engine.explain import redacted
from flight_server.engine.faults import Stage, translate
from flight_server.engine.lookup import Key, Lookup, LookupCatalogs
from flight_server.engine.output import bounded, conform, plain_frame, plain_schema
from flight_server.engine.scan import check_files, table_of
from flight_server.engine.session import READ_ONLY, EngineOptions, open_session
from flight_server.errors import Cancelled, LakeflightError, PermissionDenied
from flight_server.sql.statements import Statement, StatementKind, read_statement

Value = TypeVar("Value")
# The nodes of logical plans that make no rows beyond those of their input or of the statement.
_NO_LARGER = frozenset(
    {"Projection", "EmptyRelation", "SubqueryAlias", "Filter", "Limit", "Values"}
)
# How an expression shows a query within it, which is no input of its node.
_SUBQUERY = "<subquery>"


@dataclass(frozen=True, slots=True)
class _Planned:
    """A query that is ready to run: what it returns, and the tables it was planned on."""

    frame: DataFrame
    schema: pa.Schema
    statement: Statement
    opened: dict[Key, GovernedTable]
    pins: tuple[Pin, ...]
    is_small: bool
    is_constant: bool
    is_repeatable: bool


class Batches:
    """The batches of a result; closing ends the work.

    ``are_at_hand`` tells that all of them cost no more time than the first one, ``are_repeatable``
    that the same query on the same states gives them again.
    """

    def __init__(
        self,
        batches: Generator[pa.RecordBatch, None, None],
        *,
        are_at_hand: bool,
        are_repeatable: bool,
    ) -> None:
        self._batches = batches
        self.are_at_hand = are_at_hand
        self.are_repeatable = are_repeatable

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._batches

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)

    def close(self) -> None:
        """End the work."""
        self._batches.close()


class LocalEngine:
    """The ``Engine`` over DataFusion in this process."""

    def __init__(self, tables: Tables, limits: BatchLimits, options: EngineOptions) -> None:
        self._tables = tables
        self._limits = limits
        self._ctx = open_session(options)
        # The planner's runtime calls back for each name, and must not be blocked from within.
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="lookup")
        self._plans: _Recent[_Planned] = _Recent(options.cached_plans_max)
        self._scans: _Recent[tuple[Scan, Table]] = _Recent(options.cached_tables_max)

    def describe(self, query: Query, *, is_cancelled: Callable[[], bool]) -> Description:
        """Plan a query without running it; see ``Engine``.

        Raises what ``Tables`` raises, InvalidRequest for a statement that cannot be planned,
        Unsupported for one that is no query, PermissionDenied for EXPLAIN by others than
        administrators.
        """
        planned = self._plan(query, is_bound=False, is_cancelled=is_cancelled)
        return Description(planned.schema, planned.pins, self._computed(planned, is_cancelled))

    def stream(
        self, query: Query, *, is_cancelled: Callable[[], bool]
    ) -> tuple[pa.Schema, Batches]:
        """Run a query; see ``Engine``.

        Raises what ``describe`` raises, and Conflict when a query with pins names a table that has
        none. The iterator raises InvalidRequest for values that the query cannot work on,
        LimitExceeded, Cancelled, and Unavailable with the code ``table_damaged`` for data files
        that cannot be read.
        """
        planned = self._plan(query, is_bound=True, is_cancelled=is_cancelled)
        return planned.schema, Batches(
            self._batches(planned, is_cancelled),
            are_at_hand=planned.is_small,
            are_repeatable=planned.is_repeatable,
        )

    def _plan(self, query: Query, *, is_bound: bool, is_cancelled: Callable[[], bool]) -> _Planned:
        if is_cancelled():
            raise Cancelled("the query was cancelled")
        names = (query.sql, query.bucket, query.schema, query.principal)
        cached = self._plans.get((*names, query.pins))
        if cached is not None and self._is_current(cached, query):
            return cached
        statement = read_statement(query.sql, bucket=query.bucket, schema=query.schema)
        if statement.kind is StatementKind.EXPLAIN and not query.principal.is_admin:
            raise PermissionDenied("EXPLAIN is for administrators")
        planned = self._plan_anew(query, statement, is_bound=is_bound)
        if _is_lasting(planned.opened) and statement.is_timeless:
            self._plans.put((*names, ()), planned)
            self._plans.put((*names, planned.pins), planned)
        return planned

    def _is_current(self, planned: _Planned, query: Query) -> bool:
        """Return whether each table, asked for again, is the same; raises when one is refused."""
        pins = {(pin.ref, pin.as_of): pin for pin in query.pins}
        for (ref, as_of), before in planned.opened.items():
            pin = pins.get((ref, as_of))
            now = self._tables.open(ref, query.principal, as_of=as_of, pin=pin)
            if now.pin != before.pin or (now.scan is not before.scan and now.scan != before.scan):
                return False
        return True

    def _plan_anew(self, query: Query, statement: Statement, *, is_bound: bool) -> _Planned:
        lookup = Lookup(self._tables, query, register=self._register, is_bound=is_bound)
        if statement.must_exist is not None:
            lookup.open(statement.must_exist)
        self._ctx.register_catalog_provider_list(LookupCatalogs(lookup, self._beside))
        with _our_errors(Stage.PLANNING, statement=statement, lookup=lookup):
            frame = self._ctx.sql_with_options(statement.sql, READ_ONLY)
            # Types are settled by the optimizer, not before; its plan would be optimized twice.
            optimized = frame.optimized_logical_plan()
            raw = self._ctx.create_dataframe_from_logical_plan(optimized).schema()
            frame = plain_frame(frame, raw)
        is_small = statement.kind is StatementKind.QUERY and is_no_larger_than_its_text(optimized)
        return _Planned(
            frame,
            plain_schema(raw),
            statement,
            lookup.opened,
            lookup.pins,
            is_small,
            is_constant=is_small and _is_constant(optimized),
            is_repeatable=statement.is_repeatable and _is_lasting(lookup.opened),
        )

    def _register(self, table: GovernedTable) -> Table:
        """Return the session's table of a governed one, made once for each state of it."""
        key = (table.pin.ref, table.pin.version, table.pin.stamp)
        known = self._scans.get(key)
        if known is not None and (known[0] is table.scan or known[0] == table.scan):
            return known[1]
        made = table_of(self._ctx, table.scan)
        if isinstance(table.scan, FileScan):
            self._scans.put(key, (table.scan, made))
        return made

    def _computed(
        self, planned: _Planned, is_cancelled: Callable[[], bool]
    ) -> tuple[pa.RecordBatch, ...] | None:
        """Return the rows of a query that planning has left nothing to do for, or None."""
        if not (planned.is_constant and planned.is_repeatable):
            return None
        try:
            return tuple(self._batches(planned, is_cancelled))
        except LakeflightError:
            return None  # what is wrong with it is told to who asks for the rows

    def _batches(
        self, planned: _Planned, is_cancelled: Callable[[], bool]
    ) -> Generator[pa.RecordBatch, None, None]:
        """All batches as they leave: under the announced schema, cut to size."""
        return bounded(self._rows(planned), self._limits, is_cancelled=is_cancelled)

    def _rows(self, planned: _Planned) -> Iterator[pa.RecordBatch]:
        """All batches under the announced schema, as DataFusion cuts them."""
        with _our_errors(Stage.RUNNING, statement=planned.statement):
            frame = planned.frame
            if planned.is_small:
                # Collecting takes a quarter of the time that a stream of one batch takes.
                stream: Iterable[pa.RecordBatch] = frame.collect()
            else:
                stream = (batch.to_pyarrow() for batch in frame.execute_stream())
            check_files(table.scan for table in planned.opened.values())
            for batch in stream:
                shaped = conform(batch, planned.schema)
                if planned.statement.kind is StatementKind.EXPLAIN:
                    shaped = redacted(shaped, [table.scan for table in planned.opened.values()])
                yield shaped


def _is_lasting(opened: Mapping[Key, GovernedTable]) -> bool:
    """Return whether tables at their pins hold what they held: rows made for one call do not."""
    return all(isinstance(table.scan, FileScan) for table in opened.values())


def is_no_larger_than_its_text(plan: LogicalPlan) -> bool:
    """Return whether a plan gives no more rows than its statement spells out.

    No table, no table function, no join, nothing that unnests: what is left is ``SELECT 1`` and its
    like, which drivers and tools send all day.
    """
    node, _, expressions = plan.display().partition(":")
    if node not in _NO_LARGER or _SUBQUERY in expressions:
        return False
    return all(map(is_no_larger_than_its_text, plan.inputs()))


def _is_constant(plan: LogicalPlan) -> bool:
    """Return whether an optimized plan is a row of expressions over no input.

    The optimizer has replaced those that it could compute by their values.
    """
    nodes = [plan, *plan.inputs()]
    return [node.display().partition(":")[0] for node in nodes] == ["Projection", "EmptyRelation"]


@contextmanager
def _our_errors(
    stage: Stage, *, statement: Statement, lookup: Lookup | None = None
) -> Iterator[None]:
    """Turn errors of the block into ours; what a lookup raised comes out as it was raised."""
    try:
        yield
    except Exception as error:
        if lookup is not None and lookup.failure is not None:
            raise lookup.failure from None
        translated = translate(error, stage=stage, is_rewritten=statement.is_rewritten)
        if translated is error:
            raise
        raise translated from None


class _Recent(Generic[Value]):
    """The most recently used values, up to a number."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """Return the value put under this key, now the most recent one; None when it is gone."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value, and drop the least recently used ones beyond the number."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._entries_max:
            self._values.popitem(last=False)
