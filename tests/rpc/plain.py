"""A client without a library: any bytes to any method, and exactly what came back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]  # comes without types
import pyarrow.flight as fl

from tests.servers import ADMIN_PASSWORD, Server

_SERVICE = "/arrow.flight.protocol.FlightService/"
# Whether a method takes, and gives, a stream.
METHODS: dict[str, tuple[bool, bool]] = {
    "Handshake": (True, True),
    "ListFlights": (False, True),
    "GetFlightInfo": (False, False),
    "GetSchema": (False, False),
    "DoGet": (False, True),
    "DoPut": (True, True),
    "DoExchange": (True, True),
    "DoAction": (False, True),
    "ListActions": (False, True),
}
SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended: status, text, all trailers, and the answers that came before."""

    status: str
    message: str
    trailers: dict[str, bytes | str]
    answers: list[bytes] = field(default_factory=list)
    headers: dict[str, bytes | str] = field(default_factory=dict)

    @property
    def error(self) -> dict[str, Any]:
        """The JSON body of the error, empty when there is none."""
        for name in ("x-lakehouse-error", "grpc-status-details-bin"):
            if name in self.trailers:
                found: dict[str, Any] = json.loads(self.trailers[name])
                return found
        return {}

    @property
    def code(self) -> str | None:
        """The stable code of the error."""
        return self.error.get("code")

    def everything(self) -> str:
        """All text that crossed the wire as part of an error."""
        return " ".join([self.message, *map(_text, self.trailers.values())])


class Caller:
    """A channel, and what it says in its header ``authorization``."""

    def __init__(self, uri: str, authorization: str | None) -> None:
        # The table of ten thousand columns is described in one message of several megabytes.
        unlimited = [("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(uri.removeprefix("grpc://"), options=unlimited)
        self.authorization = authorization

    @classmethod
    def connect(cls, server: Server, username: str = "admin") -> Caller:
        """Sign in."""
        client = fl.FlightClient(server.uri)
        _, token = client.authenticate_basic_token(username, ADMIN_PASSWORD)
        client.close()
        return cls(server.uri, token.decode())

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def call(self, method: str, body: bytes | Sequence[bytes] = b"", **headers: str) -> Ending:
        """Send one message, or to a method that takes a stream several, and read to the end."""
        takes_stream, gives_stream = METHODS[method]
        metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
        if self.authorization is not None:
            metadata.append(("authorization", self.authorization))
        kind = f"{'stream' if takes_stream else 'unary'}_{'stream' if gives_stream else 'unary'}"
        invoke = getattr(self._channel, kind)(_SERVICE + method)
        answers: list[bytes] = []
        try:
            if gives_stream:
                sent = iter([body] if isinstance(body, bytes) else body) if takes_stream else body
                started = invoke(sent, metadata=metadata, timeout=SECONDS_MAX)
                answers.extend(started)
            else:
                answer, started = invoke.with_call(body, metadata=metadata, timeout=SECONDS_MAX)
                answers.append(answer)
        except grpc.RpcError as error:
            return Ending(error.code().name, error.details() or "", _named(error), answers)
        return Ending("OK", "", _named(started), answers, dict(started.initial_metadata()))


def descriptor(command: bytes) -> bytes:
    """Encode a FlightDescriptor that holds a command."""
    return b"\x08\x02" + _bytes_field(2, command)


def ticket(data: bytes) -> bytes:
    """Encode a Ticket."""
    return _bytes_field(1, data)


def action(name: str, body: bytes) -> bytes:
    """Encode an Action."""
    return _bytes_field(1, name.encode()) + _bytes_field(2, body)


def put(command: bytes, data_header: bytes = b"", data_body: bytes = b"") -> bytes:
    """Encode the first FlightData of a DoPut."""
    return flight_data(descriptor(command), data_header, data_body)


def path_descriptor(*parts: bytes) -> bytes:
    """Encode a FlightDescriptor that holds a path."""
    return b"\x08\x01" + b"".join(_bytes_field(3, part) for part in parts)


def flight_data(described: bytes, data_header: bytes = b"", data_body: bytes = b"") -> bytes:
    """Encode a FlightData; only the first of a stream has an encoded descriptor."""
    message = _bytes_field(1, described) if described else b""
    if data_header:
        message += _bytes_field(2, data_header)
    if data_body:
        message += b"\xc2\x3e" + _varint(len(data_body)) + data_body  # field 1000
    return message


def _bytes_field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _named(call: Any) -> dict[str, bytes | str]:
    return dict(call.trailing_metadata() or ())


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
