"""Small changes of tables that come as values and not as statements.

Each becomes the statement that SQL has for it, or its parsed form, and goes the way of that: same
rights, same errors, same history. Values are bound; only names and checked expressions are text.
"""

# ruff: noqa: S608  the texts are put together from quoted names and checked expressions

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from flight_server import errors
from flight_server.service.json_rows import (
    columns_of,
    field_named,
    fitted,
    new_columns,
)
from flight_server.service.queries import Queries
from flight_server.service.request import Request
from flight_server.service.statements import Bound, Commands, Statements
from flight_server.service.targets import Target, Targets
from flight_server.service.writes import known_rows, version_made
from flight_server.sql.commands import (
    AddColumns,
    AlterTable,
    Column,
    CreateTable,
    DropTable,
    IfThere,
    Restore,
    Update,
)
from flight_server.sql.fragments import check_condition, check_value, read_table
from flight_server.sql.grammar import read_command
from flight_server.sql.names import DEFAULT, AsOf, quoted, written_name
from flight_server.storage.arrow_types import stream_bytes
from flight_server.storage.commits import Commits
from flight_server.storage.history import HISTORY_VERSIONS_MAX
from policies.names import TableRef

_TARGET, _SOURCE = quoted("target"), quoted("source")


@dataclass(frozen=True, slots=True)
class Changed:
    """How many rows a change was about, and the version that it made; None where it made none."""

    rows: int
    version: int | None


@dataclass(frozen=True, slots=True)
class Named:
    """A table that was made, dropped or brought back: its full name, and the version after it.

    ``is_done`` is false when there was nothing to do.
    """

    table: str
    version: int | None
    is_done: bool = True


@dataclass(frozen=True, slots=True)
class _Expression:
    """An SQL expression where a value could stand."""

    text: str


@dataclass(frozen=True, slots=True)
class Upsert:
    """Rows to be merged by the columns ``on``; what a row does that is there, and that is not.

    ``matched`` is ``update``, ``delete`` or ``ignore``, ``not_matched`` ``insert`` or ``ignore``.
    """

    rows: Sequence[Any]
    on: Sequence[str]
    matched: str = "update"
    not_matched: str = "insert"


class TableChanges:
    """The use cases. Tables are named as in SQL; all raise what the statements raise.

    The key of a request makes a repeat harmless: it answers what the first one did.
    """

    def __init__(
        self,
        statements: Statements,
        commands: Commands,
        *,
        queries: Queries,
        targets: Targets,
        commits: Commits,
    ) -> None:
        self._statements = statements
        self._commands = commands
        self._queries = queries
        self._targets = targets
        self._commits = commits

    def create(
        self,
        request: Request,
        table: str,
        *,
        columns: Sequence[Column],
        partition_by: Sequence[str] = (),
        comment: str | None = None,
        if_not_exists: bool = False,
    ) -> Named:
        """Make an empty table."""
        if not columns:
            raise errors.InvalidRequest("a table needs at least one column")
        ref = self._targets.named(request, read_table(table), may_be_temporary=False)
        command = CreateTable(
            ref,
            tuple(columns),
            partition_by=tuple(partition_by),
            comment=comment,
            if_there=IfThere.KEEP if if_not_exists else IfThere.FAIL,
        )
        self._commands.execute(
            request, command, Bound(request, f"CREATE TABLE {written_name(ref)}")
        )
        target = self._targets.to_write(request, ref, also_reads=False)
        version = version_made(request, target)
        return Named(target.name, version, is_done=version is not None)

    def drop(self, request: Request, table: str, *, if_exists: bool = False) -> Named:
        """Remove a table with its history."""
        ref = self._targets.named(request, read_table(table))
        bound = Bound(request, f"DROP TABLE {written_name(ref)}")
        try:
            target = self._targets.to_write(request, ref, also_reads=False)
            self._commands.execute(request, DropTable(ref), bound)
        except errors.NotFound:
            if not if_exists:
                raise
            return Named(str(ref), None, is_done=False)
        return Named(target.name, None)

    def restore(self, request: Request, table: str, as_of: AsOf) -> Named:
        """Make an older state the newest version."""
        ref = self._targets.named(request, read_table(table))
        bound = Bound(request, f"RESTORE TABLE {written_name(ref)}")
        self._commands.execute(request, Restore(ref, as_of), bound)
        target = self._targets.to_write(request, ref, also_reads=True)
        return Named(target.name, version_made(request, target))

    def history(
        self, request: Request, table: str, *, limit: int | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """Return the versions of a table, newest first, as rows of ``DESCRIBE HISTORY``."""
        if limit is not None and not 1 <= limit <= HISTORY_VERSIONS_MAX:
            raise errors.InvalidRequest(f"the limit is from 1 to {HISTORY_VERSIONS_MAX}")
        sql = f"DESCRIBE HISTORY {written_name(read_table(table))}"
        sql += "" if limit is None else f" LIMIT {limit}"
        planned = self._statements.plan(Bound(request, sql))
        _, batches = self._queries.stream(request, planned.ticket)
        for batch in batches:
            yield from batch.to_pylist()

    def append(
        self, request: Request, table: str, rows: Sequence[Any], *, merge_schema: bool = False
    ) -> Changed:
        """Add rows; with ``merge_schema`` columns that the table lacks are added first."""
        names = columns_of(rows)
        ref, target = self._target(request, table, also_reads=False)
        known = self._known(request, target)
        if known is not None or not rows:
            return known or Changed(0, None)
        schema = self._schema(request, target)
        if merge_schema:
            types, names = new_columns(rows, schema, names=names)
            if types:
                self._add_columns(request, target, types)
                schema = self._schema(request, target)
        names = names or self._new_columns(request, target, schema)
        values = fitted(rows, schema, names=names)
        columns = ", ".join(map(quoted, values.schema.names))
        sql = f"INSERT INTO {written_name(ref)} ({columns}) VALUES ({_marks(values)})"
        return self._change(Bound(request, sql, stream_bytes(values)), target)

    def delete(self, request: Request, table: str, *, where: str) -> Changed:
        """Remove the rows for which a condition is true."""
        check_condition(where)
        ref, target = self._target(request, table, also_reads=True)
        return self._change(
            Bound(request, f"DELETE FROM {written_name(ref)} WHERE {where}"), target
        )

    def update(
        self, request: Request, table: str, *, values: Mapping[str, Any], where: str
    ) -> Changed:
        """Set columns where a condition is true: to a value, or to an expression.

        An object of one text, ``expression``, is the latter, but not for a nested column.
        """
        check_condition(where)
        if not values:
            raise errors.InvalidRequest("there is nothing to set")
        ref, target = self._target(request, table, also_reads=True)
        known = self._known(request, target)
        if known is not None:
            return known
        schema = self._schema(request, target)
        values = {
            name: _setting(value, field_named(name, schema).type) for name, value in values.items()
        }
        plain = {name: each for name, each in values.items() if not isinstance(each, _Expression)}
        marks = {name: f"${number}" for number, name in enumerate(plain, 1)}
        settings = [
            f"{quoted(field_named(name, schema).name)} ="
            f" {value.text if isinstance(value, _Expression) else marks[name]}\n"
            for name, value in values.items()
        ]
        sql = f"UPDATE {written_name(ref)} SET {', '.join(settings)} WHERE {where}"
        _check_update(sql, len(values))
        parameters = stream_bytes(fitted([plain], schema, names=tuple(plain))) if plain else b""
        return self._change(Bound(request, sql, parameters), target)

    def merge(self, request: Request, table: str, upsert: Upsert) -> Changed:
        """Update, delete and insert rows by the values of their key columns."""
        names = columns_of(upsert.rows)
        if any(len(row) != len(names) for row in upsert.rows):
            raise errors.InvalidRequest("all rows of a merge have values for the same columns")
        ref, target = self._target(request, table, also_reads=True)
        known = self._known(request, target)
        if known is not None or not upsert.rows:
            return known or Changed(0, None)
        schema = self._schema(request, target)
        values = fitted(upsert.rows, schema, names=names)
        keys = [field_named(name, schema).name for name in upsert.on]
        sql = _merge_text(written_name(ref), values, keys, upsert)
        bound = Bound(request, sql, stream_bytes(values), rows_are_source=True)
        return self._change(bound, target)

    def _target(self, request: Request, table: str, *, also_reads: bool) -> tuple[TableRef, Target]:
        ref = read_table(table)
        found = self._targets.named(request, ref)
        return ref, self._targets.to_write(request, found, also_reads=also_reads)

    def _schema(self, request: Request, target: Target) -> pa.Schema:
        """Return the columns of a table, those that the caller does not see left out."""
        schema = self._commits.head(target.path, name=target.name).schema
        columns = self._targets.terms(request, target, schema).columns
        return schema if columns is None else pa.schema([schema.field(each) for each in columns])

    def _new_columns(self, request: Request, target: Target, schema: pa.Schema) -> tuple[str, ...]:
        """Return the columns in which new rows get values from this caller."""
        columns = self._targets.terms(request, target, schema).new_columns
        return tuple(schema.names) if columns is None else columns

    def _add_columns(self, request: Request, target: Target, types: Mapping[str, str]) -> None:
        columns = tuple(Column(name, kind) for name, kind in types.items())
        command = AlterTable(target.ref, AddColumns(columns, if_not_exists=True))
        # A version of its own, so the key stays for the one that holds the rows.
        request = replace(request, idempotency_key=None)
        bound = Bound(request, f"ALTER TABLE {written_name(target.ref)} ADD COLUMN")
        self._commands.execute(request, command, bound)

    def _change(self, bound: Bound, target: Target) -> Changed:
        rows = self._statements.update(bound)
        return Changed(rows, version_made(bound.request, target))

    def _known(self, request: Request, target: Target) -> Changed | None:
        """Return what a request with the same key did, None when this is the first one."""
        rows = known_rows(self._commits, request, target)
        return None if rows is None else Changed(rows, version_made(request, target))


def _setting(value: Any, kind: pa.DataType) -> Any:
    """Return the value for a column, or the expression for one that is none of objects."""
    if isinstance(value, dict) and value.keys() == {"expression"} and not pa.types.is_nested(kind):
        text = value["expression"]
        if isinstance(text, str):
            check_value(text)
            return _Expression(text)
    return value


def _marks(values: pa.RecordBatch) -> str:
    return ", ".join(f"${number}" for number in range(1, values.num_columns + 1))


def _check_update(sql: str, count: int) -> None:
    """Make sure that the parts of an UPDATE are read as the parts that they were given as."""
    command = read_command(sql, bucket=DEFAULT, schema=DEFAULT)
    is_whole = isinstance(command, Update) and command.where is not None
    if not (is_whole and isinstance(command, Update) and len(command.assignments) == count):
        raise errors.InvalidRequest("an expression ends in the middle of what it has begun")


def _merge_text(table: str, values: pa.RecordBatch, keys: Sequence[str], upsert: Upsert) -> str:
    """Return the MERGE for rows whose columns the source knows by their numbers."""
    sources = {name: f"{_SOURCE}.{quoted(str(i))}" for i, name in enumerate(values.schema.names, 1)}
    missing = [key for key in keys if key not in sources]
    if missing or not keys or len(set(keys)) != len(keys):
        raise errors.InvalidRequest("a merge needs columns of its rows in `on`, each once")
    clauses = []
    changes = [f"{quoted(name)} = {value}" for name, value in sources.items() if name not in keys]
    if upsert.matched == "delete":
        clauses.append("WHEN MATCHED THEN DELETE")
    elif upsert.matched == "update" and changes:
        clauses.append(f"WHEN MATCHED THEN UPDATE SET {', '.join(changes)}")
    if upsert.not_matched == "insert":
        columns = ", ".join(map(quoted, sources))
        clauses.append(
            f"WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({', '.join(sources.values())})"
        )
    if not clauses:
        raise errors.InvalidRequest("this merge would do nothing with any row")
    numbers = ", ".join(quoted(str(i)) for i in range(1, values.num_columns + 1))
    on = " AND ".join(f"{_TARGET}.{quoted(key)} = {sources[key]}" for key in keys)
    return (
        f"MERGE INTO {table} AS {_TARGET} USING (VALUES ({_marks(values)})) AS {_SOURCE}"
        f" ({numbers}) ON {on} {' '.join(clauses)}"
    )
