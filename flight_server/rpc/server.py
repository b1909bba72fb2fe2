"""The Flight methods.

Decode, call one use case, encode. No decisions, and no state but what is in flight.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.flight as fl

from flight_server import errors
from flight_server.protocol import actions, commands, flight
from flight_server.rpc import quirks, steps
from flight_server.rpc.account_actions import refuse_pending
from flight_server.rpc.border import BorderedStream, Call, InFlight, bordered
from flight_server.rpc.catalog import CATALOG_COMMANDS, CatalogReplies
from flight_server.rpc.middleware import (
    MIDDLEWARE,
    CallerMiddlewareFactory,
    OpenHandshake,
    stopping,
)
from flight_server.rpc.own_actions import OPEN_ACTIONS, OWN_ACTIONS, OwnActions
from flight_server.rpc.own_actions import UseCases as OwnUseCases
from flight_server.rpc.puts import Incoming, read_parameters
from flight_server.rpc.session_actions import HANDLERS as SESSION_ACTIONS
from flight_server.rpc.session_actions import SessionActions
from flight_server.service.limits import Limits, Step
from flight_server.service.loads import Loads
from flight_server.service.queries import Queries
from flight_server.service.recording import Effect, Recorder
from flight_server.service.request import Request
from flight_server.service.sessions import Sessions
from flight_server.service.statements import Bound, Statements
from policies.names import TableRef

# Commands that are part of the protocol and that this server refuses, each with what to tell the
# caller.
UNSUPPORTED_COMMANDS: Mapping[type[commands.Command], str] = {
    commands.StatementSubstraitPlan: "Substrait plans are not supported; send SQL",
}
UNSUPPORTED_ACTIONS: Mapping[str, str] = {
    "CreatePreparedSubstraitPlan": "Substrait plans are not supported; send SQL",
    "BeginTransaction": "transactions are not supported; every statement stands alone",
    "BeginSavepoint": "transactions are not supported; every statement stands alone",
    "EndTransaction": "transactions are not supported; every statement stands alone",
    "EndSavepoint": "transactions are not supported; every statement stands alone",
}


@dataclass(frozen=True, slots=True)
class Defaults:
    """Where short names are looked up when a caller says nothing."""

    bucket: str = "primary"
    schema: str = "public"


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the methods of the wire call."""

    statements: Statements
    queries: Queries
    loads: Loads
    catalog: CatalogReplies
    sessions: Sessions
    own: OwnUseCases
    limits: Limits


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate chain and its private key; with authorities, clients need certificates too.

    All are PEM.
    """

    certificate: bytes
    key: bytes
    client_authorities: bytes | None = None


class LakehouseServer(fl.FlightServerBase):
    """The wire side of one gateway; it answers as soon as it is made."""

    def __init__(
        self,
        location: str,
        use_cases: UseCases,
        *,
        callers: CallerMiddlewareFactory,
        in_flight: InFlight,
        recorder: Recorder,
        tls: Tls | None = None,
        defaults: Defaults | None = None,
    ) -> None:
        # Calls may come in before the base class has returned.
        self.in_flight = in_flight
        self.recorder = recorder
        self._statements = use_cases.statements
        self._queries = use_cases.queries
        self._loads = use_cases.loads
        self._catalog = use_cases.catalog
        self._sessions = use_cases.sessions
        self._limits = use_cases.limits
        self._session_actions = SessionActions(use_cases.sessions, use_cases.queries)
        self._own_actions = OwnActions(use_cases.own)
        self._defaults = defaults or Defaults()
        super().__init__(
            location,
            auth_handler=OpenHandshake(),
            middleware={MIDDLEWARE: callers},
            tls_certificates=None if tls is None else [(tls.certificate, tls.key)],
            verify_client=tls is not None and tls.client_authorities is not None,
            root_certificates=None if tls is None else tls.client_authorities,
        )

    @bordered
    def get_flight_info(self, call: Call, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        """Describe a query or a catalog reply; execute a statement that changes something.

        Drivers that know of queries only send everything here, and may never fetch.
        """
        command = _command_of(descriptor)
        request = self._request(call, steps.of_description(command))
        if isinstance(command, CATALOG_COMMANDS):
            schema = self._catalog.schema(command)
            return _info(schema, descriptor, descriptor.command)
        planned = self._statements.plan(self._statement(request, command))
        ticket = commands.encode_command(commands.TicketStatementQuery(planned.ticket))
        return _info(
            quirks.columns(request, planned.schema),
            descriptor,
            ticket,
            expires_at=planned.expires_at,
            total_records=planned.total_records,
        )

    def _get_schema(self, call: Call, descriptor: fl.FlightDescriptor) -> fl.SchemaResult:
        command = _command_of(descriptor)
        request = self._request(call, Step.WHOLE)
        if isinstance(command, CATALOG_COMMANDS):
            return fl.SchemaResult(self._catalog.schema(command))
        return fl.SchemaResult(self._statements.schema(self._statement(request, command)))

    # pyarrow turns any Flight error of this one method into UNKNOWN.
    get_schema = bordered(_get_schema, flight_errors=False)

    @bordered
    def do_get(self, call: Call, ticket: fl.Ticket) -> fl.FlightDataStream:
        """Send a result, batch by batch."""
        command = commands.decode_ticket(ticket.ticket)
        request = self._request(call, steps.of_fetch(command))
        if isinstance(command, CATALOG_COMMANDS):
            request.record.intend("metadata.read", type(command).__name__, effect=Effect.READ)
            request.record.confirm()
            rows = self._catalog.reply(request, command)
            request.record.note(rows=rows.num_rows)
            return fl.RecordBatchStream(rows)
        if not isinstance(command, commands.TicketStatementQuery):
            raise errors.InvalidRequest("this is not a ticket; ask for flight info first")
        schema, batches = self._queries.stream(request, command.statement_handle)
        return fl.GeneratorStream(schema, BorderedStream(call, batches, self.in_flight))

    @bordered
    def do_put(
        self,
        call: Call,
        descriptor: fl.FlightDescriptor,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        """Take parameters or rows, and answer what became of them."""
        is_path = descriptor.descriptor_type is fl.DescriptorType.PATH
        command = None if is_path else _command_of(descriptor)
        request = self._request(call, Step.WHOLE if command is None else steps.of_put(command))
        incoming = Incoming(reader, is_cancelled=request.is_cancelled)
        if command is None:
            rows = self._loads.append(request, _path_of(descriptor), incoming)
            writer.write(pa.py_buffer(json.dumps({"rows": rows}).encode()))
            return
        handler = _PUTS.get(type(command))
        if handler is None:
            _refuse(command)
        writer.write(
            pa.py_buffer(commands.encode_put_result(handler(self, request, command, incoming)))
        )

    def _bind(
        self, request: Request, command: commands.PreparedStatementQuery, incoming: Incoming
    ) -> commands.PutResult:
        handle = self._statements.bind(
            request, command.prepared_statement_handle, read_parameters(incoming)
        )
        return commands.DoPutPreparedStatementResult(handle)

    def _update(
        self,
        request: Request,
        command: commands.StatementUpdate,
        incoming: Incoming,  # noqa: ARG002  it has no data
    ) -> commands.PutResult:
        _refuse_transaction(command.transaction_id)
        return commands.DoPutUpdateResult(self._statements.update(Bound(request, command.query)))

    def _update_prepared(
        self, request: Request, command: commands.PreparedStatementUpdate, incoming: Incoming
    ) -> commands.PutResult:
        bound = self._statements.prepared(request, command.prepared_statement_handle)
        parameters = read_parameters(incoming) or bound.parameters
        rows = self._statements.update(replace(bound, parameters=parameters))
        return commands.DoPutUpdateResult(quirks.update_count(request, rows))

    def _ingest(
        self, request: Request, command: commands.StatementIngest, incoming: Incoming
    ) -> commands.PutResult:
        _refuse_transaction(command.transaction_id)
        return commands.DoPutUpdateResult(self._loads.ingest(request, command, incoming))

    @bordered
    def do_action(self, call: Call, action: fl.Action) -> Iterator[fl.Result]:
        """Run an action of the protocol, or one of our own."""
        name = action.type
        if self.in_flight.is_draining and name not in steps.FINISHING_ACTIONS:
            raise stopping()
        is_open = name in OPEN_ACTIONS
        request = call.anybodys() if is_open else self._request(call, steps.of_action(name), name)
        if name in UNSUPPORTED_ACTIONS:
            raise errors.Unsupported(f"{name}: {UNSUPPORTED_ACTIONS[name]}")
        data = action.body.to_pybytes()
        if name in OWN_ACTIONS:
            answers = self._own_actions.run(request, name, data)
            return (fl.Result(pa.py_buffer(answer)) for answer in answers)
        body = actions.decode_action(name, data)
        if type(body) in SESSION_ACTIONS:
            answer = self._session_actions.answer(request, body)
            return iter([_result(name, answer)])
        return iter(_ACTIONS[type(body)](self, request, body))

    @bordered
    def list_actions(self, call: Call) -> list[fl.ActionType]:
        """Return the actions that are served."""
        self._request(call, Step.WHOLE)
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

    def _request(self, call: Call, step: Step | None, action: str = "") -> Request:
        """Return the request of a call, counted as a step of one; None does not count."""
        request = call.request(
            self._sessions,
            default_bucket=self._defaults.bucket,
            default_schema=self._defaults.schema,
            needs_purpose=action not in steps.PURPOSELESS_ACTIONS,
        )
        refuse_pending(request.principal, action)
        if step is not None:
            self._limits.request(request.principal.user_id, request.tier, step=step)
        return request

    def _statement(self, request: Request, command: commands.Command) -> Bound:
        if isinstance(command, commands.StatementQuery):
            _refuse_transaction(command.transaction_id)
            return Bound(request, command.query)
        if isinstance(command, commands.PreparedStatementQuery):
            return self._statements.prepared(request, command.prepared_statement_handle)
        return _refuse(command)

    def _prepare(self, request: Request, body: actions.CreatePreparedStatement) -> list[fl.Result]:
        _refuse_transaction(body.transaction_id)
        prepared = self._statements.prepare(request, body.query)
        result = actions.CreatePreparedStatementResult(
            prepared_statement_handle=prepared.handle,
            dataset_schema=b""
            if prepared.schema is None
            else _encoded(quirks.columns(request, prepared.schema)),
            parameter_schema=_encoded(quirks.parameters(request, prepared.parameters)),
            is_update=prepared.schema is None,
        )
        return [_result("CreatePreparedStatement", result)]

    def _close_prepared(
        self, request: Request, body: actions.ClosePreparedStatement
    ) -> list[fl.Result]:
        # The handle carries everything, so there is nothing to free; a foreign one is refused all
        # the same.
        self._statements.prepared(request, body.prepared_statement_handle)
        return []


_ACTIONS: Mapping[type, Callable[[LakehouseServer, Request, Any], list[fl.Result]]] = {
    actions.CreatePreparedStatement: LakehouseServer._prepare,  # noqa: SLF001  our own table
    actions.ClosePreparedStatement: LakehouseServer._close_prepared,  # noqa: SLF001  our own table
}
_PUTS: Mapping[type, Callable[[LakehouseServer, Request, Any, Incoming], commands.PutResult]] = {
    commands.PreparedStatementQuery: LakehouseServer._bind,  # noqa: SLF001  our own table
    commands.StatementUpdate: LakehouseServer._update,  # noqa: SLF001  our own table
    commands.PreparedStatementUpdate: LakehouseServer._update_prepared,  # noqa: SLF001  as above
    commands.StatementIngest: LakehouseServer._ingest,  # noqa: SLF001  our own table
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
        raise errors.Unsupported(
            "descriptors by path are for DoPut alone; send a Flight SQL command"
        )
    return commands.decode_command(descriptor.command)


def _path_of(descriptor: fl.FlightDescriptor) -> TableRef:
    try:
        bucket, schema, table = (part.decode() for part in descriptor.path)
    except ValueError:
        raise errors.InvalidRequest(
            "the path of a table has three parts: bucket, schema, table"
        ) from None
    return TableRef(bucket, schema, table)


def _refuse_transaction(transaction_id: bytes | None) -> None:
    if transaction_id:
        raise errors.Unsupported("transactions are not supported; every statement stands alone")


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
    expires_at: datetime | None = None,
    total_records: int = -1,
) -> fl.FlightInfo:
    # One endpoint without a location: fetch it here. Several clients read only the first one.
    # From its message: Arrow casts an expiry by a kernel, which gives up the interpreter lock.
    endpoint = flight.FlightEndpoint(flight.Ticket(ticket), expiration_time=expires_at)
    encoded = fl.FlightEndpoint.deserialize(flight.encode_flight_endpoint(endpoint))
    return fl.FlightInfo(schema, descriptor, [encoded], total_records, -1)


# Made once: Arrow gives up the interpreter lock for each, and most statements take no parameters.
_NO_COLUMNS = pa.schema([]).serialize().to_pybytes()


def _encoded(schema: pa.Schema) -> bytes:
    return schema.serialize().to_pybytes() if len(schema) else _NO_COLUMNS


def _result(action: str, value: actions.ActionResult) -> fl.Result:
    return fl.Result(pa.py_buffer(actions.encode_action_result(action, value)))
