"""The bare Flight client with the messages of Flight SQL: what no driver does comes out here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.flight as fl
from flightsql import FlightSQLClient

from flight_server.protocol import actions, commands
from tests.servers import ADMIN_PASSWORD, Server


@dataclass(frozen=True, slots=True)
class RawClient:
    """One signed-in connection."""

    client: fl.FlightClient
    options: fl.FlightCallOptions

    @classmethod
    def connect(
        cls, server: Server, username: str = "admin", password: str = ADMIN_PASSWORD, **headers: str
    ) -> RawClient:
        """Sign in; further headers go along with every call, ``_`` standing for ``-``."""
        client = fl.FlightClient(server.uri)
        token = client.authenticate_basic_token(username, password)
        extra = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        return cls(client, fl.FlightCallOptions(headers=[token, *extra]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def info(self, command: commands.Command | str) -> fl.FlightInfo:
        """GetFlightInfo for a command; text is a query."""
        return self.client.get_flight_info(_descriptor(command), self.options)

    def schema(self, command: commands.Command | str) -> pa.Schema:
        """GetSchema for a command; text is a query."""
        found: pa.Schema = self.client.get_schema(_descriptor(command), self.options).schema
        return found

    def open(self, ticket: fl.Ticket | bytes) -> Any:
        """DoGet: a reader of the stream."""
        wanted = fl.Ticket(ticket) if isinstance(ticket, bytes) else ticket
        return self.client.do_get(wanted, self.options)

    def read(self, ticket: fl.Ticket | bytes) -> pa.Table:
        """DoGet, all rows."""
        table: pa.Table = self.open(ticket).read_all()
        return table

    def fetch(self, command: commands.Command | str) -> pa.Table:
        """GetFlightInfo and DoGet, all rows."""
        (endpoint,) = self.info(command).endpoints
        return self.read(endpoint.ticket)

    def batches(self, command: commands.Command | str) -> list[pa.RecordBatch]:
        """GetFlightInfo and DoGet, message by message."""
        (endpoint,) = self.info(command).endpoints
        return [chunk.data for chunk in self.open(endpoint.ticket)]

    def prepare(self, sql: str) -> actions.CreatePreparedStatementResult:
        """Make a prepared statement."""
        request = actions.CreatePreparedStatement(sql)
        (result,) = self.act(request)
        answer = actions.decode_action_result("CreatePreparedStatement", result)
        assert isinstance(answer, actions.CreatePreparedStatementResult)
        return answer

    def act(self, request: actions.ActionRequest) -> list[bytes]:
        """DoAction: the bodies of all results."""
        name, body = actions.encode_action(request)
        results = self.client.do_action(fl.Action(name, body), self.options)
        return [result.body.to_pybytes() for result in results]

    def ask(self, request: actions.ActionRequest) -> Any:
        """DoAction: the one answer, decoded."""
        (result,) = self.act(request)
        return actions.decode_action_result(actions.encode_action(request)[0], result)

    def call(self, name: str, /, **values: Any) -> list[dict[str, Any]]:
        """DoAction for an action with a JSON body: all answers."""
        body = json.dumps(values).encode()
        results = self.client.do_action(fl.Action(name, body), self.options)
        return [json.loads(result.body.to_pybytes()) for result in results]


def dbapi_client(server: Server) -> FlightSQLClient:
    """Sign in with the client that Superset uses; its caller closes it."""
    address = urlsplit(server.uri)
    return FlightSQLClient(
        host=address.hostname,
        port=address.port,
        user="admin",
        password=ADMIN_PASSWORD,
        insecure=True,
    )


def error_code(error: flightsql.Error | fl.FlightError) -> str:
    """Return the stable code that came with an error of the official driver or of pyarrow."""
    if isinstance(error, fl.FlightError):
        body = error.extra_info
    else:
        # The names are bytes, whatever the annotation of ``details`` says.
        found: dict[object, bytes | str] = dict(error.details)
        body = found[b"x-lakehouse-error"]
    code: str = json.loads(body)["code"]
    return code


def refused(call: Callable[[], object]) -> str:
    """Return the code with which a call fails; fails itself when it does not."""
    try:
        call()
    except (flightsql.Error, fl.FlightError) as error:
        return error_code(error)
    raise AssertionError("the call was not refused")


def _descriptor(command: commands.Command | str) -> fl.FlightDescriptor:
    value = commands.StatementQuery(command) if isinstance(command, str) else command
    return fl.FlightDescriptor.for_command(commands.encode_command(value))
