"""Keys of rows as values of JSON, as canonical text, and as values of a column.

What a value means is decided by the type of the key column, and nothing is guessed: a value is
refused unless the column can hold exactly it. A text stands for a number, a flag or a date only
when it is written as the canonical one; texts are keys as they are, every space and accent of them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from flight_server.engine.base import JSON
from flight_server.errors import InvalidRequest
from flight_server.service.json_rows import Number
from flight_server.sql.names import quoted
from flight_server.storage.delta_types import type_words
from flight_server.storage.key_states import KEY_TYPE

KEY_BYTES_MAX = 4096
_DECIMAL = re.compile(r"-?\d{1,76}(?:\.\d{1,76})?")
_MOMENT = re.compile(
    r"(?P<second>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(?P<fraction>\d{1,9}))?"
    r"(?P<zone>Z|[+-]\d{2}:\d{2})?"
)
_FRACTION_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a value is no key of a column; never says the value."""

    message: str


def check_key_column(column: pa.Field[Any]) -> None:
    """Raise InvalidRequest for a column whose values cannot name rows, as a nested one."""
    if _kind_of(column.type) is None:
        raise InvalidRequest(
            f"the column {quoted(column.name)} of type {type_words(column.type)} cannot be a key"
        )


def is_key_type(kind: pa.DataType) -> bool:
    """Whether values of a type can name rows."""
    return _kind_of(kind) is not None


def read_key(value: object, kind: Any) -> str | Refused:
    """Return the canonical text of a value of JSON, or why it is no key of a column of that type.

    Only for types that can be one.
    """
    return read_keys([value], kind)[0]


def read_keys(values: Iterable[object], kind: Any) -> list[str | Refused]:
    """Return ``read_key`` of each of many values."""
    reader = _kind_of(kind)
    assert reader is not None  # noqa: S101  the column was checked
    is_null = Refused("NULL is no key: rows without one are never hidden")
    is_long = Refused(f"it is too long; key_bytes_max={KEY_BYTES_MAX}")
    is_other = Refused(f"it is no exact value of type {type_words(kind)}; {_written(kind)}")
    found: list[str | Refused] = []
    for value in values:
        try:
            text = None if value is None else reader(value, kind)
        except (ValueError, ArithmeticError, binascii.Error, pa.ArrowException):
            text = None
        if text is None:
            found.append(is_null if value is None else is_other)
        else:
            found.append(is_long if len(text.encode()) > KEY_BYTES_MAX else text)
    return found


def typed(texts: pa.Array[Any], kind: Any) -> pa.Array[Any]:
    """Return the values of a column that canonical texts mean, each once.

    Both zeros of a floating-point type are one key, and so two values. Raises ValueError for a text
    that is not canonical for this type.
    """
    if pt.is_binary(kind):
        decoded = [base64.b64decode(str(text), validate=True) for text in texts.to_pylist()]
        return pa.array(decoded, kind)
    if not pt.is_floating(kind):
        found: pa.Array[Any] = texts.cast(kind)
        return found
    floats = texts.cast(kind)
    if pc.any(pc.equal(floats, pa.scalar(0.0, kind))).as_py():
        floats = pa.concat_arrays([floats, pa.array([-0.0], kind)])
    return floats


def typed_if_possible(texts: pa.Array[Any], kind: Any) -> pa.Array[Any]:
    """Return the values of a column that texts mean, each once.

    Those that are not canonical for this type mean none.
    """
    if _is_canonical(texts, kind):
        return typed(texts, kind)
    read = read_keys(texts.to_pylist(), kind)
    canonical = dict.fromkeys(text for text in read if isinstance(text, str))
    return typed(pa.array(list(canonical), KEY_TYPE), kind)


def _is_canonical(texts: pa.Array[Any], kind: Any) -> bool:
    """Whether that can be told of all texts at once."""
    if not pt.is_integer(kind):
        return pt.is_string(kind)
    try:
        return bool(texts.cast(kind).cast(KEY_TYPE).equals(texts))
    except ValueError:
        return False


def shown_keys(texts: Iterable[str], kind: Any) -> list[JSON]:
    """Return canonical texts as the values of JSON that ``read_key`` takes."""
    if pt.is_integer(kind):
        return [int(text) for text in texts]
    if pt.is_boolean(kind):
        return [text == "true" for text in texts]
    if pt.is_floating(kind):
        return [text if text.endswith("inf") else float(text) for text in texts]
    return list(texts)


def _integer(value: object, kind: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        pa.scalar(value, kind)
        return str(value)
    if isinstance(value, str) and str(int(value)) == value:
        return _integer(int(value), kind)
    return None


def _flag(value: object, _: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value in ("true", "false") and isinstance(value, str) else None


def _text(value: object, _: Any) -> str | None:
    return value if isinstance(value, str) else None


def _float(value: object, kind: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    written = value.text if isinstance(value, Number) else str(value)
    if written in ("inf", "-inf"):
        return written
    number = pa.scalar(float(written), pa.float64()).cast(kind)
    if number.as_py() == 0 and Decimal(written) == 0:
        return "0"
    canonical = str(number.cast(pa.string()).as_py())
    is_exact = Decimal(canonical) == Decimal(written)
    return canonical if is_exact and (not isinstance(value, str) or written == canonical) else None


def _decimal(value: object, kind: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    written = value.text if isinstance(value, Number) else str(value)
    if isinstance(value, str) and not _DECIMAL.fullmatch(written):
        return None
    number = Decimal(written)
    if number.adjusted() > kind.precision - kind.scale:
        return None
    exact = pa.scalar(_without_negative_zero(number), kind).as_py()
    return None if exact != number else format(exact, "f")


def _without_negative_zero(number: Decimal) -> Decimal:
    return Decimal(0) if number == 0 else number


def _bytes(value: object, _: Any) -> str | None:
    if not isinstance(value, str):
        return None
    decoded = base64.b64decode(value, validate=True)
    return value if base64.b64encode(decoded).decode() == value else None


def _day(value: object, _: Any) -> str | None:
    if not isinstance(value, str) or date.fromisoformat(value).isoformat() != value:
        return None
    return value


def _moment(value: object, kind: Any) -> str | None:
    """Read a moment: with a zone where the column has one, and only then; shown in UTC."""
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match["zone"] is None) != (kind.tz is None):
        return None
    moment = datetime.fromisoformat(match["second"])
    if (zone := match["zone"]) not in (None, "Z"):
        assert zone is not None  # noqa: S101  asked in the line above
        offset = datetime.fromisoformat(f"2000-01-01T00:00:00{zone}").utcoffset() or timedelta()
        moment -= offset
    digits = _FRACTION_DIGITS[kind.unit]
    fraction = (match["fraction"] or "").ljust(9, "0")
    if fraction[digits:].strip("0"):
        return None
    text = moment.replace(tzinfo=UTC).isoformat().removesuffix("+00:00")
    text += f".{fraction[:digits]}" if digits else ""
    text += "Z" if kind.tz is not None else ""
    pa.array([text], KEY_TYPE).cast(kind)  # some years are beyond what a unit can count
    return text


_Read = Callable[[object, Any], str | None]
# For each family of types how its values are read, and how they are written in JSON.
_READERS: tuple[tuple[Callable[[Any], bool], _Read, str], ...] = (
    (pt.is_integer, _integer, "write a whole number"),
    (pt.is_boolean, _flag, "write true or false"),
    (pt.is_string, _text, "write a text"),
    (pt.is_floating, _float, "write a number that it can hold exactly, to the last digit"),
    (pt.is_decimal, _decimal, "write a number with no more digits than it has"),
    (pt.is_binary, _bytes, "write base64"),
    (pt.is_date32, _day, "write a day like 2026-02-01"),
    (pt.is_timestamp, _moment, "write a time like 2026-02-01T12:00:00.5"),
)


def _kind_of(kind: Any) -> _Read | None:
    return next((read for fits, read, _ in _READERS if fits(kind)), None)


def _written(kind: Any) -> str:
    words = next(words for fits, _, words in _READERS if fits(kind))
    return f"{words} with its zone" if pt.is_timestamp(kind) and kind.tz is not None else words
