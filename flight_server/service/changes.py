"""Statements that are no queries, each to what executes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from flight_server.engine.base import Engine
from flight_server.service.definitions import Definitions
from flight_server.service.recording import Detail, Effect
from flight_server.service.request import Request
from flight_server.service.running import Kind, Running, on_record
from flight_server.service.sessions import Sessions
from flight_server.service.statements import Bound
from flight_server.service.targets import Targets
from flight_server.service.upkeep import Upkeep
from flight_server.service.writes import Writes, query_of
from flight_server.sql.commands import (
    AlterTable,
    Command,
    CreateSchema,
    CreateTable,
    CreateView,
    Delete,
    DropSchema,
    DropTable,
    DropView,
    Insert,
    Merge,
    Optimize,
    Restore,
    SetOption,
    Truncate,
    Update,
    Use,
    Vacuum,
)

# What each kind of statement is called on record.
_ACTIONS: Mapping[type, str] = {
    Insert: "table.insert",
    Update: "table.update",
    Delete: "table.delete",
    Merge: "table.merge",
    Truncate: "table.truncate",
    CreateTable: "table.create",
    DropTable: "table.drop",
    AlterTable: "table.alter",
    CreateSchema: "schema.create",
    DropSchema: "schema.drop",
    CreateView: "view.create",
    DropView: "view.drop",
    Optimize: "table.optimize",
    Vacuum: "table.vacuum",
    Restore: "table.restore",
    Use: "session.set",
    SetOption: "session.set",
}
# What a statement answers whose effect is not counted in rows.
NO_ROWS = -1


class Changes:
    """Implements ``statements.Commands`` over the use cases of each kind."""

    def __init__(
        self,
        engine: Engine,
        sessions: Sessions,
        running: Running,
        *,
        targets: Targets,
        writes: Writes,
        definitions: Definitions,
        upkeep: Upkeep,
    ) -> None:
        self._engine = engine
        self._running = running
        self._targets = targets
        self._counted: Mapping[type, Callable[[Request, Any, Bound], int]] = dict.fromkeys(
            (Insert, Update, Delete, Merge, Truncate), writes.change
        )
        self._others: Mapping[type, Callable[[Request, Any, Bound], object]] = {
            CreateTable: definitions.create_table,
            DropTable: lambda request, command, _: definitions.drop_table(request, command),
            AlterTable: definitions.alter_table,
            CreateSchema: lambda request, command, _: definitions.create_schema(request, command),
            DropSchema: lambda request, command, _: definitions.drop_schema(request, command),
            CreateView: lambda request, command, _: definitions.create_view(request, command),
            DropView: lambda request, command, _: definitions.drop_view(request, command),
            Optimize: upkeep.optimize,
            Vacuum: lambda request, command, _: upkeep.vacuum(request, command),
            Restore: lambda request, command, _: upkeep.restore(request, command),
            Use: lambda request, command, _: sessions.apply(request, command),
            SetOption: lambda request, command, _: sessions.apply(request, command),
        }
        self._vacuum = upkeep.vacuum
        self._shown = sessions.shown

    def resolved(self, request: Request, command: Command) -> Command:
        """Return a statement that was read with ``DEFAULT`` names under the names they mean."""
        return self._targets.resolved(request, command)

    def shown(self, request: Request) -> Mapping[str, str]:
        """Return the options of the session as texts."""
        return self._shown(request)

    def execute(self, request: Request, command: Command, bound: Bound) -> int:
        """Do it; return how many rows it changed, -1 where rows are not what it changes."""
        _intend(request, command, bound.sql)
        kind = Kind.SESSION if isinstance(command, Use | SetOption) else Kind.WRITE
        with self._running.writing(request, bound.sql, kind=kind) as listed:
            counted = self._counted.get(type(command))
            if counted is not None:
                rows = counted(listed, command, bound)
                request.record.note(rows=rows)
                return rows
            self._others[type(command)](listed, command, bound)
            return NO_ROWS

    def report(self, request: Request, command: Vacuum) -> pa.Table:
        """Return what a dry run would do."""
        request.record.intend(
            "table.vacuum", str(command.target), effect=Effect.READ, details={"dry_run": True}
        )
        return self._vacuum(request, command)

    def parameters(self, request: Request, bound: Bound) -> pa.Schema:
        """Return a field for each placeholder of the statement."""
        described = self._engine.describe(query_of(bound), is_cancelled=request.is_cancelled)
        return described.parameters


def _intend(request: Request, command: Command, sql: str) -> None:
    """Put on record what a statement is about to do, and to what."""
    details: dict[str, Detail] = {"statement": on_record(sql)}
    if request.query_tag is not None:
        details["query_tag"] = request.query_tag
    effect = Effect.READ if isinstance(command, Use | SetOption) else Effect.CHANGE
    request.record.intend(
        _ACTIONS[type(command)], _resource(command), effect=effect, details=details
    )


def _resource(command: Command) -> str:
    if isinstance(command, SetOption):
        return command.name
    if isinstance(command, Use | CreateSchema | DropSchema):
        return ".".join(name for name in (command.bucket, command.schema) if name)
    return str(command.target)
