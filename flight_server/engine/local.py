"""Runs governed queries with DataFusion in this process: the engine inside a worker.

One query at a time, from one thread. A query sees no name but those that ``Tables`` opens for its
principal.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
from datafusion.catalog import Table

from flight_server.clock import Clock, SystemClock
from flight_server.engine import parameters
from flight_server.engine.base import (
    NO_PARAMETERS,
    BatchLimits,
    Description,
    FencedScan,
    FileScan,
    GovernedScan,
    GovernedTable,
    Pin,
    Query,
    Scan,
    Tables,
    WriteTarget,
    Written,
)
from flight_server.engine.checking import count_refused
from flight_server.engine.explain import redacted, refuse_analysis
from flight_server.engine.faults import Stage
from flight_server.engine.lookup import Lookup
from flight_server.engine.output import bounded, conform, plain_frame, plain_schema
from flight_server.engine.planning import Job, Planner, our_errors
from flight_server.engine.plans import (
    Planned,
    Recent,
    is_constant,
    is_lasting,
    is_lasting_scan,
    is_light,
    is_no_larger_than_its_text,
)
from flight_server.engine.scan import check_files
from flight_server.engine.scrub import scrubbed
from flight_server.engine.session import READ_ONLY, EngineOptions, open_session
from flight_server.engine.view import KeyRelations, table_of
from flight_server.engine.views import ViewPlanner
from flight_server.engine.write_parameters import parameter_types
from flight_server.engine.writes import Sinks, Writer
from flight_server.errors import (
    Cancelled,
    InvalidRequest,
    LakeflightError,
)
from flight_server.sql.grammar import is_query
from flight_server.sql.placeholders import count_parameters
from flight_server.sql.statements import Statement, StatementKind, read_statement


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

    def __init__(
        self,
        tables: Tables,
        limits: BatchLimits,
        options: EngineOptions,
        *,
        sinks: Sinks | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._tables = tables
        self._limits = limits
        self._options = options
        self._ctx = open_session(options)
        # The planner's runtime calls back for each name, and must not be blocked from within.
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="lookup")
        self._views = ViewPlanner(self._ctx, self._beside)
        self._keys = KeyRelations(self._ctx)
        self._plans: Recent[Planned] = Recent(options.cached_plans_max)
        self._scans: Recent[tuple[Scan, Table]] = Recent(options.cached_tables_max)
        self._planner = Planner(
            self._ctx,
            self._views,
            tables,
            self._register,
            keys=self._keys,
            spill_directory=options.spill_directory,
        )
        self._writer = Writer(self._planner, sinks, options, clock=clock or SystemClock())

    def describe(self, query: Query, *, is_cancelled: Callable[[], bool]) -> Description:
        """Plan a query without running it; see ``Engine``.

        Of a statement that changes rows it only says what can be bound to its placeholders.

        Raises what ``Tables`` raises, InvalidRequest for a statement that cannot be planned,
        Unsupported for one that is no query, and for EXPLAIN ANALYZE where that would tell of rows
        that the caller may not see.
        """
        if not is_query(query.sql):
            types = parameter_types(self._planner, Job(query, {}, is_cancelled))
            return Description(NO_PARAMETERS, (), parameters.declared(types))
        planned = self._plan(query, is_bound=False, is_cancelled=is_cancelled)
        declared = parameters.declared(planned.parameters)
        if query.parameters:
            first = next(self._bindings(query, planned), None)
            if first is not None:
                planned = self._plan_values(query, planned, values=first, is_bound=False)
        computed = self._computed(planned, is_cancelled)
        return Description(planned.schema, planned.pins, declared, computed)

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
        if planned.parameters or query.parameters:
            return self._stream_each(query, planned, is_cancelled)
        return planned.schema, Batches(
            self._batches(planned, is_cancelled),
            are_at_hand=planned.is_small,
            are_repeatable=planned.is_repeatable and _is_as_asked(planned.pins, query.pins),
        )

    def write(
        self, query: Query, target: WriteTarget, *, is_cancelled: Callable[[], bool]
    ) -> Written:
        """Run a statement that changes rows; see ``Engine`` and ``writes.Writer``."""
        return self._writer.write(query, target, is_cancelled=is_cancelled)

    def count_refused(
        self, scan: FileScan, checks: tuple[str, ...], *, is_cancelled: Callable[[], bool]
    ) -> int:
        """Count the rows of files that do not meet what they are held to; see ``Engine``."""
        if is_cancelled():
            raise Cancelled("the statement was cancelled")
        return count_refused(self._ctx, scan, checks)

    def _stream_each(
        self, query: Query, unbound: Planned, is_cancelled: Callable[[], bool]
    ) -> tuple[pa.Schema, Batches]:
        """Run a query for each row of its parameters, one after the other, as one result."""
        if not query.parameters:
            raise InvalidRequest("the statement has parameters, and no values were bound to them")
        bindings = self._bindings(query, unbound)
        first = next(bindings, None)
        planned = unbound
        if first is not None:
            planned = self._plan_values(query, unbound, values=first, is_bound=True)
        bound = replace(query, pins=planned.pins)

        def rows() -> Iterator[pa.RecordBatch]:
            if first is None:
                return
            yield from self._rows(planned)
            for values in bindings:
                if is_cancelled():
                    raise Cancelled("the query was cancelled")
                following = self._plan_values(bound, unbound, values=values, is_bound=True)
                if following.schema != planned.schema:
                    raise InvalidRequest(
                        "rows of parameters give results of different types; bind values of one"
                        " type to each parameter"
                    )
                yield from self._rows(following)

        return planned.schema, Batches(
            bounded(rows(), self._limits, is_cancelled=is_cancelled),
            are_at_hand=planned.is_small,
            are_repeatable=planned.is_repeatable and _is_as_asked(planned.pins, query.pins),
        )

    def _bindings(self, query: Query, unbound: Planned) -> Iterator[dict[str, pa.Scalar[Any]]]:
        """Return the values of each row of the parameters, checked before the first of them."""
        rows = self._parameter_rows(query)
        parameters.check_count(rows.num_columns, expected=len(unbound.parameters))
        if not unbound.parameters:  # some drivers bind a stream without columns: run it once
            return iter([{}])
        return parameters.values_of(parameters.fitted(rows, unbound.parameters))

    def _parameter_rows(self, query: Query) -> pa.Table:
        return parameters.read_rows(
            query.parameters,
            rows_max=self._options.parameter_rows_max,
            bytes_max=self._options.parameters_bytes_max,
        )

    def _plan_values(
        self, query: Query, unbound: Planned, *, values: Mapping[str, Any], is_bound: bool
    ) -> Planned:
        """Plan a statement with values in place of its parameters."""
        if not values:
            return unbound
        return self._plan_anew(query, unbound.statement, is_bound=is_bound, values=values)

    def _plan(self, query: Query, *, is_bound: bool, is_cancelled: Callable[[], bool]) -> Planned:
        if is_cancelled():
            raise Cancelled("the query was cancelled")
        names = (query.sql, query.bucket, query.schema, query.principal, query.temporary)
        cached = self._plans.get((*names, query.pins))
        if cached is not None and self._is_current(cached, query):
            return cached
        statement = read_statement(
            query.sql,
            bucket=query.bucket,
            schema=query.schema,
            username=query.principal.username,
        )
        count = count_parameters(statement.sql)
        try:
            planned = self._plan_anew(query, statement, is_bound=is_bound, placeholders=count)
        except InvalidRequest as error:
            if not count:
                raise
            try:
                planned = self._plan_with_texts(query, statement, is_bound=is_bound, count=count)
            except LakeflightError:
                raise error from None
        are_light = all(is_light(table.scan) for table in planned.opened.values())
        if are_light and is_lasting(planned.opened) and planned.is_timeless:
            self._plans.put((*names, ()), planned)
            self._plans.put((*names, planned.pins), planned)
        return planned

    def _plan_with_texts(
        self, query: Query, statement: Statement, *, is_bound: bool, count: int
    ) -> Planned:
        """Plan what cannot be planned with open types, such as ``$1 || $2``, with texts."""
        sql = parameters.with_placeholders(
            statement.sql, lambda number: f"CAST(${number} AS VARCHAR)"
        )
        with_texts = replace(statement, sql=sql, is_rewritten=True)
        return self._plan_anew(query, with_texts, is_bound=is_bound, placeholders=count)

    def _is_current(self, planned: Planned, query: Query) -> bool:
        """Return whether each table, asked for again, is there for this caller and the same."""
        pins = {(pin.ref, pin.as_of): pin for pin in query.pins}
        for (ref, as_of), before in planned.opened.items():
            pin = pins.get((ref, as_of))
            try:
                now = self._tables.open(ref, query.principal, as_of=as_of, pin=pin)
            except LakeflightError:
                return False  # planning again says what is wrong, and in which view
            if now.pin != before.pin or (now.scan is not before.scan and now.scan != before.scan):
                return False
        return True

    def _plan_anew(
        self,
        query: Query,
        statement: Statement,
        *,
        is_bound: bool,
        values: Mapping[str, Any] | None = None,
        placeholders: int = 0,
    ) -> Planned:
        lookup = Lookup(
            self._tables,
            query,
            register=self._register,
            is_bound=is_bound,
            is_explained=statement.kind is StatementKind.EXPLAIN,
        )
        if statement.must_exist is not None:
            lookup.open(statement.must_exist)
        with our_errors(Stage.PLANNING, is_rewritten=statement.is_rewritten, lookup=lookup):
            frame, optimized = self._views.plan(
                lambda: self._ctx.sql_with_options(
                    statement.sql, READ_ONLY, None if values is None else dict(values)
                ),
                lookup,
            )
            # Types are settled by the optimizer, not before; its plan would be optimized twice.
            raw = self._ctx.create_dataframe_from_logical_plan(optimized).schema()
            types: tuple[pa.DataType | None, ...] = ()
            if placeholders:
                plans = (frame.logical_plan(), optimized)
                types = parameters.placeholder_types(plans, placeholders)
            frame = plain_frame(frame, raw)
        if lookup.is_shape_only:
            refuse_analysis(statement.sql)
        is_small = statement.kind is StatementKind.QUERY and is_no_larger_than_its_text(optimized)
        return Planned(
            frame,
            plain_schema(raw),
            statement,
            lookup.opened,
            lookup.pins,
            is_small,
            is_constant=is_small and is_constant(optimized),
            is_repeatable=statement.is_repeatable
            and lookup.is_repeatable
            and is_lasting(lookup.opened),
            is_timeless=statement.is_timeless and lookup.is_timeless,
            parameters=types,
        )

    def _register(self, table: GovernedTable, *, is_fenced: bool) -> Table:
        """Return the session's table of a governed one, made once for each state of it."""
        key = (table.pin.ref, table.pin.version, table.pin.stamp, table.pin.policy, is_fenced)
        known = self._scans.get(key)
        if known is not None and (known[0] is table.scan or known[0] == table.scan):
            return known[1]
        made = table_of(self._ctx, table.scan, is_fenced=is_fenced, keys=self._keys)
        if is_lasting_scan(table.scan) and is_light(table.scan):
            self._scans.put(key, (table.scan, made))
        return made

    def _computed(
        self, planned: Planned, is_cancelled: Callable[[], bool]
    ) -> tuple[pa.RecordBatch, ...] | None:
        """Return the rows of a query that planning has left nothing to do for, or None."""
        if planned.parameters or not (planned.is_constant and planned.is_repeatable):
            return None
        try:
            return tuple(self._batches(planned, is_cancelled))
        except LakeflightError:
            return None  # what is wrong with it is told to who asks for the rows

    def _batches(
        self, planned: Planned, is_cancelled: Callable[[], bool]
    ) -> Generator[pa.RecordBatch, None, None]:
        """All batches as they leave: under the announced schema, cut to size."""
        return bounded(self._rows(planned), self._limits, is_cancelled=is_cancelled)

    def _rows(self, planned: Planned) -> Iterator[pa.RecordBatch]:
        """All batches under the announced schema, as DataFusion cuts them."""
        with our_errors(Stage.RUNNING, is_rewritten=planned.statement.is_rewritten):
            frame = planned.frame
            if planned.is_small:
                # Collecting takes a quarter of the time that a stream of one batch takes.
                stream: Iterable[pa.RecordBatch] = frame.collect()
            else:
                stream = (batch.to_pyarrow() for batch in frame.execute_stream())
            scans = [table.scan for table in planned.opened.values()]
            check_files(scans)
            is_narrowed = any(isinstance(scan, GovernedScan | FencedScan) for scan in scans)
            for batch in stream:
                shaped = conform(batch, planned.schema)
                if is_narrowed:
                    shaped = scrubbed(shaped)
                if planned.statement.kind is StatementKind.EXPLAIN:
                    shaped = redacted(shaped, scans)
                yield shaped


def _is_as_asked(opened: tuple[Pin, ...], asked: tuple[Pin, ...]) -> bool:
    """Return whether the states read are those asked for, and as much of them is shown.

    A result is kept under the pins that were asked for, for whoever asks by them again.
    """
    return set(opened) <= set(asked) if asked else not any(pin.policy for pin in opened)
