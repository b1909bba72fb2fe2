"""Tells queries from statements that change something, and reads the latter."""

from __future__ import annotations

import re
from collections.abc import Callable

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.sql.commands import Command
from flight_server.sql.cursor import Cursor, one_statement, unexpected
from flight_server.sql.ddl import read_alter, read_create, read_drop
from flight_server.sql.dml import (
    read_delete,
    read_insert,
    read_merge,
    read_truncate,
    read_update,
    refuse_with,
)
from flight_server.sql.options import read_reset, read_set, read_use
from flight_server.sql.refusals import REFUSALS
from flight_server.sql.upkeep import read_optimize, read_restore, read_vacuum

QUERY_WORDS = frozenset(
    {"SELECT", "WITH", "VALUES", "FROM", "TABLE", "EXPLAIN", "DESCRIBE", "DESC", "SHOW"}
)
_READERS: dict[str, Callable[[Cursor], Command]] = {
    "INSERT": read_insert,
    "UPDATE": read_update,
    "DELETE": read_delete,
    "MERGE": read_merge,
    "TRUNCATE": read_truncate,
    "CREATE": read_create,
    "DROP": read_drop,
    "ALTER": read_alter,
    "RESTORE": read_restore,
    "OPTIMIZE": read_optimize,
    "VACUUM": read_vacuum,
    "USE": read_use,
    "SET": read_set,
    "RESET": read_reset,
}
COMMAND_WORDS = frozenset(_READERS)
WRITING_WORDS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
_WRITES = re.compile(r"\b(?:insert|update|delete|merge)\b", re.IGNORECASE)
# The first word behind spaces, line comments and parentheses; a block comment may nest.
_FIRST_WORD = re.compile(r"(?:[\s(]++|--[^\n]*+)*+([^\W\d]\w*+|/\*)?")


def is_query(sql: str) -> bool:
    """Return whether a text asks for rows: then ``statements`` reads it, else ``read_command``.

    Looks at the first word alone, but behind WITH for one that writes. Never raises: a text that
    is neither is no query.
    """
    match = _FIRST_WORD.match(sql)
    word = (match[1] or "").upper() if match else ""
    if word == "/*":
        return _is_query_behind_comment(sql)
    if word == "WITH":
        return _WRITES.search(sql) is None or _written_behind_with(sql) is None
    return word in QUERY_WORDS


def read_command(sql: str, *, bucket: str, schema: str) -> Command | None:
    """Return what a statement asks for that is no query; None for a query.

    ``bucket`` and ``schema`` complete short names. Raises InvalidRequest, with line and column, for
    what cannot be read, and Unsupported for what this server does not do, saying what to use
    instead.
    """
    if is_query(sql):
        return None
    found = one_statement(sql)
    cursor = Cursor(sql, found, bucket=bucket, schema=schema)
    word = cursor.peek().upper
    if word == "WITH":
        return _read_behind_with(cursor)
    cursor.next()
    if word in _READERS:
        return _READERS[word](cursor)
    if word in REFUSALS:
        raise Unsupported(f"{REFUSALS[word]} statement={word}")
    raise unexpected(sql, found[0], expected="a statement such as SELECT or INSERT")


def _is_query_behind_comment(sql: str) -> bool:
    try:
        cursor = Cursor(sql, one_statement(sql), bucket="", schema="")
    except InvalidRequest:
        return False
    while cursor.take_symbol("("):
        pass
    if cursor.sees("WITH"):
        return _written_behind_with(sql) is None
    return cursor.sees_one_of(QUERY_WORDS)


def _written_behind_with(sql: str) -> int | None:
    """Return the place of the token that writes behind a WITH clause, None when none does."""
    try:
        cursor = Cursor(sql, one_statement(sql), bucket="", schema="")
        while cursor.take_symbol("("):
            pass
        return find_write(cursor)
    except InvalidRequest:
        return None  # whoever reads the query says what is wrong with it


def find_write(cursor: Cursor) -> int | None:
    """Return the place of a word that writes, straight behind a closing parenthesis."""
    while not cursor.is_done:
        if cursor.sees_symbol("("):
            cursor.group()
            if cursor.sees_one_of(WRITING_WORDS):
                return cursor.at
        else:
            cursor.next()
    return None


def _read_behind_with(cursor: Cursor) -> Command:
    """Read ``WITH … INSERT``: the WITH clause moves to the query that gives the rows."""
    at = find_write(cursor)
    if at is None:  # pragma: no cover  is_query has found one
        raise cursor.wrong("a statement")
    if not cursor.sees("INSERT"):
        refuse_with(cursor, cursor.peek().upper)
    begins = cursor.text(0, at)
    cursor.next()
    return read_insert(cursor, begins=begins)
