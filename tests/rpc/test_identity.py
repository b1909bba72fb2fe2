"""Who is calling: every method, with all that proves nothing, and with what does."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import adbc_driver_flightsql.dbapi as flightsql
import jwt
import pyarrow.flight as fl
import pytest
from adbc_driver_manager import Error

from flight_server.auth.users import UserStore
from flight_server.clock import SystemClock
from flight_server.ops.accounts import open_users
from flight_server.ops.settings import load
from flight_server.protocol import actions, commands
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import USERS
from tests.rpc.plain import METHODS, Caller, action, descriptor, put, ticket
from tests.servers import ADMIN_PASSWORD, Server

SELECT_1 = commands.encode_command(commands.StatementQuery("SELECT 1 AS n"))
CATALOGS = commands.encode_command(commands.GetCatalogs())
BODIES = {
    "Handshake": b"",
    "ListFlights": b"",
    "GetFlightInfo": descriptor(SELECT_1),
    "GetSchema": descriptor(SELECT_1),
    "DoGet": ticket(CATALOGS),
    "DoPut": put(CATALOGS),
    "DoExchange": put(CATALOGS),
    "DoAction": action("ClosePreparedStatement", b""),
    "ListActions": b"",
}


@pytest.fixture(scope="module")
def users(server: Server) -> UserStore:
    return open_users(load(None, {"storage.primary": str(server.directory)}), SystemClock())


@pytest.fixture(scope="module")
def caller(server: Server) -> Iterator[Caller]:
    made = Caller.connect(server)
    yield made
    made.close()


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def _change_user(server: Server, username: str, **changes: object) -> None:
    table = SystemTable(
        server.directory / ".lakeflight", USERS, clock=SystemClock(), random_bytes=os.urandom
    )
    (row,) = [row for row in table.snapshot().rows.values() if row["username"] == username]
    table.change(lambda rows: [{**rows[row["user_id"]], **changes}])


def _forged(server: Server, **claims: object) -> str:
    """Make a token with the server's own secret; times that are not given are good ones."""
    secret = bytes.fromhex((server.directory / ".lakeflight" / "secret.key").read_text().strip())
    now = datetime.now(UTC)
    base = {"iss": "lakeflight", "aud": "lakeflight", "sub": "nobody", "sid": "s", "jti": "j"}
    times = {"iat": now, "exp": now + timedelta(hours=1)}
    return jwt.encode({**base, **times, **claims}, secret, "HS256")


def _credentials(server: Server, users: UserStore) -> dict[str, tuple[str | None, str]]:
    """Return everything that proves nothing, each with the code of its refusal."""
    admin = users.require("admin").user_id
    past = datetime.now(UTC) - timedelta(hours=2)
    expired = _forged(server, sub=admin, iat=past, exp=past + timedelta(hours=1))
    return {
        "nothing": (None, "unauthenticated"),
        "an empty header": ("", "unauthenticated"),
        "a garbage token": ("Bearer abc.def.ghi", "unauthenticated"),
        "an unknown scheme": ("Digest abc", "unauthenticated"),
        "an expired token": (f"Bearer {expired}", "token_expired"),
        "a token of nobody": (f"Bearer {_forged(server)}", "token_revoked"),
        "a wrong password": (_basic("admin:wrong"), "invalid_credentials"),
        "an unknown user": (_basic("nobody:wrong"), "invalid_credentials"),
        "no base64": ("Basic !!!", "unauthenticated"),
        "no colon": (_basic("admin"), "unauthenticated"),
        "no UTF-8": ("Basic " + base64.b64encode(b"\xff:\xff").decode(), "unauthenticated"),
        "a huge password": (_basic("admin:" + "x" * 3000), "invalid_credentials"),
        "a token as password": (_basic("token:abc"), "unauthenticated"),
    }


def test_no_method_is_served_to_who_proves_nothing(server: Server, users: UserStore) -> None:
    for kind, (authorization, code) in _credentials(server, users).items():
        caller = Caller(server.uri, authorization)
        for method in METHODS:
            ending = caller.call(method, BODIES[method])
            assert (ending.status, ending.code) == ("UNAUTHENTICATED", code), (kind, method, ending)
            assert ending.answers == []
        caller.close()


def test_every_method_is_served_or_unimplemented_with_a_token(caller: Caller) -> None:
    endings = {method: caller.call(method, BODIES[method]).status for method in METHODS}
    assert endings == {
        "Handshake": "OK",
        "ListFlights": "UNIMPLEMENTED",
        "GetFlightInfo": "OK",
        "GetSchema": "OK",
        "DoGet": "OK",
        "DoPut": "INVALID_ARGUMENT",
        "DoExchange": "UNIMPLEMENTED",
        "DoAction": "INVALID_ARGUMENT",
        "ListActions": "OK",
    }


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("length", [5, 6, 7])
def test_names_of_every_length_sign_in_padded_and_unpadded(
    server: Server, users: UserStore, length: int, pad: bool
) -> None:
    name = f"u{length}".ljust(length, "x")
    if users.find(name) is None:
        users.add(name, ADMIN_PASSWORD, role="registered", tier="enterprise")
    header = _basic(f"{name}:{ADMIN_PASSWORD}")
    caller = Caller(server.uri, header if pad else header.rstrip("="))
    ending = caller.call("Handshake")
    assert ending.status == "OK"
    assert str(ending.headers["authorization"]).startswith("Bearer ")
    caller.close()


def test_the_handshake_of_pyarrow_gives_a_token_for_the_next_call(server: Server) -> None:
    with fl.FlightClient(server.uri) as client:
        token = client.authenticate_basic_token("admin", ADMIN_PASSWORD)
        options = fl.FlightCallOptions(headers=[token])
        assert {kind.type for kind in client.list_actions(options)} >= {"CreatePreparedStatement"}


def _fetch(server: Server, **db_kwargs: str) -> list[tuple[object, ...]]:
    with (
        flightsql.connect(server.uri, db_kwargs=db_kwargs, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT 1")
        rows: list[tuple[object, ...]] = cursor.fetchall()
        return rows


def test_a_token_works_as_a_header_and_as_the_password_of_token(
    server: Server, caller: Caller
) -> None:
    assert caller.authorization is not None
    header = "adbc.flight.sql.authorization_header"
    token = caller.authorization.removeprefix("Bearer ")
    assert _fetch(server, **{header: caller.authorization}) == [(1,)]
    assert _fetch(server, username="token", password=token) == [(1,)]
    assert _fetch(server, **{header: _basic(f"admin:{ADMIN_PASSWORD}")}) == [(1,)]


def test_the_driver_says_that_the_password_is_wrong(server: Server) -> None:
    with pytest.raises(Error, match="wrong user name or password") as caught:
        _fetch(server, username="admin", password="wrong password")
    assert "UNAUTHENTICATED" in str(caught.value).upper()


def test_a_disabled_user_stops_on_the_very_next_call(server: Server, users: UserStore) -> None:
    users.add("leaver", ADMIN_PASSWORD, role="admin", tier="enterprise")
    leaver = Caller.connect(server, "leaver")
    with fl.FlightClient(server.uri) as client:
        assert leaver.authorization is not None
        options = fl.FlightCallOptions(headers=[(b"authorization", leaver.authorization.encode())])
        found = client.get_flight_info(fl.FlightDescriptor.for_command(SELECT_1), options)
        (endpoint,) = found.endpoints
    name, body = actions.encode_action(actions.CreatePreparedStatement("SELECT 1 AS n"))
    (answer,) = leaver.call("DoAction", action(name, body)).answers
    prepared = actions.decode_action_result("CreatePreparedStatement", _body_of(answer))
    assert isinstance(prepared, actions.CreatePreparedStatementResult)
    use = commands.encode_command(
        commands.PreparedStatementQuery(prepared.prepared_statement_handle)
    )
    calls = [
        ("DoGet", ticket(endpoint.ticket.ticket)),
        ("GetFlightInfo", descriptor(use)),
        ("ListActions", b""),
    ]
    assert [leaver.call(*call).status for call in calls] == ["OK"] * 3
    _change_user(server, "leaver", is_active=False)
    for call in calls:
        ending = leaver.call(*call)
        assert (ending.status, ending.code) == ("UNAUTHENTICATED", "token_revoked")
    _change_user(server, "leaver", is_active=True)
    assert [leaver.call(*call).status for call in calls] == ["OK"] * 3
    leaver.close()


def _body_of(result: bytes) -> bytes:
    """Return the body of a Result, which is its first field."""
    length, shift, position = 0, 0, 1
    while True:
        byte = result[position]
        length |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return result[position : position + length]


def test_tickets_and_handles_of_others_are_refused(server: Server, users: UserStore) -> None:
    users.add("neighbour", ADMIN_PASSWORD, role="admin", tier="enterprise")
    with fl.FlightClient(server.uri) as client:
        token = client.authenticate_basic_token("admin", ADMIN_PASSWORD)
        options = fl.FlightCallOptions(headers=[token])
        found = client.get_flight_info(fl.FlightDescriptor.for_command(SELECT_1), options)
        (endpoint,) = found.endpoints
    neighbour = Caller.connect(server, "neighbour")
    ending = neighbour.call("DoGet", ticket(endpoint.ticket.ticket))
    assert (ending.status, ending.code) == ("PERMISSION_DENIED", "permission_denied")
    neighbour.close()


def test_headers_that_are_too_long_are_refused_cleanly(caller: Caller, server: Server) -> None:
    ending = caller.call("GetFlightInfo", BODIES["GetFlightInfo"], x_lakehouse_bucket="b" * 300)
    assert (ending.status, ending.code) == ("INVALID_ARGUMENT", "invalid_request")
    for length in (9_000, 20_000):
        lone = Caller(server.uri, "Bearer " + "x" * length)
        ending = lone.call("ListActions")
        # Above 8 KiB it is gRPC that may refuse, before anything of ours runs.
        assert ending.status in {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED"}
        assert "Traceback" not in ending.everything()
        lone.close()
    assert caller.call("ListActions").status == "OK"
