"""Statements of every kind, as drivers send them: prepared, bound, described, executed once.

A query goes to ``Queries``; what changes something goes to ``Commands`` and is executed at the one
moment when its driver means it: in GetFlightInfo for those that know queries only, in DoPut for the
others, never in DoGet.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol, TypeGuard

import pyarrow as pa

from flight_server import errors
from flight_server.clock import Clock
from flight_server.engine.base import NO_PARAMETERS
from flight_server.protocol.tickets import JSON, Sealer
from flight_server.service.queries import Planned, Queries
from flight_server.service.request import Request
from flight_server.sql.commands import Command, Vacuum
from flight_server.sql.grammar import is_query, read_command
from flight_server.sql.names import DEFAULT
from flight_server.sql.statements import read_statement

_HANDLE = "statement"
_SHOW = re.compile(r"\s*show\b", re.IGNORECASE)
_HANDLE_LIFE = timedelta(days=1)
# Bound rows travel in the handle, and handles in every call.
HANDLE_PARAMETER_BYTES_MAX = 1024 * 1024
NO_COLUMNS = pa.schema([])
REPORT_SCHEMA = pa.schema([pa.field("file", pa.string(), nullable=False)])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared statement.

    ``schema`` is that of its result, None for one that changes something; ``parameters`` has a
    field for each placeholder.
    """

    handle: bytes
    schema: pa.Schema | None
    parameters: pa.Schema


@dataclass(frozen=True, slots=True)
class Bound:
    """A statement with its rows of parameters, and the request with the names it is read with.

    ``rows_are_source`` makes them the source of a MERGE, as ``WriteTarget`` says.
    """

    request: Request
    sql: str
    parameters: bytes = b""
    rows_are_source: bool = False


class Commands(Protocol):
    """What executes statements that are no queries."""

    def resolved(self, request: Request, command: Command) -> Command:
        """Return a statement that was read with ``DEFAULT`` names under the names they mean."""
        ...

    def shown(self, request: Request) -> Mapping[str, str]:
        """Return the options of the session as texts."""
        ...

    def execute(self, request: Request, command: Command, bound: Bound) -> int:
        """Do it; return how many rows it changed, -1 where rows are not what it changes."""
        ...

    def report(self, request: Request, command: Vacuum) -> pa.Table:
        """Return what a dry run would do, under ``REPORT_SCHEMA``."""
        ...

    def parameters(self, request: Request, bound: Bound) -> pa.Schema:
        """Return a field for each placeholder of the statement."""
        ...


class Statements:
    """The use cases of a statement. Handles and tickets are sealed; nothing is kept for them."""

    def __init__(
        self, queries: Queries, commands: Commands, sealer: Sealer, *, clock: Clock
    ) -> None:
        self._queries = queries
        self._commands = commands
        self._sealer = sealer
        self._clock = clock

    def plan(self, bound: Bound) -> Planned:
        """Describe a query and make its ticket; execute anything else.

        The answer to what was executed is a result without columns, whose total is the number of
        rows that it changed.
        """
        command = self._command(bound)
        if command is None:
            return self._queries.plan(bound.request, self._asked(bound), bound.parameters)
        if _reports(command):
            return self._queries.given(bound.request, self._commands.report(bound.request, command))
        rows = self._commands.execute(bound.request, command, bound)
        return self._queries.given(bound.request, NO_COLUMNS.empty_table(), total_records=rows)

    def schema(self, bound: Bound) -> pa.Schema:
        """Return the schema that a statement's result will have; nothing is executed."""
        command = self._command(bound)
        if command is not None:
            return REPORT_SCHEMA if _reports(command) else NO_COLUMNS
        return self._queries.describe(bound.request, self._asked(bound), bound.parameters).schema

    def update(self, bound: Bound) -> int:
        """Execute a statement that changes something; return how many rows it changed, or -1."""
        command = self._command(bound)
        if command is None:
            raise errors.InvalidRequest("this statement is a query; run it as one")
        return self._commands.execute(bound.request, command, bound)

    def prepare(self, request: Request, sql: str) -> Prepared:
        """Check a statement and return a handle to it; nothing is executed."""
        bound = Bound(request, sql)
        command = self._command(bound)
        if command is None:
            described = self._queries.describe(request, self._asked(bound))
            return Prepared(self._handle(bound), described.schema, described.parameters)
        parameters = (
            self._commands.parameters(request, bound) if "?" in sql or "$" in sql else NO_PARAMETERS
        )
        schema = REPORT_SCHEMA if _reports(command) else None
        return Prepared(self._handle(bound), schema, parameters)

    def prepared(self, request: Request, handle: bytes) -> Bound:
        """Open a handle: the statement, its parameters, and the names as they stood then."""
        payload = self._sealer.open(_HANDLE, handle, now=self._clock.now())
        if payload["user_id"] != request.principal.user_id:
            raise errors.PermissionDenied("this statement was prepared by somebody else")
        names = replace(request, bucket=payload["bucket"], schema=payload["schema"])
        return Bound(names, payload["sql"], base64.b64decode(payload.get("parameters", "")))

    def bind(self, request: Request, handle: bytes, parameters: bytes) -> bytes:
        """Return a handle to the same statement with these rows of parameters.

        Raises LimitExceeded when they are too large to travel in a handle.
        """
        bound = self.prepared(request, handle)
        if len(parameters) > HANDLE_PARAMETER_BYTES_MAX:
            raise errors.LimitExceeded(
                "the parameters of a query are too large;"
                f" handle_parameter_bytes_max={HANDLE_PARAMETER_BYTES_MAX}"
            )
        return self._handle(replace(bound, parameters=parameters))

    def _asked(self, bound: Bound) -> str:
        """Return the query to run: SHOW of an option is answered by what the session knows."""
        if not _SHOW.match(bound.sql):
            return bound.sql
        request = bound.request
        statement = read_statement(
            bound.sql,
            bucket=request.bucket,
            schema=request.schema,
            username=request.principal.username,
            session=self._commands.shown(request),
        )
        return bound.sql if statement.is_timeless else statement.sql

    def _command(self, bound: Bound) -> Command | None:
        bound.request.record.about("statement", bound.sql)
        self._queries.check_size(bound.sql)
        if is_query(bound.sql):
            return None
        command = read_command(bound.sql, bucket=DEFAULT, schema=DEFAULT)
        return None if command is None else self._commands.resolved(bound.request, command)

    def _handle(self, bound: Bound) -> bytes:
        payload: dict[str, JSON] = {
            "sql": bound.sql,
            "bucket": bound.request.bucket,
            "schema": bound.request.schema,
            "user_id": bound.request.principal.user_id,
        }
        if bound.parameters:
            payload["parameters"] = base64.b64encode(bound.parameters).decode()
        return self._sealer.seal(_HANDLE, payload, expires_at=self._clock.now() + _HANDLE_LIFE)


def _reports(command: Command) -> TypeGuard[Vacuum]:
    """Whether a statement only says what it would do, and so has rows to send."""
    return isinstance(command, Vacuum) and command.dry_run
