"""Changes arrays of plain values from one type to another, and refuses what would not survive.

A conversion is a function from array to array, or None where there is nothing to do. For a value
that the target cannot hold it raises Misfit or an error of Arrow, whose text may quote the value
and is for nobody to see.

Two sets of conversions. The lossless one is for data that come in bulk: numbers to numbers if
every value is exact, dates to times and back, within UTC, if nothing is cut off. The other one is
for assignments in SQL: it rounds half away from zero, cuts times to microseconds, and reads and
writes text.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

Convert = Callable[[Any], Any]
_Maker = Callable[[Any, Any, bool], Convert | None]

_DIGITS_MAX, _WIDE_DIGITS = 38, 76
# More than a decimal of 256 bits holds, so that what is read is never cut before it is judged.
_TEXT_DIGITS_MAX = 100
_AWAY_FROM_ZERO: Any = "half_towards_infinity"
# The first whole number above all that int64 holds; as a float it is exact.
_PAST_INT64 = pa.scalar(float(2**63))
# After the colon of a time of day, so that the day of a date does not look like a zone.
_ZONE = r":.*([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)$"
_TRUE, _FALSE = ("true", "t", "yes", "y", "on", "1"), ("false", "f", "no", "n", "off", "0")


class Misfit(Exception):
    """A value does not fit the type of its column."""


class NoConversion(Exception):
    """Values of the one type are never turned into the other."""


def scalar_conversion(source: pa.DataType, target: pa.DataType, *, rounds: bool) -> Convert | None:
    """Return how values of one plain, not nested type become another's. Raises NoConversion.

    ``rounds`` chooses the conversions of SQL.
    """
    if source == target:
        return None
    families = _family(source), _family(target)
    maker = _LOSSLESS.get(families)
    if maker is None and rounds:
        maker = _ASSIGNMENTS.get(families)
    if maker is None:
        raise NoConversion
    return maker(source, target, rounds)


def _family(kind: pa.DataType) -> str:
    return next((name for name, is_kind in _FAMILIES.items() if is_kind(kind)), "")


_FAMILIES: dict[str, Callable[[Any], bool]] = {
    "int": pt.is_integer,
    "float": pt.is_floating,
    "decimal": pt.is_decimal,
    "text": pt.is_string,
    "binary": pt.is_binary,
    "bool": pt.is_boolean,
    "date": pt.is_date,
    "timestamp": pt.is_timestamp,
}


def _cast(_source: Any, target: Any, _rounds: bool) -> Convert:  # noqa: FBT001 - one shape for all
    return lambda values: values.cast(target)


def _int_to_float(_source: Any, target: Any, rounds: bool) -> Convert:  # noqa: FBT001
    return lambda values: values.cast(target, safe=not rounds)


def _int_to_decimal(_source: Any, target: Any, _rounds: bool) -> Convert:  # noqa: FBT001
    # Arrow multiplies within the type without looking for an overflow; 76 digits are enough.
    wide = pa.decimal256(_WIDE_DIGITS, target.scale)
    return lambda values: values.cast(wide).cast(target)


def _float_to_int(_source: Any, target: Any, rounds: bool) -> Convert:  # noqa: FBT001
    def convert(values: Any) -> Any:
        numbers = values.cast(pa.float64())
        if rounds:
            numbers = pc.round(numbers, 0, round_mode=_AWAY_FROM_ZERO)
        _refuse(pc.greater_equal(numbers, _PAST_INT64))
        return numbers.cast(pa.int64()).cast(target)

    return convert


def _float_to_float(source: Any, target: Any, rounds: bool) -> Convert:  # noqa: FBT001
    def convert(values: Any) -> Any:
        narrow = values.cast(target)
        if rounds:
            _refuse(pc.and_(pc.is_finite(values), pc.invert(pc.is_finite(narrow))))
        else:
            same = pc.equal(narrow.cast(source), values)
            _refuse(pc.and_(pc.invert(same), pc.invert(pc.is_nan(values))))
        return narrow

    return _cast(source, target, rounds) if target.bit_width > source.bit_width else convert


def _decimal_to_decimal(source: Any, target: Any, rounds: bool) -> Convert:  # noqa: FBT001
    if source.scale == target.scale:
        return _cast(source, target, rounds)
    narrow = _narrowed(source)
    if source.scale > target.scale:
        fewer = _with_fewer_places(target.scale, rounds=rounds)
        return lambda values: fewer(values.cast(narrow)).cast(target)
    wide = pa.decimal256(_WIDE_DIGITS, target.scale)
    return lambda values: values.cast(narrow).cast(wide).cast(target)


def _decimal_to_int(source: Any, target: Any, rounds: bool) -> Convert:  # noqa: FBT001
    whole = pa.decimal128(_DIGITS_MAX, 0)
    to_whole = _decimal_to_decimal(source, whole, rounds)
    return lambda values: to_whole(values).cast(target)


def _narrowed(source: Any) -> pa.DataType:
    """Return the type of 128 bits for decimals of any size, whose values need no more digits."""
    whole_digits = source.precision - source.scale
    if source.scale > _DIGITS_MAX or (source.scale < 0 and whole_digits > _DIGITS_MAX):
        raise NoConversion
    return pa.decimal128(min(source.precision, _DIGITS_MAX), source.scale)


def _with_fewer_places(scale: int, *, rounds: bool) -> Convert:
    """Return how decimals of 128 bits lose places, which are 0 unless it ``rounds``.

    Never with those of 256 bits: Arrow 26 divides them wrongly, which a test shows.
    """

    def convert(values: Any) -> Any:
        roomy = values.cast(pa.decimal128(_DIGITS_MAX, values.type.scale))
        if rounds:
            roomy = pc.round(roomy, scale, round_mode=_AWAY_FROM_ZERO)
        return roomy.cast(pa.decimal128(_DIGITS_MAX, scale))

    return convert


def _decimal_to_float(_source: Any, target: Any, _rounds: bool) -> Convert:  # noqa: FBT001
    return lambda values: values.cast(target)


def _float_to_decimal(source: Any, target: Any, rounds: bool) -> Convert:  # noqa: FBT001
    # By way of the shortest text, so that 1.005 rounds as it reads and not as its binary form.
    from_text = _text_to_decimal(pa.string(), target, rounds)

    def convert(values: Any) -> Any:
        # What rounds to nothing might have more decimal places than any decimal.
        tiny = pc.less(pc.abs(values), 10.0 ** -(target.scale + 1))
        nothing = pa.scalar(0.0, source)
        return from_text(pc.if_else(tiny, nothing, values).cast(pa.string()))

    return convert


def _text_to_decimal(_source: Any, target: Any, _rounds: bool) -> Convert:  # noqa: FBT001
    digits = target.precision - target.scale
    # As many places as there is room for, with one more digit than fits before them: Arrow does
    # not notice when a value overflows its type.
    places = _DIGITS_MAX - digits - 1
    fewer = _with_fewer_places(target.scale, rounds=True)
    limit = 10.0**digits

    def convert(values: Any) -> Any:
        texts = _number_text(values)
        _refuse(pc.invert(pc.less_equal(pc.abs(texts.cast(pa.float64())), limit)))
        if places > target.scale:
            with suppress(pa.ArrowInvalid):  # more places than that
                return fewer(texts.cast(pa.decimal128(_DIGITS_MAX, places))).cast(target)
        return _slowly_to_decimal(texts, target)

    return convert


def _slowly_to_decimal(texts: Any, target: Any) -> Any:
    """Read any number of digits, one value after the other."""
    unit = Decimal(1).scaleb(-target.scale)
    context = Context(prec=_TEXT_DIGITS_MAX, rounding=ROUND_HALF_UP)
    try:
        numbers = [
            None if text is None else Decimal(text).quantize(unit, context=context)
            for text in texts.to_pylist()
        ]
    except InvalidOperation:
        raise Misfit from None
    return pa.array(numbers, pa.decimal256(_WIDE_DIGITS, target.scale)).cast(target)


def _text_to_number(_source: Any, target: Any, _rounds: bool) -> Convert:  # noqa: FBT001
    return lambda values: _number_text(values).cast(target)


def _number_text(values: Any) -> Any:
    return pc.replace_substring_regex(pc.utf8_trim_whitespace(values), r"^\+", "")


def _text_to_bool(_source: Any, _target: Any, _rounds: bool) -> Convert:  # noqa: FBT001
    def convert(values: Any) -> Any:
        words = pc.utf8_lower(pc.utf8_trim_whitespace(values))
        true = pc.is_in(words, pa.array(_TRUE))
        known = pc.or_(true, pc.is_in(words, pa.array(_FALSE)))
        _refuse(pc.and_(pc.invert(known), pc.is_valid(words)))
        return pc.if_else(pc.is_valid(words), true, pa.scalar(None, pa.bool_()))

    return convert


def _text_to_date(_source: Any, target: Any, _rounds: bool) -> Convert:  # noqa: FBT001
    return lambda values: pc.utf8_trim_whitespace(values).cast(target)


def _text_to_timestamp(_source: Any, target: Any, _rounds: bool) -> Convert:  # noqa: FBT001
    """Read ISO times; without a zone they are in UTC, and finer parts than Arrow knows are cut."""
    local, zoned = pa.timestamp("us"), pa.timestamp("us", "UTC")
    missing = pa.scalar(None, pa.string())

    def convert(values: Any) -> Any:
        texts = pc.utf8_trim_whitespace(values)
        texts = pc.replace_substring_regex(texts, r"(\.[0-9]{6})[0-9]+", r"\1")
        has_zone = pc.match_substring_regex(texts, _ZONE)
        here = pc.if_else(has_zone, missing, texts).cast(local)
        there = pc.if_else(has_zone, texts, missing).cast(zoned).view(local)
        return pc.coalesce(here, there).view(target)

    return convert


def _timestamp_to_text(source: Any, target: Any, _rounds: bool) -> Convert:  # noqa: FBT001
    local = pa.timestamp(source.unit)

    def convert(values: Any) -> Any:
        texts = values.view(local).cast(target)
        return pc.binary_join_element_wise(texts, "Z", "") if source.tz else texts

    return convert


def _timestamp_to_timestamp(source: Any, target: Any, rounds: bool) -> Convert:  # noqa: FBT001
    local, wanted = pa.timestamp(source.unit), pa.timestamp(target.unit)

    def convert(values: Any) -> Any:
        # Without the zone, which only says how to show a time: no table of zones is needed.
        times = values.view(local)
        if local != wanted:
            if rounds and source.unit == "ns":
                times = pc.floor_temporal(times, unit="microsecond")
            times = times.cast(wanted)
        return times.view(target)

    return convert


def _timestamp_to_date(source: Any, target: Any, rounds: bool) -> Convert:  # noqa: FBT001
    local = pa.timestamp(source.unit)

    def convert(values: Any) -> Any:
        times = values.view(local)
        days = times.cast(pa.date32(), safe=False)
        if not rounds:
            _refuse(pc.not_equal(days.cast(local), times))
        return days.cast(target)

    return convert


def _date_to_timestamp(_source: Any, target: Any, _rounds: bool) -> Convert:  # noqa: FBT001
    local = pa.timestamp(target.unit)
    return lambda values: values.cast(pa.date32()).cast(local).view(target)


def uuid_text(values: Any) -> Any:
    """Return 16-byte values as the usual text of a UUID, NULL as NULL."""
    rows = len(values)
    digits = pc.fill_null(values, bytes(16)).cast(pa.binary())
    # One conversion for the whole buffer: each value is 32 of its digits.
    content = b"".join(digits.to_pylist()).hex().encode()
    offsets: Any = pa.array(range(0, 32 * rows + 1, 32), pa.int32()).buffers()[1]
    texts: Any = pa.StringArray.from_buffers(rows, offsets, pa.py_buffer(content))
    grouped = pc.replace_substring_regex(
        texts, "^(.{8})(.{4})(.{4})(.{4})(.{12})$", r"\1-\2-\3-\4-\5"
    )
    return pc.if_else(pc.is_valid(values), grouped, pa.scalar(None, pa.string()))


def _refuse(wrong: Any) -> None:
    """Raise Misfit when any of these is true."""
    if pc.any(wrong).as_py():
        raise Misfit


_LOSSLESS: dict[tuple[str, str], _Maker] = {
    ("int", "int"): _cast,
    ("int", "float"): _int_to_float,
    ("int", "decimal"): _int_to_decimal,
    ("float", "float"): _float_to_float,
    ("float", "int"): _float_to_int,
    ("decimal", "decimal"): _decimal_to_decimal,
    ("decimal", "int"): _decimal_to_int,
    ("date", "date"): _cast,
    ("date", "timestamp"): _date_to_timestamp,
    ("timestamp", "timestamp"): _timestamp_to_timestamp,
    ("timestamp", "date"): _timestamp_to_date,
}
_ASSIGNMENTS: dict[tuple[str, str], _Maker] = {
    ("decimal", "float"): _decimal_to_float,
    ("float", "decimal"): _float_to_decimal,
    ("text", "int"): _text_to_number,
    ("text", "float"): _text_to_number,
    ("text", "decimal"): _text_to_decimal,
    ("text", "bool"): _text_to_bool,
    ("text", "date"): _text_to_date,
    ("text", "timestamp"): _text_to_timestamp,
    ("text", "binary"): _cast,
    ("binary", "text"): _cast,
    ("int", "text"): _cast,
    ("float", "text"): _cast,
    ("decimal", "text"): _cast,
    ("bool", "text"): _cast,
    ("date", "text"): _cast,
    ("timestamp", "text"): _timestamp_to_text,
}
