"""Plans the queries that a write is made of, and runs them.

They see what a query of the same principal sees, and besides relations of the write's own, such as
some files of its table, under names that nobody can guess.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from datafusion import DataFrame, SessionContext
from datafusion.catalog import Table

from flight_server.engine import groups
from flight_server.engine.base import FileScan, Query, RowScan, Scan, Tables
from flight_server.engine.faults import Stage, translate
from flight_server.engine.lookup import Lookup, Register
from flight_server.engine.output import conform, plain_frame, plain_schema
from flight_server.engine.parameters import renumbered
from flight_server.engine.plans import is_no_larger_than_its_text
from flight_server.engine.scan import check_files, table_of
from flight_server.engine.session import READ_ONLY
from flight_server.engine.view import KeyRelations
from flight_server.engine.views import ViewPlanner
from flight_server.errors import Cancelled, LakeflightError, NotFound
from flight_server.sql.names import DEFAULT
from flight_server.sql.statements import read_statement
from policies.names import TableRef

_NAME_BYTES = 16
_OWN_PREFIX = "own_"
# As the planner lists what could be meant, and guesses.
_OWN_FIELD = re.compile(r',? ?(?:(?:"(?:[^"]|"")*"|\w+)\.)*own_[0-9a-f]{32}')
_OWN_GUESS = re.compile(r" Did you mean '[^']*own_[0-9a-f]{32}[^']*'\?")
_NO_TABLE = re.compile(r"table (?:function )?'.*' not found")


@contextmanager
def our_errors(stage: Stage, *, is_rewritten: bool, lookup: Lookup | None = None) -> Iterator[None]:
    """Turn errors of the block into ours; what a lookup raised comes out as it was raised."""
    try:
        yield
    except Exception as error:
        failure = None if lookup is None else lookup.failure
        if failure is not None and _is_of_a_name(error, failure):
            raise failure from None
        said = _without_own_names(error)
        translated = translate(said, stage=stage, is_rewritten=is_rewritten)
        if translated is said:
            raise
        raise translated from None


def _is_of_a_name(error: Exception, failure: Exception) -> bool:
    """Whether what a lookup met is why the planner failed.

    It also asks for a table of the name of a function, such as generate_series, and needs none.
    """
    return not isinstance(failure, NotFound) or _NO_TABLE.search(str(error)) is not None


def _without_own_names(error: Exception) -> Exception:
    """Return an error that names none of a write's own columns among those that could be meant."""
    text = str(error)
    if isinstance(error, LakeflightError) or _OWN_PREFIX not in text:
        return error
    text = _OWN_FIELD.sub("", _OWN_GUESS.sub("", text))
    return ValueError(text) if isinstance(error, ValueError) else RuntimeError(text)


@dataclass(frozen=True, slots=True)
class Own:
    """Relations of one write by the names that only its own texts know, and what they read.

    ``fenced`` has those once more that show less than there is, behind their fences.
    """

    tables: Mapping[str, Table] = field(default_factory=dict)
    scans: tuple[Scan, ...] = ()
    fenced: Mapping[str, Table] = field(default_factory=dict)

    def __or__(self, other: Own) -> Own:
        return Own(
            {**self.tables, **other.tables},
            (*self.scans, *other.scans),
            {**self.fenced, **other.fenced},
        )


NOTHING_OWN = Own()


@dataclass(frozen=True, slots=True)
class Job:
    """Whose write this is, the values bound to its placeholders, and whether to go on.

    ``read`` are the tables that its queries have named so far, for all copies of the job.
    """

    query: Query
    values: Mapping[str, pa.Scalar[Any]]
    is_cancelled: Callable[[], bool]
    read: set[TableRef] = field(default_factory=set, compare=False)

    def check(self) -> None:
        """Raise Cancelled when the caller has said so."""
        if self.is_cancelled():
            raise Cancelled("the statement was cancelled")


@dataclass(frozen=True, slots=True)
class Source:
    """A query that is ready to run; ``schema`` is that of its rows, in plain types."""

    frame: DataFrame
    schema: pa.Schema
    scans: tuple[Scan, ...]
    is_small: bool


class Planner:
    """Plans texts and runs them in the session of a worker."""

    def __init__(
        self,
        ctx: SessionContext,
        views: ViewPlanner,
        tables: Tables,
        register: Register,
        *,
        keys: KeyRelations,
        spill_directory: str | None,
    ) -> None:
        self.ctx = ctx
        self.tables = tables
        self.keys = keys
        self.spill_directory = spill_directory
        self._views = views
        self._register = register

    def plan(self, text: str, job: Job, *, own: Own = NOTHING_OWN) -> Source:
        """Plan a query; it may hold placeholders of the statement, and names of its own relations.

        Raises as ``LocalEngine.describe`` does.
        """
        text, values = renumbered(text, job.values)
        statement = read_statement(
            text,
            bucket=job.query.bucket,
            schema=job.query.schema,
            username=job.query.principal.username,
            is_part=True,
        )
        lookup = _OwnLookup(self.tables, job.query, register=self._register, own=own)
        with our_errors(Stage.PLANNING, is_rewritten=True, lookup=lookup):
            frame, optimized = self._views.plan(
                lambda: self.ctx.sql_with_options(statement.sql, READ_ONLY, values or None), lookup
            )
            if groups.rows_min(lookup.opened.values()):
                raise groups.refused("nothing is written of it")
            raw = self.ctx.create_dataframe_from_logical_plan(optimized).schema()
            frame = plain_frame(frame, raw)
            job.read.update(ref for ref, _ in lookup.opened)
            scans = (*own.scans, *(table.scan for table in lookup.opened.values()))
            is_small = is_no_larger_than_its_text(optimized)
            return Source(frame, plain_schema(raw), scans, is_small)

    def rows(self, source: Source, job: Job, *, in_order: bool = False) -> Iterator[pa.RecordBatch]:
        """Run a query; ``in_order`` reads the parts of a plain scan one after the other.

        Raises as the iterator of ``LocalEngine.stream`` does.
        """
        with our_errors(Stage.RUNNING, is_rewritten=True):
            stream = _stream(source, in_order=in_order)
            check_files(source.scans)
            for batch in stream:
                job.check()
                if batch.num_rows:
                    yield conform(batch, source.schema)

    def numbers(self, text: str, job: Job, *, own: Own) -> list[tuple[int, ...]]:
        """Return the rows of a query for whole numbers; for few of them."""
        found: list[tuple[int, ...]] = []
        for batch in self.rows(self.plan(text, job, own=own), job):
            found.extend(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        return found

    def files(self, scan: FileScan) -> tuple[str, Own]:
        """Return a relation of these files' rows."""
        return self.relation(table_of(self.ctx, scan), scan)

    def memory(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> tuple[str, Own]:
        """Return a relation of rows in memory."""
        scan = RowScan(pa.Table.from_batches(batches, schema))
        return self.relation(table_of(self.ctx, scan), scan)

    def relation(self, table: Table, scan: Scan, *, fenced: Table | None = None) -> tuple[str, Own]:
        """Return a name for a table that no statement can know, and the relation under it.

        ``fenced`` is the same table behind its fence, where it shows less than there is.
        """
        name = unguessable()
        return name, Own({name: table}, (scan,), {} if fenced is None else {name: fenced})


def unguessable() -> str:
    """Return a name that no text of a user holds."""
    return f"{_OWN_PREFIX}{secrets.token_hex(_NAME_BYTES)}"


def _stream(source: Source, *, in_order: bool) -> Iterable[pa.RecordBatch]:
    if source.is_small:
        return source.frame.collect()
    if in_order:
        parts = source.frame.execute_stream_partitioned()
        return (batch.to_pyarrow() for part in parts for batch in part)
    return (batch.to_pyarrow() for batch in source.frame.execute_stream())


class _OwnLookup(Lookup):
    """A lookup that also knows the write's own relations, in its own texts but not in views."""

    def __init__(
        self,
        tables: Tables,
        query: Query,
        *,
        register: Register,
        own: Own,
    ) -> None:
        super().__init__(tables, query, register=register, is_bound=False)
        self._own = own

    @property
    def narrows(self) -> bool:
        """Whether a table opened, or a relation of the write's own, shows less than it holds."""
        return bool(self._own.fenced) or super().narrows

    @property
    def is_behind_fence(self) -> bool:
        """Whether a table opened, or a relation of the write's own, lies behind a fence."""
        return (self.is_fenced and bool(self._own.fenced)) or super().is_behind_fence

    def table(self, ref: TableRef) -> Table | None:
        """Return the session's table of a name, one of the write's own first."""
        if ref.bucket == ref.schema == DEFAULT and ref.table in self._own.tables:
            fenced = self._own.fenced.get(ref.table) if self.is_fenced else None
            return fenced or self._own.tables[ref.table]
        return super().table(ref)
