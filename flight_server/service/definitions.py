"""Statements that define: tables, schemas and views are made, changed and dropped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from flight_server import errors
from flight_server.catalog.folders import Kind
from flight_server.catalog.registry import Entry, Registry
from flight_server.engine.base import Engine, WriteTarget
from flight_server.service.making import Filled, Making
from flight_server.service.permits import Permits
from flight_server.service.queries import Queries
from flight_server.service.request import Request
from flight_server.service.statements import Bound
from flight_server.service.targets import Target, Targets
from flight_server.service.terms import Terms
from flight_server.service.writes import author_of, commit, data_files, query_of
from flight_server.sql.column_types import arrow_type
from flight_server.sql.commands import (
    AddColumns,
    AlterTable,
    Column,
    CreateSchema,
    CreateTable,
    CreateView,
    DropColumns,
    DropSchema,
    DropTable,
    DropView,
    IfThere,
    RenameColumn,
    RenameTable,
)
from flight_server.storage.changes import Change
from flight_server.storage.commits import Commits
from flight_server.storage.delta_actions import schema_text
from flight_server.storage.fit import table_schema
from policies.names import TableRef


class Definitions:
    """The use cases of CREATE, ALTER and DROP."""

    def __init__(
        self,
        engine: Engine,
        queries: Queries,
        targets: Targets,
        *,
        permits: Permits,
        registry: Registry,
        commits: Commits,
        making: Making,
    ) -> None:
        self._engine = engine
        self._queries = queries
        self._targets = targets
        self._commits = commits
        self._creation = making.creation
        self._permits = permits
        self._registry = registry
        self._making = making

    def create_table(self, request: Request, command: CreateTable, bound: Bound) -> None:
        """Make a table, empty or of a query's rows."""
        target = self._targets.to_create(request, command.target, is_temporary=command.temporary)
        declared = columns_schema(command.columns) if command.columns else None
        checks = self._targets.terms(request, target, declared or pa.schema([])).checks
        if target.exists and command.if_there is IfThere.REPLACE:
            self._terms(request, target).require_all_rows("replace it")

        def fill(folder: Path) -> Filled:
            if command.source is None:
                assert declared is not None  # noqa: S101  the grammar asks for one of the two
                return Filled(table_schema(declared))
            where = WriteTarget(str(folder), declared, command.partition_by, checks=checks)
            written = self._engine.write(query_of(bound), where, is_cancelled=request.is_cancelled)
            self._targets.terms(request, target, written.schema).require_no_hashes()
            return Filled(written.schema, data_files(written), written.inserted, written.read)

        self._making.make(
            request,
            target,
            fill,
            if_there=command.if_there,
            partition_columns=command.partition_by,
            comment=command.comment,
        )
        if command.temporary:
            self._targets.remember_temporary(request, target)

    def drop_table(self, request: Request, command: DropTable) -> None:
        """Remove a table with its history."""
        try:
            target = self._targets.to_write(request, command.target, also_reads=False)
        except errors.NotFound:
            if command.if_exists:
                return
            raise
        self._terms(request, target).require_all_rows("drop it")
        with self._commits.vacuuming(target.path):
            target.check(())
            self._creation.drop(target.path, name=target.name)
        self._targets.forget_temporary(request, target)

    def _terms(self, request: Request, target: Target) -> Terms:
        """Return what the caller is held to who changes a table that is there."""
        try:
            schema = self._commits.head(target.path, name=target.name).schema
        except (errors.Unavailable, errors.Unsupported):
            schema = pa.schema([])  # what cannot be read can be dropped all the same
        return self._targets.terms(request, target, schema)

    def alter_table(self, request: Request, command: AlterTable, bound: Bound) -> None:
        """Change the columns or the name of a table."""
        try:
            target = self._targets.to_write(
                request,
                command.target,
                also_reads=isinstance(command.change, RenameColumn | DropColumns),
            )
        except errors.NotFound:
            if command.if_exists:
                return
            raise
        if isinstance(command.change, RenameTable):
            self._rename(request, target, command.change)
        elif isinstance(command.change, AddColumns):
            self._add_columns(request, target, command.change)
        else:
            self._reshape(request, target, command.change, bound)

    def _rename(self, request: Request, target: Target, change: RenameTable) -> None:
        self._targets.check_renamed(target)
        new = self._targets.to_create(request, change.new, is_temporary=False)
        if new.ref.bucket != target.ref.bucket:
            raise errors.Unsupported("a table stays in its bucket; copy it by CREATE TABLE AS")
        if new.exists:
            raise errors.AlreadyExists(f"there is a table {new.name} already", code="table_exists")
        with self._commits.vacuuming(target.path):
            target.check(())
            new.check(())
            self._creation.rename(target.path, new.path, new_name=new.name, name=target.name)

    def _add_columns(self, request: Request, target: Target, change: AddColumns) -> None:
        with self._commits.rewriting(target.path):
            head = self._commits.head(target.path, name=target.name)
            there = {name.casefold() for name in head.schema.names}
            added = [
                column
                for column in change.columns
                if not (change.if_not_exists and column.name.casefold() in there)
            ]
            for column in added:
                if column.name.casefold() in there:
                    raise errors.AlreadyExists(
                        f"the table {target.name} has this column already column={column.name}",
                        code="column_exists",
                    )
                if not column.nullable:
                    raise errors.Unsupported(
                        "a column that is added must take NULL: rows that are there have no value"
                        f" for it column={column.name}"
                    )
            if not added:
                return
            schema = table_schema(pa.schema([*head.schema, *columns_schema(added)]))
            before = head.metadata
            metadata = replace(before, schema_text=schema_text(schema, before=before.schema_text))
            redefined = Change(
                "ADD COLUMNS",
                author_of(request),
                metadata=metadata,
                table_id=head.table_id,
                read_version=head.version,
                data_change=False,
                idempotency_key=request.idempotency_key,
            )
            commit(request, self._commits, target, redefined)

    def _reshape(
        self, request: Request, target: Target, change: RenameColumn | DropColumns, bound: Bound
    ) -> None:
        """Rename or drop columns: Delta finds columns by name, so all files are written again."""
        with self._commits.rewriting(target.path):
            pin = self._targets.pin(request, target)
            head = self._commits.head(target.path, name=target.name)
            self._check_columns(request, target, head.schema, change)
            schema = _reshaped(head.schema, change, target.name)
            if schema is None:
                return
            partition_columns = _renamed(head.partition_columns, change, target.name)
            written = self._engine.write(
                query_of(bound),
                WriteTarget(str(target.path), schema, partition_columns, pin=pin),
                is_cancelled=request.is_cancelled,
            )
            metadata = replace(
                head.metadata,
                schema_text=schema_text(schema),
                partition_columns=partition_columns,
            )
            is_rename = isinstance(change, RenameColumn)
            commit(
                request,
                self._commits,
                target,
                Change(
                    "RENAME COLUMN" if is_rename else "DROP COLUMNS",
                    author_of(request),
                    adds=data_files(written),
                    removes_all=True,
                    metadata=metadata,
                    table_id=head.table_id,
                    read_version=pin.version,
                    idempotency_key=request.idempotency_key,
                ),
            )

    def _check_columns(
        self,
        request: Request,
        target: Target,
        schema: pa.Schema,
        change: RenameColumn | DropColumns,
    ) -> None:
        is_drop = isinstance(change, DropColumns)
        names = change.names if isinstance(change, DropColumns) else (change.old,)
        terms = self._targets.terms(request, target, schema)
        # To somebody who sees some of the columns only, a hidden one is like one that is not there.
        if terms.columns is None:
            names = tuple(name for name in names if name in schema.names)
        terms.require_columns(names, is_drop=is_drop)
        self._targets.check_renamed(target, names)

    def create_schema(self, request: Request, command: CreateSchema) -> None:
        """Make a schema."""
        path = self._permits.may_create_schema(request.principal, command.bucket, command.schema)
        name = f"{command.bucket}.{command.schema}"
        try:
            if self._registry.has_schema(command.bucket, command.schema):
                raise errors.AlreadyExists(
                    f"there is a schema {name} already", code="schema_exists"
                )
            self._creation.make_schema(path, name=name)
        except errors.AlreadyExists:
            if not command.if_not_exists:
                raise

    def drop_schema(self, request: Request, command: DropSchema) -> None:
        """Remove a schema; one that is not empty only with CASCADE."""
        try:
            path = self._permits.may_drop_schema(request.principal, command.bucket, command.schema)
        except errors.NotFound:
            if command.if_exists:
                return
            raise
        name = f"{command.bucket}.{command.schema}"
        tables = self._registry.tables(command.bucket)
        views = self._registry.views(command.bucket)
        there = [entry for entry in tables if entry.ref.schema == command.schema]
        count = len(there)
        count += sum(view.ref.schema == command.schema for view in views)
        if count and not command.cascade:
            raise errors.InvalidRequest(
                f"the schema {name} is not empty: it holds {count} tables and views;"
                " drop them, or say CASCADE",
                code="schema_not_empty",
            )
        for entry in there:
            self._check_dropped(request, entry)
        self._permits.drop_views(request.principal, command.bucket, command.schema)
        if path.exists():
            self._creation.drop_schema(path, name=name)

    def _check_dropped(self, request: Request, entry: Entry) -> None:
        """Raise PermissionDenied for a table of which the caller sees a part only."""
        if entry.kind is not Kind.DELTA:
            return
        target = Target(entry.ref, entry.path)
        self._terms(request, target).require_all_rows("drop it")

    def create_view(self, request: Request, command: CreateView) -> None:
        """Store a query under a name; who uses it needs the rights to what it reads."""
        described = self._queries.describe(request, command.query)
        names = TableRef(request.bucket, request.schema, "")
        # Describing the query may have taken a while.
        principal = self._targets.principal(request)
        self._permits.create_view(principal, command, described, names=names)

    def drop_view(self, request: Request, command: DropView) -> None:
        """Forget a view."""
        self._permits.drop_view(request.principal, command)


def columns_schema(columns: Iterable[Column]) -> pa.Schema:
    """Return declared columns as Arrow fields; raises what ``arrow_type`` raises."""
    return pa.schema(
        [
            pa.field(
                column.name,
                arrow_type(column.kind),
                nullable=column.nullable,
                metadata=None if column.comment is None else {"comment": column.comment},
            )
            for column in columns
        ]
    )


def _reshaped(schema: pa.Schema, change: RenameColumn | DropColumns, name: str) -> pa.Schema | None:
    """Return the columns after the change; None when nothing changes."""
    if isinstance(change, RenameColumn):
        _check_column(schema, change.old, name)
        if change.new.casefold() in {other.casefold() for other in schema.names} - {
            change.old.casefold()
        }:
            raise errors.AlreadyExists(
                f"the table {name} has this column already column={change.new}",
                code="column_exists",
            )
        return table_schema(
            pa.schema(
                [
                    field.with_name(change.new) if field.name == change.old else field
                    for field in schema
                ]
            )
        )
    dropped = [each for each in change.names if not change.if_exists or each in schema.names]
    for each in dropped:
        _check_column(schema, each, name)
    kept = [field for field in schema if field.name not in dropped]
    if not kept:
        raise errors.InvalidRequest(f"the table {name} must keep a column")
    return pa.schema(kept) if dropped else None


def _renamed(
    partition_columns: tuple[str, ...], change: RenameColumn | DropColumns, name: str
) -> tuple[str, ...]:
    if isinstance(change, RenameColumn):
        return tuple(change.new if each == change.old else each for each in partition_columns)
    if set(change.names) & set(partition_columns):
        raise errors.InvalidRequest(f"the table {name} is partitioned by a column to be dropped")
    return partition_columns


def _check_column(schema: pa.Schema, column: str, name: str) -> None:
    if column not in schema.names:
        raise errors.NotFound(
            f"the table {name} has no such column column={column}", code="column_not_found"
        )
