"""Bulk loads: a stream of Arrow data becomes rows of a table in one commit.

The gateway writes the files itself, while the data come in: nothing is visible before the end of
the stream was seen and all of it is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from flight_server import errors
from flight_server.engine.base import Engine
from flight_server.protocol.commands import (
    StatementIngest,
    TableDefinitionOptions,
    TableExists,
    TableNotExist,
)
from flight_server.service.making import Filled, Making
from flight_server.service.new_files import check_rows, scan_of
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from flight_server.service.running import Running
from flight_server.service.targets import Target, Targets, refuse_temporary
from flight_server.service.writes import author_of, commit, known_rows
from flight_server.sql.commands import IfThere
from flight_server.storage.arrow_types import holds_dictionary
from flight_server.storage.changes import Change
from flight_server.storage.commits import Commits
from flight_server.storage.files import DataFile, DataFileWriter, remove_data_files
from flight_server.storage.fit import Fitter, table_schema
from flight_server.storage.intake import IntakeLimits, taken_in
from policies.names import TableRef

# Makes the writer of the data files of one load: folder, columns, partition columns.
Writers = Callable[[Path, pa.Schema, tuple[str, ...]], DataFileWriter]


class Incoming(Protocol):
    """Data on their way in, neither bounded nor validated yet."""

    def schema(self) -> pa.Schema | None:
        """Return the schema that was sent, None when there are no data at all."""
        ...

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Give the batches; ends only where the client ended the stream."""
        ...


class Loads:
    """The use cases of a bulk load."""

    def __init__(
        self,
        targets: Targets,
        making: Making,
        commits: Commits,
        *,
        running: Running,
        writers: Writers,
        engine: Engine,
        limits: IntakeLimits | None = None,
    ) -> None:
        self._engine = engine
        self._targets = targets
        self._making = making
        self._commits = commits
        self._running = running
        self._writers = writers
        self._limits = limits or IntakeLimits()

    def append(self, request: Request, ref: TableRef, incoming: Incoming) -> int:
        """Add rows to a table that is there; return how many."""
        refuse_temporary(ref)
        request.record.intend("table.append", str(ref), effect=Effect.CHANGE)
        with self._running.writing(request, f"append to {ref}") as listed:
            target = self._targets.to_write(listed, ref, also_reads=False)
            rows = self._append(listed, target, _schema(incoming), incoming)
            request.record.note(rows=rows)
            return rows

    def ingest(self, request: Request, command: StatementIngest, incoming: Incoming) -> int:
        """Load rows the way the command says; return how many there were.

        Raises AlreadyExists (``table_exists``) and NotFound (``table_not_found``) where the command
        wants the table to be missing or there.
        """
        options = command.table_definition_options or TableDefinitionOptions()
        if command.options:
            raise errors.Unsupported(
                "options of an ingest are not supported; there were:"
                f" {', '.join(sorted(command.options)[:5])}"
            )
        ref = TableRef(
            command.catalog or request.bucket, command.schema or request.schema, command.table
        )
        refuse_temporary(ref)
        request.record.intend(
            "table.load",
            str(ref),
            effect=Effect.CHANGE,
            details={
                "if_exists": options.if_exists.name.lower(),
                "if_not_exist": options.if_not_exist.name.lower(),
                "temporary": command.temporary,
            },
        )
        with self._running.writing(request, f"load into {ref}") as listed:
            rows = self._ingest(listed, command, options, ref, incoming)
            request.record.note(rows=rows)
            return rows

    def _ingest(
        self,
        request: Request,
        command: StatementIngest,
        options: TableDefinitionOptions,
        ref: TableRef,
        incoming: Incoming,
    ) -> int:
        schema = _schema(incoming)
        # As with parameters (see ``rpc.puts``): everybody may make temporary tables.
        if command.temporary and any(holds_dictionary(field.type) for field in schema):
            raise errors.Unsupported(
                "a temporary table takes no dictionaries: load their values, or into another table"
            )
        target = self._target(request, command, ref, may_create=_may_create(options))
        if target.exists and options.if_exists is TableExists.APPEND:
            return self._append(request, target, schema, incoming)
        if target.exists and options.if_exists is not TableExists.REPLACE:
            raise errors.AlreadyExists(
                f"there is a table {target.name} already", code="table_exists"
            )
        if not target.exists and not _may_create(options):
            raise errors.NotFound(f"the table {target.name} does not exist", code="table_not_found")
        columns = table_schema(schema)
        terms = self._targets.terms(request, target, columns)
        terms.require_no_hashes()
        if target.exists:
            self._check_replaced(request, target)
        rows = self._making.make(
            request,
            target,
            lambda folder: self._fill(
                request, folder, (columns, ()), incoming, checks=terms.checks
            ),
            if_there=IfThere.REPLACE if target.exists else IfThere.FAIL,
        )
        if target.is_temporary:
            self._targets.remember_temporary(request, target)
        return 0 if rows is None else rows

    def _target(
        self, request: Request, command: StatementIngest, ref: TableRef, *, may_create: bool
    ) -> Target:
        if command.temporary:
            if command.catalog or command.schema:
                raise errors.InvalidRequest("a temporary table has neither catalog nor schema")
            return self._targets.to_create(request, ref, is_temporary=True)
        if may_create:
            return self._targets.to_create(request, ref)
        return self._targets.to_write(request, ref, also_reads=False)

    def _append(
        self, request: Request, target: Target, schema: pa.Schema, incoming: Incoming
    ) -> int:
        known = known_rows(self._commits, request, target)
        if known is not None:
            return known
        with self._commits.writing(target.path):
            head = self._commits.head(target.path, name=target.name)
            terms = self._targets.terms(request, target, head.schema)
            terms.require_new_names(schema.names)
            terms.require_room(head.schema)
            filled = self._fill(
                request,
                target.path,
                (head.schema, head.partition_columns),
                incoming,
                checks=terms.checks,
            )
            change = Change(
                "WRITE",
                author_of(request),
                adds=filled.files,
                parameters={"mode": "Append"},
                rows=filled.rows,
                table_id=head.table_id,
                schema=head.schema,
                idempotency_key=request.idempotency_key,
            )
            return commit(request, self._commits, target, change).rows

    def _fill(
        self,
        request: Request,
        folder: Path,
        table: tuple[pa.Schema, tuple[str, ...]],
        incoming: Incoming,
        *,
        checks: tuple[str, ...],
    ) -> Filled:
        columns, partition_columns = table
        fitter = Fitter(_schema(incoming), columns, by_name=True, rounds=False)
        writer = self._writers(folder, columns, partition_columns)
        rows = size = 0
        try:
            for batch in taken_in(incoming, self._limits):
                if request.is_cancelled():
                    raise errors.Cancelled("the load was cancelled")
                rows += batch.num_rows
                size += batch.nbytes
                writer.write(fitter.fit(batch))
            files: tuple[DataFile, ...] = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        finally:
            request.record.note(byte_count=size)
        try:
            scan = scan_of(folder, columns, partition_columns, files)
            check_rows(self._engine, scan, checks, is_cancelled=request.is_cancelled)
        except BaseException:
            remove_data_files(folder, files)
            raise
        return Filled(columns, files, rows)

    def _check_replaced(self, request: Request, target: Target) -> None:
        head = self._commits.head(target.path, name=target.name)
        self._targets.terms(request, target, head.schema).require_all_rows("replace it")


def _schema(incoming: Incoming) -> pa.Schema:
    schema = incoming.schema()
    if schema is None:
        raise errors.InvalidRequest("a load needs data: the client sent a descriptor and no more")
    return schema


def _may_create(options: TableDefinitionOptions) -> bool:
    return options.if_not_exist is TableNotExist.CREATE
