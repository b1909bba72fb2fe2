"""The Flight methods.

Decode, call one use case, encode. No decisions, and no state but what is in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.flight as fl

from flight_server import errors
from flight_server.protocol import actions, commands, flight
from flight_server.rpc.border import BorderedStream, Call, InFlight, bordered
from flight_server.rpc.catalog import CATALOG_COMMANDS, CatalogReplies
from flight_server.rpc.middleware import (
    MIDDLEWARE,
    CallerMiddlewareFactory,
    OpenHandshake,
    stopping,
)
from flight_server.rpc.own_actions import OWN_ACTIONS, OwnActions
from flight_server.rpc.session_actions import HANDLERS as SESSION_ACTIONS
from flight_server.rpc.session_actions import SessionActions
from flight_server.service.queries import Queries
from flight_server.service.request import Request
from flight_server.service.sessions import Sessions

# Commands that are part of the protocol and that this server refuses, each with what to tell the
# caller.
UNSUPPORTED_COMMANDS: Mapping[type[commands.Command], str] = {
    commands.StatementSubstraitPlan: "Substrait plans are not supported; send SQL",
    commands.StatementUpdate: "SQL writes are not supported yet",
    commands.PreparedStatementUpdate: "SQL writes are not supported yet",
    commands.StatementIngest: "bulk ingest is not supported yet",
}
UNSUPPORTED_ACTIONS: Mapping[str, str] = {
    "CreatePreparedSubstraitPlan": "Substrait plans are not supported; send SQL",
    "BeginTransaction": "transactions are not supported; every statement stands alone",
    "BeginSavepoint": "transactions are not supported; every statement stands alone",
    "EndTransaction": "transactions are not supported; every statement stands alone",
    "EndSavepoint": "transactions are not supported; every statement stands alone",
}
# Served while the server stops: a driver sends them when it is done with a result, and would fail
# then.
FINISHING_ACTIONS = frozenset(
    {"ClosePreparedStatement", "CloseSession", "CancelFlightInfo", "CancelQuery", "query.cancel"}
)


@dataclass(frozen=True, slots=True)
class Defaults:
    """Where short names are looked up when a caller says nothing."""

    bucket: str = "primary"
    schema: str = "public"


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate chain and its private key, both PEM."""

    certificate: bytes
    key: bytes


class LakehouseServer(fl.FlightServerBase):
    """The wire side of one gateway; it answers as soon as it is made."""

    def __init__(  # noqa: PLR0913  this is where all parts of the wire side meet
        self,
        location: str,
        queries: Queries,
        catalog: CatalogReplies,
        *,
        callers: CallerMiddlewareFactory,
        sessions: Sessions,
        own_actions: OwnActions,
        in_flight: InFlight,
        tls: Tls | None = None,
        defaults: Defaults | None = None,
    ) -> None:
        # Calls may come in before the base class has returned.
        self.in_flight = in_flight
        self._queries = queries
        self._catalog = catalog
        self._sessions = sessions
        self._session_actions = SessionActions(sessions, self._queries)
        self._own_actions = own_actions
        self._defaults = defaults or Defaults()
        super().__init__(
            location,
            auth_handler=OpenHandshake(),
            middleware={MIDDLEWARE: callers},
            tls_certificates=None if tls is None else [(tls.certificate, tls.key)],
        )

    @bordered
    def get_flight_info(self, call: Call, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        """Describe a query or a catalog reply."""
        command = _command_of(descriptor)
        request = self._request(call)
        if isinstance(command, CATALOG_COMMANDS):
            schema = self._catalog.schema(command)
            return _info(schema, descriptor, descriptor.command, expires_at=None)
        request, sql = self._statement(request, command)
        planned = self._queries.plan(request, sql)
        ticket = commands.encode_command(commands.TicketStatementQuery(planned.ticket))
        return _info(planned.schema, descriptor, ticket, expires_at=planned.expires_at)

    def _describe_schema(self, call: Call, descriptor: fl.FlightDescriptor) -> fl.SchemaResult:
        command = _command_of(descriptor)
        if isinstance(command, CATALOG_COMMANDS):
            return fl.SchemaResult(self._catalog.schema(command))
        request, sql = self._statement(self._request(call), command)
        return fl.SchemaResult(self._queries.schema(request, sql))

    # pyarrow turns any Flight error of this one method into UNKNOWN.
    get_schema = bordered(_describe_schema, flight_errors=False)

    @bordered
    def do_get(self, call: Call, ticket: fl.Ticket) -> fl.FlightDataStream:
        """Send a result, batch by batch."""
        command = commands.decode_command(ticket.ticket)
        request = self._request(call)
        if isinstance(command, CATALOG_COMMANDS):
            return fl.RecordBatchStream(self._catalog.reply(request, command))
        if not isinstance(command, commands.TicketStatementQuery):
            raise errors.InvalidRequest("this is not a ticket; ask for flight info first")
        schema, batches = self._queries.stream(request, command.statement_handle)
        return fl.GeneratorStream(schema, BorderedStream(call, batches, self.in_flight))

    @bordered
    def do_put(
        self,
        call: Call,
        descriptor: fl.FlightDescriptor,
        reader: fl.MetadataRecordBatchReader,  # noqa: ARG002  nothing takes data yet
        writer: fl.FlightMetadataWriter,  # noqa: ARG002  nor answers it
    ) -> None:
        """Refuse data: this server does not take any yet."""
        command = _command_of(descriptor)
        self._request(call)
        if isinstance(command, commands.PreparedStatementQuery):
            raise errors.Unsupported("parameters of prepared statements are not supported yet")
        _refuse(command)

    @bordered
    def do_action(self, call: Call, action: fl.Action) -> Iterator[fl.Result]:
        """Run an action of the protocol, or one of our own."""
        name = action.type
        if self.in_flight.is_draining and name not in FINISHING_ACTIONS:
            raise stopping()
        if name in UNSUPPORTED_ACTIONS:
            raise errors.Unsupported(f"{name}: {UNSUPPORTED_ACTIONS[name]}")
        data = action.body.to_pybytes()
        if name in OWN_ACTIONS:
            answers = self._own_actions.run(self._request(call), name, data)
            return (fl.Result(pa.py_buffer(answer)) for answer in answers)
        body = actions.decode_action(name, data)
        if type(body) in SESSION_ACTIONS:
            answer = self._session_actions.answer(self._request(call), body)
            return iter([_result(name, answer)])
        return iter(_ACTIONS[type(body)](self, self._request(call), body))

    @bordered
    def list_actions(self, call: Call) -> list[fl.ActionType]:
        """Return the actions that are served."""
        self._request(call)
        return [fl.ActionType(name, text) for name, text in action_descriptions()]

    @bordered
    def list_flights(self, call: Call, criteria: bytes) -> Iterator[fl.FlightInfo]:  # noqa: ARG002
        """Refuse: the catalog commands list what there is."""
        raise errors.Unsupported(
            "ListFlights is not supported; use the Flight SQL catalog commands"
        )

    @bordered
    def do_exchange(
        self,
        call: Call,  # noqa: ARG002
        descriptor: fl.FlightDescriptor,  # noqa: ARG002
        reader: fl.MetadataRecordBatchReader,  # noqa: ARG002
        writer: fl.MetadataRecordBatchWriter,  # noqa: ARG002
    ) -> None:
        """Refuse: Flight SQL has no use for it."""
        raise errors.Unsupported("DoExchange is not supported")

    def _request(self, call: Call) -> Request:
        return call.request(
            self._sessions,
            default_bucket=self._defaults.bucket,
            default_schema=self._defaults.schema,
        )

    def _statement(self, request: Request, command: commands.Command) -> tuple[Request, str]:
        if isinstance(command, commands.StatementQuery):
            return request, command.query
        if isinstance(command, commands.PreparedStatementQuery):
            return self._queries.prepared(request, command.prepared_statement_handle)
        return _refuse(command)

    def _prepare(self, request: Request, body: actions.CreatePreparedStatement) -> list[fl.Result]:
        handle, schema = self._queries.prepare(request, body.query)
        result = actions.CreatePreparedStatementResult(
            prepared_statement_handle=handle,
            dataset_schema=schema.serialize().to_pybytes(),
            parameter_schema=_NO_PARAMETERS,
            is_update=False,
        )
        return [_result("CreatePreparedStatement", result)]

    def _close_prepared(
        self, request: Request, body: actions.ClosePreparedStatement
    ) -> list[fl.Result]:
        # The handle carries everything, so there is nothing to free; a foreign one is refused all
        # the same.
        self._queries.prepared(request, body.prepared_statement_handle)
        return []


_NO_PARAMETERS = pa.schema([]).serialize().to_pybytes()
_ACTIONS: Mapping[type, Callable[[LakehouseServer, Request, Any], list[fl.Result]]] = {
    actions.CreatePreparedStatement: LakehouseServer._prepare,  # noqa: SLF001  our own table
    actions.ClosePreparedStatement: LakehouseServer._close_prepared,  # noqa: SLF001  our own table
}


def action_descriptions() -> list[tuple[str, str]]:
    """Return each action that is served, with what it does; for our own also what it takes."""
    of_protocol = [
        (name, shape.description)
        for name, shape in actions.ACTIONS.items()
        if name not in UNSUPPORTED_ACTIONS
    ]
    return of_protocol + [
        (name, f"{shape.description}; {shape.who}; {shape.usage()}")
        for name, shape in OWN_ACTIONS.items()
    ]


def _command_of(descriptor: fl.FlightDescriptor) -> commands.Command:
    if descriptor.descriptor_type is not fl.DescriptorType.CMD:
        raise errors.Unsupported("descriptors by path are not supported; send a Flight SQL command")
    return commands.decode_command(descriptor.command)


def _refuse(command: commands.Command) -> NoReturn:
    reason = UNSUPPORTED_COMMANDS.get(type(command))
    if reason is not None:
        raise errors.Unsupported(reason)
    raise errors.InvalidRequest(f"{type(command).__name__} does not belong into this call")


def _info(
    schema: pa.Schema,
    descriptor: fl.FlightDescriptor,
    ticket: bytes,
    *,
    expires_at: datetime | None,
) -> fl.FlightInfo:
    # One endpoint without a location: fetch it here. Several clients read only the first one.
    # From its message: Arrow casts an expiry by a kernel, which gives up the interpreter lock.
    endpoint = flight.FlightEndpoint(flight.Ticket(ticket), expiration_time=expires_at)
    encoded = fl.FlightEndpoint.deserialize(flight.encode_flight_endpoint(endpoint))
    return fl.FlightInfo(schema, descriptor, [encoded], -1, -1)


def _result(action: str, value: actions.ActionResult) -> fl.Result:
    return fl.Result(pa.py_buffer(actions.encode_action_result(action, value)))
