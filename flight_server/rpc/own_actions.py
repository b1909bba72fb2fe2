"""This server's own actions: JSON in, JSON out, each a line in one table.

The table says what an action does, who may call it and which fields its body has. ``ListActions``
and ``lakeflight actions`` print it; bodies are checked against it before a handler runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from flight_server import errors
from flight_server.service.request import Request
from flight_server.service.running import Running

BODY_BYTES_MAX = 16 * 1024 * 1024


class Who(StrEnum):
    """Who may call an action; handlers narrow it to what the caller may touch."""

    SELF = "self / admin"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a body. ``kind`` is the JSON type: text, number, flag, list or object."""

    kind: type[str | int | float | bool | list[Any] | dict[str, Any]]
    description: str
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class UseCases:
    """What handlers call."""

    running: Running


Values = Mapping[str, Any]
Handler = Callable[[UseCases, Request, Values], Iterable[Values]]


@dataclass(frozen=True, slots=True)
class Shape:
    """What an action does, who may call it, and what it takes."""

    description: str
    who: Who
    handler: Handler
    fields: Mapping[str, Field] = field(default_factory=dict)

    def usage(self) -> str:
        """Return the body as a template: ``{"query_id", "reason"?}``."""
        names = (
            f'"{name}"' if shape.is_required else f'"{name}"?'
            for name, shape in self.fields.items()
        )
        return "{" + ", ".join(names) + "}"


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
            "started_at": _time(run.started_at),
            "rows": run.rows,
        }


def _cancel_query(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    query_id = values["query_id"]
    if not use_cases.running.cancel(request.principal, query_id):
        # The same for a query of somebody else: its id is nobody's business.
        raise errors.NotFound("no such query runs", code="query_not_found")
    yield {"query_id": query_id, "status": "cancelled"}


OWN_ACTIONS: Mapping[str, Shape] = {
    "query.list": Shape("List the queries that run now", Who.SELF, _list_queries),
    "query.cancel": Shape(
        "Cancel a query that runs",
        Who.SELF,
        _cancel_query,
        {"query_id": Field(str, "The query, as query.list names it")},
    ),
}


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
        if shape.who is Who.ADMIN and not request.principal.is_admin:
            raise errors.PermissionDenied(f"{name} is for administrators")
        values = read_body(name, body)
        # Errors come before the first answer, so nothing is half done when the call fails.
        answers = list(shape.handler(self._use_cases, request, values))
        return (json.dumps(answer).encode() for answer in answers)


def read_body(name: str, body: bytes) -> dict[str, Any]:
    """Read the body of an action, where nothing at all is an empty object.

    Raises InvalidRequest for what is no JSON object, for fields that are missing, unknown, given
    twice or of another type, and LimitExceeded for a body that is too large.
    """
    if len(body) > BODY_BYTES_MAX:
        raise errors.LimitExceeded(f"the body is too large; body_bytes_max={BODY_BYTES_MAX}")
    values = _object(name, body) if body else {}
    shape = OWN_ACTIONS[name]
    unknown = sorted(values.keys() - shape.fields.keys())
    if unknown:
        raise errors.InvalidRequest(
            f"{name} has no field {unknown[0]!r}; its body is {shape.usage()}"
        )
    for field_name, expected in shape.fields.items():
        value = values.get(field_name)
        if value is None:
            if expected.is_required:
                raise errors.InvalidRequest(f"{name} needs the field {field_name!r}")
            values.pop(field_name, None)
        elif not _fits(value, expected.kind):
            raise errors.InvalidRequest(
                f"the field {field_name!r} of {name} is {_WORDS[expected.kind]}"
            )
    return values


_WORDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "a flag, true or false",
    list: "a list",
    dict: "an object",
}


def _fits(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind)


def _object(name: str, body: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a name occurs twice")
        return dict(pairs)

    def no_constant(text: str) -> None:
        raise ValueError(text)

    try:
        values = json.loads(
            body.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant
        )
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise errors.InvalidRequest(f"the body of {name} is one JSON object in UTF-8")
    return values


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
