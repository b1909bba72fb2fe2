"""Refuses clauses that the engine's parser reads and its planner then leaves out without a word.

With them the answer would be another one than was asked for. Found by trying, on DataFusion 55.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from flight_server.errors import Unsupported
from flight_server.sql.lexer import Kind, Token, position

_NAMES = frozenset({Kind.WORD, Kind.QUOTED})
_SUSPECT = re.compile(
    r"sample|partition|prewhere|connect|settings|format|\bfor\b|\binto\b|rollup|cube|totals",
    re.IGNORECASE,
)
Tokens = Sequence[Token]


def refuse_ignored(sql: str, found: Tokens) -> None:
    """Raise Unsupported, with the place, when the statement holds one of those clauses."""
    if not _SUSPECT.search(sql):
        return
    for at, token in enumerate(found):
        check = _CHECKS.get(token.upper)
        if check is None or (at > 0 and found[at - 1].text == "."):
            continue
        sentence = check(found, at)
        if sentence:
            raise Unsupported(f"{sentence} {position(sql, token.start)}")


def _word(found: Tokens, at: int) -> str:
    return found[at].upper if 0 <= at < len(found) else ""


def _text(found: Tokens, at: int) -> str:
    return found[at].text if 0 <= at < len(found) else ""


def _is_name(found: Tokens, at: int) -> bool:
    return 0 <= at < len(found) and found[at].kind in _NAMES


def _ends_item(found: Tokens, at: int) -> bool:
    """Return whether a value or a name may end with this token."""
    if not 0 <= at < len(found):
        return False
    token = found[at]
    is_value = token.kind is not Kind.SYMBOL or token.text in (")", "]", "*")
    return is_value and token.upper not in ("SELECT", "DISTINCT", "ALL", "AS", "BY", "AND", "OR")


def _sample(found: Tokens, at: int) -> str:
    opens = _text(found, at + 1) == "("
    if opens or (_word(found, at + 1) and _text(found, at + 2) == "("):
        return f"{found[at].upper} is not supported: it would be ignored"
    return ""


def _partition(found: Tokens, at: int) -> str:
    if _text(found, at + 1) == "(":
        return "PARTITION (...) is not supported: use WHERE"
    return ""


def _lock(found: Tokens, at: int) -> str:
    words = (_word(found, at + 1), _word(found, at + 2))
    if words[0] in ("UPDATE", "SHARE") or words in (("NO", "KEY"), ("KEY", "SHARE")):
        return "queries lock nothing: leave FOR UPDATE or FOR SHARE out"
    return ""


def _prewhere(found: Tokens, at: int) -> str:
    if _ends_item(found, at - 1) and _text(found, at + 1) not in ("", ",", ")"):
        return "PREWHERE is not supported: use WHERE"
    return ""


def _connect(found: Tokens, at: int) -> str:
    if _word(found, at + 1) == "BY":
        return "CONNECT BY is not supported: use WITH RECURSIVE"
    return ""


def _with(found: Tokens, at: int) -> str:
    word = _word(found, at + 1)
    names_query = _word(found, at + 2) == "AS" or _text(found, at + 2) == "("
    if word in ("ROLLUP", "CUBE", "TOTALS") and not names_query:
        return f"WITH {word} is not supported: use GROUP BY ROLLUP (…), CUBE (…) or GROUPING SETS"
    return ""


def _settings(found: Tokens, at: int) -> str:
    if _ends_item(found, at - 1) and _is_name(found, at + 1) and _text(found, at + 2) == "=":
        return "SETTINGS is not supported: leave it out"
    return ""


def _format(found: Tokens, at: int) -> str:
    if at == len(found) - 2 and _ends_item(found, at - 1) and _is_name(found, at + 1):
        return "FORMAT is not supported: results are Arrow"
    return ""


def _into(found: Tokens, at: int) -> str:
    if _ends_item(found, at - 1) and _is_name(found, at + 1):
        return "SELECT … INTO is not supported: use CREATE TABLE … AS SELECT"
    return ""


_CHECKS: dict[str, Callable[[Tokens, int], str]] = {
    "TABLESAMPLE": _sample,
    "SAMPLE": _sample,
    "PARTITION": _partition,
    "FOR": _lock,
    "PREWHERE": _prewhere,
    "CONNECT": _connect,
    "WITH": _with,
    "SETTINGS": _settings,
    "FORMAT": _format,
    "INTO": _into,
}
