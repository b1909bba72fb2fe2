"""Every method and action, and what each kind of caller hears: the table of who may do what."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flight_server.protocol import actions, commands, flight
from flight_server.rpc.own_actions import OWN_ACTIONS
from flight_server.rpc.server import UNSUPPORTED_ACTIONS
from tests.rpc.plain import action, descriptor, put, ticket

OK = "ok"
DENIED = "permission_denied"
NOBODY = "00000000-0000-4000-8000-000000000000"
TABLE = "primary.sales.orders"
# The kinds of callers in the order of the columns; "other's" is a registered user with the ticket
# or handle of somebody else.
KINDS = (
    "none",
    "pending",
    "guest",
    "registered",
    "trader",
    "admin",
    "disabled",
    "revoked",
    "expired",
    "other's",
)
_OUT = {
    "none": "unauthenticated",
    "disabled": "token_revoked",
    "revoked": "token_revoked",
    "expired": "token_expired",
}


@dataclass(frozen=True, slots=True)
class Material:
    """What the body of a call is made from: a ticket and a prepared handle, and the caller's kind.

    ``kind`` keeps names of things that are made apart.
    """

    kind: str
    ticket: bytes
    handle: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One call: its title, its method, its body, and the code that each kind of caller hears."""

    title: str
    method: str
    body: Callable[[Material], bytes]
    codes: Mapping[str, str]


def _codes(
    *, pending: str = DENIED, guest: str, registered: str, trader: str, admin: str, others: str = ""
) -> dict[str, str]:
    own = {
        "pending": pending,
        "guest": guest,
        "registered": registered,
        "trader": trader,
        "admin": admin,
    }
    return {**_OUT, **own, **({"other's": others} if others else {})}


def _all(code: str, *, pending: str = DENIED, others: str = "") -> dict[str, str]:
    """Return the codes of what every account that was approved may do alike."""
    return _codes(
        pending=pending, guest=code, registered=code, trader=code, admin=code, others=others
    )


def _query(sql: str) -> bytes:
    return descriptor(commands.encode_command(commands.StatementQuery(sql)))


def _info(given: bytes) -> flight.FlightInfo:
    sealed = commands.encode_command(commands.TicketStatementQuery(given))
    return flight.FlightInfo(endpoint=(flight.FlightEndpoint(flight.Ticket(sealed)),))


def _handle(given: bytes) -> bytes:
    return commands.encode_command(commands.PreparedStatementQuery(given))


def _update(sql: str) -> bytes:
    return put(commands.encode_command(commands.StatementUpdate(sql)))


def _protocol(value: actions.ActionRequest) -> bytes:
    return action(*actions.encode_action(value))


_CATALOGS = commands.encode_command(commands.GetCatalogs())
_SELECT = f"SELECT count(*) AS c FROM {TABLE}"
_INSERT = f"INSERT INTO {TABLE} SELECT * FROM {TABLE} WHERE false"
# Refused by what they are, whoever asks.
_UNSUPPORTED = _all("unsupported")
_NEVER = _all("unsupported", pending="unsupported")

METHODS = (
    Row("Handshake with a token", "Handshake", lambda m: b"", _all(OK, pending=OK)),
    Row("ListFlights", "ListFlights", lambda m: b"", _NEVER),
    Row(
        "GetFlightInfo: query of a table",
        "GetFlightInfo",
        lambda m: _query(_SELECT),
        _codes(guest=DENIED, registered=OK, trader=OK, admin=OK),
    ),
    Row(
        "GetFlightInfo: query of what one may not see",
        "GetFlightInfo",
        lambda m: _query("SELECT * FROM system.auth.users"),
        _codes(
            guest="table_not_found",
            registered="table_not_found",
            trader="table_not_found",
            admin=OK,
        ),
    ),
    Row(
        "GetFlightInfo: INSERT",
        "GetFlightInfo",
        lambda m: _query(_INSERT),
        _codes(guest=DENIED, registered=DENIED, trader=OK, admin=OK),
    ),
    Row(
        "GetFlightInfo: prepared query",
        "GetFlightInfo",
        lambda m: descriptor(_handle(m.handle)),
        _codes(guest=DENIED, registered=OK, trader=OK, admin=OK, others=DENIED),
    ),
    Row("GetFlightInfo: catalogs", "GetFlightInfo", lambda m: descriptor(_CATALOGS), _all(OK)),
    Row(
        "GetSchema: query of a table",
        "GetSchema",
        lambda m: _query(_SELECT),
        _codes(guest=DENIED, registered=OK, trader=OK, admin=OK),
    ),
    Row(
        "DoGet: ticket of a query",
        "DoGet",
        lambda m: ticket(commands.encode_command(commands.TicketStatementQuery(m.ticket))),
        _codes(guest=DENIED, registered=OK, trader=OK, admin=OK, others=DENIED),
    ),
    Row("DoGet: catalogs", "DoGet", lambda m: ticket(_CATALOGS), _all(OK)),
    Row(
        "DoPut: INSERT",
        "DoPut",
        lambda m: _update(_INSERT),
        _codes(guest=DENIED, registered=DENIED, trader=OK, admin=OK),
    ),
    Row(
        "DoPut: parameters of a prepared query",
        "DoPut",
        lambda m: put(_handle(m.handle)),
        _codes(guest=DENIED, registered=OK, trader=OK, admin=OK, others=DENIED),
    ),
    Row("DoExchange", "DoExchange", lambda m: put(_CATALOGS), _NEVER),
    Row("ListActions", "ListActions", lambda m: b"", _all(OK)),
)

PROTOCOL_ACTIONS = (
    Row(
        "CreatePreparedStatement",
        "DoAction",
        lambda m: _protocol(actions.CreatePreparedStatement(_SELECT)),
        _codes(guest=DENIED, registered=OK, trader=OK, admin=OK),
    ),
    Row(
        "ClosePreparedStatement",
        "DoAction",
        lambda m: _protocol(actions.ClosePreparedStatement(m.handle)),
        _codes(guest=DENIED, registered=OK, trader=OK, admin=OK, others=DENIED),
    ),
    Row(
        "CancelFlightInfo",
        "DoAction",
        lambda m: _protocol(flight.CancelFlightInfo(_info(m.ticket))),
        _codes(guest=DENIED, registered=OK, trader=OK, admin=OK, others=DENIED),
    ),
    Row(
        "CancelQuery",
        "DoAction",
        lambda m: _protocol(actions.CancelQuery(flight.encode_flight_info(_info(m.ticket)))),
        _codes(guest=DENIED, registered=OK, trader=OK, admin=OK, others=DENIED),
    ),
    Row(
        "RenewFlightEndpoint",
        "DoAction",
        lambda m: _protocol(flight.RenewFlightEndpoint(_info(m.ticket).endpoint[0])),
        _codes(guest=DENIED, registered=OK, trader=OK, admin=OK, others=DENIED),
    ),
    Row(
        "SetSessionOptions",
        "DoAction",
        lambda m: _protocol(flight.SetSessionOptions({"query_tag": "matrix"})),
        _all(OK),
    ),
    Row(
        "GetSessionOptions",
        "DoAction",
        lambda m: _protocol(flight.GetSessionOptions()),
        _all(OK),
    ),
    Row(
        "CloseSession",
        "DoAction",
        lambda m: _protocol(flight.CloseSession()),
        _all(OK, pending=OK),
    ),
    *(
        Row(name, "DoAction", lambda m, name=name: action(name, b""), _UNSUPPORTED)  # type: ignore[misc]
        for name in sorted(UNSUPPORTED_ACTIONS)
    ),
)


def _own(name: str, fields: Mapping[str, object]) -> Callable[[Material], bytes]:
    def body(material: Material) -> bytes:
        filled = json.dumps(fields).replace("{kind}", material.kind)
        return action(name, filled.encode())

    return body


_WRITES = _codes(guest=DENIED, registered=DENIED, trader=OK, admin=OK)
_SELF = _all(OK)


def _anybody(code: str) -> dict[str, str]:
    """Return the codes of what needs no credentials; those that are no good are refused even so."""
    return _all(code, pending=code) | {"none": code}


def _admins(code: str) -> dict[str, str]:
    return _codes(guest=DENIED, registered=DENIED, trader=DENIED, admin=code)


# Bodies that change nothing which another row needs; what a caller may do to things that are not
# there shows as the code for that.
_OWN: Mapping[str, tuple[Mapping[str, object], Mapping[str, str]]] = {
    "query.list": ({}, _SELF),
    "query.cancel": ({"query_id": "none"}, _all("query_not_found")),
    "grant.add": (
        {"privilege": "read", "resource": "primary.files", "to": {"role": "nobody"}},
        _admins(OK),
    ),
    "grant.remove": ({"grant_id": NOBODY}, _admins("grant_not_found")),
    "grant.list": ({}, _admins(OK)),
    "filter.put": (
        {"name": "{kind}", "table": "primary.sales.empty", "filter": "true"},
        _admins(OK),
    ),
    "filter.list": ({}, _SELF),
    "filter.drop": ({"name": "none", "table": TABLE}, _admins("rule_not_found")),
    "mask.put": (
        {
            "name": "{kind}",
            "table": "primary.sales.empty",
            "column": "note",
            "redaction": {"kind": "null"},
            "to": {"role": "guest"},
        },
        _admins(OK),
    ),
    "mask.list": ({}, _SELF),
    "mask.drop": ({"name": "none", "table": TABLE}, _admins("rule_not_found")),
    "label.put": (
        {"table": "primary.sales.empty", "column": "note", "label": "data_content"},
        _admins(OK),
    ),
    "label.list": ({}, _SELF),
    "label.drop": (
        {"table": TABLE, "column": "note", "label": "user_id"},
        _admins("rule_not_found"),
    ),
    "table.create": (
        {
            "table": "primary.sales.made_{kind}",
            "columns": [{"name": "id", "type": "BIGINT"}],
            "if_not_exists": True,
        },
        _WRITES,
    ),
    "table.drop": ({"table": "primary.sales.none", "if_exists": True}, _SELF),
    "table.history": ({"table": TABLE}, _codes(guest=DENIED, registered=OK, trader=OK, admin=OK)),
    "table.restore": ({"table": TABLE, "version": 1}, _WRITES),
    "table.append": ({"table": TABLE, "rows": []}, _WRITES),
    "table.delete": ({"table": TABLE, "where": "false"}, _WRITES),
    "table.update": ({"table": TABLE, "set": {"note": "note"}, "where": "false"}, _WRITES),
    "table.merge": ({"table": TABLE, "rows": [], "on": ["order_id"]}, _WRITES),
    "table.compact": ({"table": TABLE, "dry_run": True}, _WRITES),
    "table.z_order": ({"table": "primary.sales.empty", "columns": ["order_id"]}, _WRITES),
    "table.vacuum": ({"table": TABLE, "dry_run": True}, _WRITES),
    "tombstone.add": (
        {"table": TABLE, "row_key_column": "order_id", "row_key_values": [], "reason": "why"},
        _WRITES,
    ),
    "tombstone.remove": ({"table": TABLE, "row_key_values": []}, _WRITES),
    "tombstone.list": ({"table": TABLE}, _codes(guest=DENIED, registered=OK, trader=OK, admin=OK)),
    "auth.register": ({}, _anybody("invalid_request")),
    "auth.login": (
        {"username": "nobody-at-all", "password": "wrong-password"},
        _anybody("invalid_credentials"),
    ),
    "auth.refresh": ({"refresh_token": "lfr_none"}, _anybody("unauthenticated")),
    "auth.whoami": ({}, _all(OK, pending=OK)),
    "auth.change_password": (
        {"old": "wrong-password", "new": "another good horse"},
        _all("invalid_credentials", pending="invalid_credentials"),
    ),
    "token.create": ({"name": "matrix {kind}"}, _SELF),
    "token.list": ({}, _SELF),
    # Whether somebody has such a token is not told; that of another user goes on.
    "token.revoke": ({"token_id": NOBODY}, _SELF),
    "session.list": ({}, _SELF),
    "session.kill": ({"session_id": NOBODY}, _all("session_not_found")),
    "consent.set": (
        {"subject": "matrix {kind}", "purposes": ["research"], "given": True},
        _admins(OK),
    ),
    "consent.list": ({}, _admins(OK)),
    "user.list": ({}, _admins(OK)),
    **{
        f"user.{verb}": ({"user_id": NOBODY, **more}, _admins("user_not_found"))
        for verb, more in (
            ("approve", {}),
            ("reject", {}),
            ("disable", {}),
            ("enable", {}),
            ("set_role", {"role": "guest"}),
            ("set_tier", {"tier": "pro"}),
            ("set_attributes", {"attributes": {"region": "north"}}),
        )
    },
    "audit.log": ({"action": "matrix"}, _SELF),
    "audit.activity": ({"limit": 1}, _SELF),
    "audit.billing_summary": ({"from": "2026-01-01", "to": "2026-01-02"}, _SELF),
    "audit.verify": ({}, _admins(OK)),
    "audit.head": ({}, _admins(OK)),
    "view.put": (
        {"name": "primary.sales.view_{kind}", "base": TABLE, "columns": ["order_id"]},
        _admins(OK),
    ),
    "view.get": ({"name": "primary.sales.none"}, _all("table_not_found")),
    "view.list": ({}, _SELF),
    "view.drop": ({"name": "primary.sales.none", "if_exists": True}, _SELF),
    "view.preview": ({"name": "primary.sales.none"}, _all("table_not_found")),
    "view.rotate_key": ({}, _admins(OK)),
    "policy.explain": ({"table": TABLE}, _SELF),
    "policy.diff": ({"from": "2026-01-01"}, _admins(OK)),
    "policy.versions": ({}, _admins(OK)),
    # Last, because it ends the session of who calls it.
    "auth.logout": ({}, _all(OK, pending=OK)),
}
OWN_ROWS = tuple(
    Row(name, "DoAction", _own(name, fields), codes) for name, (fields, codes) in _OWN.items()
)
ROWS = (*METHODS, *PROTOCOL_ACTIONS, *OWN_ROWS)


def is_complete() -> bool:
    """Whether every action has its row."""
    return {row.title for row in OWN_ROWS} == set(OWN_ACTIONS)
