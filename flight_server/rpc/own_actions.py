"""This server's own actions: JSON in, JSON out, each a line in one table.

The table says what an action does, who may call it and which fields its body has. ``ListActions``
and ``lakeflight actions`` print it; bodies are checked against it before a handler runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flight_server import errors
from flight_server.rpc.account_actions import ACCOUNT_ACTIONS
from flight_server.rpc.action_shapes import Field, Shape, UseCases, Values, Who, checked, json_time
from flight_server.rpc.audit_actions import AUDIT_ACTIONS
from flight_server.rpc.consent_actions import CONSENT_ACTIONS
from flight_server.rpc.grant_actions import GRANT_ACTIONS
from flight_server.rpc.policy_actions import POLICY_ACTIONS
from flight_server.rpc.rule_actions import RULE_ACTIONS
from flight_server.rpc.table_actions import TABLE_ACTIONS
from flight_server.rpc.tombstone_actions import TOMBSTONE_ACTIONS
from flight_server.rpc.view_actions import VIEW_ACTIONS
from flight_server.service.json_rows import Number
from flight_server.service.recording import RESOURCE_CHARACTERS_MAX, Detail, Effect
from flight_server.service.request import Request

__all__ = [
    "OPEN_ACTIONS",
    "OWN_ACTIONS",
    "Field",
    "OwnActions",
    "Shape",
    "UseCases",
    "Who",
    "read_body",
]

BODY_BYTES_MAX = 16 * 1024 * 1024
# The fields that go on record; of these, the first that is there says what an action is about.
_RESOURCES = (
    "table",
    "resource",
    "user_id",
    "user",
    "username",
    "session_id",
    "token_id",
    "grant_id",
    "query_id",
    "name",
)
_RECORDED = (
    *_RESOURCES,
    "action",
    "actor",
    "at",
    "base",
    "column",
    "columns",
    "custom_roles",
    "dry_run",
    "effect",
    "except_roles",
    "expires_at",
    "expires_in_seconds",
    "from",
    "given",
    "idempotency_key",
    "label",
    "path",
    "privilege",
    "purpose",
    "purposes",
    "reason",
    "redaction",
    "retention_hours",
    "role",
    "tag",
    "row_key_column",
    "tier",
    "timestamp",
    "to",
    "version",
)
_DETAIL_CHARACTERS_MAX = 1000
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _list_queries(use_cases: UseCases, request: Request, _: Values) -> Iterator[Values]:
    for run in use_cases.running.listed(request.principal):
        yield {
            "query_id": run.query_id,
            "user_id": run.user_id,
            "username": run.username,
            "kind": run.kind.value,
            "state": run.state.value,
            "statement": run.statement,
            "query_tag": run.query_tag,
            "started_at": json_time(run.started_at),
            "rows": run.rows,
        }


def _cancel_query(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    query_id = values["query_id"]
    if not use_cases.running.cancel(request.principal, query_id):
        # The same for a query of somebody else: its id is nobody's business.
        raise errors.NotFound("no such query runs", code="query_not_found")
    yield {"query_id": query_id, "status": "cancelled"}


OWN_ACTIONS: Mapping[str, Shape] = {
    "query.list": Shape(
        "List the queries that run now",
        Who.SELF,
        _list_queries,
        effect=Effect.READ,
        answer='for each {"query_id", "user_id", "username", "kind", "state", "statement",'
        ' "query_tag", "started_at", "rows"}',
    ),
    "query.cancel": Shape(
        "Cancel a query that runs",
        Who.SELF,
        _cancel_query,
        {"query_id": Field(str, "The query, as query.list names it")},
        '{"query_id", "status"}',
    ),
    **GRANT_ACTIONS,
    **RULE_ACTIONS,
    **TABLE_ACTIONS,
    **TOMBSTONE_ACTIONS,
    **CONSENT_ACTIONS,
    **ACCOUNT_ACTIONS,
    **AUDIT_ACTIONS,
    **VIEW_ACTIONS,
    **POLICY_ACTIONS,
}

# Those that may be called without credentials: they are how accounts and sessions begin.
OPEN_ACTIONS = frozenset(name for name, shape in OWN_ACTIONS.items() if shape.who is Who.ANYONE)


class OwnActions:
    """Runs the actions of the table."""

    def __init__(self, use_cases: UseCases) -> None:
        self._use_cases = use_cases

    def run(self, request: Request, name: str, body: bytes) -> Iterator[bytes]:
        """Return the answers of an action, each one JSON object.

        Raises InvalidRequest for a body that does not fit the table, PermissionDenied for a caller
        who may not, and what the use case raises.
        """
        shape = OWN_ACTIONS[name]
        request.record.about(name)
        if shape.who is Who.ADMIN and not request.principal.is_admin:
            raise errors.PermissionDenied(f"{name} is for administrators")
        values = read_body(name, body)
        if shape.check is not None:
            shape.check(values)
        resource, details = _on_record(values)
        request.record.intend(name, resource, effect=shape.effect, details=details)
        # Errors come before the first answer, so nothing is half done when the call fails.
        answers = list(shape.handler(self._use_cases, request, values))
        return (json.dumps(answer).encode() for answer in answers)


def _on_record(values: Values) -> tuple[str, dict[str, Detail]]:
    """Return what is kept of a body: the thing that it is about, and what is safe to keep.

    Only fields that are named here, so that no secret and no value of a cell can slip in.
    """
    found = {name: values[name] for name in _RECORDED if name in values}
    resource = next((str(found[name]) for name in _RESOURCES if name in found), "")
    details: dict[str, Detail] = {
        name: value if isinstance(value, str | int | bool) else json.dumps(value)
        for name, value in found.items()
    }
    return resource[:RESOURCE_CHARACTERS_MAX], {
        name: value[:_DETAIL_CHARACTERS_MAX] if isinstance(value, str) else value
        for name, value in details.items()
    }


def read_body(name: str, body: bytes) -> dict[str, Any]:
    """Read the body of an action, where nothing at all is an empty object.

    Raises InvalidRequest for what is no JSON object, for fields that are missing, unknown, given
    twice or of another type, and LimitExceeded for a body that is too large.
    """
    if len(body) > BODY_BYTES_MAX:
        raise errors.LimitExceeded(f"the body is too large; body_bytes_max={BODY_BYTES_MAX}")
    shape = OWN_ACTIONS[name]
    values = _object(name, body) if body else {}
    return checked(name, values, shape.fields, usage=shape.usage())


def _object(name: str, body: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a name occurs twice")
        return dict(pairs)

    def no_constant(text: str) -> None:
        raise ValueError(text)

    try:
        values = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=unique,
            parse_float=Number,
            parse_constant=no_constant,
        )
        if _SURROGATE.search(body):  # half a character, unless both halves are there
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise errors.InvalidRequest(f"the body of {name} is one JSON object in UTF-8")
    return values
