"""The text of values: one column at a time, exact, and harmless to a terminal."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute

# pyarrow's stubs know few pairs of array kinds and functions; arrays of any kind are Any here.
pc: Any = pyarrow.compute
Array = Any

# Joiners belong to words and emoji; other format characters can hide or reorder text.
_JOINERS: Final = "\u200c\u200d"
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_FRACTION: Final = re.compile(r"\.(\d*?)0*(?=(?:Z|[+-]\d{4})?$)")
_SIMPLE_FLOAT: Final = re.compile(r"-?\d+")


def texts(column: Array) -> list[str | None]:
    r"""Return the text of each value of an array, None for NULL.

    Numbers are exact, times in ISO 8601 with a blank between date and time, bytes hexadecimal
    after ``\x``, lists and structs JSON.
    """
    kind = column.type
    for test, write in _WRITERS:
        if test(kind):
            return write(column)
    return [str(value) if value.is_valid else None for value in column]


def is_number(kind: pa.DataType) -> bool:
    """Tell whether values of the type are numbers, which stand at the right of a column."""
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def plain(value: Any) -> Any:
    """Return a scalar as what JSON can hold; what JSON has no type for becomes its text."""
    if not value.is_valid:
        return None
    kind = value.type
    if pa.types.is_struct(kind):
        return {kind.field(i).name: plain(value[i]) for i in range(kind.num_fields)}
    if pa.types.is_map(kind):
        return {str(plain(one[0])): plain(one[1]) for one in _items(value)}
    if _is_list(kind):
        return [plain(one) for one in _items(value)]
    if pa.types.is_dictionary(kind):
        return plain(value.value)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return value.as_py()
    if pa.types.is_floating(kind):
        number = float(texts(pa.array([value]))[0] or 0)
        # JSON has no word for what is not finite.
        return number if number - number == 0 else str(number)
    try:
        return texts(pa.array([value], kind))[0]
    except pa.ArrowException:  # a kind that no array can be made of, such as a union
        return str(value.as_py())


def visible(text: str) -> str:
    """Return text that moves no cursor and hides nothing: control characters are spelled out."""
    if text.isprintable() and text.isascii():
        return text
    return "".join(_spelled(character) for character in text)


def _spelled(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if character in _JOINERS or unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def _items(value: Any) -> list[Any]:
    return list(value.values) if value.values is not None else []


def _as_is(column: Array) -> list[str | None]:
    return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]  # arrays are Any


def _floats(column: Array) -> list[str | None]:
    """Return the shortest digits that give the same number back, with a point."""
    return [
        None if text is None else f"{text}.0" if _SIMPLE_FLOAT.fullmatch(text) else text
        for text in _as_is(column)
    ]


def _decimals(column: Array) -> list[str | None]:
    return [None if value is None else f"{value:f}" for value in column.to_pylist()]


def _times(column: Array) -> list[str | None]:
    def shorter(fraction: re.Match[str]) -> str:
        return f".{fraction[1]}" if fraction[1] else ""

    return [None if text is None else _FRACTION.sub(shorter, text) for text in _as_is(column)]


def _durations(column: Array) -> list[str | None]:
    counts = column.cast(pa.int64()).to_pylist()
    return [None if count is None else f"{count} {column.type.unit}" for count in counts]


def _bytes(column: Array) -> list[str | None]:
    return [None if value is None else "\\x" + value.hex() for value in column.to_pylist()]


def _nested(column: Array) -> list[str | None]:
    return [
        json.dumps(plain(value), ensure_ascii=False) if value.is_valid else None for value in column
    ]


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


_Test = Callable[[Any], bool]
_WRITERS: Final[tuple[tuple[_Test, Callable[[Array], list[str | None]]], ...]] = (
    (lambda kind: isinstance(kind, pa.BaseExtensionType), lambda column: texts(column.storage)),
    (pa.types.is_dictionary, lambda column: texts(column.dictionary_decode())),
    (pa.types.is_run_end_encoded, lambda column: texts(pc.run_end_decode(column))),
    (pa.types.is_null, lambda column: [None] * len(column)),
    (pa.types.is_floating, _floats),
    (pa.types.is_decimal, _decimals),
    (pa.types.is_duration, _durations),
    (lambda kind: pa.types.is_timestamp(kind) or pa.types.is_time(kind), _times),
    (_is_bytes, _bytes),
    (lambda kind: pa.types.is_struct(kind) or pa.types.is_map(kind) or _is_list(kind), _nested),
    (pa.types.is_interval, lambda c: [str(v.as_py()) if v.is_valid else None for v in c]),
    (pa.types.is_union, lambda c: [str(v.as_py()) if v.is_valid else None for v in c]),
    (lambda _kind: True, _as_is),
)
