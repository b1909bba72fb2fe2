"""Which redaction fits which type of column; without the engine, so that rules are checked by it.

What is checked when a rule is put is asked again when it is used: the column may have changed.
"""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import Any

import pyarrow as pa

from flight_server.errors import InvalidRequest
from policies.rules import ColumnPath, Redaction, RedactionKind

NETWORK = "network"
DATE_UNITS = ("year", "quarter", "month", "week", "day")
TIME_UNITS = (*DATE_UNITS, "hour")
# A sum of two widths of a decimal must not exceed its 38 digits.
_WIDTH_MAX = Decimal(10) ** 37
_KEPT_CHARACTERS_MAX = 64
# Python's decimals are rounded to 28 digits where nothing else is said.
EXACT = Context(prec=200)


def check_redaction(kind: pa.DataType, path: ColumnPath, redaction: Redaction) -> None:
    """Raise InvalidRequest, naming the column, when a redaction does not fit what is at ``path``.

    ``kind`` is the type of the column, ``path`` its name and those of the fields within.
    """
    name = ".".join(path)
    for depth, field in enumerate(path[1:], 1):
        if not isinstance(kind, pa.StructType):
            within = ".".join(path[:depth])
            if pa.types.is_nested(kind):
                raise InvalidRequest(
                    f"the column {within} is a list or a map, within which nothing can be redacted;"
                    " make the whole column NULL"
                )
            raise InvalidRequest(f"the column {within} has no fields")
        number = kind.get_field_index(field)
        if number < 0:
            raise InvalidRequest(f"the column {name} does not exist")
        kind = kind.field(number).type
    _CHECKS[redaction.kind](kind, name, redaction)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are texts."""
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values of this type are byte strings of any length."""
    return (
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def bucket_width(kind: pa.DataType, name: str, to: str | None) -> Decimal:
    """Return the width of the buckets that numbers of this type are generalised to.

    Raises InvalidRequest, naming the column, for a text that is none, and one that does not fit.
    """
    try:
        width = Decimal(to or "")
    except InvalidOperation:
        width = Decimal(0)
    if not width.is_finite() or not 0 < width < _WIDTH_MAX:
        raise InvalidRequest(
            f"the column {name} is generalised to buckets whose width is a number above 0"
        )
    if _scaled(width, kind) is None:
        raise InvalidRequest(f"the column {name} cannot hold multiples of that width of a bucket")
    return width


def _scaled(width: Decimal, kind: Any) -> int | None:
    """Return a width in units of the last place of the type; None when it does not fit."""
    if pa.types.is_floating(kind):
        return 0
    if pa.types.is_integer(kind):
        scale, greatest = 0, 2 ** (kind.bit_width - (1 if pa.types.is_signed_integer(kind) else 0))
    else:
        scale, greatest = int(kind.scale), 10 ** int(kind.precision)
    with localcontext(EXACT):
        scaled = width.scaleb(scale)
        is_whole = scaled == scaled.to_integral_value()
        return int(scaled) if is_whole and scaled < greatest else None


def _check_null(*_: object) -> None:
    """Everything can be NULL."""


def _check_mask(kind: pa.DataType, name: str, redaction: Redaction) -> None:
    if not is_text(kind):
        raise InvalidRequest(f"the column {name} is no text, so it cannot be masked")
    for kept in (redaction.keep_prefix, redaction.keep_suffix):
        if not 0 <= kept <= _KEPT_CHARACTERS_MAX:
            raise InvalidRequest(
                f"the mask of the column {name} keeps 0 to {_KEPT_CHARACTERS_MAX} characters"
            )


def _check_hash(kind: pa.DataType, name: str, _: Redaction) -> None:
    if not (is_text(kind) or is_bytes(kind) or kind in (pa.int64(), pa.uint64())):
        raise InvalidRequest(
            f"the column {name} cannot be hashed: only texts, byte strings and integers of 64 bits"
            " have room for a hash"
        )


def _check_generalise(kind: pa.DataType, name: str, redaction: Redaction) -> None:
    to = redaction.to
    if is_text(kind):
        if to != NETWORK:
            raise InvalidRequest(f"the text {name} can be generalised to a network only")
    elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        units = DATE_UNITS if pa.types.is_date(kind) else TIME_UNITS
        if to not in units:
            raise InvalidRequest(f"the column {name} can be generalised to {', '.join(units)}")
    elif pa.types.is_integer(kind) or pa.types.is_decimal(kind) or _is_float(kind):
        bucket_width(kind, name, to)
    else:
        raise InvalidRequest(
            f"the column {name} cannot be generalised: it is neither a number, a date, a time nor a"
            " text"
        )


def _is_float(kind: pa.DataType) -> bool:
    return pa.types.is_float32(kind) or pa.types.is_float64(kind)


_CHECKS: dict[RedactionKind, Any] = {
    RedactionKind.NULL: _check_null,
    RedactionKind.MASK: _check_mask,
    RedactionKind.HASH: _check_hash,
    RedactionKind.GENERALISE: _check_generalise,
}
