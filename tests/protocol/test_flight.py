from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest
from flight_server.protocol import flight as f
from flight_server.protocol import flight_sql_pb2 as pb

from .values import values_of


@pytest.mark.parametrize("name", sorted(f.FLIGHT_MESSAGES))
def test_every_message_survives_a_round_trip(name: str) -> None:
    codec = f.FLIGHT_MESSAGES[name]

    @given(values_of(codec))
    def check(value: Any) -> None:
        assert codec.decode(codec.encode(value)) == value

    check()


@given(st.binary(max_size=100))
def test_random_bytes_decode_or_are_invalid(data: bytes) -> None:
    for codec in f.FLIGHT_MESSAGES.values():
        with contextlib.suppress(InvalidRequest):
            codec.decode(data)


def test_a_flight_info_is_the_one_that_pyarrow_writes() -> None:
    schema = pa.schema([("a", pa.int64())])
    expiry = datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)
    endpoint = fl.FlightEndpoint(
        b"ticket", ["grpc://127.0.0.1:1"], pa.scalar(expiry, pa.timestamp("ns", "UTC")), b"meta"
    )
    descriptor = fl.FlightDescriptor.for_command(b"command")
    theirs = fl.FlightInfo(
        schema, descriptor, [endpoint], 3, 40, ordered=True, app_metadata=b"app"
    ).serialize()
    info = f.decode_flight_info(theirs)
    assert info.flight_descriptor == f.FlightDescriptor(f.DescriptorType.CMD, b"command")
    assert info.endpoint == (
        f.FlightEndpoint(f.Ticket(b"ticket"), (f.Location("grpc://127.0.0.1:1"),), expiry, b"meta"),
    )
    assert (info.total_records, info.total_bytes, info.ordered) == (3, 40, True)
    again = fl.FlightInfo.deserialize(f.encode_flight_info(info))
    assert again.schema == schema
    assert again.endpoints == [endpoint]


@pytest.mark.parametrize(("seconds", "nanos"), [(2**62, 0), (-(2**62), 0), (0, -1), (0, 10**9)])
def test_times_that_do_not_exist_are_invalid(seconds: int, nanos: int) -> None:
    message = pb.FlightEndpoint()
    message.expiration_time.seconds = seconds
    message.expiration_time.nanos = nanos
    with pytest.raises(InvalidRequest):
        f.FLIGHT_ENDPOINT.decode(message.SerializeToString())


def test_session_options_keep_their_types() -> None:
    options: dict[str, f.SessionOption] = {
        "unset": None,
        "flag": True,
        "one": 1,
        "float": 1.0,
        "text": "",
        "list": (),
    }
    codec = f.FLIGHT_MESSAGES["SetSessionOptionsRequest"]
    decoded = codec.decode(codec.encode(f.SetSessionOptions(options)))
    assert {key: type(value) for key, value in decoded.session_options.items()} == {
        key: type(value) for key, value in options.items()
    }


def test_an_integer_beyond_64_bits_does_not_fit() -> None:
    codec = f.FLIGHT_MESSAGES["SetSessionOptionsRequest"]
    with pytest.raises(InvalidRequest):
        codec.encode(f.SetSessionOptions({"a": 2**63}))
