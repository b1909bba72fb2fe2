"""Random bytes to every method: one clean error each, and the same process answers afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_server.protocol import commands
from flight_server.protocol.actions import ACTIONS
from tests.rpc.plain import METHODS, Caller, Ending, action, descriptor, put, ticket
from tests.servers import Server

STATUS_OF = {
    "invalid_request": "INVALID_ARGUMENT",
    "not_found": "NOT_FOUND",
    "table_not_found": "NOT_FOUND",
    "unsupported": "UNIMPLEMENTED",
    "permission_denied": "PERMISSION_DENIED",
    "unauthenticated": "UNAUTHENTICATED",
}
_SERVED = {"Handshake", "ListActions"}
_FEW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_COMMANDS = [
    commands.encode_command(command)
    for command in (
        commands.StatementQuery("SELECT 1"),
        commands.GetTables(include_schema=True),
        commands.TicketStatementQuery(b"handle"),
        commands.PreparedStatementQuery(b"handle"),
    )
]
# Bytes near to what is right find more than bytes from nowhere.
_NEAR = st.builds(
    lambda data, position, byte, end: (data[: position % len(data)] + byte + data[position:])[:end],
    st.sampled_from(_COMMANDS),
    st.integers(0, 200),
    st.binary(max_size=3),
    st.integers(0, 300),
)
GARBAGE = st.binary(max_size=200) | _NEAR


@pytest.fixture(scope="module")
def caller(server: Server) -> Iterator[Caller]:
    made = Caller.connect(server)
    yield made
    made.close()


def assert_clean(ending: Ending) -> None:
    """Fail unless a call was served, or ended in one error of the contract."""
    if ending.status == "OK":
        return
    assert ending.code is not None, ending
    assert ending.status == STATUS_OF[ending.code], ending
    text = ending.everything()
    assert "Traceback" not in text
    assert '.py"' not in text


def assert_refused_by_arrow(ending: Ending) -> None:
    """Fail unless Arrow refused a message that it cannot read before anything of ours ran."""
    assert ending.status in {"INTERNAL", "INVALID_ARGUMENT", "UNKNOWN"}, ending
    assert "Traceback" not in ending.everything()
    assert '.py"' not in ending.everything()


@pytest.mark.parametrize("method", ["GetFlightInfo", "GetSchema"])
@_FEW
@given(GARBAGE)
def test_commands(caller: Caller, method: str, data: bytes) -> None:
    assert_clean(caller.call(method, descriptor(data)))


@_FEW
@given(GARBAGE)
def test_tickets(caller: Caller, data: bytes) -> None:
    assert_clean(caller.call("DoGet", ticket(data)))


@_FEW
@given(st.sampled_from(sorted(ACTIONS)) | st.text(max_size=20), GARBAGE)
def test_actions(caller: Caller, name: str, data: bytes) -> None:
    if not any("\ud800" <= character <= "\udfff" for character in name):
        assert_clean(caller.call("DoAction", action(name, data)))


@_FEW
@given(GARBAGE, st.binary(max_size=100), st.binary(max_size=100))
def test_puts(caller: Caller, command: bytes, header: bytes, body: bytes) -> None:
    ending = caller.call("DoPut", put(command, header, body))
    if header and ending.code is None:
        assert_refused_by_arrow(ending)
    else:
        assert_clean(ending)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in _SERVED])
@_FEW
@given(st.binary(max_size=100))
def test_messages_that_are_no_messages(caller: Caller, method: str, data: bytes) -> None:
    ending = caller.call(method, data)
    if ending.code is None:
        assert_refused_by_arrow(ending)
    else:
        assert_clean(ending)


def test_descriptors_by_path_are_unsupported(caller: Caller) -> None:
    path = b"\x08\x01\x1a\x05table"
    for method in ("GetFlightInfo", "GetSchema"):
        ending = caller.call(method, path)
        assert (ending.status, ending.code) == ("UNIMPLEMENTED", "unsupported")


def test_an_unknown_action_is_unsupported_and_named(caller: Caller) -> None:
    ending = caller.call("DoAction", action("no.such.action", b"{}"))
    assert (ending.status, ending.code) == ("UNIMPLEMENTED", "unsupported")
    assert "no.such.action" in ending.message


def test_the_server_is_the_same_afterwards(caller: Caller, server: Server) -> None:
    assert caller.call("ListActions").status == "OK"
    assert server.process.poll() is None
    assert server.fetch("SELECT 1 AS n").to_pylist() == [{"n": 1}]
