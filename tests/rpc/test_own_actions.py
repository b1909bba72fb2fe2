"""The actions with JSON bodies: what they take, who may call them, how they are listed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import pytest

from flight_server.errors import InvalidRequest, NotFound, PermissionDenied
from flight_server.protocol.actions import ACTIONS
from flight_server.rpc import own_actions
from flight_server.rpc.own_actions import OWN_ACTIONS, Field, OwnActions, Shape, UseCases, Who
from flight_server.rpc.server import UNSUPPORTED_ACTIONS, action_descriptions
from flight_server.service.request import Request
from flight_server.service.running import Kind, Running
from tests.clocks import StandingClock
from tests.service.opened import ADMIN, BOB, PENDING
from tests.service.requests import request


@pytest.fixture
def running() -> Running:
    return Running(StandingClock())


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Add an action that takes everything there is to take; return what it was given."""
    taken: list[dict[str, Any]] = []

    def take(_: UseCases, __: Request, values: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        taken.append(dict(values))
        return ()

    shape = Shape(
        "Take it",
        Who.ADMIN,
        take,
        {
            "text": Field(str, "a text"),
            "count": Field(int, "a number", is_required=False),
            "share": Field(float, "a number", is_required=False),
            "flag": Field(bool, "a flag", is_required=False),
            "rows": Field(list, "a list", is_required=False),
            "to": Field(dict, "an object", is_required=False),
        },
    )
    monkeypatch.setattr(own_actions, "OWN_ACTIONS", {**OWN_ACTIONS, "test.take": shape})
    return taken


def run(running: Running, name: str, body: object, **of: Any) -> list[Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    unused: Any = None  # what changes tables is tried over the wire
    others = dict.fromkeys((each.name for each in fields(UseCases)), unused)
    use_cases = UseCases(**{**others, "running": running})
    made = OwnActions(use_cases).run(request(**of), name, data)
    return [json.loads(answer) for answer in made]


def test_queries_are_listed_and_cancelled(running: Running) -> None:
    entered = running.enter(request(BOB, query_tag="t"), "SELECT 'x'", kind=Kind.QUERY)
    (listed,) = run(running, "query.list", b"", principal=BOB)
    assert listed == {
        "query_id": "request-a",
        "user_id": "2",
        "username": "bob",
        "kind": "query",
        "state": "running",
        "statement": "SELECT ?",
        "query_tag": "t",
        "started_at": "2026-03-01T12:00:00Z",
        "rows": 0,
    }
    assert run(running, "query.list", {}) == [listed]
    assert run(running, "query.list", {}, principal=PENDING) == []
    with pytest.raises(NotFound) as caught:
        run(running, "query.cancel", {"query_id": "request-a"}, principal=PENDING)
    assert caught.value.code == "query_not_found"
    answer = run(running, "query.cancel", {"query_id": "request-a"}, principal=BOB)
    assert answer == [{"query_id": "request-a", "status": "cancelled"}]
    assert entered.is_cancelled()


def test_a_body_that_fits(running: Running, taking: list[dict[str, Any]]) -> None:
    body = {"text": "x", "count": 1, "share": 2, "flag": True, "rows": [{}], "to": {"user": "b"}}
    for values in (body, {"text": "x"}):
        assert run(running, "test.take", values) == []
    run(running, "test.take", {"text": "x", "count": None})
    assert taking == [body, {"text": "x"}, {"text": "x"}]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "needs the field 'text'"),
        ({"text": None}, "needs the field 'text'"),
        ({"text": 1}, "is a text"),
        ({"text": "x", "count": 1.5}, "is a whole number"),
        ({"text": "x", "count": True}, "is a whole number"),
        ({"text": "x", "share": "2"}, "is a number"),
        (b'{"text": "x", "share": 1e999}', "is a number"),
        ({"text": "x", "flag": 1}, "is a flag"),
        ({"text": "x", "rows": {}}, "is a list"),
        ({"text": "x", "to": []}, "is an object"),
        ({"text": "x", "txet": 1}, 'no field \'txet\'; its body is {"text", "count"?'),
        (b'{"text": "x", "text": "y"}', "one JSON object"),
        (b'{"text": NaN}', "one JSON object"),
        (b"[" * 100_000, "one JSON object"),
        ([], "one JSON object"),
        (b"\xff", "one JSON object"),
        (b"null", "one JSON object"),
    ],
)
def test_a_body_that_does_not_fit(
    running: Running, taking: list[dict[str, Any]], body: object, says: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        run(running, "test.take", body)
    assert says in caught.value.message
    assert taking == []


def test_what_is_for_administrators(running: Running, taking: list[dict[str, Any]]) -> None:
    with pytest.raises(PermissionDenied, match="administrators"):
        run(running, "test.take", {"text": "x"}, principal=BOB)
    run(running, "test.take", {"text": "x"}, principal=ADMIN)
    assert len(taking) == 1


def test_every_action_that_is_served_is_described() -> None:
    described = dict(action_descriptions())
    assert described.keys() == (ACTIONS.keys() | OWN_ACTIONS.keys()) - UNSUPPORTED_ACTIONS.keys()
    assert described["query.cancel"].endswith('self / admin; {"query_id"}')
