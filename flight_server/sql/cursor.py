"""A place in a statement's tokens: what comes next, what must come, and the text in between.

Words that end an expression count only outside of parentheses, brackets, braces and CASE, and not
behind a dot, where every word is a name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NoReturn, TypeVar

from flight_server.errors import InvalidRequest, LakeflightError, Unsupported
from flight_server.sql.lexer import Kind, Token, heard, position
from flight_server.sql.names import (
    AsOf,
    parse_history_name,
    parse_time,
    parse_version,
    parse_versioned_name,
    table_ref,
)
from flight_server.sql.placeholders import Marks, number_marks
from policies.names import TableRef

Item = TypeVar("Item")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CLOSERS = frozenset(_CLOSING.values())
_NAMES = frozenset({Kind.WORD, Kind.QUOTED})
NO_WORDS: frozenset[str] = frozenset()
# How a query begins that gives the rows of a table or a view.
SOURCE_WORDS = frozenset({"SELECT", "WITH", "VALUES", "FROM", "TABLE"})
SHOWN_CHARACTERS_MAX = 40


def unexpected(sql: str, token: Token, *, expected: str) -> InvalidRequest:
    """Return the error for a token that stands where something else should."""
    if not token.text:
        return InvalidRequest(f"expected {expected}, found the end {position(sql, token.start)}")
    found = token.text
    if token.kind is Kind.STRING:
        found = "a string"  # it may hold what nobody should read in a log
    elif len(found) > SHOWN_CHARACTERS_MAX:
        found = found[:SHOWN_CHARACTERS_MAX] + "…"
    found = "".join(char if char.isprintable() else "?" for char in found)
    return InvalidRequest(f"expected {expected}, found {found} {position(sql, token.start)}")


def one_statement(sql: str) -> list[Token]:
    """Return the tokens of the one statement in a text, without what ends it.

    Raises InvalidRequest when there is none or a second one, and as ``lexer.tokens`` does.
    """
    found = list(heard(sql))
    while found and found[-1].text == ";":
        found.pop()
    if not found:
        raise InvalidRequest("the statement is empty")
    if ";" in sql:
        for token in found:
            if token.kind is Kind.SYMBOL and token.text == ";":
                where = position(sql, token.start)
                raise InvalidRequest(f"one statement at a time: several were sent {where}")
    return found


class Cursor:
    """Reads one statement from left to right.

    ``bucket`` and ``schema`` complete short names. Texts that it cuts out have their ``?`` numbered
    as they are in the whole statement. All methods that must find something raise InvalidRequest
    with its line and column when something else is there.
    """

    def __init__(self, sql: str, found: Sequence[Token], *, bucket: str, schema: str) -> None:
        self.sql = sql
        self.bucket = bucket
        self.schema = schema
        self.at = 0
        self._found = found
        end = found[-1].end if found else 0
        self._end = Token(Kind.SYMBOL, "", end)
        self._marks: Marks = number_marks(sql, found)

    # What comes next

    def peek(self, ahead: int = 0) -> Token:
        """Return a token that is still to come; behind the last one there are empty ones."""
        at = self.at + ahead
        return self._found[at] if at < len(self._found) else self._end

    def next(self) -> Token:
        """Return the next token and go past it."""
        token = self.peek()
        self.at += 1
        return token

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self._found)

    def sees(self, *words: str) -> bool:
        """Return whether exactly these words come next."""
        return all(self.peek(i).upper == word for i, word in enumerate(words))

    def sees_one_of(self, words: frozenset[str]) -> bool:
        """Return whether the next word is one of these."""
        return self.peek().upper in words

    def take(self, *words: str) -> bool:
        """Go past these words when they come next; returns whether they did."""
        if not self.sees(*words):
            return False
        self.at += len(words)
        return True

    def sees_symbol(self, text: str) -> bool:
        """Return whether this symbol comes next."""
        token = self.peek()
        return token.kind is Kind.SYMBOL and token.text == text

    def opens_query(self) -> bool:
        """Return whether the parenthesis that comes next holds a query, not names of columns."""
        ahead = 1
        while self.peek(ahead).text == "(":
            ahead += 1
        is_query = self.peek(ahead).upper in SOURCE_WORDS
        # A column may be called like a word that begins a query: then its type or a comma follows.
        follows = self.peek(ahead + 1)
        is_column = self.peek(ahead).upper in ("VALUES", "TABLE") and follows.text in (",", ")")
        return ahead > 1 or (is_query and not is_column)

    def take_symbol(self, text: str) -> bool:
        """Go past this symbol when it comes next; returns whether it did."""
        if not self.sees_symbol(text):
            return False
        self.at += 1
        return True

    # What must come next

    def expect(self, *words: str) -> None:
        """Go past these words."""
        for word in words:
            if not self.take(word):
                raise self.wrong(" ".join(words))

    def expect_symbol(self, text: str) -> None:
        """Go past this symbol."""
        if not self.take_symbol(text):
            raise self.wrong(text)

    def expect_end(self) -> None:
        """Make sure that nothing is left."""
        if not self.is_done:
            raise self.wrong("the end of the statement")

    def wrong(self, expected: str) -> InvalidRequest:
        """Return the error that something else should come next."""
        return unexpected(self.sql, self.peek(), expected=expected)

    def refuse(self, sentence: str, *, ahead: int = 0) -> NoReturn:
        """Raise Unsupported with this sentence and the place of what comes next."""
        raise Unsupported(f"{sentence} {position(self.sql, self.peek(ahead).start)}")

    def fail(self, error: LakeflightError | str, *, at: Token) -> NoReturn:
        """Raise InvalidRequest with the place of a token."""
        message = error if isinstance(error, str) else error.message
        raise InvalidRequest(f"{message} {position(self.sql, at.start)}")

    # Names and literals

    def name(self, what: str) -> str:
        """Return the identifier that comes next."""
        token = self.peek()
        if token.kind not in _NAMES or not token.name:
            raise self.wrong(what)
        self.at += 1
        return token.name

    def path(self, what: str, *, parts_max: int) -> tuple[str, ...]:
        """Return the parts of a name that dots may divide."""
        first = self.peek()
        parts = [self.name(what)]
        while self.take_symbol("."):
            parts.append(self.name(what))
        if len(parts) > parts_max:
            self.fail(f"{what} has at most {parts_max} parts", at=first)
        return tuple(parts)

    def ref(self, what: str = "the name of a table") -> TableRef:
        """Return the table that is named next, at whatever version."""
        return table_ref(self.path(what, parts_max=3), bucket=self.bucket, schema=self.schema)

    def target(self, what: str = "the name of a table") -> TableRef:
        """Return the table or view that is to be changed: the newest version, and no other."""
        token = self.peek()
        ref = self.ref(what)
        try:
            _, as_of = parse_versioned_name(ref.table)
        except InvalidRequest as error:
            self.fail(error, at=token)
        is_newest = as_of is None and parse_history_name(ref.table) is None
        if not is_newest or self.sees_version():
            self.fail("only the newest version of a table can be changed", at=token)
        return ref

    def alias(self, *, unless: frozenset[str]) -> str | None:
        """Return the alias that comes next, if one does: a word of ``unless`` is none."""
        if self.take("AS"):
            return self.name("an alias")
        token = self.peek()
        if token.kind is Kind.QUOTED or (token.kind is Kind.WORD and token.upper not in unless):
            return self.name("an alias")
        return None

    def names(self, what: str) -> tuple[str, ...]:
        """Return names in parentheses, each there once."""
        opening = self.peek()
        found = self.items(lambda: self.name(what))
        self.check_once(found, at=opening)
        return tuple(found)

    def items(self, read: Callable[[], Item]) -> list[Item]:
        """Return what ``read`` reads, between parentheses and commas."""
        self.expect_symbol("(")
        found = [read()]
        while self.take_symbol(","):
            found.append(read())
        self.expect_symbol(")")
        return found

    def check_once(self, names: Sequence[str], *, at: Token) -> None:
        """Raise InvalidRequest when a column is named twice."""
        seen: set[str] = set()
        for name in names:
            if name in seen:
                self.fail(f"the column {name} is named twice", at=at)
            seen.add(name)

    def string(self, what: str) -> str:
        """Return the plain string that comes next."""
        token = self.peek()
        if token.kind is not Kind.STRING or token.text[0] != "'":
            raise self.wrong(f"{what} as a string")
        self.at += 1
        return token.text[1:-1].replace("''", "'")

    def sees_version(self) -> bool:
        """Return whether a clause of time travel comes next."""
        ahead = 1 if self.sees("FOR") else 0
        word = self.peek(ahead).upper
        return word in ("VERSION", "SYSTEM_VERSION", "TIMESTAMP", "SYSTEM_TIME") and (
            self.peek(ahead + 1).upper,
            self.peek(ahead + 2).upper,
        ) == ("AS", "OF")

    def version(self) -> AsOf:
        """Return what a clause of time travel says; ``sees_version`` told that one is there."""
        self.take("FOR")
        is_number = self.next().upper in ("VERSION", "SYSTEM_VERSION")
        self.expect("AS", "OF")
        token = self.next()
        text = token.text[1:-1] if token.text[:1] == "'" else token.text
        if token.kind is not Kind.STRING and not (is_number and token.kind is Kind.NUMBER):
            self.fail("time travel takes a literal version or point in time", at=token)
        try:
            return parse_version(text) if is_number else parse_time(text)
        except InvalidRequest as error:
            self.fail(error, at=token)

    # Texts

    def text(self, start: int, end: int) -> str:
        """Return the statement's text from one token to before another, ``?`` numbered."""
        if start >= end:
            return ""
        first, last = self._found[start].start, self._found[end - 1].end
        low, high = bisect_left(self._marks, (first, 0)), bisect_left(self._marks, (last, 0))
        pieces: list[str] = []
        for offset, number in self._marks[low:high]:
            pieces += (self.sql[first:offset], f"${number}")
            first = offset + 1
        return "".join([*pieces, self.sql[first:last]])

    def has_marks(self, start: int) -> bool:
        """Return whether there is a placeholder from one token on up to here."""
        return any(
            token.kind is Kind.SYMBOL
            and (token.text == "?" or (token.text == "$" and after.kind is Kind.NUMBER))
            for token, after in pairwise([*self._found[start : self.at], self._end])
        )

    def expression(
        self, what: str, *, stops: frozenset[str] = NO_WORDS, commas: bool = False
    ) -> str:
        """Return the text up to one of these words, or a comma, or the end; it is not empty."""
        start = self.at
        self.pass_over(stops=stops, commas=commas)
        if self.at == start:
            raise self.wrong(what)
        return self.text(start, self.at)

    def rest(self, what: str) -> str:
        """Return all the text that is left; it is not empty."""
        return self.expression(what)

    def pass_over(self, *, stops: frozenset[str] = NO_WORDS, commas: bool = False) -> None:
        """Go on to one of these words, to a comma, to what closes a parenthesis, or to the end."""
        cases = 0
        before = ""
        while not self.is_done:
            token = self.peek()
            text = token.text
            if token.kind is Kind.WORD and before != ".":
                word = text.upper()
                if not cases and word in stops and (word, before) != ("FROM", "DISTINCT"):
                    return
                cases += {"CASE": 1, "END": -1}.get(word, 0) if cases or word == "CASE" else 0
                before = word
            elif token.kind is Kind.SYMBOL:
                if text in _CLOSING:
                    self.group()
                    before = ""
                    continue
                if text in _CLOSERS or (commas and not cases and text == ","):
                    return
                before = text
            else:
                before = ""
            self.at += 1

    def group(self) -> str:
        """Return the text from an opening parenthesis, bracket or brace to what closes it."""
        start = self.at
        opening = self._found[start]
        waiting: list[str] = []
        # Rows of values are long: this loop looks at texts alone, which no other kind shares.
        for at in range(start, len(self._found)):
            text = self._found[at].text
            if text in _CLOSING:
                waiting.append(_CLOSING[text])
            elif text in _CLOSERS:
                if text != waiting.pop():
                    self.at = at
                    raise self.wrong(f"what closes {opening.text}")
                if not waiting:
                    self.at = at + 1
                    return self.text(start, self.at)
        raise InvalidRequest(f"{opening.text} is not closed {position(self.sql, opening.start)}")
