from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from flightsql import flightsql_pb2 as official
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.protocol import commands as c
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.actions import ACTIONS
from flight_server.protocol.flight import FLIGHT_MESSAGES

from .values import values_of

PROTO = Path(c.__file__).with_name("flight_sql.proto").read_text(encoding="utf-8")
ALL_COMMANDS = st.one_of([values_of(codec) for codec in c.COMMANDS.values()])


@given(ALL_COMMANDS)
def test_every_command_survives_a_round_trip(command: Any) -> None:
    assert c.decode_command(c.encode_command(command)) == command


@given(ALL_COMMANDS)
def test_tickets_are_read_like_commands(command: Any) -> None:
    assert c.decode_ticket(c.encode_command(command)) == command


def test_a_ticket_of_ours_has_one_spelling() -> None:
    ticket = c.encode_command(c.TicketStatementQuery(b"sealed"))
    start = ticket.index(b"sealed")
    for bit in range(start * 8):
        changed = bytearray(ticket)
        changed[bit // 8] ^= 1 << bit % 8
        command = None
        with contextlib.suppress(InvalidRequest):
            command = c.decode_ticket(bytes(changed))
        # If anything comes through it is not what was sealed, which the next step refuses.
        assert command != c.TicketStatementQuery(b"sealed")


@given(st.one_of([values_of(codec) for codec in c.PUT_RESULTS.values()]))
def test_every_put_result_survives_a_round_trip(result: Any) -> None:
    assert c.decode_put_result(type(result), c.encode_put_result(result)) == result


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_cleanly(data: bytes) -> None:
    with pytest.raises((InvalidRequest, Unsupported)):
        c.decode_command(data)


@given(st.sampled_from(sorted(c.COMMANDS)), st.binary(max_size=60))
def test_random_bytes_under_a_right_type_url_decode_or_are_invalid(name: str, body: bytes) -> None:
    url = f"type.googleapis.com/arrow.flight.protocol.sql.{name}"
    with contextlib.suppress(InvalidRequest):
        c.decode_command(AnyMessage(type_url=url, value=body).SerializeToString())


@given(ALL_COMMANDS, st.data())
def test_truncated_and_damaged_bytes_decode_or_are_refused(command: Any, data: Any) -> None:
    whole = c.encode_command(command)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))])
    for broken in (cut, flipped + whole[place + 1 :]):
        with contextlib.suppress(InvalidRequest, Unsupported):
            c.decode_command(broken)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"garbage", b'{"result_id": 1}', b"\x0a\x02\xff\xfe"],
    ids=["empty", "zero", "garbage", "json", "not utf-8"],
)
def test_what_is_no_any_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        c.decode_command(data)


@pytest.mark.parametrize(
    "url",
    [
        "type.googleapis.com/arrow.flight.protocol.sql.CommandFromTheFuture",
        "type.googleapis.com/arrow.flight.protocol.sql.ActionCreatePreparedStatementRequest",
        "type.googleapis.com/google.protobuf.Timestamp",
        "type.googleapis.com/lakeflight.protocol.CommandStatementQuery",
        "x" * 10_000,
    ],
)
def test_another_type_url_is_unsupported(url: str) -> None:
    with pytest.raises(Unsupported) as caught:
        c.decode_command(AnyMessage(type_url=url).SerializeToString())
    assert len(caught.value.message) < 300


def test_text_that_is_not_utf8_is_invalid() -> None:
    url = "type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    with pytest.raises(InvalidRequest):
        c.decode_command(AnyMessage(type_url=url, value=b"\x0a\x02\xff\xfe").SerializeToString())


def test_an_unknown_enum_number_is_invalid() -> None:
    body = pb.CommandStatementIngest(table="t")
    body.table_definition_options.if_exists = 77  # type: ignore[assignment]  # that is the point
    url = "type.googleapis.com/arrow.flight.protocol.sql.CommandStatementIngest"
    packed = AnyMessage(type_url=url, value=body.SerializeToString()).SerializeToString()
    with pytest.raises(InvalidRequest, match="TableExists has no value 77"):
        c.decode_command(packed)


def test_values_that_do_not_fit_are_invalid() -> None:
    with pytest.raises(InvalidRequest):
        c.encode_command(c.StatementQuery("\ud800"))
    with pytest.raises(InvalidRequest):
        c.encode_command(c.GetSqlInfo((2**32,)))


def test_absent_and_empty_filters_are_told_apart() -> None:
    absent = c.decode_command(c.encode_command(c.GetDbSchemas()))
    empty = c.decode_command(c.encode_command(c.GetDbSchemas("", "")))
    assert absent == c.GetDbSchemas(None, None)
    assert empty == c.GetDbSchemas("", "")


def test_each_message_of_the_transcription_has_a_value() -> None:
    messages = set(re.findall(r"^message (\w+)", PROTO, re.MULTILINE))
    actions = {
        codec.name for shape in ACTIONS.values() for codec in (shape.request, shape.result) if codec
    }
    parts = {"SubstraitPlan", "FlightDescriptor", "Ticket", "Location", "SessionOptionValue"}
    put_results = {codec.name for codec in c.PUT_RESULTS.values()}
    assert messages == {*c.COMMANDS, *put_results, *actions, *FLIGHT_MESSAGES, *parts}


def test_each_command_of_the_transcription_is_in_the_table() -> None:
    names = set(re.findall(r"^message ((?:Command|Ticket)\w+)", PROTO, re.MULTILINE))
    assert set(c.COMMANDS) == names


OFFICIAL_MESSAGES = sorted(official.DESCRIPTOR.message_types_by_name)


def test_official_messages_load_beside_ours() -> None:
    assert official.CommandStatementQuery.DESCRIPTOR.full_name.startswith("arrow.flight.protocol")
    assert pb.CommandStatementQuery.DESCRIPTOR.full_name.startswith("lakeflight.protocol")


@pytest.mark.parametrize("name", OFFICIAL_MESSAGES)
def test_fields_have_the_official_numbers_and_types(name: str) -> None:
    ours = pb.DESCRIPTOR.message_types_by_name[name].fields_by_name
    for field in official.DESCRIPTOR.message_types_by_name[name].fields:
        mine = ours[field.name]
        assert (mine.number, mine.type, mine.is_repeated) == (
            field.number,
            field.type,
            field.is_repeated,
        )


def test_enums_have_the_official_numbers() -> None:
    for name, enum in official.DESCRIPTOR.enum_types_by_name.items():
        ours = pb.DESCRIPTOR.enum_types_by_name[name].values_by_name
        for value_name, value in enum.values_by_name.items():
            assert ours[value_name].number == value.number, value_name


@settings(max_examples=200)
@given(
    st.one_of([values_of(codec) for name, codec in c.COMMANDS.items() if name in OFFICIAL_MESSAGES])
)
def test_stock_clients_and_we_write_the_same_bytes(command: Any) -> None:
    ours = c.encode_command(command)
    wrapped = AnyMessage.FromString(ours)
    message = getattr(official, wrapped.type_url.rpartition(".")[2])()
    assert wrapped.Unpack(message)
    message.DiscardUnknownFields()
    theirs = AnyMessage()
    theirs.Pack(message)
    assert c.decode_command(theirs.SerializeToString()) == command
    assert theirs.SerializeToString() == ours


# What version 1.13 of the ADBC driver, written in Go, sends.
@pytest.mark.parametrize(
    ("name", "body", "command"),
    [
        (
            "CommandStatementIngest",
            b"\n\x04\x08\x01\x10\x02\x12\x02t2",
            c.StatementIngest(
                c.TableDefinitionOptions(c.TableNotExist.CREATE, c.TableExists.APPEND), "t2"
            ),
        ),
        (
            "CommandGetTables",
            b"\x1a\x01t(\x01",
            c.GetTables(table_name_filter_pattern="t", include_schema=True),
        ),
        ("CommandGetSqlInfo", b"\x0a\x01\x08", c.GetSqlInfo((8,))),
        ("CommandGetCatalogs", b"", c.GetCatalogs()),
    ],
)
def test_bytes_of_the_adbc_driver(name: str, body: bytes, command: c.Command) -> None:
    url = f"type.googleapis.com/arrow.flight.protocol.sql.{name}"
    sent = AnyMessage(type_url=url, value=body).SerializeToString()
    assert c.decode_command(sent) == command
    assert c.encode_command(command) == sent
