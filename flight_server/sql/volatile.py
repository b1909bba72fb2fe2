"""Names the functions whose answer is not settled by their arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from flight_server.sql.lexer import Kind, Token, heard

_NAMES = frozenset({Kind.WORD, Kind.QUOTED})
# All of DataFusion 55's functions that its information_schema calls not deterministic, and the
# spellings that ``shims`` turns into them. Those of time are settled for one statement.
RANDOM = frozenset({"rand", "random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "newid"})
CLOCKS = frozenset(
    {"now", "today", "current_date", "current_time", "current_timestamp", "curdate", "curtime"}
)
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
