"""Rewrites the SQL forms of time travel into versioned table names, which any SQL parser reads.

``t VERSION AS OF 5`` becomes ``"t@v5" AS "t"``; an alias of the user's own stays. Pure: no
DataFusion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flight_server.errors import InvalidRequest
from flight_server.sql.edits import Edit
from flight_server.sql.lexer import Kind, Token, position
from flight_server.sql.names import AsOf, parse_time, parse_version, quoted, versioned_name

_SUSPECT = re.compile(r"\bof\b", re.IGNORECASE)
_VERSION_WORDS = frozenset({"VERSION", "SYSTEM_VERSION"})
_TIME_WORDS = frozenset({"TIMESTAMP", "SYSTEM_TIME"})
# Words that go on with the query where an alias could stand.
_NOT_AN_ALIAS = frozenset(
    {
        "ANTI",
        "ASOF",
        "CLUSTER",
        "CROSS",
        "DISTRIBUTE",
        "EXCEPT",
        "FETCH",
        "FOR",
        "FULL",
        "GLOBAL",
        "GROUP",
        "HAVING",
        "INNER",
        "INTERSECT",
        "INTO",
        "JOIN",
        "LATERAL",
        "LEFT",
        "LIMIT",
        "MATCH_RECOGNIZE",
        "MINUS",
        "NATURAL",
        "OFFSET",
        "ON",
        "ORDER",
        "OUTER",
        "PARTITION",
        "PIVOT",
        "QUALIFY",
        "RETURNING",
        "RIGHT",
        "SAMPLE",
        "SELECT",
        "SEMI",
        "SET",
        "SORT",
        "TABLESAMPLE",
        "UNION",
        "UNPIVOT",
        "USING",
        "VALUES",
        "VIEW",
        "WHERE",
        "WINDOW",
        "WITH",
    }
)


def time_travel_edits(sql: str, heard: Sequence[Token]) -> list[Edit]:
    """Return the changes that turn every time travel clause into a versioned name.

    ``heard`` are the tokens without spaces and comments. Raises InvalidRequest for a version or a
    point in time that is none.
    """
    if not _SUSPECT.search(sql):
        return []
    return [edit for i in range(len(heard)) if (edit := _edit_at(sql, heard, i)) is not None]


def _edit_at(sql: str, heard: Sequence[Token], at: int) -> Edit | None:
    """Return the edit for the clause whose VERSION or TIMESTAMP stands here, if it does."""
    word = heard[at].upper
    if word not in _VERSION_WORDS | _TIME_WORDS or at + 3 >= len(heard):
        return None
    if (heard[at + 1].upper, heard[at + 2].upper) != ("AS", "OF"):
        return None
    value = heard[at + 3]
    name_end = at - 1 if at and heard[at - 1].upper == "FOR" else at
    parts = _name_before(heard, name_end)
    if not parts or value.kind not in (Kind.NUMBER, Kind.STRING, Kind.SYMBOL):
        return None
    as_of = _as_of(sql, value, by_version=word in _VERSION_WORDS)
    names = [part.name for part in parts]
    full = ".".join(quoted(n) for n in (*names[:-1], versioned_name(names[-1], as_of)))
    follower = heard[at + 4] if at + 4 < len(heard) else None
    alias = "" if _is_alias(follower) else f" AS {quoted(names[-1])}"
    return Edit(parts[0].start, value.start + len(value.text), full + alias)


def _as_of(sql: str, value: Token, *, by_version: bool) -> AsOf:
    where = position(sql, value.start)
    text = value.text[1:-1] if value.text[:1] == "'" else value.text
    if value.kind is Kind.SYMBOL or (not by_version and value.kind is not Kind.STRING):
        raise InvalidRequest(f"time travel takes a literal version or point in time {where}")
    try:
        return parse_version(text) if by_version else parse_time(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{error.message} {where}") from None


def _name_before(heard: Sequence[Token], end: int) -> list[Token]:
    """Return the one to three parts of the table name that ends before this token."""
    parts: list[Token] = []
    at = end - 1
    while at >= 0 and len(parts) < 3 and heard[at].kind in (Kind.WORD, Kind.QUOTED):
        parts.insert(0, heard[at])
        if at == 0 or heard[at - 1].text != ".":
            break
        at -= 2
    return parts


def _is_alias(token: Token | None) -> bool:
    if token is None:
        return False
    return token.kind is Kind.QUOTED or (
        token.kind is Kind.WORD and token.upper not in _NOT_AN_ALIAS
    )
