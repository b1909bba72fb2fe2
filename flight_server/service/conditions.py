"""Conditions of row filters, checked against what they are to filter before they are stored."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pyarrow as pa

from flight_server.engine.base import Engine, Query
from flight_server.errors import InvalidRequest, Unsupported
from flight_server.service.request import Request
from flight_server.service.running import Kind as RunKind
from flight_server.service.running import Running
from flight_server.sql.conditions import OPERATORS, check_condition, columns_of, sample
from flight_server.sql.lexer import Kind, heard, position
from flight_server.sql.names import quoted
from policies.names import TableRef

_NAMES = (Kind.WORD, Kind.QUOTED)
_WORD = re.compile(r"\w+")
_PAREN_FOUND = "found: )"
_PAREN_EXPECTED = re.compile(r"Expected: \), found: (.+?)(?= line=\d|$)")
_PLACE = re.compile(r"\bline=(\d+) column=(\d+)")


class Conditions:
    """Checks conditions: first their words, then that the engine takes them for one."""

    def __init__(self, engine: Engine, running: Running) -> None:
        self._engine = engine
        self._running = running

    def check(self, request: Request, text: str, ref: TableRef, *, schema: pa.Schema) -> None:
        """Raise InvalidRequest, with the place of the mistake, unless it is a condition over rows.

        ``schema`` has the columns that it may name, of the table or view ``ref``, which the caller
        may read. Raises also what planning a query over it raises.
        """
        try:
            check_condition(text)
            for token in columns_of(text):
                if token.name not in schema.names:
                    raise InvalidRequest(
                        f"{ref} has no column {quoted(token.name)} {position(text, token.start)}"
                    )
            kind = self._kind(request, text, ref)
        except InvalidRequest as error:
            raise InvalidRequest(f"the row filter: {error.message}") from None
        if not pa.types.is_boolean(kind):
            place = position(text, heard(text)[0].start)
            raise InvalidRequest(
                f"the row filter: a condition is true or false of a row; this is a value {place}"
            )

    def _kind(self, request: Request, text: str, ref: TableRef) -> Any:
        """Return the type that the engine gives to a text, as the condition of nobody."""
        name = ".".join(map(quoted, (ref.bucket, ref.schema, ref.table)))
        # On lines of its own: a comment ends where it does, and columns are counted from there.
        sql = f"SELECT (\n{sample(text)}\n) AS condition FROM {name} LIMIT 0"  # noqa: S608  as above
        principal = replace(request.principal, purpose=None)
        query = Query(sql, principal, ref.bucket, ref.schema)
        with self._running.enter(request, "a row filter", kind=RunKind.DESCRIBE) as run:
            try:
                described = self._engine.describe(query, is_cancelled=run.is_cancelled)
            except (InvalidRequest, Unsupported) as error:
                raise InvalidRequest(_placed(error.message, text)) from None
        return described.schema.field(0).type


def _placed(message: str, text: str) -> str:
    """Return a message about the whole statement as one about the text in it."""
    last = text.count("\n") + 1

    def within(found: re.Match[str]) -> str:
        line = int(found[1]) - 1
        return f"line={line} column={found[2]}" if line <= last else position(text, len(text))

    # The parenthesis is one of ours.
    if _PAREN_FOUND in message and any(int(line) - 1 > last for line, _ in _PLACE.findall(message)):
        message = message.replace(_PAREN_FOUND, "found the end")
    message = _PAREN_EXPECTED.sub(r"\1 is not expected here", message)
    message, count = _PLACE.subn(within, message)
    return message if count else f"{message} {_likely_place(message, text)}"


def _likely_place(message: str, text: str) -> str:
    """Return the place of the first name of a text that a message speaks of, or of its start."""
    said = set(_WORD.findall(message))
    found = heard(text)
    names = (each for each in found if each.kind in _NAMES and each.upper not in OPERATORS)
    return position(text, next((each for each in names if each.name in said), found[0]).start)
