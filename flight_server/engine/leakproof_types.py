"""Types and literals of serialized expressions, and which casts cannot fail.

Field numbers are those of ``datafusion_common.proto``, messages ``ArrowType`` and ``ScalarValue``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa

from flight_server.engine.protobuf import contents

_ARROW_TYPES: dict[int, pa.DataType] = {
    2: pa.bool_(),
    3: pa.uint8(),
    4: pa.int8(),
    5: pa.uint16(),
    6: pa.int16(),
    7: pa.uint32(),
    8: pa.int32(),
    9: pa.uint64(),
    10: pa.int64(),
    12: pa.float32(),
    13: pa.float64(),
    14: pa.string(),
    15: pa.binary(),
    17: pa.date32(),
    31: pa.large_binary(),
    32: pa.large_string(),
    34: pa.binary_view(),
    35: pa.string_view(),
}
_TIMESTAMP, _DECIMAL = 20, 24
_UNITS = ("s", "ms", "us", "ns")
# The fields of ScalarValue for the types whose values rules ask for.
_TEXTS = {2: pa.string(), 3: pa.large_string(), 23: pa.string_view()}
_INTEGERS = {
    4: pa.int8(),
    5: pa.int16(),
    6: pa.int32(),
    7: pa.int64(),
    8: pa.uint8(),
    9: pa.uint16(),
    10: pa.uint32(),
    11: pa.uint64(),
}
_FLOATS = {12: pa.float32(), 13: pa.float64()}
# Other literals of types whose values have an order: bool, dates, times, decimals, bytes.
_SCALARS = frozenset({1, 14, 15, 20, 21, 22, 26, 28, 29, 30, 34, 39})
_NULL = 33
# Stands for the type of single values that is of no more interest.
SCALAR: pa.DataType = pa.null()
# The stubs know literals only.
_timestamp: Any = pa.timestamp
_SIGN_BIT = 1 << 63
_TEXT_KINDS = (pa.string(), pa.large_string(), pa.string_view())
_BYTES_KINDS = (pa.binary(), pa.large_binary(), pa.binary_view())
# Decimal digits that integers of so many bits may have.
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal: its type and value as far as they matter, else None; ``size`` in bytes."""

    type: pa.DataType | None
    value: int | str | None
    size: int
    is_null: bool = False


def literal(message: bytes) -> Literal:
    """Read a ``ScalarValue``."""
    found = list(contents(message))
    number, content = found[0] if len(found) == 1 else (0, b"")
    size = len(message)
    if number in _TEXTS and isinstance(content, bytes):
        return Literal(_TEXTS[number], content.decode(errors="replace"), size)
    if number in _INTEGERS and isinstance(content, int):
        value = content - 2 * _SIGN_BIT if content >= _SIGN_BIT and number < 8 else content
        return Literal(_INTEGERS[number], value, size)
    if number == _NULL and isinstance(content, bytes):
        return Literal(type_of(content) or SCALAR, None, size, is_null=True)
    other = SCALAR if number in _SCALARS else None
    return Literal(_FLOATS.get(number, other), None, size)


def type_of(message: bytes) -> pa.DataType | None:
    """Read an ``ArrowType``; None for one that no rule knows."""
    found = list(contents(message))
    if len(found) != 1:
        return None
    number, content = found[0]
    if number == _TIMESTAMP and isinstance(content, bytes):
        parts: dict[int, Any] = dict(contents(content))
        zone = parts[2].decode() if parts.get(2) else None
        return cast("pa.DataType", _timestamp(_UNITS[parts.get(1, 0)], zone))
    if number == _DECIMAL and isinstance(content, bytes):
        parts = dict(contents(content))
        return pa.decimal128(int(parts.get(3, 0)), int(parts.get(4, 0)))
    return _ARROW_TYPES.get(number)


def is_single(kind: pa.DataType | None) -> bool:
    """Whether values of this type can be compared, as not all lists, maps and structs can."""
    return kind is not None and not pa.types.is_nested(kind) and not pa.types.is_interval(kind)


def is_text(kind: pa.DataType | None) -> bool:
    """Whether these are texts."""
    return kind in _TEXT_KINDS


def is_wrapping(kind: pa.DataType | None) -> bool:
    """Whether sums and products of this type never fail: integers wrap, and floats are infinite."""
    return kind is not None and (pa.types.is_integer(kind) or is_float(kind))


def is_float(kind: pa.DataType | None) -> bool:
    """Whether these are floating-point numbers of a usual size."""
    return kind in (pa.float32(), pa.float64())


def cast_is_safe(source: Any, target: Any) -> bool:
    """Whether a cast cannot fail, whatever the value; a type that is not known is a doubt."""
    if source is None or target is None:
        return False
    if source == target:
        return True
    if source in _TEXT_KINDS:
        return target in _TEXT_KINDS or target in _BYTES_KINDS
    if source in _BYTES_KINDS:
        return target in _BYTES_KINDS
    if target in _TEXT_KINDS:
        # Dates and times have values that cannot be written.
        return is_wrapping(source) or pa.types.is_boolean(source) or pa.types.is_decimal(source)
    if pa.types.is_integer(source):
        return target in (pa.binary(), pa.large_binary()) or _integer_fits(source, target)
    if pa.types.is_decimal(source):
        return is_float(target) or (
            pa.types.is_decimal(target)
            and target.scale >= source.scale
            and target.precision - target.scale >= source.precision - source.scale
        )
    if pa.types.is_timestamp(source) and pa.types.is_timestamp(target):
        # The zone of times in UTC is a label; a finer unit may have no room for the value.
        same_kind = (source.tz is None) == (target.tz is None)
        return same_kind and _UNITS.index(target.unit) <= _UNITS.index(source.unit)
    return is_float(source) and is_float(target)


def _integer_fits(source: Any, target: Any) -> bool:
    if is_float(target):
        return True
    if pa.types.is_decimal(target):
        return bool(target.precision - target.scale >= _DIGITS[source.bit_width])
    if not pa.types.is_integer(target):
        return False
    is_signed = pa.types.is_signed_integer(source)
    if pa.types.is_signed_integer(target) == is_signed:
        return bool(target.bit_width >= source.bit_width)
    return not is_signed and bool(target.bit_width > source.bit_width)
