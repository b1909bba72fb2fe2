"""Reads the statements that change rows: INSERT, UPDATE, DELETE, MERGE and TRUNCATE."""

from __future__ import annotations

import re
from typing import NoReturn

from flight_server.sql.commands import (
    Assignment,
    Delete,
    Insert,
    Matched,
    Merge,
    MergeClause,
    MergeDelete,
    MergeInsert,
    MergeUpdate,
    Truncate,
    Update,
)
from flight_server.sql.cursor import NO_WORDS, SOURCE_WORDS, Cursor
from flight_server.sql.names import parse_versioned_name, quoted

# What may follow a condition, and a value that is set, but is no part of it.
AFTER_WHERE = frozenset({"RETURNING", "ORDER", "LIMIT", "USING"})
AFTER_SET = frozenset({"WHERE", "FROM", "RETURNING", "ORDER", "LIMIT"})
_AFTER_SOURCE = frozenset({"RETURNING", "ON"})
_WHEN = frozenset({"WHEN"})
_THEN = frozenset({"THEN"})
_RETURNING = "RETURNING is not supported: read the rows by a SELECT"
_DEFAULTS = "columns have no defaults here: write the value, or NULL"
_DEFAULT = re.compile(r"\bdefault\b", re.IGNORECASE)
_MAY_FOLLOW_VALUES = re.compile(r"\b(?:returning|on)\b", re.IGNORECASE)


# INSERT


def read_insert(cursor: Cursor, *, begins: str = "") -> Insert:
    """Read from behind INSERT; ``begins`` is a WITH clause that stood before it."""
    overwrite = cursor.take("OVERWRITE")
    if cursor.sees("OR"):
        cursor.refuse("INSERT OR … is not supported: use MERGE INTO")
    if not cursor.take("INTO") and not overwrite:
        raise cursor.wrong("INTO")
    cursor.take("TABLE")
    target = cursor.target()
    if cursor.take("AS"):
        cursor.name("an alias")
    if cursor.sees("PARTITION"):
        cursor.refuse("PARTITION (…) is not supported: the rows hold the partition columns")
    columns: tuple[str, ...] = ()
    if cursor.sees_symbol("(") and not cursor.opens_query():
        columns = cursor.names("the name of a column")
    by_name = cursor.take("BY", "NAME")
    if not by_name:
        cursor.take("BY", "POSITION")
    if by_name and columns:
        raise cursor.wrong("a query: BY NAME takes no list of columns")
    source = _insert_source(cursor)
    if begins:
        if _starts_with(source, "WITH"):
            cursor.refuse("two WITH clauses are not supported: write one, behind INSERT INTO t")
        source = f"{begins} {source}"
    return Insert(target, source, columns, by_name=by_name, overwrite=overwrite)


def _starts_with(text: str, word: str) -> bool:
    """Return whether a text that was cut out starts with this word."""
    return text[: len(word)].upper() == word and not text[len(word) : len(word) + 1].isalnum()


def _insert_source(cursor: Cursor) -> str:
    if cursor.sees("DEFAULT", "VALUES"):
        cursor.refuse(_DEFAULTS)
    if cursor.sees("OVERRIDING"):
        cursor.refuse("OVERRIDING is not supported: no column makes its own values")
    if cursor.sees("REPLACE") or cursor.sees("SET"):
        word = cursor.peek().upper
        cursor.refuse(f"INSERT … {word} is not supported: use VALUES, SELECT or MERGE INTO")
    if not (cursor.sees_one_of(SOURCE_WORDS) or cursor.sees_symbol("(")):
        raise cursor.wrong("VALUES, SELECT or WITH")
    if cursor.sees("VALUES") and _DEFAULT.search(cursor.sql):
        _refuse_defaults(cursor)
    start = cursor.at
    # RETURNING and ON CONFLICT may follow any query; ON belongs to its joins as well.
    stops = _AFTER_SOURCE if _MAY_FOLLOW_VALUES.search(cursor.sql) else NO_WORDS
    cursor.pass_over(stops=stops)
    while cursor.peek().text:
        if cursor.sees("RETURNING"):
            cursor.refuse(_RETURNING)
        if cursor.sees("ON", "CONFLICT") or cursor.sees("ON", "DUPLICATE"):
            cursor.refuse("ON CONFLICT is not supported: use MERGE INTO")
        if not cursor.take("ON"):
            cursor.expect_end()
        cursor.pass_over(stops=stops)
    return cursor.text(start, cursor.at)


def _refuse_defaults(cursor: Cursor) -> None:
    ahead = 0
    while cursor.peek(ahead).text:
        if (
            cursor.peek(ahead).upper == "DEFAULT"
            and cursor.peek(ahead - 1).text in ("(", ",")
            and cursor.peek(ahead + 1).text in (")", ",")
        ):
            cursor.refuse(_DEFAULTS, ahead=ahead)
        ahead += 1


# UPDATE, DELETE, TRUNCATE


def read_update(cursor: Cursor) -> Update:
    """Read from behind UPDATE."""
    if cursor.sees("OR"):
        cursor.refuse("UPDATE OR … is not supported")
    cursor.take("ONLY")
    target = cursor.target()
    alias = cursor.alias(unless=frozenset({"SET"})) or target.table
    cursor.expect("SET")
    assignments = _assignments(cursor, alias=alias, table=target.table, stops=AFTER_SET)
    if cursor.sees("FROM"):
        cursor.refuse("UPDATE … FROM is not supported: use MERGE INTO … WHEN MATCHED THEN UPDATE")
    return Update(target, assignments, alias, _where(cursor))


def read_delete(cursor: Cursor) -> Delete:
    """Read from behind DELETE."""
    cursor.expect("FROM")
    cursor.take("ONLY")
    target = cursor.target()
    alias = cursor.alias(unless=AFTER_WHERE | {"WHERE"}) or target.table
    if cursor.sees("USING"):
        cursor.refuse("DELETE … USING is not supported: use MERGE INTO … WHEN MATCHED THEN DELETE")
    return Delete(target, alias, _where(cursor))


def read_truncate(cursor: Cursor) -> Truncate:
    """Read from behind TRUNCATE."""
    cursor.take("TABLE")
    cursor.take("ONLY")
    command = Truncate(cursor.target())
    cursor.expect_end()
    return command


def _where(cursor: Cursor) -> str | None:
    condition = None
    if cursor.take("WHERE"):
        condition = cursor.expression("a condition", stops=AFTER_WHERE)
    if cursor.sees("RETURNING"):
        cursor.refuse(_RETURNING)
    if cursor.sees("ORDER") or cursor.sees("LIMIT"):
        cursor.refuse("ORDER BY and LIMIT are for queries: say in WHERE which rows are meant")
    cursor.expect_end()
    return condition


def _assignments(
    cursor: Cursor, *, alias: str, table: str, stops: frozenset[str]
) -> tuple[Assignment, ...]:
    opening = cursor.peek()
    found = [_assignment(cursor, alias=alias, table=table, stops=stops)]
    while cursor.take_symbol(","):
        found.append(_assignment(cursor, alias=alias, table=table, stops=stops))
    cursor.check_once([each.column for each in found], at=opening)
    return tuple(found)


def _assignment(cursor: Cursor, *, alias: str, table: str, stops: frozenset[str]) -> Assignment:
    if cursor.sees_symbol("("):
        cursor.refuse("SET (a, b) = … is not supported: write SET a = …, b = …")
    first = cursor.peek()
    *qualifiers, column = cursor.path("the name of a column", parts_max=4)
    if qualifiers and qualifiers[-1] not in (alias, table):
        cursor.fail(
            f"{'.'.join([*qualifiers, column])} is no column of the table that is changed:"
            " fields of a struct are changed by setting the whole column",
            at=first,
        )
    cursor.expect_symbol("=")
    return Assignment(column, _value(cursor, stops=stops))


def _value(cursor: Cursor, *, stops: frozenset[str] = frozenset()) -> str:
    if cursor.sees("DEFAULT") and cursor.peek(1).text in ("", ",", ")"):
        cursor.refuse(_DEFAULTS)
    return cursor.expression("a value", stops=stops, commas=True)


# MERGE


def read_merge(cursor: Cursor) -> Merge:
    """Read from behind MERGE."""
    if cursor.sees("WITH", "SCHEMA"):
        cursor.refuse("WITH SCHEMA EVOLUTION is not supported: use ALTER TABLE … ADD COLUMN first")
    cursor.expect("INTO")
    target = cursor.target()
    alias = cursor.alias(unless=frozenset({"USING"})) or target.table
    cursor.expect("USING")
    source, source_alias = _merge_source(cursor)
    if source_alias == alias:
        raise cursor.wrong(f"another alias than {alias}, which is the table's own")
    if not cursor.sees("ON"):
        raise cursor.wrong("ON")
    cursor.expect("ON")
    condition = cursor.expression("a condition", stops=_WHEN)
    clauses = []
    while cursor.take("WHEN"):
        clauses.append(_merge_clause(cursor, alias=alias, table=target.table))
    if not clauses:
        raise cursor.wrong("WHEN MATCHED or WHEN NOT MATCHED")
    if cursor.sees("RETURNING"):
        cursor.refuse(_RETURNING)
    cursor.expect_end()
    return Merge(target, alias, source, source_alias, condition, tuple(clauses))


def _merge_source(cursor: Cursor) -> tuple[str, str]:
    """Return the text of the source, and the name by which conditions call it."""
    start = cursor.at
    default = ""
    if cursor.sees_symbol("("):
        cursor.group()
    else:
        default, _ = parse_versioned_name(cursor.ref("a table or a query in parentheses").table)
        if cursor.sees_version():
            cursor.version()
        if cursor.sees_symbol("("):
            cursor.refuse("a function is no source of MERGE: write USING (SELECT …) AS s")
    source = cursor.text(start, cursor.at)
    alias = cursor.alias(unless=frozenset({"ON"})) or default
    if not alias:
        raise cursor.wrong("a name for the source, as in USING (…) AS s")
    if cursor.sees_symbol("("):
        columns = ", ".join(quoted(name) for name in cursor.names("the name of a column"))
        parts = ("(SELECT * FROM", source, "AS", quoted(alias), f"({columns}))")
        source = " ".join(parts)
    return source, alias


def _merge_clause(cursor: Cursor, *, alias: str, table: str) -> MergeClause:
    matched = _matched(cursor)
    condition = cursor.expression("a condition", stops=_THEN) if cursor.take("AND") else None
    cursor.expect("THEN")
    action = _merge_action(cursor, matched, alias=alias, table=table)
    return MergeClause(matched, condition, action)


def _matched(cursor: Cursor) -> Matched:
    if cursor.take("MATCHED"):
        return Matched.BOTH
    cursor.expect("NOT", "MATCHED")
    if not cursor.take("BY"):
        return Matched.SOURCE_ONLY
    if cursor.take("TARGET"):
        return Matched.SOURCE_ONLY
    cursor.expect("SOURCE")
    return Matched.TARGET_ONLY


def _merge_action(
    cursor: Cursor, matched: Matched, *, alias: str, table: str
) -> MergeUpdate | MergeDelete | MergeInsert | None:
    word = cursor.peek()
    if cursor.take("DO", "NOTHING"):
        return None
    inserts = matched is Matched.SOURCE_ONLY
    if inserts is not cursor.sees("INSERT"):
        raise cursor.wrong("INSERT or DO NOTHING" if inserts else "UPDATE, DELETE or DO NOTHING")
    if cursor.take("INSERT"):
        return _merge_insert(cursor)
    if cursor.take("DELETE"):
        return MergeDelete()
    if not cursor.take("UPDATE"):
        raise cursor.wrong("UPDATE, DELETE or DO NOTHING")
    cursor.expect("SET")
    if cursor.take_symbol("*"):
        if matched is Matched.TARGET_ONLY:
            cursor.fail("UPDATE SET * takes the source's values, and here there are none", at=word)
        return MergeUpdate()
    stops = _WHEN | {"RETURNING", "WHERE"}
    return MergeUpdate(_assignments(cursor, alias=alias, table=table, stops=stops))


def _merge_insert(cursor: Cursor) -> MergeInsert:
    if cursor.take_symbol("*") or cursor.take("ROW"):
        return MergeInsert()
    opening = cursor.peek()
    columns: tuple[str, ...] = ()
    if cursor.sees_symbol("("):
        columns = tuple(cursor.items(lambda: _insert_column(cursor)))
        cursor.check_once(columns, at=opening)
    if cursor.sees("DEFAULT"):
        cursor.refuse(_DEFAULTS)
    cursor.expect("VALUES")
    values = tuple(cursor.items(lambda: _value(cursor)))
    if columns and len(columns) != len(values):
        cursor.fail(f"{len(columns)} columns and {len(values)} values", at=opening)
    return MergeInsert(columns, values)


def _insert_column(cursor: Cursor) -> str:
    return cursor.path("the name of a column", parts_max=4)[-1]


def refuse_with(cursor: Cursor, word: str) -> NoReturn:
    """Refuse ``WITH … UPDATE`` and its like, whose WITH clause has no place to go."""
    cursor.refuse(
        f"WITH before {word} is not supported: put the query where it is used, in a subquery or as"
        " the source of MERGE INTO"
    )
