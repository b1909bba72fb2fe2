"""The wire format of Protocol Buffers, as far as serialized plans are read and written."""

from __future__ import annotations

from collections.abc import Iterator

VARINT = 0
FIXED_64 = 1
BYTES = 2
FIXED_32 = 5
_FIXED_BYTES = {FIXED_64: 8, FIXED_32: 4}


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Return the fields of a message: number, and the raw bytes with their tag.

    Raises RuntimeError for a kind of field that is not known.
    """
    at = 0
    while at < len(message):
        start = at
        tag, at = read_varint(message, at)
        wire = tag & 7
        if wire == VARINT:
            _, at = read_varint(message, at)
        elif wire == BYTES:
            length, at = read_varint(message, at)
            at += length
        elif wire in _FIXED_BYTES:
            at += _FIXED_BYTES[wire]
        else:
            raise RuntimeError("a serialized plan has a field of an unknown kind")
        yield tag >> 3, message[start:at]


def contents(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Return the fields of a message: number, and what is in it.

    That is a number, or bytes for all kinds of another length. Raises as ``fields`` does.
    """
    for number, raw in fields(message):
        tag, at = read_varint(raw, 0)
        if tag & 7 == VARINT:
            yield number, read_varint(raw, at)[0]
        elif tag & 7 == BYTES:
            yield number, raw[read_varint(raw, at)[1] :]
        else:
            yield number, raw[at:]


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def varint(value: int) -> bytes:
    """Write a number from 0 on."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def delimited(number: int, content: bytes) -> bytes:
    """Write a field of bytes."""
    return varint(number << 3 | BYTES) + varint(len(content)) + content
