"""Reads the statements that change the session: USE, SET and RESET."""

from __future__ import annotations

from flight_server.sql.commands import SetOption, Use
from flight_server.sql.cursor import Cursor
from flight_server.sql.lexer import Kind

NO_TRANSACTIONS = (
    "there are no transactions: each statement is committed by itself, and nothing can be rolled"
    " back"
)
_BUCKETS = frozenset({"CATALOG", "BUCKET", "DATABASE"})
_SCHEMAS = frozenset({"SCHEMA", "NAMESPACE"})
_TRUTHS: dict[str, bool] = {"TRUE": True, "ON": True, "FALSE": False, "OFF": False}
# What other systems call the options of the contract.
_OTHER_NAMES = {"search_path": "schema", "current_schema": "schema", "current_catalog": "catalog"}


def read_use(cursor: Cursor) -> Use:
    """Read from behind USE; a single name without a word before it may be a bucket or a schema."""
    word = cursor.peek().upper
    is_named = cursor.peek(1).kind in (Kind.WORD, Kind.QUOTED, Kind.STRING)
    if is_named and word in _BUCKETS | _SCHEMAS:
        cursor.next()
        command = _use(cursor, is_schema=word in _SCHEMAS)
    else:
        parts = cursor.path("the name of a bucket or a schema", parts_max=2)
        command = (
            Use(parts[0], None, is_either=True) if len(parts) == 1 else Use(parts[0], parts[1])
        )
    cursor.expect_end()
    return command


def _use(cursor: Cursor, *, is_schema: bool) -> Use:
    if cursor.peek().kind is Kind.STRING:
        name = cursor.string("a name")
        return Use(None, name) if is_schema else Use(name, None)
    if not is_schema:
        return Use(cursor.name("the name of a bucket"), None)
    parts = cursor.path("the name of a schema", parts_max=2)
    return Use(None, parts[0]) if len(parts) == 1 else Use(parts[0], parts[1])


def read_set(cursor: Cursor) -> SetOption | Use:
    """Read from behind SET."""
    if cursor.sees("LOCAL") and cursor.peek(1).text not in ("=", "."):
        cursor.refuse(f"SET LOCAL is not supported: {NO_TRANSACTIONS}")
    if cursor.peek(1).kind in (Kind.WORD, Kind.QUOTED) and not cursor.take("GLOBAL"):
        cursor.take("SESSION")
    _refuse_other_sets(cursor)
    names_place = cursor.sees_one_of(_BUCKETS | _SCHEMAS)
    if names_place and cursor.peek(1).text != "=" and cursor.peek(1).upper != "TO":
        is_schema = cursor.next().upper in _SCHEMAS
        command = _use(cursor, is_schema=is_schema)
        cursor.expect_end()
        return command
    name = _option_name(cursor)
    if not cursor.take("TO"):
        cursor.expect_symbol("=")
    value = _option_value(cursor)
    if cursor.sees_symbol(","):
        cursor.refuse("an option has one value here: write one")
    cursor.expect_end()
    return SetOption(name, value)


def read_reset(cursor: Cursor) -> SetOption:
    """Read from behind RESET."""
    cursor.take("SESSION")
    if cursor.sees("ALL"):
        cursor.refuse("RESET ALL is not supported: reset each option by its name")
    command = SetOption(_option_name(cursor), None)
    cursor.expect_end()
    return command


def _refuse_other_sets(cursor: Cursor) -> None:
    if cursor.peek(1).text == "=" or cursor.peek(1).upper == "TO":
        return
    if cursor.sees("TRANSACTION") or cursor.sees("CHARACTERISTICS"):
        cursor.refuse(NO_TRANSACTIONS)
    if cursor.sees("CONSTRAINTS"):
        cursor.refuse("tables keep no constraint that could be deferred")
    if cursor.sees("ROLE") or cursor.sees("AUTHORIZATION"):
        cursor.refuse("SQL does not change users or rights: connect as the other user")
    if cursor.sees("NAMES") or cursor.sees("CHARACTER"):
        cursor.refuse("texts are UTF-8 always: leave SET NAMES out")
    if cursor.sees("TIME", "ZONE"):
        cursor.refuse("the time zone is UTC always: convert with AT TIME ZONE")
    if cursor.sees("VARIABLE") or cursor.sees("VAR"):
        cursor.refuse("there are no variables: use parameters")
    if cursor.sees_symbol("@") or cursor.peek().text[:1] == "@":
        cursor.refuse("there are no variables: use parameters")


def _option_name(cursor: Cursor) -> str:
    name = ".".join(cursor.path("the name of an option", parts_max=4))
    return _OTHER_NAMES.get(name, name)


def _option_value(cursor: Cursor) -> str | int | float | bool | None:
    token = cursor.peek()
    if token.kind is Kind.STRING:
        return cursor.string("a value")
    if token.kind is Kind.QUOTED:
        return cursor.name("a value")
    if cursor.take("DEFAULT"):
        return None
    if token.kind is Kind.WORD:
        cursor.next()
        return _TRUTHS.get(token.upper, token.name)
    sign = -1 if cursor.take_symbol("-") else 1
    if sign == 1:
        cursor.take_symbol("+")
    number = cursor.peek()
    if number.kind is not Kind.NUMBER:
        raise cursor.wrong("a value: a string, a number, a word or DEFAULT")
    cursor.next()
    try:
        return sign * int(number.text)
    except ValueError:
        pass
    try:
        return sign * float(number.text)
    except ValueError:
        cursor.fail("this number cannot be read", at=number)
