"""Every row of the table of who may do what, on a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import jwt
import pyarrow.flight as fl
import pytest

from flight_server.clock import SystemClock
from flight_server.ops.accounts import open_users
from flight_server.ops.settings import load
from flight_server.protocol import actions, commands
from tests.lakehouse import build_lakehouse
from tests.rpc.plain import Caller, Ending, action
from tests.security import page
from tests.security.rows import KINDS, OK, ROWS, Material, Row, is_complete
from tests.servers import ADMIN_PASSWORD, Server, running

ROLES = ("pending", "guest", "registered", "trader", "admin")
GRANTS = [
    {"privilege": privilege, "resource": "primary.sales", "role": role}
    for role, privileges in {
        "guest": ("read",),
        "registered": ("read",),
        "trader": ("read", "write", "maintain"),
    }.items()
    for privilege in privileges
]


@dataclass(frozen=True, slots=True)
class Cast:
    """A server with a caller of each kind, and what a trader was given."""

    server: Server
    callers: dict[str, Caller]
    ticket: bytes
    handle: bytes


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    folder = tmp_path_factory.mktemp("matrix")
    build_lakehouse(folder)
    _make_users(folder)
    settings = {
        "LAKEFLIGHT_GRANTS": json.dumps(GRANTS),
        "LAKEFLIGHT_AUTH__FAILURES_MAX": "1000",
        "LAKEFLIGHT_AUTH__FAILURES_PER_ADDRESS_MAX": "1000",
    }
    with running(folder, environment=settings) as server:
        callers = {role: _signed_in(server, role) for role in ROLES}
        callers["none"] = Caller(server.uri, None)
        callers["other's"] = _signed_in(server, "registered")
        callers |= {kind: _signed_in(server, kind) for kind in ("disabled", "revoked")}
        assert callers["revoked"].call("DoAction", action("auth.logout", b"")).status == "OK"
        disable = action("user.disable", json.dumps({"username": "disabled"}).encode())
        assert callers["admin"].call("DoAction", disable).status == "OK"
        callers["expired"] = Caller(server.uri, _expired(callers["trader"], folder))
        trader = callers["trader"]
        yield Cast(server, callers, _ticket(server, trader), _handle(trader))
        for caller in callers.values():
            caller.close()


def _make_users(folder: Path) -> None:
    users = open_users(load(None, {"storage.primary": str(folder)}), SystemClock())
    for role in ROLES:
        users.add(f"{role}-user", ADMIN_PASSWORD, role=role, tier="enterprise")
    for name in ("disabled", "revoked"):
        users.add(name, ADMIN_PASSWORD, role="admin", tier="enterprise")


def _signed_in(server: Server, kind: str) -> Caller:
    return Caller.connect(server, f"{kind}-user" if kind in ROLES else kind)


def _expired(caller: Caller, folder: Path) -> str:
    """Return a token of a live session whose time is over, signed by the server's own secret."""
    assert caller.authorization is not None
    token = caller.authorization.removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    past = SystemClock().now() - timedelta(hours=2)
    claims |= {"iat": past, "nbf": past, "exp": past + timedelta(hours=1)}
    secret = bytes.fromhex((folder / ".lakeflight" / "secret.key").read_text().strip())
    return "Bearer " + jwt.encode(claims, secret, "HS256")


def _ticket(server: Server, caller: Caller) -> bytes:
    assert caller.authorization is not None
    query = commands.StatementQuery("SELECT count(*) AS c FROM primary.sales.orders")
    found = fl.FlightDescriptor.for_command(commands.encode_command(query))
    with fl.FlightClient(server.uri) as client:
        header = (b"authorization", caller.authorization.encode())
        info = client.get_flight_info(found, fl.FlightCallOptions(headers=[header]))
    sealed = commands.decode_command(info.endpoints[0].ticket.ticket)
    assert isinstance(sealed, commands.TicketStatementQuery)
    return sealed.statement_handle


def _handle(caller: Caller) -> bytes:
    name, body = actions.encode_action(
        actions.CreatePreparedStatement("SELECT count(*) AS c FROM primary.sales.orders")
    )
    (answer,) = caller.call("DoAction", action(name, body)).answers
    # A Result is one field of bytes, which starts after its tag and its length.
    start = next(index for index in range(1, len(answer)) if answer[index] < 0x80) + 1
    prepared = actions.decode_action_result(name, answer[start:])
    assert isinstance(prepared, actions.CreatePreparedStatementResult)
    return prepared.prepared_statement_handle


def _material(cast: Cast, kind: str) -> Material:
    """Return a ticket and handle of the caller's own, or those of the trader."""
    if kind not in {"registered", "admin"}:
        return Material(kind, cast.ticket, cast.handle)
    caller = cast.callers[kind]
    return Material(kind, _ticket(cast.server, caller), _handle(caller))


def _code(ending: Ending) -> str:
    return OK if ending.status == "OK" else str(ending.code)


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_of_each_kind_of_caller(cast: Cast, kind: str) -> None:
    heard = {}
    expected = {row.title: row.codes[kind] for row in ROWS if kind in row.codes}
    for row in ROWS:
        if kind in row.codes:
            heard[row.title] = _heard(cast, kind, row)
    assert heard == expected


def _heard(cast: Cast, kind: str, row: Row) -> str:
    return _code(cast.callers[kind].call(row.method, row.body(_material(cast, kind))))


def test_every_action_has_a_row_and_every_row_a_cell_for_each_kind() -> None:
    assert is_complete()
    for row in ROWS:
        assert set(KINDS) - set(row.codes) <= {"other's"}, row.title


def test_the_page_shows_the_rows() -> None:
    """Renew it with `python -m tests.security.page --write`."""
    assert page.documented() == page.table()
