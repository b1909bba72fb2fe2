"""Says what kind of statement a text is before anything runs, and which query answers it.

Pure: the gateway uses it as well, and must never load DataFusion. Whatever is not a read is refused
here, with a sentence; the session that runs queries refuses it once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.sql.cursor import Cursor, one_statement, unexpected
from flight_server.sql.edits import Edit, apply
from flight_server.sql.grammar import COMMAND_WORDS, find_write
from flight_server.sql.ignored import refuse_ignored
from flight_server.sql.lexer import Token
from flight_server.sql.placeholders import number_marks, parameter_count
from flight_server.sql.refusals import REFUSALS
from flight_server.sql.shims import Known, shim_edits
from flight_server.sql.show import Shown, describe, show
from flight_server.sql.timetravel import time_travel_edits
from flight_server.sql.volatile import CLOCKS, RANDOM, names_in
from policies.names import TableRef


class StatementKind(Enum):
    """What is to be done with a statement."""

    QUERY = "query"
    EXPLAIN = "explain"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that may be planned.

    ``sql`` is the text to plan; ``is_rewritten`` tells that it is not the user's own, so that
    columns of a parser's message would mislead. ``must_exist`` is a table to open first, so that a
    wrong name is noticed.
    ``is_timeless`` tells that nothing in it asks the clock, whose answer a plan keeps;
    ``is_repeatable`` that it also asks for nothing random, so that the same data give the same
    answer. ``parameters`` is the number of placeholders, which are written ``$1``, ``$2`` in
    ``sql`` however they were sent.
    """

    kind: StatementKind
    sql: str
    is_rewritten: bool = False
    must_exist: TableRef | None = None
    is_timeless: bool = True
    is_repeatable: bool = True
    parameters: int = 0


_QUERIES = frozenset({"SELECT", "WITH", "VALUES", "FROM", "TABLE"})
SERVER_VERSION = f"Lakeflight {version('lakeflight')}"
_ENDS_ELSEWHERE = "this statement changes something: it is no query"


def read_statement(
    sql: str,
    *,
    bucket: str,
    schema: str,
    username: str = "",
    session: Mapping[str, str] | None = None,
    is_part: bool = False,
) -> Statement:
    """Return the query in this text; SHOW and DESCRIBE look in ``bucket`` and ``schema``.

    ``username`` and ``session``, its options as text, answer questions about the session itself.
    ``is_part`` tells that the text was cut out of a statement, whose other parts may hold the other
    placeholders.

    Raises InvalidRequest for an empty text, for several statements and for text that is no SQL;
    Unsupported for statements that this server does not do; LimitExceeded (``parameters_max``).
    """
    found = one_statement(sql)
    refuse_ignored(sql, found)
    known = Known(bucket, schema, username, SERVER_VERSION)
    cursor = Cursor(sql, found, bucket=bucket, schema=schema)
    is_first = not cursor.sees_symbol("(")
    while cursor.take_symbol("("):
        pass
    first = cursor.peek()
    word = first.upper
    if word in _QUERIES:
        _refuse_writing_query(cursor)
        return _query(sql, found, known, kind=StatementKind.QUERY, is_part=is_part)
    if is_first and word == "EXPLAIN":
        _check_explained(cursor)
        return _query(sql, found, known, kind=StatementKind.EXPLAIN, is_part=is_part)
    cursor.next()
    if is_first and word in ("DESCRIBE", "DESC"):
        shown = describe(cursor)
        if shown is None:
            return _query(sql, found, known, kind=StatementKind.QUERY, is_part=is_part)
        return _answer(shown)
    if is_first and word == "SHOW":
        return _answer(show(cursor, known=known, session=session or {}))
    if word in REFUSALS:
        raise Unsupported(f"{REFUSALS[word]} statement={word}")
    if word in COMMAND_WORDS:
        raise Unsupported(f"{_ENDS_ELSEWHERE} statement={word}")
    raise unexpected(sql, first, expected="a query such as SELECT")


def _answer(shown: Shown) -> Statement:
    return Statement(
        StatementKind.QUERY,
        shown.sql,
        is_rewritten=True,
        must_exist=shown.must_exist,
        is_timeless=not shown.of_session,
        is_repeatable=not shown.of_session,
    )


def _query(
    sql: str, found: Sequence[Token], known: Known, *, kind: StatementKind, is_part: bool
) -> Statement:
    parameters = parameter_count(sql, found, has_gaps=is_part)
    marks = (Edit(at, at + 1, f"${number}") for at, number in number_marks(sql, found))
    edits = [*time_travel_edits(sql, found), *shim_edits(sql, found, known), *marks]
    names = names_in(found)
    is_timeless = names.isdisjoint(CLOCKS)
    return Statement(
        kind,
        apply(sql, edits),
        is_rewritten=bool(edits),
        is_timeless=is_timeless,
        is_repeatable=is_timeless and kind is StatementKind.QUERY and names.isdisjoint(RANDOM),
        parameters=parameters,
    )


def _refuse_writing_query(cursor: Cursor) -> None:
    """Refuse ``WITH … INSERT``: the word that does the work comes after the last parenthesis."""
    if not cursor.sees("WITH"):
        return
    start = cursor.at
    if find_write(cursor) is not None:
        raise Unsupported(f"{_ENDS_ELSEWHERE} statement={cursor.peek().upper}")
    cursor.at = start


def _check_explained(cursor: Cursor) -> None:
    cursor.next()
    while cursor.sees_one_of(frozenset({"ANALYZE", "VERBOSE", "FORMAT"})):
        if cursor.next().upper == "FORMAT":
            cursor.next()
    if cursor.is_done:
        raise InvalidRequest("EXPLAIN what? A query is missing")
    is_first = not cursor.sees_symbol("(")
    while cursor.take_symbol("("):
        pass
    word = cursor.peek().upper
    if word in _QUERIES:
        _refuse_writing_query(cursor)
    elif is_first and (word in REFUSALS or word in COMMAND_WORDS):
        raise Unsupported(f"only queries can be explained statement={word}")
    else:
        raise cursor.wrong("a query to explain")
