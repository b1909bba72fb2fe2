"""Reads how columns are declared: name, type, NOT NULL, comment."""

from __future__ import annotations

from flight_server.sql.commands import Column
from flight_server.sql.cursor import Cursor

NO_CONSTRAINTS = (
    "NOT NULL is the one constraint that tables keep: leave PRIMARY KEY, UNIQUE, FOREIGN KEY and"
    " CHECK out"
)
NO_COPIES = (
    "a table is not made like another one: write CREATE TABLE t AS SELECT * FROM s, with LIMIT 0"
    " for its columns alone"
)
_NO_DEFAULTS = "columns have no defaults and make no values of their own: leave the clause out"
_CONSTRAINTS = {
    "PRIMARY": ("KEY",),
    "FOREIGN": ("KEY",),
    "UNIQUE": ("(", "KEY", "INDEX", "NULLS"),
    "CHECK": ("(",),
    "EXCLUDE": ("(", "USING"),
    "INDEX": ("(",),
    "KEY": ("(",),
}
# Words that go on with a column behind its type, and what is said of those that are not done.
_REFUSED = {
    "PRIMARY": NO_CONSTRAINTS,
    "UNIQUE": NO_CONSTRAINTS,
    "REFERENCES": NO_CONSTRAINTS,
    "CHECK": NO_CONSTRAINTS,
    "CONSTRAINT": NO_CONSTRAINTS,
    "DEFAULT": _NO_DEFAULTS,
    "GENERATED": _NO_DEFAULTS,
    "IDENTITY": _NO_DEFAULTS,
    "AUTO_INCREMENT": _NO_DEFAULTS,
    "AUTOINCREMENT": _NO_DEFAULTS,
    "AS": _NO_DEFAULTS,
    "COLLATE": "strings have one order, that of their bytes: leave COLLATE out",
    "FIRST": "columns are added behind the others: leave FIRST and AFTER out",
    "AFTER": "columns are added behind the others: leave FIRST and AFTER out",
    "MASK": "SQL does not change rights",
    "KEY": NO_CONSTRAINTS,
}
_AFTER_TYPE = frozenset({"NOT", "NULL", "COMMENT", *_REFUSED})
_OPENING = {"(": ")", "[": "]", "<": ">"}
_CLOSING = frozenset(_OPENING.values())


def begins_constraint(cursor: Cursor) -> bool:
    """Return whether a constraint comes next where a column could stand."""
    word, follows = cursor.peek().upper, cursor.peek(1)
    if word == "CONSTRAINT":
        return cursor.peek(2).upper in (*_CONSTRAINTS, "NOT") or cursor.peek(2).text in ("", ";")
    return (follows.upper or follows.text) in _CONSTRAINTS.get(word, ())


def read_columns(cursor: Cursor) -> tuple[Column, ...]:
    """Return the columns that a table is declared with, in parentheses."""
    opening = cursor.peek()

    def element() -> Column:
        if begins_constraint(cursor):
            cursor.refuse(NO_CONSTRAINTS)
        if cursor.sees("LIKE") and cursor.peek(1).text not in (",", ")"):
            cursor.refuse(NO_COPIES)
        return read_column(cursor)

    columns = cursor.items(element)
    cursor.check_once([column.name for column in columns], at=opening)
    return tuple(columns)


def read_column(cursor: Cursor) -> Column:
    """Return the column that is declared next."""
    name = cursor.name("the name of a column")
    if cursor.sees_symbol("."):
        cursor.refuse("a field is added to a struct by declaring the whole column")
    kind = _type_text(cursor)
    nullable = True
    comment: str | None = None
    while not cursor.is_done:
        if cursor.take("NOT", "NULL"):
            nullable = False
        elif cursor.take("NULL"):
            nullable = True
        elif cursor.take("COMMENT"):
            comment = cursor.string("a comment")
        elif cursor.peek().upper in _REFUSED:
            cursor.refuse(_REFUSED[cursor.peek().upper])
        else:
            break
    return Column(name, kind, nullable, comment)


def read_partitions(cursor: Cursor) -> tuple[str, ...]:
    """Return the names of columns in parentheses, refusing functions of them."""
    opening = cursor.peek()

    def column() -> str:
        name = cursor.name("the name of a column")
        if cursor.sees_symbol("("):
            cursor.refuse("a table is partitioned by columns, not by functions of them")
        if not (cursor.sees_symbol(",") or cursor.sees_symbol(")")):
            cursor.refuse("declare the partition columns among the others, and only name them here")
        return name

    names = tuple(cursor.items(column))
    cursor.check_once(names, at=opening)
    return names


def _type_text(cursor: Cursor) -> str:
    """Return the text of the type that comes next, whatever it is."""
    start = cursor.at
    waiting: list[str] = []
    while not cursor.is_done:
        token = cursor.peek()
        if not waiting and (token.text in (",", ")") or token.upper in _AFTER_TYPE):
            break
        if token.text in _OPENING:
            waiting.append(_OPENING[token.text])
        elif token.text in _CLOSING and (not waiting or token.text != waiting.pop()):
            raise cursor.wrong("what closes the type")
        cursor.at += 1
    if cursor.at == start or waiting:
        raise cursor.wrong("the type of the column" if not waiting else waiting[-1])
    return cursor.text(start, cursor.at)
