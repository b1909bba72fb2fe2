"""Pieces of a statement that come by themselves: each must be what it is said to be, and no more.

They are checked before a statement is put together, so that none of them can end its place in it
and begin something else.
"""

from __future__ import annotations

from flight_server.errors import InvalidRequest
from flight_server.sql.cursor import NO_WORDS, Cursor
from flight_server.sql.dml import AFTER_SET, AFTER_WHERE
from flight_server.sql.lexer import Kind, heard, position
from flight_server.sql.names import DEFAULT
from flight_server.sql.placeholders import count_parameters
from policies.names import TableRef


def read_table(text: str) -> TableRef:
    """Return the table that a name of one to three parts means; parts left out are ``DEFAULT``.

    Raises InvalidRequest for anything else, also for an older version of a table.
    """
    cursor = Cursor(text, heard(text), bucket=DEFAULT, schema=DEFAULT)
    ref = cursor.target()
    if not cursor.is_done:
        raise cursor.wrong("nothing behind the name of the table")
    return ref


def check_condition(text: str) -> None:
    """Raise InvalidRequest unless a text is one condition, with no clause behind it."""
    _check(text, "a condition", stops=AFTER_WHERE)


def check_value(text: str) -> None:
    """Raise InvalidRequest unless a text is one expression, with no clause behind it."""
    _check(text, "an expression", stops=AFTER_SET)


def _check(text: str, what: str, *, stops: frozenset[str] = NO_WORDS) -> None:
    found = heard(text)
    for token in found:
        if token.kind is Kind.SYMBOL and token.text == ";":
            raise InvalidRequest(f"{what} holds no semicolon {position(text, token.start)}")
    cursor = Cursor(text, found, bucket=DEFAULT, schema=DEFAULT)
    cursor.expression(what, stops=stops, commas=True)
    if not cursor.is_done:
        raise cursor.wrong(f"nothing behind {what}")
    if count_parameters(text):
        raise InvalidRequest(f"{what} takes no parameters here: write the value")
