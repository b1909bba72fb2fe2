"""Gives the plain items of a select list names of their own.

DataFusion refuses a list in which two items have one name, and ``0, 0`` have. Where rows go to
columns by place, the names mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flight_server.sql.lexer import Kind, Token, heard
from flight_server.sql.names import quoted

_ENDS = frozenset(
    {
        *("FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "QUALIFY"),
        *("UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET", "FETCH"),
    }
)
_VALUES = frozenset({Kind.NUMBER, Kind.STRING})
_NAMES = frozenset({Kind.WORD, Kind.QUOTED})


def with_aliases(text: str) -> str:
    """Return a query that begins with SELECT with its plain items named by their place.

    Plain are constants, placeholders, and columns; anything else, and any other text, stays.
    """
    found = heard(text)
    if not found or found[0].upper != "SELECT":
        return text
    pieces: list[str] = []
    end = 0
    for place, item in enumerate(_items(found)):
        if _is_plain(item):
            pieces += [text[end : item[-1].end], f" AS {quoted(f'column {place}')}"]
            end = item[-1].end
    return "".join([*pieces, text[end:]])


def _items(found: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Give the items of the first select list, up to what follows it."""
    depth, start = 0, 1
    for at, token in enumerate(found[1:], 1):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.text, 0)
        is_end = depth == 0 and token.upper in _ENDS
        if is_end or (depth == 0 and token.text == ","):
            yield found[start:at]
            start = at + 1
        if is_end:
            return
    yield found[start:]


def _is_plain(item: Sequence[Token]) -> bool:
    tokens = item[1:] if item and item[0].text in ("-", "+") else item
    if len(tokens) == 1:
        return tokens[0].kind in _VALUES | _NAMES and tokens[0].upper != "DISTINCT"
    if len(tokens) == 2:
        return tokens[0].text == "$" and tokens[1].kind is Kind.NUMBER
    names, dots = tokens[::2], tokens[1::2]
    return (
        len(tokens) % 2 == 1
        and all(token.kind in _NAMES for token in names)
        and all(token.text == "." for token in dots)
    )
