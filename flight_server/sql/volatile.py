"""Names the functions whose answer is not settled by their arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from flight_server.sql.lexer import Kind, Token, heard

_NAMES = frozenset({Kind.WORD, Kind.QUOTED})
# All of DataFusion 55's functions that its information_schema calls not deterministic, and the
# spellings that ``shims`` turns into them. Those of time are settled for one statement.
RANDOM = frozenset({"rand", "random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "newid"})
CLOCKS = frozenset(
    {"now", "today", "current_date", "current_time", "current_timestamp", "curdate", "curtime"}
)
_CLOCK = re.compile("|".join(sorted(CLOCKS)), re.IGNORECASE)
# Those that are no words of SQL's own, and mean a column without parentheses.
_CALLED = frozenset({"NOW", "TODAY", "CURDATE", "CURTIME"})
_SUSPECT = re.compile("|".join(sorted(RANDOM)), re.IGNORECASE)


def names_volatile(text: str) -> bool:
    """Return whether an expression calls a function that gives another value for each row or run.

    Such as ``random()`` and ``uuid()``. Raises InvalidRequest for a text that cannot be read.
    """
    if not _SUSPECT.search(text):
        return False
    found = heard(text)
    return any(
        token.kind in _NAMES and token.name.lower() in RANDOM and follows.text == "("
        for token, follows in pairwise(found)
    )


def names_in(found: Iterable[Token]) -> frozenset[str]:
    """Return every name in a statement, in lower case."""
    return frozenset(token.name.lower() for token in found if token.kind in _NAMES)


def settled(text: str, now: datetime) -> str:
    """Return a statement with the time, an aware one, in the place of what asks for it.

    A statement that reads its table several times must get the same answer each time. Types are
    those of DataFusion's own functions.
    """
    if not _CLOCK.search(text):
        return text
    found = heard(text)
    pieces: list[str] = []
    end = at = 0
    while at < len(found):
        token = found[at]
        value = _value(token.upper.lower(), now) if _asks(found, at) else None
        if value is not None:
            pieces += [text[end : token.start], value]
            at += 2 if _is_called(found, at) else 0
            end = found[at].end
        at += 1
    return "".join([*pieces, text[end:]])


def _asks(found: Sequence[Token], at: int) -> bool:
    """Whether the word at a place may ask for the time: it is no part of a longer name."""
    before = found[at - 1].text if at else ""
    follows = found[at + 1].text if at + 1 < len(found) else ""
    if "." in (before, follows) or before.upper() == "AS":
        return False
    return _is_called(found, at) or (follows != "(" and found[at].upper not in _CALLED)


def _is_called(found: Sequence[Token], at: int) -> bool:
    return [token.text for token in found[at + 1 : at + 3]] == ["(", ")"]


def _value(name: str, now: datetime) -> str | None:
    now = now.astimezone(UTC)
    if name in ("now", "current_timestamp"):
        return f"""arrow_cast('{now.isoformat()}', 'Timestamp(Nanosecond, Some("+00:00"))')"""
    if name in ("today", "current_date", "curdate"):
        return f"DATE '{now.date().isoformat()}'"
    if name in ("current_time", "curtime"):
        return f"arrow_cast('{now.time().isoformat()}', 'Time64(Nanosecond)')"
    return None
