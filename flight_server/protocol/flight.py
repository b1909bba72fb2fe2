"""The messages of Arrow Flight itself that travel in the bodies of actions, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.codec import Codec, EnumPart, TimestampPart


class DescriptorType(IntEnum):
    """Whether a descriptor is a path or a command."""

    UNKNOWN = 0
    PATH = 1
    CMD = 2


@dataclass(frozen=True, slots=True)
class FlightDescriptor:
    """What a flight is asked for by."""

    type: DescriptorType = DescriptorType.UNKNOWN
    cmd: bytes = b""
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ticket:
    """What DoGet is given."""

    ticket: bytes


@dataclass(frozen=True, slots=True)
class Location:
    """Where a ticket may be used."""

    uri: str


@dataclass(frozen=True, slots=True)
class FlightEndpoint:
    """One part of a result; without locations it is fetched where it was described."""

    ticket: Ticket | None
    location: tuple[Location, ...] = ()
    expiration_time: datetime | None = None
    app_metadata: bytes = b""


@dataclass(frozen=True, slots=True)
class FlightInfo:
    """How to fetch a result. ``schema`` is an IPC message; totals are -1 when unknown."""

    schema: bytes = b""
    flight_descriptor: FlightDescriptor | None = None
    endpoint: tuple[FlightEndpoint, ...] = ()
    total_records: int = -1
    total_bytes: int = -1
    ordered: bool = False
    app_metadata: bytes = b""


@dataclass(frozen=True, slots=True)
class CancelFlightInfo:
    """Cancel the query behind a FlightInfo."""

    info: FlightInfo | None


class CancelStatus(IntEnum):
    """How far a cancellation went."""

    UNSPECIFIED = 0
    CANCELLED = 1
    CANCELLING = 2
    NOT_CANCELLABLE = 3


@dataclass(frozen=True, slots=True)
class CancelFlightInfoResult:
    """Whether the query ended."""

    status: CancelStatus


@dataclass(frozen=True, slots=True)
class RenewFlightEndpoint:
    """Ask for more time for an endpoint; the answer is a FlightEndpoint."""

    endpoint: FlightEndpoint | None


# What a session option may hold. None unsets it; a bool stays apart from an integer.
SessionOption = str | bool | int | float | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class SetSessionOptions:
    """Set or unset options of this session."""

    session_options: Mapping[str, SessionOption] = field(hash=False)


class SessionOptionErrorValue(IntEnum):
    """Why an option was not set."""

    UNSPECIFIED = 0
    INVALID_NAME = 1
    INVALID_VALUE = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class SessionOptionError:
    """Why one option was not set."""

    value: SessionOptionErrorValue


@dataclass(frozen=True, slots=True)
class SetSessionOptionsResult:
    """The options that were not set; empty when all were."""

    errors: Mapping[str, SessionOptionError] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class GetSessionOptions:
    """Ask for the options of this session."""


@dataclass(frozen=True, slots=True)
class GetSessionOptionsResult:
    """The options of this session."""

    session_options: Mapping[str, SessionOption] = field(hash=False)


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End this session."""


class CloseSessionStatus(IntEnum):
    """Whether a session ended."""

    UNSPECIFIED = 0
    CLOSED = 1
    CLOSING = 2
    NOT_CLOSEABLE = 3


@dataclass(frozen=True, slots=True)
class CloseSessionResult:
    """Whether the session ended."""

    status: CloseSessionStatus


class SessionOptionPart:
    """A SessionOptionValue as the plain value that it holds."""

    def from_wire(self, raw: pb.SessionOptionValue, /) -> SessionOption:
        """Turn the message into its value, or None when it holds none."""
        held = raw.WhichOneof("option_value")
        if held is None:
            return None
        if held == "string_list_value":
            return tuple(raw.string_list_value.values)
        value: SessionOption = getattr(raw, held)
        return value

    def to_wire(self, value: SessionOption, /) -> pb.SessionOptionValue:
        """Turn a value into the message; raises ValueError for an integer beyond 64 bits."""
        match value:
            case None:
                return pb.SessionOptionValue()
            case bool():
                return pb.SessionOptionValue(bool_value=value)
            case str():
                return pb.SessionOptionValue(string_value=value)
            case int():
                return pb.SessionOptionValue(int64_value=value)
            case float():
                return pb.SessionOptionValue(double_value=value)
            case tuple():
                strings = pb.SessionOptionValue.StringListValue(values=value)
                return pb.SessionOptionValue(string_list_value=strings)


FLIGHT_DESCRIPTOR = Codec(FlightDescriptor, pb.FlightDescriptor, type=EnumPart(DescriptorType))
TICKET = Codec(Ticket, pb.Ticket)
LOCATION = Codec(Location, pb.Location)
FLIGHT_ENDPOINT = Codec(
    FlightEndpoint,
    pb.FlightEndpoint,
    ticket=TICKET,
    location=LOCATION,
    expiration_time=TimestampPart(),
)
FLIGHT_INFO = Codec(
    FlightInfo, pb.FlightInfo, flight_descriptor=FLIGHT_DESCRIPTOR, endpoint=FLIGHT_ENDPOINT
)
SESSION_OPTION_ERROR = Codec(
    SessionOptionError, pb.SetSessionOptionsResult.Error, value=EnumPart(SessionOptionErrorValue)
)

FLIGHT_MESSAGES: Mapping[str, Codec[Any]] = {
    codec.name: codec
    for codec in (
        FLIGHT_ENDPOINT,
        FLIGHT_INFO,
        Codec[Any](CancelFlightInfo, pb.CancelFlightInfoRequest, info=FLIGHT_INFO),
        Codec[Any](
            CancelFlightInfoResult, pb.CancelFlightInfoResult, status=EnumPart(CancelStatus)
        ),
        Codec[Any](RenewFlightEndpoint, pb.RenewFlightEndpointRequest, endpoint=FLIGHT_ENDPOINT),
        Codec[Any](
            SetSessionOptions, pb.SetSessionOptionsRequest, session_options=SessionOptionPart()
        ),
        Codec[Any](
            SetSessionOptionsResult, pb.SetSessionOptionsResult, errors=SESSION_OPTION_ERROR
        ),
        Codec[Any](GetSessionOptions, pb.GetSessionOptionsRequest),
        Codec[Any](
            GetSessionOptionsResult,
            pb.GetSessionOptionsResult,
            session_options=SessionOptionPart(),
        ),
        Codec[Any](CloseSession, pb.CloseSessionRequest),
        Codec[Any](CloseSessionResult, pb.CloseSessionResult, status=EnumPart(CloseSessionStatus)),
    )
}


def decode_flight_info(data: bytes) -> FlightInfo:
    """Read a serialized FlightInfo, as ``CancelQuery.info`` holds it; raises InvalidRequest."""
    return FLIGHT_INFO.decode(data)


def encode_flight_info(info: FlightInfo) -> bytes:
    """Write a FlightInfo; raises InvalidRequest when a text is not valid Unicode."""
    return FLIGHT_INFO.encode(info)


def encode_flight_endpoint(endpoint: FlightEndpoint) -> bytes:
    """Write a FlightEndpoint; raises InvalidRequest when a text is not valid Unicode."""
    return FLIGHT_ENDPOINT.encode(endpoint)
