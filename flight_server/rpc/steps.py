"""Which step of a request a call is, for the limits of its user."""

from __future__ import annotations

from collections.abc import Mapping

from flight_server.protocol import commands
from flight_server.service.limits import Step

# Served while the server stops: a driver sends them when it is done with a result, and would fail
# then.
FINISHING_ACTIONS = frozenset(
    {"ClosePreparedStatement", "CloseSession", "CancelFlightInfo", "CancelQuery", "query.cancel"}
)
# Never counted: who has no request left must still be able to end what is theirs.
_UNCOUNTED_ACTIONS = FINISHING_ACTIONS | {"auth.logout", "session.kill", "token.revoke"}

# They show no rows: who may not state the purpose of their session any more can still look at its
# options, change them, and go.
PURPOSELESS_ACTIONS = FINISHING_ACTIONS | {
    "SetSessionOptions",
    "GetSessionOptions",
    "auth.logout",
    "auth.whoami",
    "auth.change_password",
}

_DESCRIBED: Mapping[type, Step | None] = {
    commands.PreparedStatementQuery: Step.EXECUTE,
    # What a driver asks each time that it connects, and what is always the same.
    commands.GetSqlInfo: None,
}
_PUT: Mapping[type, Step | None] = {
    # Parameters alone; the request is the one that executes the statement.
    commands.PreparedStatementQuery: None,
    commands.PreparedStatementUpdate: Step.CHANGE,
}


def of_description(command: commands.Command) -> Step | None:
    """Return what GetFlightInfo is; None for what does not count."""
    return _DESCRIBED.get(type(command), Step.DESCRIBE)


def of_fetch(command: commands.Command) -> Step | None:
    """Return what DoGet is; None for what does not count."""
    return None if isinstance(command, commands.GetSqlInfo) else Step.FETCH


def of_put(command: commands.Command) -> Step | None:
    """Return what DoPut is; None for what does not count."""
    return _PUT.get(type(command), Step.WHOLE)


def of_action(name: str) -> Step | None:
    """Return what DoAction is; None for what does not count."""
    if name in _UNCOUNTED_ACTIONS:
        return None
    return Step.PREPARE if name == "CreatePreparedStatement" else Step.WHOLE
