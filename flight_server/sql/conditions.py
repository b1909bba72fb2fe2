"""The conditions of row filters: SQL over the columns of one table, and over who asks.

``current_user`` is the name of the caller, ``attribute('name')`` what their account has under that
name, ``current_purpose`` the purpose that their session states; what there is none of is NULL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flight_server.sql.lexer import SILENT, Kind, Token, tokens
from flight_server.sql.names import literal
from policies.names import Principal

_NULL = "CAST(NULL AS VARCHAR)"
_ATTRIBUTE = "ATTRIBUTE"


def bound(condition: str, principal: Principal) -> str:
    """Return the condition with the values of whoever asks in place of the words for them."""
    return "".join(_pieces(tokens(condition), principal))


def _pieces(found: Sequence[Token], principal: Principal) -> Iterator[str]:
    attributes = dict(principal.attributes)
    at = 0
    while at < len(found):
        token = found[at]
        rest = [i for i in range(at + 1, len(found)) if found[i].kind not in SILENT][:3]
        before = next((each for each in reversed(found[:at]) if each.kind not in SILENT), None)
        is_field = before is not None and before.text == "."
        if token.upper == "CURRENT_USER" and not is_field:
            yield literal(principal.username)
        elif token.upper == "CURRENT_PURPOSE" and not is_field:
            yield _value(principal.purpose)
        elif token.upper == _ATTRIBUTE and _is_call(found, rest):
            yield _value(attributes.get(_text(found[rest[1]])))
            at = rest[2]
        else:
            yield token.text
        at += 1


def _is_call(found: Sequence[Token], rest: Sequence[int]) -> bool:
    """Whether a word is followed by one text in parentheses."""
    if len(rest) < 3:
        return False
    opening, inside, closing = (found[i] for i in rest)
    return opening.text == "(" and inside.kind is Kind.STRING and closing.text == ")"


def _text(token: Token) -> str:
    return token.text[1:-1].replace("''", "'")


def _value(text: str | None) -> str:
    return _NULL if text is None else literal(text)
