"""The conditions of row filters: SQL over the columns of one table, and over who asks.

``current_user`` is the name of the caller, ``attribute('name')`` what their account has under that
name, ``current_purpose`` the purpose that their session states; what there is none of is NULL.

A condition is one expression without subqueries and parameters, of columns and of functions whose
answer is settled by their arguments. What it may hold is a list, and nothing else is let in; that
it is a condition at all, the engine says when it plans it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NoReturn

from flight_server.errors import InvalidRequest
from flight_server.sql.lexer import SILENT, Kind, Token, heard, position, tokens
from flight_server.sql.names import literal
from policies.names import Principal

CONDITION_CHARACTERS_MAX = 10_000
PARENTHESES_DEPTH_MAX = 50


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# All of them give the same value for the same arguments, of one row, in memory of that row's size.
FUNCTIONS = _words(
    "abs array_has ascii btrim ceil char_length character_length coalesce concat concat_ws contains"
    " date_part date_trunc ends_with floor greatest initcap isnan least left length lower ltrim"
    " nullif nvl octet_length power regexp_like replace reverse right round rtrim signum split_part"
    " sqrt starts_with strpos substr substring to_date translate trim trunc upper"
)
_NULL = "CAST(NULL AS VARCHAR)"
# As short as the shortest word for somebody, so that places in a text stay where they are.
_NULL_SAMPLE = "NULL::TEXT"
_ATTRIBUTE = "ATTRIBUTE"
_WHO = frozenset({"CURRENT_USER", "CURRENT_PURPOSE"})
_NAMES = frozenset({Kind.WORD, Kind.QUOTED})
# Words of expressions, some of which stand before a parenthesis as functions do.
OPERATORS = _words(
    "AND BETWEEN CASE ELSE END FALSE ILIKE IN IS LIKE NOT NULL OR SIMILAR THEN TO TRUE UNKNOWN WHEN"
)
_CASTS = frozenset({"CAST", "TRY_CAST"})
# Functions whose arguments words divide.
_FORMS = frozenset({"EXTRACT", "SUBSTRING", "TRIM", *_CASTS})
_FORM_FUNCTIONS = frozenset(name.lower() for name in _FORMS)
_LITERAL_TYPES = frozenset({"DATE", "TIME", "TIMESTAMP", "INTERVAL"})
_TYPES = _words(
    "BIGINT BOOLEAN BYTEA CHAR DATE DECIMAL DOUBLE FLOAT INT INTEGER NUMERIC PRECISION REAL"
    " SMALLINT STRING TEXT TIME TIMESTAMP TINYINT UNSIGNED VARCHAR WITH WITHOUT ZONE"
)
_SIDES = frozenset({"BOTH", "LEADING", "TRAILING"})
_QUERIES = _words(
    "EXISTS EXCEPT GROUP HAVING INTERSECT JOIN LIMIT ORDER SELECT TABLE UNION VALUES WHERE WITH"
    " ANY ALL SOME"
)
_REFUSED = {
    **dict.fromkeys(_QUERIES, "a condition holds no query"),
    **dict.fromkeys(("OVER", "FILTER", "WINDOW", "QUALIFY"), "a condition is about one row"),
    **dict.fromkeys(
        (
            *("CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP"),
            *("USER", "SESSION_USER", "CURRENT_ROLE", "CURRENT_SCHEMA", "CURRENT_CATALOG"),
        ),
        "a condition knows current_user, current_purpose and attribute('name'), and nothing else of"
        " the moment",
    ),
    **dict.fromkeys(
        ("AT", "COLLATE", "DISTINCT", "ESCAPE", "FROM", "FOR", "AS"),
        "this is no part of a condition",
    ),
}
_SYMBOLS = _words("( ) [ ] , . + - * / % = <> != < > <= >= <=> || :: ~ ! & | ^")
_CLOSING = {"(": ")", "[": "]"}
_CLOSED = frozenset(_CLOSING.values())
# After these there is more.
_CONTINUED = OPERATORS - _words("END FALSE NULL TRUE UNKNOWN")


def check_condition(text: str) -> None:
    """Raise InvalidRequest, with the place of the mistake, unless a text may be a condition.

    What is left for the engine to say: whether it is an expression, of which type it is, and
    whether its functions fit its columns.
    """
    columns_of(text)


def columns_of(condition: str) -> tuple[Token, ...]:
    """Return the columns that a condition names, in its order; raises as ``check_condition``."""
    return _read(condition)


def column_names(condition: str) -> frozenset[str]:
    """Return the names of a condition's columns; raises as ``check_condition``."""
    return frozenset(token.name for token in columns_of(condition))


def mentions(condition: str, name: str) -> bool:
    """Whether any word of a condition is this name, whatever it means there."""
    return any(token.kind in _NAMES and token.name == name for token in tokens(condition))


@lru_cache(maxsize=1024)
def _read(condition: str) -> tuple[Token, ...]:
    if len(condition) > CONDITION_CHARACTERS_MAX:
        raise InvalidRequest(
            f"the condition is too long: condition_characters_max={CONDITION_CHARACTERS_MAX}"
        )
    return tuple(_Reader(condition).columns())


class _Reader:
    """Goes through the tokens of a condition once; ``_open`` are the parentheses around a place."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = heard(text)
        self._end = Token(Kind.SYMBOL, "", len(text))
        self._at = 0
        # What opened each of them: the word of a form, such as CAST, or the symbol itself.
        self._open: list[tuple[str, Token]] = []

    def columns(self) -> Iterator[Token]:
        if not self._found:
            raise InvalidRequest(
                f"a condition is expected, found the end {position(self._text, 0)}"
            )
        while self._at < len(self._found):
            token = self._found[self._at]
            if token.kind is Kind.SYMBOL:
                self._symbol(token)
            elif token.kind in _NAMES and self._is_column(token):
                yield token
            self._at += 1
        if self._open:
            opening = self._open[-1][1]
            self._fail(f"{opening.text} is not closed", at=opening)
        self._check_end()

    def _check_end(self) -> None:
        """Refuse what the engine would only know to be too short."""
        cases: list[Token] = []
        for before, token in pairwise((self._end, *self._found)):
            if before.text == ".":
                continue
            if token.upper == "CASE":
                cases.append(token)
            elif token.upper == "END" and cases:
                cases.pop()
        if cases:
            self._fail("CASE has no END", at=cases[-1])
        self._at, last = len(self._found), self._found[-1]
        is_word = last.kind is Kind.WORD and self._peek(-2).text != "."
        if (is_word and last.upper in _CONTINUED) or last.text in _SYMBOLS - _CLOSED:
            self._fail("an expression is expected, found the end", at=self._end)

    def _peek(self, ahead: int) -> Token:
        at = self._at + ahead
        return self._found[at] if 0 <= at < len(self._found) else self._end

    def _fail(self, sentence: str, *, at: Token) -> NoReturn:
        raise InvalidRequest(f"{sentence} {position(self._text, at.start)}")

    def _symbol(self, token: Token) -> None:
        text = token.text
        if text in ("?", "$"):
            self._fail("a condition takes no parameters: write the value", at=token)
        if text == ";":
            self._fail("a condition holds no semicolon", at=token)
        if text not in _SYMBOLS:
            self._fail(f"{_printable(text)} is no part of a condition", at=token)
        if text in _CLOSING:
            word = self._peek(-1).upper
            form = word if text == "(" and word in _FORMS else text
            self._open.append((form, token))
            if len(self._open) > PARENTHESES_DEPTH_MAX:
                self._fail(
                    f"too many parentheses: parentheses_depth_max={PARENTHESES_DEPTH_MAX}", at=token
                )
        elif text in _CLOSING.values():
            opened = self._open.pop()[1].text if self._open else ""
            if _CLOSING.get(opened) != text:
                self._fail(f"{text} closes nothing", at=token)
        elif text == "," and not self._open:
            self._fail("a condition is one expression", at=token)
        elif text == "::":
            self._type(token)

    def _is_column(self, token: Token) -> bool:
        """Whether a word or a quoted name is a column; raises for what it must not be."""
        before, follows = self._peek(-1), self._peek(1)
        if before.text == ".":  # of what it is a field, is for the engine to say
            if follows.text == "(":
                self._fail("a condition calls no qualified functions", at=token)
            return False
        if token.kind is Kind.WORD and token.text[0] in "@#":
            self._fail(f"{_printable(token.text)} is no part of a condition", at=token)
        word = token.upper
        if word in OPERATORS or self._is_of_form(word, before):
            return False
        if follows.text == "(":
            self._function(token)
            return False
        if word in _LITERAL_TYPES and follows.kind is Kind.STRING:
            return False
        if word in _REFUSED:
            quoted_hint = "; a column of that name is put in double quotes"
            self._fail(f"{_REFUSED[word]}, found {word}{quoted_hint}", at=token)
        return word not in _WHO

    def _is_of_form(self, word: str, before: Token) -> bool:
        """Whether a word divides the arguments of the function that it stands in."""
        if word == "DISTINCT":
            return before.upper in ("IS", "NOT") and self._peek(1).upper == "FROM"
        if word == "FROM" and before.upper == "DISTINCT":
            return True
        form = self._open[-1][0] if self._open else ""
        if word == "AS" and form in _CASTS:
            self._type(self._found[self._at])
            return True
        if word == "FROM":
            return form in ("EXTRACT", "SUBSTRING", "TRIM")
        if word == "FOR":
            return form == "SUBSTRING"
        if before.text != "(":
            return False
        return (form == "EXTRACT" and self._peek(1).upper == "FROM") or (
            form == "TRIM" and word in _SIDES
        )

    def _function(self, token: Token) -> None:
        word = token.upper
        if word in _REFUSED:
            self._fail(f"{_REFUSED[word]}, found {word}", at=token)
        if word == _ATTRIBUTE:
            argument, closing = self._peek(2), self._peek(3)
            if not _is_plain(argument) or closing.text != ")":
                self._fail("attribute takes one plain string, such as attribute('team')", at=token)
        elif word in _WHO:
            self._fail(f"{word.lower()} is written without parentheses", at=token)
        elif token.name not in FUNCTIONS and token.name not in _FORM_FUNCTIONS:
            self._fail(
                f"the function {_printable(token.name)} may not be used in a condition", at=token
            )

    def _type(self, sign: Token) -> None:
        """Go past the type that follows AS or ``::``."""
        if self._peek(1).upper not in _TYPES:
            self._fail("a cast in a condition is to a plain type of SQL", at=sign)
        while self._peek(1).upper in _TYPES:
            self._at += 1


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:64])


def bound(condition: str, principal: Principal) -> str:
    """Return the condition with the values of whoever asks in place of the words for them."""
    attributes = dict(principal.attributes)

    def value(word: str, argument: str) -> str:
        if word == _ATTRIBUTE:
            found = attributes.get(argument)
        else:
            found = principal.username if word == "CURRENT_USER" else principal.purpose
        return _NULL if found is None else literal(found)

    pieces: list[str] = []
    at = 0
    for start, end, word, argument in _words_for_who(condition):
        pieces += (condition[at:start], value(word, argument))
        at = end
    return "".join((*pieces, condition[at:]))


def sample(condition: str) -> str:
    """Return the condition of nobody in particular, for planning it; all else keeps its place."""
    pieces: list[str] = []
    at = 0
    for start, end, _, _ in _words_for_who(condition):
        rest = condition[start + len(_NULL_SAMPLE) : end]
        blank = "".join(char if char == "\n" else " " for char in rest)
        pieces += (condition[at:start], _NULL_SAMPLE, blank)
        at = end
    return "".join((*pieces, condition[at:]))


def _words_for_who(condition: str) -> Iterator[tuple[int, int, str, str]]:
    """Return from where to where which word for whoever asks stands, and its argument."""
    found = [token for token in tokens(condition) if token.kind not in SILENT]
    for at, token in enumerate(found):
        if at and found[at - 1].text == ".":
            continue
        word = token.upper
        if word in _WHO:
            yield token.start, token.end, word, ""
        elif word == _ATTRIBUTE and _is_call(found[at + 1 : at + 4]):
            text = found[at + 2].text[1:-1].replace("''", "'")
            yield token.start, found[at + 3].end, word, text


def _is_call(follow: Sequence[Token]) -> bool:
    """Whether these are one plain text in parentheses."""
    return len(follow) == 3 and (
        follow[0].text == "(" and _is_plain(follow[1]) and follow[2].text == ")"
    )


def _is_plain(token: Token) -> bool:
    return token.kind is Kind.STRING and token.text[0] == "'"
