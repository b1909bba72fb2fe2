"""Runs the statements that change rows, up to data files that nobody sees before their commit.

What is read is read through the governed tables of the caller, like any query; rows go to a sink
that is handed in. Nothing stays behind when a write fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Protocol

import pyarrow as pa

from flight_server.clock import Clock
from flight_server.engine import parameters
from flight_server.engine.base import ONE_BY_ONE, FileScan, Query, Sink, WriteTarget, Written
from flight_server.engine.changeable import Changeable, may_not_set, named_among
from flight_server.engine.checking import checked
from flight_server.engine.merge import AMBIGUOUS, merge, merge_from_rows, merge_of_rows
from flight_server.engine.optimize import optimize
from flight_server.engine.planning import NOTHING_OWN, Job, Own, Planner, Source
from flight_server.engine.reshape import reshape
from flight_server.engine.rewrite import Pair, rewrite
from flight_server.engine.session import EngineOptions
from flight_server.errors import InvalidRequest, LakeflightError, Unsupported
from flight_server.sql.aliases import with_aliases
from flight_server.sql.commands import (
    AlterTable,
    Command,
    CreateTable,
    Delete,
    DropColumns,
    Insert,
    Merge,
    Optimize,
    RenameColumn,
    Update,
)
from flight_server.sql.grammar import read_command
from flight_server.sql.lexer import heard
from flight_server.sql.names import quoted
from flight_server.sql.placeholders import count_parameters
from flight_server.sql.volatile import settled

# What DataFusion says of two columns with one name.
_SAME_NAMES = "unique expression names"


class Sinks(Protocol):
    """Opens sinks."""

    def __call__(
        self,
        folder: str,
        incoming: pa.Schema,
        *,
        schema: pa.Schema | None,
        partition_columns: tuple[str, ...],
        in_order: bool,
        file_bytes: int | None,
    ) -> Sink:
        """Open a sink for rows of ``incoming``, whose columns go to those of the same name.

        ``schema`` is that of the table, None where the rows decide; columns that no row has are
        NULL. ``in_order`` fills one file of a partition after the other; ``file_bytes`` is their
        size, None the usual one. Raises SchemaMismatch, naming the column, for types that do not
        fit.
        """
        ...


class Writer:
    """Executes one statement after the other with what a worker's session offers."""

    def __init__(
        self, planner: Planner, sinks: Sinks | None, options: EngineOptions, *, clock: Clock
    ) -> None:
        self._planner = planner
        self._clock = clock
        self._sinks = sinks
        self._options = options

    def write(
        self, query: Query, target: WriteTarget, *, is_cancelled: Callable[[], bool]
    ) -> Written:
        """Run the statement in ``query.sql`` against a target; see ``Engine.write``.

        Raises what a query raises, InvalidRequest and SchemaMismatch for rows that do not fit, and
        Unsupported for statements that write no rows or cannot be done.
        """
        query = replace(query, sql=settled(query.sql, self._clock.now()))
        command = read_command(query.sql, bucket=query.bucket, schema=query.schema)
        rows = self._bound_rows(query)
        if target.pin is not None:
            # What the statement itself reads of its table is the state that it changes.
            query = replace(query, pins=(*query.pins, target.pin))
        job = Job(query, {}, is_cancelled)
        job.check()
        written = self._written(command, target, job, rows)
        return replace(written, read=tuple(sorted(job.read)))

    def _written(
        self, command: Command | None, target: WriteTarget, job: Job, rows: pa.Table | None
    ) -> Written:
        if rows is not None and rows.num_rows == 0:
            return Written(target.schema or pa.schema([]), ())
        if rows is not None and target.rows_are_source and isinstance(command, Merge):
            merging, own = merge_from_rows(self._planner, command, rows)
            return self._rewriting(merging, target, job, own)
        is_one = rows is None or rows.num_rows == 1
        if rows is not None and is_one:
            job = replace(job, values=next(parameters.values_of(rows)))
        many = None if is_one else rows
        if isinstance(command, Insert):
            return self._insert(command, target, job, many)
        if isinstance(command, CreateTable) and command.source is not None:
            created = Insert(command.target, command.source)
            return self._insert(created, target, job, many)
        if isinstance(command, Update | Delete) and many is not None:
            return self._rewriting_for_rows(command, target, job, many)
        if isinstance(command, Update | Delete | Merge | Optimize | AlterTable) and many is None:
            return self._rewriting(command, target, job, NOTHING_OWN)
        raise Unsupported(
            "this statement runs with one row of parameters at a time", code=ONE_BY_ONE
        )

    def _bound_rows(self, query: Query) -> pa.Table | None:
        """Return the rows bound to the placeholders of a statement, None when it has none."""
        count = count_parameters(query.sql)
        if not query.parameters:
            if count:
                raise InvalidRequest(
                    "the statement has parameters, and no values were bound to them"
                )
            return None
        rows = parameters.read_rows(
            query.parameters,
            rows_max=self._options.parameter_rows_max,
            bytes_max=self._options.parameters_bytes_max,
        )
        parameters.check_count(rows.num_columns, expected=count)
        return rows if count else None

    # INSERT and CREATE TABLE AS

    def _insert(
        self, command: Insert, target: WriteTarget, job: Job, many: pa.Table | None
    ) -> Written:
        sources = self._sources(command.source, job, many)
        first = next(sources)
        incoming = _incoming(first.schema, command, target)
        with self._sink(incoming, target) as sink:
            into = checked(self._planner.ctx, sink, target.checks)
            inserted = 0
            for source in chain([first], sources):
                if source.schema.types != first.schema.types:
                    raise InvalidRequest(
                        "rows of parameters give rows of different types; bind values of one type"
                        " to each parameter"
                    )
                for batch in self._planner.rows(source, job):
                    into.write(pa.RecordBatch.from_arrays(batch.columns, schema=incoming))
                    inserted += batch.num_rows
            files = into.finish()
            return Written(sink.schema, files, inserted=inserted)

    def _sources(self, text: str, job: Job, many: pa.Table | None) -> Iterator[Source]:
        """Return the queries that give the rows: one, or one for each row of parameters."""
        if many is None:
            yield self._plan_by_place(text, job)
            return
        at_once = self._all_at_once(text, job, many)
        if at_once is not None:
            yield at_once
            return
        for values in parameters.values_of(many):
            job.check()
            yield self._planner.plan(text, replace(job, values=values))

    def _plan_by_place(self, text: str, job: Job) -> Source:
        """Plan a query whose columns need no names."""
        try:
            return self._planner.plan(text, job)
        except InvalidRequest as error:
            named = with_aliases(text)
            if _SAME_NAMES not in error.message or named == text:
                raise
            return self._planner.plan(named, job)

    def _all_at_once(self, text: str, job: Job, many: pa.Table) -> Source | None:
        """Return ``VALUES (…)`` for all rows of parameters as one query over them, if it is one."""
        inside = _single_row_of_values(text)
        if inside is None:
            return None
        name, own = self._planner.memory(many.to_batches(), many.schema)
        columns = parameters.with_placeholders(
            inside, lambda number: f"{quoted(name)}.{quoted(number)}"
        )
        try:
            return self._planner.plan(f"SELECT {columns}\nFROM {quoted(name)}", job, own=own)
        except LakeflightError:
            return None  # the rows one by one tell what is wrong in the statement's own terms

    @contextmanager
    def _sink(
        self, incoming: pa.Schema, target: WriteTarget, *, in_order: bool = False
    ) -> Iterator[Sink]:
        """Open a sink; whatever goes wrong within leaves nothing behind."""
        if self._sinks is None:
            raise Unsupported("this engine runs queries only")
        sink = self._sinks(
            target.folder,
            incoming,
            schema=target.schema,
            partition_columns=target.partition_columns,
            in_order=in_order,
            file_bytes=target.file_bytes,
        )
        try:
            yield sink
        except BaseException:
            sink.abandon()
            raise

    # UPDATE, DELETE, MERGE and OPTIMIZE

    def _rewriting_for_rows(
        self, command: Update | Delete, target: WriteTarget, job: Job, many: pa.Table
    ) -> Written:
        merging, own = merge_of_rows(self._planner, command, many)
        try:
            return self._rewriting(merging, target, job, own)
        except InvalidRequest as error:
            if error.code != AMBIGUOUS:
                raise
            raise Unsupported(
                "a row that several rows of parameters change is changed by one after the other",
                code=ONE_BY_ONE,
            ) from None

    def _rewriting(
        self,
        command: Update | Delete | Merge | Optimize | AlterTable,
        target: WriteTarget,
        job: Job,
        own: Own,
    ) -> Written:
        if target.pin is None or target.schema is None:
            raise Unsupported("this statement needs the state of a table")
        principal = job.query.principal
        scan = self._planner.tables.files(target.pin, principal)
        is_reshaped = isinstance(command, AlterTable)
        columns = target.schema if is_reshaped else scan.schema
        incoming = pa.schema([pa.field(each.name, each.type) for each in columns])
        # The order of the rows is what OPTIMIZE is about: each file is to hold a stretch of it.
        in_order = isinstance(command, Optimize)
        with self._sink(incoming, target, in_order=in_order) as sink:
            new = checked(self._planner.ctx, sink, target.checks)
            if isinstance(command, Merge | Update | Delete):
                opened = self._planner.tables.open(
                    target.pin.ref, principal, as_of=None, pin=target.pin
                )
                rows = Changeable(self._planner, scan, opened)
                sinks = Pair(sink, new)
                if isinstance(command, Merge):
                    changed = merge(self._planner, job, command, rows=rows, sinks=sinks, own=own)
                else:
                    changed = rewrite(self._planner, job, command, rows=rows, sinks=sinks)
            elif isinstance(command, Optimize):
                changed = optimize(self._planner, job, command, scan=scan, sink=sink, target=target)
            else:
                changed = self._reshaped(command, job, scan, sink)
            return replace(changed, schema=sink.schema, files=new.finish())

    def _reshaped(self, command: AlterTable, job: Job, scan: FileScan, sink: Sink) -> Written:
        if not isinstance(command.change, RenameColumn | DropColumns):
            raise Unsupported("this change of a table writes no rows")
        return reshape(self._planner, job, command.change, scan=scan, sink=sink)


def _incoming(schema: pa.Schema, command: Insert, target: WriteTarget) -> pa.Schema:
    """Return the schema of the rows of a source under the names of the columns that they go to."""
    known = None if target.schema is None else target.columns or tuple(target.schema.names)
    if known is None or command.by_name:
        names: tuple[str, ...] = tuple(schema.names)
    else:
        names = command.columns or known
        if len(names) != len(schema):
            raise InvalidRequest(
                f"the statement names {len(names)} columns and gives {len(schema)} values a row"
                if command.columns
                else f"the table has {len(names)} columns and the rows have {len(schema)}"
            )
    if target.columns is not None:
        for name in names:
            if named_among(name, target.columns) is None:
                raise may_not_set(name)
    types = schema.types
    return pa.schema([pa.field(name, kind) for name, kind in zip(names, types, strict=True)])


def _single_row_of_values(text: str) -> str | None:
    """Return what stands between the parentheses of ``VALUES (…)``; None for any other text."""
    found = heard(text)
    if len(found) < 3 or found[0].upper != "VALUES" or found[1].text != "(":
        return None
    depth = 0
    for at, token in enumerate(found[1:], 1):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and at + 1 < len(found):
            return None
    if any(token.upper in ("SELECT", "VALUES", "FROM") for token in found[1:]):
        return None
    return text[found[1].end : found[-1].start]
