"""The actions of Flight about sessions and about the life of queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flight_server import errors
from flight_server.protocol import actions, commands, flight
from flight_server.service.queries import Queries
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from flight_server.service.sessions import Sessions

CANCELLED, NOT_CANCELLABLE = flight.CancelStatus.CANCELLED, flight.CancelStatus.NOT_CANCELLABLE


class SessionActions:
    """Answers the actions in ``HANDLERS``."""

    def __init__(self, sessions: Sessions, queries: Queries) -> None:
        self._sessions = sessions
        self._queries = queries

    def answer(self, request: Request, body: actions.ActionRequest) -> actions.ActionResult:
        """Run an action and return its answer."""
        if (action := _ON_RECORD.get(type(body))) is not None:
            request.record.intend(action, effect=Effect.READ)
        return HANDLERS[type(body)](self, request, body)

    def _set_options(
        self, request: Request, body: flight.SetSessionOptions
    ) -> flight.SetSessionOptionsResult:
        faults = self._sessions.set(request, body.session_options)
        return flight.SetSessionOptionsResult(
            {name: flight.SessionOptionError(value) for name, value in faults.items()}
        )

    def _get_options(
        self, request: Request, _: flight.GetSessionOptions
    ) -> flight.GetSessionOptionsResult:
        values = self._sessions.values(request).items()
        return flight.GetSessionOptionsResult(
            {name: value for name, value in values if value is not None}
        )

    def _close(self, request: Request, _: flight.CloseSession) -> flight.CloseSessionResult:
        # A connection that never set anything has nothing to free, and is closed all the same.
        self._sessions.close(request)
        return flight.CloseSessionResult(flight.CloseSessionStatus.CLOSED)

    def _cancel(
        self, request: Request, body: flight.CancelFlightInfo
    ) -> flight.CancelFlightInfoResult:
        if body.info is None:
            raise errors.InvalidRequest("what is to be cancelled? The FlightInfo is missing")
        return flight.CancelFlightInfoResult(self._cancel_info(request, body.info))

    def _cancel_query(
        self, request: Request, body: actions.CancelQuery
    ) -> actions.CancelQueryResult:
        status = self._cancel_info(request, flight.decode_flight_info(body.info))
        return actions.CancelQueryResult(actions.CancelResult(status))

    def _cancel_info(self, request: Request, info: flight.FlightInfo) -> flight.CancelStatus:
        status = NOT_CANCELLABLE
        for endpoint in info.endpoint:
            ticket = _ticket_of(endpoint)
            if ticket is not None and self._queries.cancel(request, ticket):
                status = CANCELLED
        return status

    def _renew(self, request: Request, body: flight.RenewFlightEndpoint) -> flight.FlightEndpoint:
        ticket = None if body.endpoint is None else _ticket_of(body.endpoint)
        if body.endpoint is None or ticket is None:
            raise errors.InvalidRequest("only the endpoint of a query can be renewed")
        renewed, expires_at = self._queries.renew(request, ticket)
        sealed = commands.encode_command(commands.TicketStatementQuery(renewed))
        return flight.FlightEndpoint(
            flight.Ticket(sealed),
            location=body.endpoint.location,
            expiration_time=expires_at,
            app_metadata=body.endpoint.app_metadata,
        )


HANDLERS: Mapping[type, Callable[[SessionActions, Request, Any], actions.ActionResult]] = {
    flight.SetSessionOptions: SessionActions._set_options,  # noqa: SLF001  our own table
    flight.GetSessionOptions: SessionActions._get_options,  # noqa: SLF001  our own table
    flight.CloseSession: SessionActions._close,  # noqa: SLF001  our own table
    flight.CancelFlightInfo: SessionActions._cancel,  # noqa: SLF001  our own table
    actions.CancelQuery: SessionActions._cancel_query,  # noqa: SLF001  our own table
    flight.RenewFlightEndpoint: SessionActions._renew,  # noqa: SLF001  our own table
}

# What each of them is called on record; the others tell and change nothing.
_ON_RECORD: Mapping[type, str] = {
    flight.SetSessionOptions: "session.set",
    flight.CloseSession: "session.close",
    flight.CancelFlightInfo: "query.cancel",
    actions.CancelQuery: "query.cancel",
    flight.RenewFlightEndpoint: "query.renew",
}


def _ticket_of(endpoint: flight.FlightEndpoint) -> bytes | None:
    """Return the sealed ticket of a query, None for the reply to a catalog command."""
    if endpoint.ticket is None:
        return None
    command = commands.decode_command(endpoint.ticket.ticket)
    return command.statement_handle if isinstance(command, commands.TicketStatementQuery) else None
