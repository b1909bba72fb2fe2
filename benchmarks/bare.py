"""The smallest Flight SQL servers that ADBC can talk to: no users, policies, limits or audit.

``--memory`` keeps the result of each statement after its first run and sends it from memory.
"""

from __future__ import annotations

import argparse
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.flight as fl
from datafusion import DataFrame, SessionContext

from benchmarks.data import Dataset
from benchmarks.session import batches, open_session
from flight_server.protocol.actions import (
    ClosePreparedStatement,
    CreatePreparedStatement,
    CreatePreparedStatementResult,
    decode_action,
    encode_action_result,
)
from flight_server.protocol.commands import (
    PreparedStatementQuery,
    StatementQuery,
    TicketStatementQuery,
    decode_command,
    encode_command,
)

_HANDLES_MAX = 10_000


class Statement(Protocol):
    """A planned statement that can be run any number of times."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of its result."""
        ...

    def run(self) -> pa.RecordBatchReader:
        """Start it; batches come as they are made."""
        ...


class Planned:
    """A statement that DataFusion runs each time."""

    def __init__(self, frame: DataFrame) -> None:
        self._frame = frame
        self.schema: pa.Schema = frame.schema()

    def run(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.schema, batches(self._frame))


class Kept:
    """A statement whose result is in memory."""

    def __init__(self, frame: DataFrame) -> None:
        self.schema: pa.Schema = frame.schema()
        self._batches = list(batches(frame))

    def run(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.schema, self._batches)


class BareServer(fl.FlightServerBase):  # type: ignore[misc]  # its stubs leave it untyped
    """Plans once, when a statement is prepared or described, and keeps the plan by its handle."""

    def __init__(self, session: SessionContext, *, memory: bool) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._session = session
        self._memory = memory
        self._kept: dict[str, Kept] = {}
        self._statements: dict[bytes, Statement] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def do_action(self, _context: fl.ServerCallContext, action: fl.Action) -> Iterator[bytes]:
        request = decode_action(action.type, action.body.to_pybytes())
        if isinstance(request, CreatePreparedStatement):
            handle, statement = self._remember(request.query)
            result = CreatePreparedStatementResult(
                handle, statement.schema.serialize().to_pybytes(), is_update=False
            )
            return iter([encode_action_result(action.type, result)])
        if isinstance(request, ClosePreparedStatement):
            self._statements.pop(request.prepared_statement_handle, None)
            return iter([])
        raise fl.FlightUnimplementedError(action.type)

    def get_flight_info(
        self, _context: fl.ServerCallContext, descriptor: fl.FlightDescriptor
    ) -> fl.FlightInfo:
        command = decode_command(descriptor.command or b"")
        if isinstance(command, StatementQuery):
            handle, statement = self._remember(command.query)
            ticket = encode_command(TicketStatementQuery(handle))
        elif isinstance(command, PreparedStatementQuery):
            statement = self._statements[command.prepared_statement_handle]
            ticket = encode_command(command)
        else:  # ADBC asks for SqlInfo when it connects and goes on without
            raise fl.FlightUnimplementedError(type(command).__name__)
        endpoint = fl.FlightEndpoint(ticket, [])
        return fl.FlightInfo(statement.schema, descriptor, [endpoint])

    def do_get(self, _context: fl.ServerCallContext, ticket: fl.Ticket) -> fl.RecordBatchStream:
        command = decode_command(ticket.ticket)
        if isinstance(command, TicketStatementQuery):
            statement = self._statements.pop(command.statement_handle)
        elif isinstance(command, PreparedStatementQuery):
            statement = self._statements[command.prepared_statement_handle]
        else:
            raise fl.FlightUnimplementedError(type(command).__name__)
        return fl.RecordBatchStream(statement.run())

    def _remember(self, sql: str) -> tuple[bytes, Statement]:
        statement = self._keep(sql) if self._memory else Planned(self._session.sql(sql))
        handle = b"%d" % next(self._numbers)
        with self._lock:
            if len(self._statements) >= _HANDLES_MAX:
                del self._statements[next(iter(self._statements))]
            self._statements[handle] = statement
        return handle, statement

    def _keep(self, sql: str) -> Kept:
        kept = self._kept.get(sql)
        if kept is None:
            kept = self._kept[sql] = Kept(self._session.sql(sql))
        return kept


def main() -> None:
    """Serve a dataset until stdin closes or the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    session = open_session(Dataset(arguments.root, scale=0))
    server = BareServer(session, memory=arguments.memory)
    print(f"ready grpc://127.0.0.1:{server.port}", flush=True)
    server.serve()


if __name__ == "__main__":
    main()
