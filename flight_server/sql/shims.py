"""Rewrites what tools of other systems send into what the engine knows, and refuses the rest.

Words in strings, comments and quotes, behind a dot or behind AS are left alone. What the engine
cannot do and nothing can be rewritten to is refused here, with a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flight_server.errors import Unsupported
from flight_server.sql.edits import Edit
from flight_server.sql.lexer import Kind, Token, position
from flight_server.sql.names import literal, quoted

_SUSPECT = re.compile(
    r"\{|pg_|^[\s(]*from\b|^\s*(?:--|/\*)|\b(?:current_(?:catalog|database|schema|user)|session_user|user|database|schema"
    r"|version|connection_id|reg\w+|input_file_name|file_row_index|gen_random_uuid|newid|fetch"
    r"|top|dual|table)\b",
    re.IGNORECASE,
)
_NAMES = frozenset({Kind.WORD, Kind.QUOTED})
_NO_PG = "there is no pg_catalog: use information_schema"
# Words that may stand without parentheses and mean a value, as in the SQL standard.
_BARE = frozenset({"current_catalog", "current_schema", "current_user", "session_user"})
_REFUSED_CALLS = {
    "connection_id": "connections have no number: the option query_tag marks what a session runs",
    "pg_typeof": "use arrow_typeof(x)",
    "input_file_name": "files are not shown: a table is one thing here",
    "file_row_index": "files are not shown: a table is one thing here",
}
_PG_TABLES = frozenset(
    f"pg_{name}"
    for name in [
        "attribute",
        "attrdef",
        "class",
        "constraint",
        "database",
        "description",
        "enum",
        "index",
        "indexes",
        "matviews",
        "namespace",
        "proc",
        "range",
        "roles",
        "settings",
        "stat_activity",
        "tables",
        "type",
        "user",
        "views",
    ]
)
_PG_TYPES = frozenset({"regclass", "regtype", "regproc", "regnamespace", "regrole"})
# Functions of the ODBC and JDBC escape {fn …} that are called otherwise here.
_ESCAPED = {
    "ucase": "upper",
    "lcase": "lower",
    "curdate": "current_date",
    "curtime": "current_time",
    "log": "ln",
    "ceiling": "ceil",
    "truncate": "trunc",
    "char": "chr",
}
_ESCAPED_PARTS = {
    "year": "year",
    "quarter": "quarter",
    "month": "month",
    "week": "week",
    "dayofmonth": "day",
    "dayofyear": "doy",
    "hour": "hour",
    "minute": "minute",
    "second": "second",
}
_ENDS_ITEM = frozenset(
    {"FROM", "WHERE", "UNION", "EXCEPT", "INTERSECT", "LIMIT", "ORDER", "HAVING", "OFFSET", "FETCH"}
)
_CLAUSES = _ENDS_ITEM | {"GROUP", "BY", "ON", "SET", "VALUES", "WHEN", "THEN", "CASE"}
_LOOK_BACK_TOKENS_MAX = 64
# A number of rows is a literal, a placeholder or a short expression.
_COUNT_TOKENS_MAX = 8


@dataclass(frozen=True, slots=True)
class Known:
    """What a statement may ask about its own session."""

    bucket: str
    schema: str
    username: str
    version: str


def shim_edits(sql: str, found: Sequence[Token], known: Known) -> list[Edit]:
    """Return the changes to a statement.

    Raises Unsupported, with line and column, for what has no counterpart here.
    """
    if not _SUSPECT.search(sql):
        return []
    return _Shims(sql, found, known).edits()


class _Shims:
    def __init__(self, sql: str, found: Sequence[Token], known: Known) -> None:
        self._sql = sql
        self._found = found
        self._end = Token(Kind.SYMBOL, "", len(sql))
        self._edits: list[Edit] = []
        self._first = next((i for i, token in enumerate(found) if token.text != "("), 0)
        # For each brace that is open: whether it goes.
        self._braces: list[bool] = []
        self._values = {
            "current_catalog": known.bucket,
            "current_database": known.bucket,
            "database": known.bucket,
            "current_schema": known.schema,
            "schema": known.schema,
            "current_user": known.username,
            "session_user": known.username,
            "user": known.username,
            "version": known.version,
        }
        self._handlers: dict[str, Callable[[int], None]] = {
            **dict.fromkeys(self._values, self._value),
            **dict.fromkeys(_REFUSED_CALLS, self._refused_call),
            "pg_catalog": self._pg_catalog,
            "gen_random_uuid": self._uuid,
            "newid": self._uuid,
            "fetch": self._fetch,
            "top": self._top,
            "dual": self._dual,
            "table": self._table,
            "from": self._from,
        }

    def edits(self) -> list[Edit]:
        for at, token in enumerate(self._found):
            if token.kind is Kind.WORD:
                word = token.text.lower()
                handler = self._handlers.get(word)
                if handler is None and (word.startswith("pg_") or word in _PG_TYPES):
                    handler = self._pg_word
                if handler is not None and self._text(at - 1) != ".":
                    handler(at)
            elif token.kind is Kind.QUOTED:
                if token.name.lower() in _REFUSED_CALLS:  # quotes name functions as well
                    self._refused_call(at)
            elif token.text == "{":
                self._opening(at)
            elif token.text == "}" and self._braces and self._braces.pop():
                self._replace(at, at, "")
        return self._edits

    # What stands where

    def _token(self, at: int) -> Token:
        return self._found[at] if 0 <= at < len(self._found) else self._end

    def _text(self, at: int) -> str:
        return self._token(at).text

    def _word(self, at: int) -> str:
        return self._token(at).upper

    def _replace(self, first: int, last: int, text: str) -> None:
        self._edits.append(Edit(self._found[first].start, self._found[last].end, text))

    def _refuse(self, at: int, sentence: str) -> None:
        raise Unsupported(f"{sentence} {position(self._sql, self._token(at).start)}")

    # Values of the session

    def _value(self, at: int) -> None:
        word = self._found[at].text.lower()
        last = at
        if self._text(at + 1) == "(" and self._text(at + 2) == ")":
            last = at + 2
        elif not self._is_bare(at, word):
            return
        text = literal(self._values[word])
        if self._is_item(at, last):
            text += f" AS {quoted(word)}"
        self._replace(at, last, text)

    def _is_bare(self, at: int, word: str) -> bool:
        """Return whether a word alone means the value: ``user`` does in ``SELECT user`` only."""
        if self._text(at + 1) in ("(", ".") or self._word(at - 1) == "AS":
            return False
        if word == "user":
            return len(self._found) == 2 and self._word(at - 1) == "SELECT"
        return word in _BARE and not self._is_alias(at)

    def _is_alias(self, at: int) -> bool:
        """Return whether the word stands behind a value or a name, as an alias would."""
        before = self._token(at - 1)
        is_value = before.kind in (Kind.NUMBER, Kind.STRING, Kind.QUOTED)
        return is_value or before.text in (")", "]")

    def _is_item(self, first: int, last: int) -> bool:
        """Return whether these tokens are a whole item, without alias, of a SELECT's list."""
        after = self._token(last + 1)
        if after.text not in ("", ",", ")") and after.upper not in _ENDS_ITEM:
            return False
        if self._text(first - 1) != "," and self._word(first - 1) not in ("SELECT", "DISTINCT"):
            return False
        depth = 0
        for at in range(first - 1, max(-1, first - 1 - _LOOK_BACK_TOKENS_MAX), -1):
            text, word = self._text(at), self._word(at)
            if text in ("(", "[", "{") and depth == 0:
                return False
            depth += {")": 1, "]": 1, "}": 1, "(": -1, "[": -1, "{": -1}.get(text, 0)
            if depth == 0 and word in _CLAUSES:
                return False
            if depth == 0 and word == "SELECT":
                return True
        return False

    # Functions and tables that are not there

    def _refused_call(self, at: int) -> None:
        if self._text(at + 1) == "(":
            word = self._found[at].name.lower()
            self._refuse(at, f"{word}() is not supported: {_REFUSED_CALLS[word]}")

    def _pg_catalog(self, at: int) -> None:
        if self._text(at + 1) == ".":
            self._refuse(at, _NO_PG)

    def _pg_word(self, at: int) -> None:
        word = self._found[at].text.lower()
        if word in _PG_TYPES:
            if self._text(at - 1) == "::" or (self._word(at - 1), self._text(at + 1)) == (
                "AS",
                ")",
            ):
                self._refuse(at, f"{word} is not supported: {_NO_PG}")
        elif self._text(at + 1) == "(" and self._word(at - 1) not in ("AS", "WITH", "FROM", "JOIN"):
            self._refuse(at, f"{word}() is not supported: {_NO_PG}")
        elif word in _PG_TABLES and self._word(at - 1) in ("FROM", "JOIN"):
            self._refuse(at, f"{word} is not supported: {_NO_PG}")

    def _uuid(self, at: int) -> None:
        if self._text(at + 1) == "(" and self._text(at + 2) == ")":
            self._replace(at, at, "uuid")

    def _dual(self, at: int) -> None:
        if self._word(at - 1) == "FROM" and self._text(at + 1) != ".":
            follows = self._token(at + 1)
            has_alias = follows.kind is Kind.QUOTED or (
                follows.kind is Kind.WORD and follows.upper not in _CLAUSES
            )
            self._replace(at, at, "(SELECT 'X' AS dummy)" + ("" if has_alias else " AS dual"))

    # Clauses

    def _table(self, at: int) -> None:
        """``TABLE t`` where a query may stand."""
        before, first = self._token(at - 1), self._token(at + 1)
        begins = at == 0 or before.text == "(" or before.upper in ("UNION", "EXCEPT", "INTERSECT")
        begins = begins or before.upper in ("ALL", "EXPLAIN", "ANALYZE", "VERBOSE")
        if begins and first.kind in _NAMES:
            self._replace(at, at, "SELECT * FROM")

    def _from(self, at: int) -> None:
        """``FROM t`` without a SELECT at the start, which gives no columns to the engine."""
        if at != self._first:
            return
        depth = 0
        for token in self._found[at:]:
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if depth == 0 and token.upper in ("SELECT", "UNION", "EXCEPT", "INTERSECT"):
                if token.upper == "SELECT":
                    return
                break
        self._replace(at, at, f"SELECT * {self._found[at].text}")

    def _top(self, at: int) -> None:
        follows = self._token(at + 1)
        is_number = follows.kind is Kind.NUMBER or (
            follows.text == "(" and self._token(at + 2).kind is Kind.NUMBER
        )
        if is_number and self._word(at - 1) in ("SELECT", "DISTINCT", "ALL"):
            self._refuse(at, "TOP is not supported: end the query with LIMIT n")

    def _fetch(self, at: int) -> None:
        """``FETCH FIRST n ROWS ONLY`` is ``LIMIT n``."""
        if self._word(at + 1) not in ("FIRST", "NEXT"):
            return
        rows = at + 2
        while rows < at + _COUNT_TOKENS_MAX and self._token(rows).kind is not Kind.WORD:
            rows += 1
        if self._word(rows) == "PERCENT":
            self._refuse(rows, "FETCH … PERCENT is not supported: use LIMIT with a number of rows")
        if self._word(rows) not in ("ROW", "ROWS"):
            return
        if self._word(rows + 1) == "WITH" and self._word(rows + 2) == "TIES":
            self._refuse(rows + 1, "WITH TIES is not supported: use rank() in a subquery")
        if self._word(rows + 1) == "ONLY":
            self._replace(at, at + 1, "LIMIT 1" if rows == at + 2 else "LIMIT")
            self._replace(rows, rows + 1, "")

    # Escapes of ODBC and JDBC

    def _opening(self, at: int) -> None:
        """``{fn …}``, ``{oj …}`` and ``{escape …}`` lose their braces; others keep them."""
        word, follows = self._text(at + 1).lower(), self._token(at + 2)
        is_escape = self._token(at + 1).kind is Kind.WORD and follows.text != ":"
        if (is_escape and word == "call") or (word == "?" and follows.text == "="):
            self._refuse(at, "{call …} is not supported: SQL calls no procedures yet")
        goes = is_escape and word in ("fn", "oj", "escape")
        self._braces.append(goes)
        if not goes:
            return
        self._replace(at, at if word == "escape" else at + 1, "")
        name = follows.text.lower()
        if word != "fn" or self._text(at + 3) != "(":
            return
        if name in _ESCAPED:
            self._replace(at + 2, at + 2, _ESCAPED[name])
        elif name in _ESCAPED_PARTS:
            self._replace(at + 2, at + 3, f"date_part('{_ESCAPED_PARTS[name]}', ")
