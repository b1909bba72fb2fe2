from __future__ import annotations

import contextlib
from typing import Any

import pytest
from flightsql import flightsql_pb2 as official
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.protocol import actions as a
from flight_server.protocol.codec import pack
from flight_server.protocol.flight import CloseSession

from .values import values_of

NAMES = sorted(a.ACTIONS)
ANSWERED = sorted(name for name, shape in a.ACTIONS.items() if shape.result is not None)


@given(st.data(), st.sampled_from(NAMES))
def test_every_request_survives_a_round_trip(data: Any, name: str) -> None:
    request = data.draw(values_of(a.ACTIONS[name].request))
    written, body = a.encode_action(request)
    assert written == name
    assert a.decode_action(name, body) == request


@given(st.data(), st.sampled_from(ANSWERED))
def test_every_result_survives_a_round_trip(data: Any, name: str) -> None:
    codec = a.ACTIONS[name].result
    assert codec is not None
    result = data.draw(values_of(codec))
    assert a.decode_action_result(name, a.encode_action_result(name, result)) == result


@given(st.sampled_from(NAMES), st.binary(max_size=80))
def test_random_bodies_decode_or_are_refused(name: str, body: bytes) -> None:
    for decode in (a.decode_action, a.decode_action_result):
        with contextlib.suppress(InvalidRequest, Unsupported):
            decode(name, body)


def test_stock_clients_and_we_write_the_same_action() -> None:
    request = official.ActionCreatePreparedStatementRequest(query="SELECT 1")
    theirs = AnyMessage()
    theirs.Pack(request)
    body = theirs.SerializeToString()
    value = a.decode_action("CreatePreparedStatement", body)
    assert value == a.CreatePreparedStatement("SELECT 1")
    assert a.encode_action(value) == ("CreatePreparedStatement", body)


def test_actions_of_flight_itself_are_bare_and_those_of_sql_are_packed() -> None:
    assert a.encode_action(CloseSession()) == ("CloseSession", b"")
    assert a.encode_action(a.BeginTransaction())[1] == pack("ActionBeginTransactionRequest", b"")


def test_an_unknown_action_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        a.decode_action("Dance", b"")
    with pytest.raises(Unsupported):
        a.decode_action_result("Dance", b"")


def test_the_body_of_another_action_is_invalid() -> None:
    with pytest.raises(InvalidRequest, match="ActionCreatePreparedStatementRequest"):
        a.decode_action("CreatePreparedStatement", a.encode_action(a.BeginTransaction())[1])


def test_an_answer_to_another_action_is_invalid() -> None:
    with pytest.raises(InvalidRequest):
        a.encode_action_result("CreatePreparedStatement", a.BeginTransactionResult(b""))
    with pytest.raises(InvalidRequest):
        a.decode_action_result("EndTransaction", b"")
