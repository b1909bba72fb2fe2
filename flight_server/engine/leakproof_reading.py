"""Reads serialized expressions, and doubts whatever it does not know.

Field numbers are those of ``datafusion.proto``, messages ``LogicalExprNode`` and the ones within.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Protocol

import pyarrow as pa

from flight_server.engine.leakproof_types import SCALAR, Literal, is_single, literal
from flight_server.engine.protobuf import contents
from flight_server.sql.networks import PATTERNS

# The type of an expression, None where it is not known.
Kind = pa.DataType | None
ALIAS, LITERAL, FUNCTION, PLACEHOLDER = 2, 3, 20, 34


class Doubt(Exception):
    """Something might fail."""


class Look(Protocol):
    """What looks at the expressions within one."""

    def check(self, message: bytes) -> Kind:
        """Return the type of an expression that cannot fail; raise Doubt for any other."""
        ...

    def each(self, messages: list[bytes]) -> list[Kind]:
        """Check several."""
        ...


def doubt() -> Kind:
    """Raise Doubt."""
    raise Doubt


def only(message: bytes) -> tuple[int, int | bytes]:
    """Return the one field of a message."""
    found = list(contents(message))
    if len(found) != 1:
        raise Doubt
    return found[0]


def fields_of(message: bytes, known: set[int]) -> dict[int, list[Any]]:
    """Return the fields of a message by their numbers; raise Doubt for one that is not known."""
    fields: dict[int, list[Any]] = {}
    for number, content in contents(message):
        if number not in known:
            raise Doubt
        fields.setdefault(number, []).append(content)
    return fields


def common(kinds: list[Kind]) -> Kind:
    """Return the type that all of these are of, as far as it is known."""
    if len(set(kinds)) == 1:
        return kinds[0]
    return SCALAR if all(map(is_single, kinds)) else None


def literal_in(message: bytes) -> Literal | None:
    """Return the literal that an expression is, None for another one."""
    number, content = only(message)
    if number == ALIAS and isinstance(content, bytes):
        return literal_in(fields_of(content, {1, 2, 3})[1][0])
    return literal(content) if number == LITERAL and isinstance(content, bytes) else None


def is_literal(message: bytes) -> bool:
    """Whether an expression is a literal or a parameter, which becomes one."""
    return only(message)[0] == PLACEHOLDER or literal_in(message) is not None


def is_null(message: bytes) -> bool:
    """Whether an expression is NULL."""
    found = literal_in(message)
    return found is not None and found.is_null


def is_literal_later(message: bytes) -> bool:
    """Whether an expression is a parameter: the plan that runs has a value in its place."""
    return only(message)[0] == PLACEHOLDER


def is_own_pattern(message: bytes) -> bool:
    """Whether an expression is a regular expression of ours, which is none that is wrong."""
    found = literal_in(message)
    return found is not None and found.value in PATTERNS


def is_one_of(message: bytes, words: Container[str]) -> bool:
    """Whether an expression is one of these words, in small letters."""
    found = literal_in(message)
    return found is not None and isinstance(found.value, str) and found.value.lower() in words


def is_positive(message: bytes) -> bool:
    """Whether an expression is an integer above 0."""
    found = literal_in(message)
    return found is not None and isinstance(found.value, int) and found.value > 0


def calls(message: bytes, name: str) -> bool:
    """Whether an expression is a call of that function."""
    number, content = only(message)
    if number != FUNCTION or not isinstance(content, bytes):
        return False
    return bool(fields_of(content, {1, 2})[1][0].decode() == name)


def arguments_of(message: bytes) -> list[bytes]:
    """Return the arguments of an expression that is a call."""
    content = only(message)[1]
    return fields_of(content, {1, 2}).get(2, []) if isinstance(content, bytes) else []
