"""Which expressions cannot fail, whatever values they meet.

Expressions are read in their serialized form, because the library's objects do not show all of
them: a filter of an aggregate is in none. Tests pin the numbers of its fields. What is not listed
is a doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from flight_server.engine.leakproof_functions import AGGREGATES, FUNCTIONS, WINDOWS
from flight_server.engine.leakproof_reading import (
    ALIAS,
    FUNCTION,
    LITERAL,
    PLACEHOLDER,
    Doubt,
    Kind,
    common,
    doubt,
    fields_of,
    is_literal,
    is_literal_later,
    is_null,
    is_own_pattern,
    is_positive,
    literal_in,
    only,
)
from flight_server.engine.leakproof_types import (
    SCALAR,
    cast_is_safe,
    is_float,
    is_single,
    is_wrapping,
    literal,
    type_of,
)

COMPARISONS = frozenset(
    {"Eq", "NotEq", "Lt", "LtEq", "Gt", "GtEq", "IsDistinctFrom", "IsNotDistinctFrom"}
)
LOGICAL = frozenset({"And", "Or"})
WRAPPING = frozenset({"Plus", "Minus", "Multiply"})
DIVIDING = frozenset({"Divide", "Modulo"})
BITWISE = frozenset({"BitwiseAnd", "BitwiseOr"})
MATCHING = frozenset({"RegexMatch"})
_DEPTH_MAX = 200
PATTERN_BYTES_MAX = 1024


class Expressions:
    """Looks at expressions over the columns of an input, whose types ``column`` tells."""

    def __init__(self, column: Callable[[str], Kind]) -> None:
        self.column = column
        self._depth = 0

    def check(self, message: bytes) -> Kind:
        """Return the type of an expression that cannot fail; raise Doubt for any other."""
        number, content = only(message)
        rule = _RULES.get(number)
        self._depth += 1
        if rule is None or not isinstance(content, bytes) or self._depth > _DEPTH_MAX:
            raise Doubt
        kind = rule(self, content)
        self._depth -= 1
        return kind

    def each(self, messages: list[bytes]) -> list[Kind]:
        """Check several."""
        return [self.check(message) for message in messages]


Rule = Callable[[Expressions, bytes], Kind]


def _of_column(look: Expressions, content: bytes) -> Kind:
    fields = fields_of(content, {1, 2})
    return look.column(fields[1][0].decode())


def _of_alias(look: Expressions, content: bytes) -> Kind:
    return look.check(fields_of(content, {1, 2, 3})[1][0])


def _of_literal(_: Expressions, content: bytes) -> Kind:
    return literal(content).type


def _of_placeholder(*_: object) -> Kind:
    return SCALAR


def _of_truth(look: Expressions, content: bytes) -> Kind:
    """Look at what only asks for NULL, true or false, and NOT."""
    look.check(fields_of(content, {1})[1][0])
    return pa.bool_()


def _of_negative(look: Expressions, content: bytes) -> Kind:
    kind = look.check(fields_of(content, {1})[1][0])
    return kind if is_wrapping(kind) else doubt()


def _of_binary(look: Expressions, content: bytes) -> Kind:
    fields = fields_of(content, {1, 3})
    operands, operator = fields[1], fields[3][0].decode()
    kinds = look.each(operands)
    if operator in LOGICAL or (operator in COMPARISONS and all(map(is_single, kinds))):
        return pa.bool_()
    if operator in MATCHING and all(map(is_own_pattern, operands[1:])):
        return pa.bool_()
    is_one = len(set(kinds)) == 1
    is_safe = (
        (operator in WRAPPING and is_wrapping(kinds[0]))
        or (operator in DIVIDING and is_float(kinds[0]))
        or (operator in DIVIDING and all(map(is_positive, operands[1:])))
        or (operator in BITWISE and kinds[0] is not None and pa.types.is_integer(kinds[0]))
    )
    return kinds[0] if is_one and is_wrapping(kinds[0]) and is_safe else doubt()


def _of_between(look: Expressions, content: bytes) -> Kind:
    fields = fields_of(content, {1, 2, 3, 4})
    return _compared(look, [*fields[1], *fields[3], *fields[4]])


def _of_in_list(look: Expressions, content: bytes) -> Kind:
    fields = fields_of(content, {1, 2, 3})
    return _compared(look, [*fields[1], *fields.get(2, [])])


def _compared(look: Expressions, messages: list[bytes]) -> Kind:
    return pa.bool_() if all(map(is_single, look.each(messages))) else doubt()


def _of_like(look: Expressions, content: bytes) -> Kind:
    fields = fields_of(content, {1, 2, 3, 4})
    look.check(fields[2][0])
    pattern = literal_in(fields[3][0])
    # A pattern that is too large for the engine fails where there is a row to match.
    is_small = pattern is not None and pattern.size <= PATTERN_BYTES_MAX
    return pa.bool_() if is_small or is_literal_later(fields[3][0]) else doubt()


def _of_case(look: Expressions, content: bytes) -> Kind:
    fields = fields_of(content, {1, 2, 3})
    branches = [fields_of(each, {1, 2}) for each in fields[2]]
    conditions = [branch[1][0] for branch in branches]
    if 1 in fields:
        _compared(look, [*fields[1], *conditions])
    look.each(conditions)
    made = [branch[2][0] for branch in branches] + fields.get(3, [])
    kinds = look.each(made)
    # A NULL is of the type of the others.
    return common([kind for kind, each in zip(kinds, made, strict=True) if not is_null(each)])


def _of_cast(look: Expressions, content: bytes) -> Kind:
    fields = fields_of(content, {1, 2, 3, 4})
    target = type_of(fields[2][0])
    return target if cast_is_safe(look.check(fields[1][0]), target) else doubt()


def _of_grouping(look: Expressions, content: bytes) -> Kind:
    look.each(fields_of(content, {1}).get(1, []))
    return None


def _of_grouping_sets(look: Expressions, content: bytes) -> Kind:
    for each in fields_of(content, {1}).get(1, []):
        _of_grouping(look, each)
    return None


def _of_function(look: Expressions, content: bytes) -> Kind:
    fields = fields_of(content, {1, 2})
    rule = FUNCTIONS.get(fields[1][0].decode())
    return doubt() if rule is None else rule(look, fields.get(2, []))


def _of_aggregate(look: Expressions, content: bytes) -> Kind:
    fields = fields_of(content, {1, 2, 3, 5})
    look.each(fields.get(3, []))
    return _aggregated(look, fields[1][0].decode(), fields.get(2, []))


def _aggregated(look: Expressions, name: str, arguments: list[bytes]) -> Kind:
    rule = AGGREGATES.get(name)
    kinds = look.each(arguments)
    return None if rule is not None and all(map(rule, kinds)) else doubt()


def _of_window(look: Expressions, content: bytes) -> Kind:
    fields = fields_of(content, {3, 4, 5, 6, 8, 9, 13})
    arguments = fields.get(4, [])
    look.each([*fields.get(5, []), *fields.get(13, [])])
    for each in fields.get(6, []):
        look.check(fields_of(each, {1, 2, 3})[1][0])
    if 3 in fields:
        _aggregated(look, fields[3][0].decode(), arguments)
    elif fields[9][0].decode() in WINDOWS:
        # A count of rows is the same for all.
        look.each(arguments[:1])
        if not all(map(is_literal, arguments[1:])):
            raise Doubt
    else:
        raise Doubt
    _check_frame(fields[8][0])
    return None


def _check_frame(message: bytes) -> None:
    """Raise Doubt for a frame that calculates with values: its bounds may be beyond their type."""
    frame = fields_of(message, {1, 2, 3})
    if frame.get(1, [0])[0] == _ROWS:
        return
    for bound in (*frame.get(2, []), *frame.get(3, [])):
        for value in fields_of(bound, {1, 2}).get(2, []):
            if not literal(value).is_null:
                raise Doubt


_ROWS = 0
_RULES: Mapping[int, Rule] = {
    1: _of_column,
    ALIAS: _of_alias,
    LITERAL: _of_literal,
    4: _of_binary,
    6: _of_truth,  # IS NULL
    7: _of_truth,  # IS NOT NULL
    8: _of_truth,  # NOT
    9: _of_between,
    10: _of_case,
    11: _of_cast,
    13: _of_negative,
    14: _of_in_list,
    18: _of_window,
    19: _of_aggregate,
    FUNCTION: _of_function,
    22: _of_grouping_sets,
    23: _of_grouping,
    24: _of_grouping,
    25: _of_truth,  # IS TRUE
    26: _of_truth,  # IS FALSE
    27: _of_truth,  # IS UNKNOWN
    28: _of_truth,  # IS NOT TRUE
    29: _of_truth,  # IS NOT FALSE
    30: _of_truth,  # IS NOT UNKNOWN
    31: _of_like,
    32: _of_like,  # ILIKE
    PLACEHOLDER: _of_placeholder,
}
