"""Statements that change rows: computed by the engine into data files, then committed.

INSERT only adds, so any number of them run at the same time. What changes rows that are there takes
its turn at the table, and begins anew when another writer came in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TypeVar

import pyarrow as pa

from flight_server import errors
from flight_server.engine.base import ONE_BY_ONE, Engine, Query, WriteTarget, Written
from flight_server.service.request import Request
from flight_server.service.statements import Bound
from flight_server.service.targets import Target, Targets
from flight_server.sql.commands import Delete, Dml, Insert, Merge, Truncate, Update
from flight_server.storage.arrow_types import stream_bytes
from flight_server.storage.changes import Author, Change, Committed, app_id_of
from flight_server.storage.commits import COMMIT_UNKNOWN, Commits
from flight_server.storage.files import DataFile, remove_data_files
from flight_server.storage.history import version_of
from policies.names import Principal, TableRef

REWRITE_ATTEMPTS_MAX = 32
T = TypeVar("T")
_OPERATIONS: Mapping[type, str] = {
    Insert: "WRITE",
    Update: "UPDATE",
    Delete: "DELETE",
    Merge: "MERGE",
    Truncate: "TRUNCATE",
}


class Writes:
    """The use cases of INSERT, UPDATE, DELETE, MERGE and TRUNCATE."""

    def __init__(self, engine: Engine, targets: Targets, commits: Commits) -> None:
        self._engine = engine
        self._targets = targets
        self._commits = commits

    def change(self, request: Request, command: Dml, bound: Bound) -> int:
        """Execute a statement; return how many rows it changed.

        A key of the request makes a repeat harmless: it answers what the first one did.
        """
        target = self._targets.to_write(
            request, command.target, also_reads=not isinstance(command, Insert)
        )
        known = known_rows(self._commits, request, target)
        if known is not None:
            return known
        if isinstance(command, Insert):
            return self._insert(request, command, bound, target)
        if isinstance(command, Truncate):
            return self._truncate(request, target)
        try:
            return self._rewrite(request, command, bound, target)
        except errors.Unsupported as error:
            if error.code != ONE_BY_ONE:
                raise
        return self._rewrite_one_by_one(request, command, bound, target)

    def _insert(self, request: Request, command: Insert, bound: Bound, target: Target) -> int:
        with self._commits.writing(target.path):
            head = self._commits.head(target.path, name=target.name)
            terms = self._targets.terms(request, target, head.schema)
            terms.require_room(head.schema)
            if command.overwrite:
                terms.require_all_rows("replace its rows")
            written = self._engine.write(
                query_of(bound),
                WriteTarget(
                    str(target.path),
                    head.schema,
                    head.partition_columns,
                    checks=terms.checks,
                    columns=terms.new_columns,
                ),
                is_cancelled=request.is_cancelled,
            )
            change = Change(
                "WRITE",
                author_of(request),
                adds=data_files(written),
                removes_all=command.overwrite,
                parameters={"mode": "Overwrite" if command.overwrite else "Append"},
                rows=written.inserted,
                table_id=head.table_id,
                schema=head.schema,
                idempotency_key=request.idempotency_key,
            )
            return commit(request, self._commits, target, change, read=written.read).rows

    def _truncate(self, request: Request, target: Target) -> int:
        with self._commits.rewriting(target.path):
            head = self._commits.head(target.path, name=target.name, with_files=True)
            terms = self._targets.terms(request, target, head.schema)
            terms.require_all_rows("remove all its rows")
            counts = [file.rows for file in head.files or ()]
            change = Change(
                "TRUNCATE",
                author_of(request),
                removes_all=True,
                # A log may leave out how many rows a file holds.
                # Nor do rows count that nobody sees any more.
                rows=-1
                if None in counts or terms.has_tombstones
                else sum(count or 0 for count in counts),
                table_id=head.table_id,
                idempotency_key=request.idempotency_key,
            )
            return commit(request, self._commits, target, change).rows

    def _rewrite(
        self, request: Request, command: Update | Delete | Merge, bound: Bound, target: Target
    ) -> int:
        return retried(
            lambda: self._commits.rewriting(target.path),
            lambda: self._rewrite_once(request, command, bound, target),
        )

    def _rewrite_one_by_one(
        self, request: Request, command: Update | Delete | Merge, bound: Bound, target: Target
    ) -> int:
        """Execute for one row of parameters after the other, each a change of its own."""
        total = 0
        for number, parameters in enumerate(_single_rows(bound.parameters)):
            key = request.idempotency_key
            single = replace(request, idempotency_key=None if key is None else f"{key}#{number}")
            try:
                known = known_rows(self._commits, single, target)
                if known is None:
                    one = replace(bound, parameters=parameters)
                    known = self._rewrite(single, command, one, target)
            except errors.LakeflightError as error:
                message = f"{error.message}; {number} rows of parameters before it took effect"
                raise type(error)(message, code=error.code) from None
            total += known
        return total

    def _rewrite_once(
        self, request: Request, command: Update | Delete | Merge, bound: Bound, target: Target
    ) -> int:
        pin = self._targets.pin(request, target)
        head = self._commits.head(target.path, name=target.name)
        terms = self._targets.terms(request, target, head.schema)
        if isinstance(command, Merge) and command.inserts:
            terms.require_room(head.schema)
        written = self._engine.write(
            query_of(bound),
            WriteTarget(
                str(target.path),
                head.schema,
                head.partition_columns,
                pin=pin,
                rows_are_source=bound.rows_are_source,
                checks=terms.checks,
            ),
            is_cancelled=request.is_cancelled,
        )
        rows = written.inserted + written.updated + written.deleted
        change = Change(
            _OPERATIONS[type(command)],
            author_of(request),
            adds=data_files(written),
            removes=written.removed,
            rows=rows,
            table_id=head.table_id,
            schema=head.schema,
            # What only adds rows depends on the rows that it did not find.
            read_version=pin.version,
            idempotency_key=request.idempotency_key,
        )
        if not (change.adds or change.removes or change.idempotency_key):
            return rows
        return commit(request, self._commits, target, change, read=written.read).rows


def _single_rows(parameters: bytes) -> Iterator[bytes]:
    """Give each row of bound parameters as a stream of its own."""
    rows = pa.ipc.open_stream(parameters).read_all()
    for number in range(rows.num_rows):
        yield stream_bytes(rows.slice(number, 1))


def retried(turn: Callable[[], AbstractContextManager[None]], attempt: Callable[[], T]) -> T:
    """Return what an attempt returns, made in a turn of its own after each conflict.

    Raises Conflict when another writer came in between each of them.
    """
    for _ in range(REWRITE_ATTEMPTS_MAX - 1):
        with turn(), suppress(errors.Conflict):
            return attempt()
    with turn():
        return attempt()


def query_of(bound: Bound) -> Query:
    """Return what the engine is asked to run for a statement."""
    request = bound.request
    return Query(
        sql=bound.sql,
        principal=request.principal,
        bucket=request.bucket,
        schema=request.schema,
        parameters=bound.parameters,
        temporary=request.temporary,
    )


def author_of(request: Request) -> Author:
    """Return whose change a request makes."""
    principal: Principal = request.principal
    return Author(principal.user_id, principal.username, request.request_id)


def known_rows(commits: Commits, request: Request, target: Target) -> int | None:
    """Return what an earlier request with the same key answered; None when this is the first."""
    key = request.idempotency_key
    if key is None:
        return None
    return commits.known(target.path, request.principal.user_id, key=key, name=target.name)


def version_made(request: Request, target: Target) -> int | None:
    """Return the version that a request made of a table, or an earlier one with the same key did.

    None when it made none, or the log no longer says.
    """
    key, user_id = request.idempotency_key, request.principal.user_id
    return version_of(
        target.path,
        request_id=request.request_id,
        app_id=None if key is None else app_id_of(user_id, key),
        name=target.name,
    )


def data_files(written: Written) -> tuple[DataFile, ...]:
    """Return the files that a write made, as a commit takes them."""
    return tuple(map(DataFile.from_json, written.files))


def commit(
    request: Request,
    commits: Commits,
    target: Target,
    change: Change,
    *,
    read: Sequence[TableRef] = (),
) -> Committed:
    """Commit a change; its new files go away again when nothing refers to them.

    ``read`` are the tables that its rows come from. Who makes it is asked again right before: a
    right that was withdrawn while the rows were computed changes nothing any more.
    """
    files = tuple(file for file in change.adds if isinstance(file, DataFile))
    try:
        committed = commits.commit(
            target.path, change, name=target.name, check=lambda: target.check(read)
        )
    except errors.LakeflightError as error:
        if error.code != COMMIT_UNKNOWN:
            remove_data_files(target.path, files)
        raise
    if committed.repeated:
        remove_data_files(target.path, files)
    request.record.note(tables={**dict.fromkeys(read), target.ref: committed.version})
    return committed
