"""The rows that rules hide parts of: what is hidden in them can be recognised in any byte."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

# In the middle of every text that is hidden, and in no other.
MARK = "zSECRETz"
# Numbers that are hidden begin with these bytes, and these digits.
NUMBER = 0x5EC0DE5EC0DE0000
NUMBER_BYTES = (NUMBER >> 16).to_bytes(6, "little")
NUMBER_DIGITS = str(NUMBER)[:13]
# The rows of each of the two versions of a table.
FIRST_ROWS, ROWS = 40, 60


def _texts(*names: str) -> list[pa.Field[Any]]:
    return [pa.field(name, pa.string()) for name in names]


_DEEP = pa.struct([*_texts("note"), pa.field("level", pa.int64())])
_COLUMNS: dict[str, Any] = {
    "id": pa.int64(),
    "key": pa.string(),
    "owner": pa.string(),
    "grp": pa.string(),
    "word": pa.string(),
    "nought": pa.int64(),
    "code": pa.int64(),
    "email": pa.string(),
    "host": pa.string(),
    "day": pa.date32(),
    "seen": pa.timestamp("us", tz="UTC"),
    "price": pa.decimal128(10, 2),
    "score": pa.float64(),
    "flag": pa.bool_(),
    "place": pa.struct([*_texts("city", "zip"), pa.field("deep", _DEEP)]),
    "tags": pa.list_(pa.field("element", pa.string())),
}
SCHEMA = pa.schema(_COLUMNS)


@dataclass(frozen=True, slots=True)
class Hiding:
    """What is hidden of a table: a third of its rows, or some of its columns in all of them."""

    rows: bool = False
    columns: frozenset[str] = frozenset()

    def has(self, number: int, column: str) -> bool:
        """Whether the value of a column in a row is hidden."""
        return column in self.columns or (self.rows and is_hidden(number))


def is_hidden(number: int) -> bool:
    """Whether a row is one of those that are hidden where rows are."""
    return number % 3 == 1


def owner_of(number: int) -> str:
    """Whose a row is: what is not mine is hidden."""
    return "other" if is_hidden(number) else "me"


def key_of(number: int) -> str | None:
    """Return the key of a row, which few that can be seen lack."""
    return None if number % 16 == 5 and not is_hidden(number) else f"K-{number:04}"


def secret(number: int, *of: str) -> str:
    """Return a text of sixteen characters that is hidden, always the same."""
    drawn = random.Random(f"{number}/{'/'.join(of)}")
    letters = "".join(drawn.choices("bcdfghjkmnpqrstvwx", k=8))
    return f"{letters[:4]}{MARK}{letters[4:]}"


def table(numbers: Iterable[int], hiding: Hiding) -> pa.Table:
    """Return these rows as they are stored, with secrets wherever something is hidden."""
    return pa.Table.from_pylist([_row(number, hiding) for number in numbers], schema=SCHEMA)


def _row(number: int, hiding: Hiding) -> dict[str, Any]:
    def told(column: str, otherwise: str | None) -> str | None:
        if not hiding.has(number, column):
            return otherwise
        if column in hiding.columns and number % 8 < 4:
            return ("ab", "abcde", "äöüßñ\N{GRINNING FACE}x", None)[number % 4]
        return secret(number, column)

    hidden_code = hiding.has(number, "code")
    return {
        "id": number,
        "key": key_of(number),
        "owner": owner_of(number),
        "grp": "abc"[number % 7 % 3],
        "word": told("word", str(number % 5 + 1)),
        "nought": 0 if hiding.has(number, "nought") else number % 5 + 1,
        "code": NUMBER + number if hidden_code else number * 10 + 1,
        "email": told("email", f"seen{number}@example.org"),
        "host": f"{'198.51.100' if hiding.has(number, 'host') else '10.1.2'}.{number}",
        "day": date(2026, 1, 1) + timedelta(days=number * 3),
        "seen": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number * 5),
        "price": Decimal(number * 25) / 4,
        "score": number / 8,
        "flag": None if number % 7 == 2 else number % 2 == 0,
        "place": _place(number, hiding),
        "tags": None if number % 9 == 3 else [told("tags", f"t{number % 4}"), f"u{number % 3}"],
    }


def _place(number: int, hiding: Hiding) -> dict[str, Any]:
    def told(field: str, otherwise: str) -> str:
        is_told = not (hiding.has(number, "place") or hiding.has(number, f"place.{field}"))
        return otherwise if is_told else secret(number, field)

    level = NUMBER + number if hiding.has(number, "place.level") else number % 4
    return {
        "city": told("city", f"city{number % 5}"),
        "zip": told("zip", str(10 + number % 5)),
        "deep": {"note": told("note", str(number % 3)), "level": level},
    }
