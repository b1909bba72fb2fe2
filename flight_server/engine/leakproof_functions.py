"""Which functions cannot fail, and with which arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import pyarrow as pa

from flight_server.engine.leakproof_reading import (
    Doubt,
    Kind,
    Look,
    arguments_of,
    calls,
    common,
    doubt,
    is_one_of,
    is_own_pattern,
    literal_in,
)
from flight_server.engine.leakproof_types import SCALAR, is_float, is_single, is_wrapping
from flight_server.sql.networks import REPLACEMENTS

# A text cannot become too long by parts as short as these.
SHORT_BYTES_MAX = 1024
SHORT_CHARACTERS_MAX = 64
# Other words would be noticed where there is a row to be asked, and only there.
DIGESTS = frozenset({"blake2b", "blake2s", "blake3", "md5", "sha224", "sha256", "sha384", "sha512"})
DATE_PARTS = frozenset(
    {"year", "quarter", "month", "week", "day", "dow", "doy", "hour", "minute", "second"}
)
FunctionRule = Callable[[Look, list[bytes]], Kind]


def _any(look: Look, arguments: list[bytes]) -> Kind:
    """Look at a function that gives a single value for every value."""
    look.each(arguments)
    return SCALAR


def _struct(look: Look, arguments: list[bytes]) -> Kind:
    """Look at a struct, whose fields are each a name and a value."""
    kinds = look.each(arguments[1::2])
    names = [found.value if (found := literal_in(each)) else None for each in arguments[::2]]
    if not all(isinstance(name, str) for name in names):
        raise Doubt
    known = [(str(name), kind) for name, kind in zip(names, kinds, strict=True) if kind is not None]
    return pa.struct([pa.field(name, kind) for name, kind in known])


def _first(look: Look, arguments: list[bytes]) -> Kind:
    """Look at one that gives one of its arguments."""
    return common(look.each(arguments))


def _least(look: Look, arguments: list[bytes]) -> Kind:
    """Look at one that gives one of its arguments and compares them for that."""
    kinds = look.each(arguments)
    return common(kinds) if all(map(is_single, kinds)) else doubt()


def _one(look: Look, arguments: list[bytes]) -> Kind:
    return look.check(arguments[0]) if len(arguments) == 1 else doubt()


def _rounding(look: Look, arguments: list[bytes]) -> Kind:
    kind = _one(look, arguments)
    return kind if is_float(kind) else doubt()


def _cutting(look: Look, arguments: list[bytes]) -> Kind:
    """Look at a part of a text, whose place and length are the same for all."""
    counts = [found.value if (found := literal_in(each)) else None for each in arguments[1:]]
    if not all(isinstance(count, int) and 0 <= count < 2**31 for count in counts):
        raise Doubt
    return look.check(arguments[0])


def _concat(look: Look, arguments: list[bytes]) -> Kind:
    """Look at texts put together: all but one are short, so that none becomes too long."""
    long = [each for each in arguments if not _is_short(each)]
    if len(long) > 1 or any(calls(each, "concat") for each in arguments):
        raise Doubt
    return common(look.each(arguments))


def _is_short(message: bytes) -> bool:
    if (found := literal_in(message)) is not None:
        return found.size <= SHORT_BYTES_MAX
    if not (calls(message, "left") or calls(message, "right")):
        return False
    count = literal_in(arguments_of(message)[1])
    return (
        count is not None and isinstance(count.value, int) and count.value <= SHORT_CHARACTERS_MAX
    )


def _encode(look: Look, arguments: list[bytes]) -> Kind:
    """Look at the spelling of a digest; that of a text could be spelled again and again."""
    if not (calls(arguments[0], "digest") and is_one_of(arguments[1], {"hex", "base64"})):
        raise Doubt
    look.each(arguments)
    return pa.string()


def _digest(look: Look, arguments: list[bytes]) -> Kind:
    return _any(look, arguments) if is_one_of(arguments[1], DIGESTS) else doubt()


def _date_part(look: Look, arguments: list[bytes]) -> Kind:
    """Look at a part of a time: of one beyond the calendar it is NULL."""
    kind = look.check(arguments[1])
    known = kind is not None and (pa.types.is_timestamp(kind) or pa.types.is_date32(kind))
    return SCALAR if known and is_one_of(arguments[0], DATE_PARTS) else doubt()


def _get_field(look: Look, arguments: list[bytes]) -> Kind:
    kind: Any = look.check(arguments[0])
    for each in arguments[1:]:
        name = literal_in(each)
        if name is None or not isinstance(name.value, str):
            raise Doubt
        is_struct = kind is not None and pa.types.is_struct(kind)
        number = kind.get_field_index(name.value) if is_struct else -1
        kind = kind.field(number).type if number >= 0 else None
    return cast("Kind", kind)


def _regexp(look: Look, arguments: list[bytes]) -> Kind:
    look.check(arguments[0])
    return pa.bool_() if all(map(is_own_pattern, arguments[1:])) else doubt()


def _regexp_replace(look: Look, arguments: list[bytes]) -> Kind:
    """Look at our own replacements: those of others could make a text too long."""
    said = tuple(found.value if (found := literal_in(each)) else None for each in arguments[1:])
    return look.check(arguments[0]) if said in REPLACEMENTS else doubt()


FUNCTIONS: Mapping[str, FunctionRule] = {
    "btrim": _one,
    "ceil": _rounding,
    "character_length": _any,
    "coalesce": _first,
    "concat": _concat,
    "contains": _any,
    "date_part": _date_part,
    "digest": _digest,
    "encode": _encode,
    "ends_with": _any,
    "floor": _rounding,
    "get_field": _get_field,
    "greatest": _least,
    "isnan": _any,
    "least": _least,
    "keyed": _any,  # as pseudonym
    "left": _cutting,
    "lower": _one,
    "ltrim": _one,
    "named_struct": _struct,
    "nullif": _least,
    "octet_length": _any,
    # Functions of our own, see ``engine.redaction``: nobody else can name one.
    "pseudonym": _any,
    "regexp_like": _regexp,
    "regexp_replace": _regexp_replace,
    "right": _cutting,
    "round": _rounding,
    "rounded_down": _any,
    "rtrim": _one,
    "starts_with": _any,
    "strpos": _any,
    "substr": _cutting,
    "upper": _one,
}


def _every(_: Kind) -> bool:
    return True


AGGREGATES: Mapping[str, Callable[[Kind], bool]] = {
    "approx_distinct": _every,
    "avg": is_float,
    "bool_and": _every,
    "bool_or": _every,
    "count": _every,
    "max": _every,
    "min": _every,
    "stddev": is_float,
    "stddev_pop": is_float,
    "sum": is_wrapping,
    "var": is_float,
    "var_pop": is_float,
}
WINDOWS = frozenset(
    {
        *("row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile"),
        *("lag", "lead", "first_value", "last_value", "nth_value"),
    }
)
