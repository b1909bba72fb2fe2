"""Placeholders for parameters: finds them, numbers those that have no number, and counts them.

``?`` and ``$n`` stand for a value where the engine's parser can read one, never in strings,
comments or quoted identifiers. No operator of the dialect holds a question mark.
"""

from __future__ import annotations

from collections.abc import Sequence

from flight_server.errors import InvalidRequest, LimitExceeded, Unsupported
from flight_server.sql.edits import Edit, apply
from flight_server.sql.lexer import Kind, Token, heard, position

PARAMETERS_MAX = 10_000
_NAMED = "parameters have no names here: write ? or $1, $2 and so on"

# The offset of each ``?`` of a statement, and the number that it stands for, in order.
Marks = list[tuple[int, int]]


def number_marks(sql: str, found: Sequence[Token]) -> Marks:
    """Return the place and number of each ``?`` among the tokens of a statement."""
    if "?" not in sql:
        return []
    starts = [token.start for token in found if token.text == "?" and token.kind is Kind.SYMBOL]
    return [(start, number) for number, start in enumerate(starts, 1)]


def number_placeholders(sql: str, found: Sequence[Token]) -> tuple[str, int]:
    """Return the statement with ``$1``, ``$2`` for each ``?``, and how many parameters it takes.

    Raises as ``parameter_count`` does.
    """
    count = parameter_count(sql, found)
    marks = number_marks(sql, found)
    return apply(sql, (Edit(at, at + 1, f"${number}") for at, number in marks)), count


def parameter_count(sql: str, found: Sequence[Token], *, has_gaps: bool = False) -> int:
    """Return how many parameters a statement takes: its ``?``, or its highest ``$n``.

    Raises InvalidRequest when it mixes both spellings, counts from zero or, unless it may have
    gaps, leaves out a number; Unsupported for named parameters; LimitExceeded (``parameters_max``).
    """
    marks = number_marks(sql, found)
    numbers = _numbers(sql, found)
    if marks and numbers:
        where = position(sql, max(marks[0][0], min(numbers.values())))
        raise InvalidRequest(f"write all parameters as ? or all as $1, $2 and so on {where}")
    count = len(marks) or max(numbers, default=0)
    if count > PARAMETERS_MAX:
        raise LimitExceeded(
            f"the statement has more parameters than are allowed; parameters_max={PARAMETERS_MAX}"
        )
    for number in range(1, count + 1) if numbers and not has_gaps else ():
        if number not in numbers:
            raise InvalidRequest(f"the parameter ${number} is missing: the highest is ${count}")
    return count


def count_parameters(sql: str) -> int:
    """Return how many parameters a statement of any kind takes; raises as numbering them does."""
    if "?" not in sql and "$" not in sql and ":" not in sql:
        return 0
    return parameter_count(sql, heard(sql))


def _numbers(sql: str, found: Sequence[Token]) -> dict[int, int]:
    """Return the numbers in use, each with the offset where it first stands."""
    numbers: dict[int, int] = {}
    if "$" not in sql and ":" not in sql:
        return numbers
    for at, token in enumerate(found[:-1]):
        if token.kind is not Kind.SYMBOL or token.text not in ("$", ":"):
            continue
        follows = found[at + 1]
        if follows.start != token.end:
            continue
        if token.text == "$" and follows.kind is Kind.NUMBER:
            digits = follows.text
            if not digits.isdecimal() or int(digits[:9]) == 0 or len(digits) > 9:
                where = position(sql, token.start)
                raise InvalidRequest(f"parameters are numbered from $1 on {where}")
            numbers.setdefault(int(digits), token.start)
        elif follows.kind is Kind.WORD and (token.text == "$" or _begins_value(found, at)):
            raise Unsupported(f"{_NAMED} {position(sql, token.start)}")
    return numbers


def _begins_value(found: Sequence[Token], at: int) -> bool:
    """Return whether a colon here starts a value: behind one it divides a field or a slice."""
    if at == 0:
        return True
    before = found[at - 1]
    if before.kind is Kind.WORD:
        return before.upper in _BEFORE_VALUES
    return before.kind is Kind.SYMBOL and before.text not in (")", "]", "}", "[")


_BEFORE_VALUES = frozenset(
    {"SELECT", "WHERE", "AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "BETWEEN", "CASE", "WHEN"}
    | {"THEN", "ELSE", "ON", "HAVING", "BY", "LIMIT", "OFFSET", "VALUES", "INTERVAL", "DISTINCT"}
)
