"""Cuts SQL text into tokens, as the engine's parser would, without changing or losing a character.

Pure, and therefore usable where DataFusion must not be loaded. The rules are those of DataFusion's
``generic`` dialect: nested block comments, doubled quotes, ``E''`` strings with backslashes, dollar
quoting, identifiers that may hold ``@``, ``#`` and ``$``.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

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

# One alternative for each kind of token, the first that fits; no quantifier ever goes back, so that
# any text takes time in proportion to its length. Block comments nest, which no pattern can say.
_PARTS: tuple[tuple[str, Kind | None], ...] = (
    (r"\s+", Kind.SPACE),
    (r"--[^\n]*+", Kind.COMMENT),
    (r"/\*", None),
    (r"'[^']*+(?:''[^']*+)*+'", Kind.STRING),
    (r'"[^"]*+(?:""[^"]*+)*+"|`[^`]*+(?:``[^`]*+)*+`', Kind.QUOTED),
    (r"[eE]'(?:[^'\\]++|''|\\.)*+'", Kind.STRING),
    (r"(?:[nNbBrRxX]|[uU]&)'[^']*+(?:''[^']*+)*+'", Kind.STRING),
    (r"(?P<tag>\$(?:[^\W\d]\w*+)?+\$)(?:(?!(?P=tag)).)*+(?P=tag)", Kind.STRING),
    (r"""['"`]|(?:[eEnNbBrRxX]|[uU]&)'|\$(?:[^\W\d]\w*+)?+\$""", None),
    (r"[^\W\d][\w@$#]*+|[@#][\w@$#]*+", Kind.WORD),
    (r"0[xX][0-9a-fA-F]+|(?:\d[\d_]*+(?:\.\d*+)?|\.\d+)(?:[eE][+-]?\d+)?", Kind.NUMBER),
    (r"::|<=>|->>|->|<=|>=|<>|!=|\|\||:=|=>|.", Kind.SYMBOL),
)
_TOKEN = re.compile("|".join(f"({part})" for part, _ in _PARTS), re.DOTALL)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class Token(NamedTuple):
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

    @property
    def end(self) -> int:
        """The offset behind the last character."""
        return self.start + len(self.text)


def _kinds() -> tuple[Kind | None, ...]:
    """Return the kind for each group of the pattern, counted as Python counts them."""
    kinds: list[Kind | None] = [None]
    for part, kind in _PARTS:
        kinds += [kind] * (1 + re.compile(part).groups)
    return tuple(kinds)


_KINDS = _kinds()
_SILENT_GROUPS = 2


def position(sql: str, offset: int) -> str:
    """Line and column of an offset, both from 1, in the words of an error message."""
    before = sql[:offset]
    return f"line={before.count(chr(10)) + 1} column={offset - (before.rfind(chr(10)) + 1) + 1}"


def tokens(sql: str) -> tuple[Token, ...]:
    """All tokens of a text; their texts joined give the text back.

    Raises InvalidRequest for a string, a quoted identifier or a comment that never ends, and for a
    NUL character.
    """
    return tuple(_cut(sql, is_heard_only=False))


def heard(sql: str) -> tuple[Token, ...]:
    """All tokens but spaces and comments; raises as ``tokens`` does."""
    return tuple(_cut(sql, is_heard_only=True))


def _cut(sql: str, *, is_heard_only: bool) -> list[Token]:
    if (nul := sql.find("\0")) >= 0:
        raise InvalidRequest(f"the statement holds a NUL character {position(sql, nul)}")
    found: list[Token] = []
    # This loop is most of what reading a statement costs: no call in it that could be left out.
    add, make, kinds = found.append, tuple.__new__, _KINDS
    silent_groups = _SILENT_GROUPS if is_heard_only else 0
    at = 0
    while at < len(sql):
        for match in _TOKEN.finditer(sql, at):
            group = match.lastindex or 0  # never 0: each alternative is a group
            kind = kinds[group]
            at = match.end()
            if kind is None:
                start = match.start()
                at = _end_of_comment(sql, start)
                if not is_heard_only:
                    add(make(Token, (Kind.COMMENT, sql[start:at], start)))
                break
            if group > silent_groups:
                add(make(Token, (kind, match[0], match.start())))
    return found


def _end_of_comment(sql: str, start: int) -> int:
    """Return where the comment ends that opens here; anything else that opens here never ends."""
    if not sql.startswith("/*", start):
        what = "quoted identifier" if sql[start] in '"`' else "string"
        raise InvalidRequest(f"a {what} is not closed {position(sql, start)}")
    depth = 0
    for edge in _COMMENT_EDGE.finditer(sql, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise InvalidRequest(f"a comment is not closed {position(sql, start)}")
