"""Protobuf bytes to frozen values and back, for any message, driven by its own description."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from flight_server.errors import InvalidRequest, LimitExceeded, Unsupported

OFFICIAL_PACKAGE = "arrow.flight.protocol.sql."
_URL_PREFIX = f"type.googleapis.com/{OFFICIAL_PACKAGE}"
_SHOWN_NAME_CHARS_MAX = 100
# Far above any statement, handle or described schema that there may be.
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

V = TypeVar("V")


class Part(Protocol):
    """How one kind of field turns into a value and back. ``from_wire`` may raise InvalidRequest."""

    def from_wire(self, raw: Any, /) -> Any:
        """Turn what protobuf holds into a value."""
        ...

    def to_wire(self, value: Any, /) -> Any:
        """Turn a value into what protobuf takes."""
        ...


class EnumPart:
    """An enum field. A number that it does not know is refused, not passed on as an integer."""

    def __init__(self, enum: type[IntEnum]) -> None:
        self._enum = enum

    def from_wire(self, raw: int, /) -> IntEnum:
        """Turn a number into a member; raises InvalidRequest."""
        try:
            return self._enum(raw)
        except ValueError:
            raise InvalidRequest(f"{self._enum.__name__} has no value {raw}") from None

    def to_wire(self, value: IntEnum, /) -> int:
        """Turn a member into its number."""
        return int(value)


class TimestampPart:
    """A Timestamp as an aware datetime in UTC; what is finer than a microsecond is cut off."""

    def from_wire(self, raw: Timestamp, /) -> datetime:
        """Turn a message into a time; raises InvalidRequest when there is no such time."""
        if not 0 <= raw.nanos < 1_000_000_000:
            raise InvalidRequest("a timestamp has nanoseconds from 0 to 999999999")
        try:
            return _EPOCH + timedelta(seconds=raw.seconds, microseconds=raw.nanos // 1000)
        except OverflowError:
            raise InvalidRequest("a timestamp lies outside the years 1 to 9999") from None

    def to_wire(self, value: datetime, /) -> Timestamp:
        """Turn a time into a message."""
        since = value - _EPOCH
        return Timestamp(seconds=since // timedelta(seconds=1), nanos=since.microseconds * 1000)


class _Field(NamedTuple):
    name: str
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


class Codec(Generic[V]):
    """One message and the frozen dataclass that stands for it.

    The dataclass has the message's fields by name and in order. A repeated field is a tuple, a map
    a dict, a field that may be absent is None then; ``parts`` says how fields that are messages or
    enums are turned, element by element. Unknown fields are skipped, as protobuf does, so that
    newer clients can talk to us.
    """

    def __init__(self, value_class: type[V], message_class: type[Message], **parts: Part) -> None:
        fields = message_class.DESCRIPTOR.fields
        names = [field.name for field in dataclasses.fields(value_class)]  # type: ignore[arg-type]  # V is one
        if names != [field.name for field in fields]:
            raise TypeError(f"{value_class.__name__} does not have the fields of its message")
        self.value_class = value_class
        self.message_class = message_class
        self.name = message_class.DESCRIPTOR.name
        self._fields = tuple(_field(field, parts.get(field.name)) for field in fields)

    def from_wire(self, raw: Message, /) -> V:
        """Turn a message into a value; raises InvalidRequest."""
        return self.value_class(*[field.read(raw) for field in self._fields])

    def to_wire(self, value: V, /) -> Message:
        """Turn a value into a message; raises ValueError when a number or a text does not fit."""
        given = ((field, getattr(value, field.name)) for field in self._fields)
        return self.message_class(
            **{field.name: field.write(item) for field, item in given if item is not None}
        )

    def decode(self, data: bytes) -> V:
        """Turn bytes into a value; raises InvalidRequest."""
        return self.from_wire(parse(self.message_class, data))

    def encode(self, value: V) -> bytes:
        """Turn a value into bytes, always the same; raises InvalidRequest when it does not fit."""
        try:
            return self.to_wire(value).SerializeToString(deterministic=True)
        except ValueError:
            raise InvalidRequest(f"a value of {self.name} does not fit its field") from None


def parse(message_class: type[Message], data: bytes) -> Any:
    """Parse a message; its fields are only known at run time, hence Any.

    Raises InvalidRequest, and LimitExceeded before anything of a huge message is copied.
    """
    if len(data) > MESSAGE_BYTES_MAX:
        raise LimitExceeded(
            f"the message has {len(data)} bytes; message_bytes_max={MESSAGE_BYTES_MAX}"
        )
    try:
        return message_class.FromString(data)
    except (DecodeError, ValueError):
        name = message_class.DESCRIPTOR.name
        raise InvalidRequest(f"these bytes are not a protobuf message {name}") from None


def pack(name: str, body: bytes) -> bytes:
    """Wrap an encoded Flight SQL message into an Any under its official type URL."""
    return AnyMessage(type_url=_URL_PREFIX + name, value=body).SerializeToString()


def unpack(data: bytes) -> tuple[str, bytes]:
    """Open an Any: the name of the Flight SQL message in it, and its bytes.

    As everywhere in protobuf only what follows the last slash of the type URL counts. Raises
    InvalidRequest when this is no Any or an empty one, Unsupported when the message is not one of
    Flight SQL.
    """
    wrapped: AnyMessage = parse(AnyMessage, data)
    full_name = wrapped.type_url.rpartition("/")[2]
    if not full_name:
        raise InvalidRequest("a Flight SQL message comes in an Any with a type URL")
    if not full_name.startswith(OFFICIAL_PACKAGE):
        raise unknown(full_name)
    return full_name.removeprefix(OFFICIAL_PACKAGE), wrapped.value


def unknown(name: str) -> Unsupported:
    """Make the error for a command or action that we do not have; its name is shown shortened."""
    return Unsupported(f"not a command or action of this server: {name[:_SHOWN_NAME_CHARS_MAX]!r}")


def _field(field: Any, part: Part | None) -> _Field:
    """Choose how one field is read and written; the choice is made once, at import.

    ``field`` is a descriptor; its class depends on which implementation of protobuf is loaded.
    """
    if (part is None) != (field.message_type is None and field.enum_type is None) and not (
        _is_map(field)
    ):
        raise TypeError(f"{field.full_name}: a part goes with a message or an enum, and only there")
    turn = part.from_wire if part else _same
    back = part.to_wire if part else _same
    name = field.name
    if _is_map(field):
        return _Field(
            name,
            lambda message: {key: turn(item) for key, item in getattr(message, name).items()},
            lambda value: {key: back(item) for key, item in value.items()},
        )
    if field.is_repeated:
        return _Field(
            name,
            lambda message: tuple([turn(item) for item in getattr(message, name)]),
            lambda value: [back(item) for item in value],
        )
    if field.has_presence:
        return _Field(
            name,
            lambda message: turn(getattr(message, name)) if message.HasField(name) else None,
            back,
        )
    return _Field(name, lambda message: turn(getattr(message, name)), back)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _same(value: Any) -> Any:
    return value
