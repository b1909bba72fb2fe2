"""Which step of a request each call is."""

from __future__ import annotations

from flight_server.protocol import actions, commands
from flight_server.rpc import steps
from flight_server.rpc.own_actions import OPEN_ACTIONS, OWN_ACTIONS
from flight_server.service.limits import Step


def test_every_action_counts_but_those_that_end_something() -> None:
    named = {*actions.ACTIONS, *OWN_ACTIONS} - OPEN_ACTIONS
    uncounted = {name for name in named if steps.of_action(name) is None}
    assert uncounted == {
        "ClosePreparedStatement",
        "CloseSession",
        "CancelFlightInfo",
        "CancelQuery",
        "query.cancel",
        "auth.logout",
        "session.kill",
        "token.revoke",
    }
    assert {name for name in named if steps.of_action(name) is Step.PREPARE} == {
        "CreatePreparedStatement"
    }


def test_a_statement_goes_from_step_to_step() -> None:
    query, prepared = commands.StatementQuery("SELECT 1"), commands.PreparedStatementQuery(b"h")
    assert steps.of_description(query) is Step.DESCRIBE
    assert steps.of_description(prepared) is Step.EXECUTE
    assert steps.of_put(prepared) is None
    assert steps.of_put(commands.PreparedStatementUpdate(b"h")) is Step.CHANGE
    assert steps.of_put(commands.StatementUpdate("DELETE FROM t")) is Step.WHOLE
    assert steps.of_fetch(commands.TicketStatementQuery(b"t")) is Step.FETCH


def test_a_listing_counts_and_what_drivers_ask_on_connecting_does_not() -> None:
    assert steps.of_description(commands.GetCatalogs()) is Step.DESCRIBE
    assert steps.of_fetch(commands.GetCatalogs()) is Step.FETCH
    assert steps.of_description(commands.GetSqlInfo()) is None
    assert steps.of_fetch(commands.GetSqlInfo()) is None
