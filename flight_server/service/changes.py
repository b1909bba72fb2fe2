"""Statements that are no queries, each to what executes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from flight_server.engine.base import Engine
from flight_server.service.definitions import Definitions
from flight_server.service.request import Request
from flight_server.service.running import Running
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
        with self._running.writing(request, bound.sql) as listed:
            counted = self._counted.get(type(command))
            if counted is not None:
                return counted(listed, command, bound)
            self._others[type(command)](listed, command, bound)
            return NO_ROWS

    def report(self, request: Request, command: Vacuum) -> pa.Table:
        """Return what a dry run would do."""
        return self._vacuum(request, command)

    def parameters(self, request: Request, bound: Bound) -> pa.Schema:
        """Return a field for each placeholder of the statement."""
        described = self._engine.describe(query_of(bound), is_cancelled=request.is_cancelled)
        return described.parameters
