"""Cuts SQL text into tokens, as the engine's parser would, without changing or losing a character.

Pure, and therefore usable where DataFusion must not be loaded. The rules are those of DataFusion's
``generic`` dialect: nested block comments, doubled quotes, ``E''`` strings with backslashes, dollar
quoting, identifiers that may hold ``@``, ``#`` and ``$``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from flight_server.errors import InvalidRequest


class Kind(Enum):
    """What a token is."""

    SPACE = "space"
    COMMENT = "comment"
    WORD = "word"
    QUOTED = "quoted identifier"
    STRING = "string"
    NUMBER = "number"
    SYMBOL = "symbol"


SILENT = frozenset({Kind.SPACE, Kind.COMMENT})

_SPACE = re.compile(r"\s+")
_LINE_COMMENT = re.compile(r"--[^\n]*")
_WORD = re.compile(r"[^\W\d][\w@$#]*|[@#][\w@$#]*")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_SYMBOL = re.compile(r"::|<=>|->>|->|<=|>=|<>|!=|\|\||:=|=>|.", re.DOTALL)
_DOLLAR = re.compile(r"\$(?:[^\W\d]\w*)?\$")
_PREFIXED = re.compile(r"(?:[eEnNbBrRxX]|[uU]&)(?=')")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_BACKSLASHED = re.compile(r"(?:[^'\\]|''|\\.)*'", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text; ``start`` is the offset of its first character."""

    kind: Kind
    text: str
    start: int

    @property
    def upper(self) -> str:
        """The word in capitals when this is an unquoted word, else the empty string."""
        return self.text.upper() if self.kind is Kind.WORD else ""

    @property
    def name(self) -> str:
        """The identifier that this word or quoted identifier means; words fold to lower case."""
        if self.kind is Kind.WORD:
            return self.text.lower()
        quote = self.text[0]
        return self.text[1:-1].replace(quote * 2, quote)


def position(sql: str, offset: int) -> str:
    """Line and column of an offset, both from 1, in the words of an error message."""
    before = sql[:offset]
    return f"line={before.count(chr(10)) + 1} column={offset - (before.rfind(chr(10)) + 1) + 1}"


def tokens(sql: str) -> tuple[Token, ...]:
    """All tokens of a text; their texts joined give the text back.

    Raises InvalidRequest for a string, a quoted identifier or a comment that never ends, and for a
    NUL character.
    """
    if (nul := sql.find("\0")) >= 0:
        raise InvalidRequest(f"the statement holds a NUL character {position(sql, nul)}")
    found: list[Token] = []
    at = 0
    while at < len(sql):
        kind, end = _next(sql, at)
        found.append(Token(kind, sql[at:end], at))
        at = end
    return tuple(found)


def _next(sql: str, at: int) -> tuple[Kind, int]:
    """Return the kind of the token that starts here, and where it ends."""
    if match := _SPACE.match(sql, at):
        return Kind.SPACE, match.end()
    if match := _LINE_COMMENT.match(sql, at):
        return Kind.COMMENT, match.end()
    if sql.startswith("/*", at):
        return Kind.COMMENT, _end_of_comment(sql, at)
    if sql[at] == "'":
        return Kind.STRING, _end_of_quote(sql, at, quote="'", what="string")
    if sql[at] in '"`':
        return Kind.QUOTED, _end_of_quote(sql, at, quote=sql[at], what="quoted identifier")
    if match := _PREFIXED.match(sql, at):
        return Kind.STRING, _end_of_prefixed(sql, at, quote_at=match.end())
    if match := _DOLLAR.match(sql, at):
        return Kind.STRING, _end_of_dollar(sql, at, tag=match.group())
    for kind, pattern in ((Kind.WORD, _WORD), (Kind.NUMBER, _NUMBER), (Kind.SYMBOL, _SYMBOL)):
        if match := pattern.match(sql, at):
            return kind, match.end()
    return Kind.SYMBOL, at + 1


def _end_of_quote(sql: str, start: int, *, quote: str, what: str) -> int:
    at = start + 1
    while (closing := sql.find(quote, at)) >= 0:
        if not sql.startswith(quote, closing + 1):
            return closing + 1
        at = closing + 2
    raise InvalidRequest(f"a {what} is not closed {position(sql, start)}")


def _end_of_prefixed(sql: str, start: int, *, quote_at: int) -> int:
    if sql[start] not in "eE":
        return _end_of_quote(sql, quote_at, quote="'", what="string")
    match = _BACKSLASHED.match(sql, quote_at + 1)
    while match and sql.startswith("'", match.end()):
        match = _BACKSLASHED.match(sql, match.end() + 1)
    if match is None:
        raise InvalidRequest(f"a string is not closed {position(sql, start)}")
    return match.end()


def _end_of_dollar(sql: str, start: int, *, tag: str) -> int:
    closing = sql.find(tag, start + len(tag))
    if closing < 0:
        raise InvalidRequest(f"a string is not closed {position(sql, start)}")
    return closing + len(tag)


def _end_of_comment(sql: str, start: int) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(sql, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise InvalidRequest(f"a comment is not closed {position(sql, start)}")
