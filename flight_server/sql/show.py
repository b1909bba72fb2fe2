"""Turns SHOW and DESCRIBE into queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.sql.cursor import Cursor
from flight_server.sql.lexer import Kind
from flight_server.sql.names import history_name, literal, parse_versioned_name, quoted
from flight_server.sql.shims import Known
from policies.names import TableRef

_COLUMNS = "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
_LISTS = "SHOW TABLES, VIEWS, SCHEMAS, CATALOGS, COLUMNS FROM t, ALL, or an option of the session"
_ROWS_MAX = 10**9


@dataclass(frozen=True, slots=True)
class Shown:
    """The query that answers; ``must_exist`` is a table to open first.

    ``of_session`` tells that the answer is the session's, and may differ the next time.
    """

    sql: str
    must_exist: TableRef | None = None
    of_session: bool = False


@dataclass(frozen=True, slots=True)
class _Listing:
    """Where a SHOW reads: a table and its columns, that of LIKE, and those of FROM, outer first."""

    source: str
    columns: str
    liked: str
    scope: tuple[str, ...]
    condition: str = ""


_TABLES = _Listing(
    "information_schema.tables",
    "table_catalog, table_schema, table_name, table_type",
    "table_name",
    ("table_catalog", "table_schema"),
)
_LISTINGS = {
    "CATALOGS": _Listing("information_schema.schemata", "catalog_name", "catalog_name", ()),
    "DATABASES": _Listing(
        "information_schema.schemata", "catalog_name AS database_name", "catalog_name", ()
    ),
    "SCHEMAS": _Listing(
        "information_schema.schemata",
        "catalog_name, schema_name",
        "schema_name",
        ("catalog_name",),
    ),
    "TABLES": _TABLES,
    "VIEWS": _Listing(
        "information_schema.tables",
        "table_catalog, table_schema, table_name",
        "table_name",
        ("table_catalog", "table_schema"),
        "table_type = 'VIEW'",
    ),
}
_REFUSED = {
    "CREATE": "SHOW CREATE is not supported: DESCRIBE t lists columns, and"
    " information_schema.views holds the text of views",
    "FUNCTIONS": "SHOW FUNCTIONS is not supported: docs/sql.md says where functions are described",
    "GRANTS": "SQL shows no rights",
    "INDEXES": "there are no indexes",
    "INDEX": "there are no indexes",
    "PROCESSLIST": "use the action query.list",
    "PARTITIONS": "SHOW PARTITIONS is not supported: SELECT DISTINCT the partition columns",
    "TBLPROPERTIES": "tables show no properties here",
}


# DESCRIBE


def describe(cursor: Cursor) -> Shown | None:
    """Read from behind DESCRIBE; None when it is a query that is described."""
    if cursor.sees_symbol("(") or cursor.sees("SELECT") or cursor.sees("WITH"):
        return None
    is_followed = bool(cursor.peek(1).text) and cursor.peek(1).text != "."
    word = cursor.peek().upper if is_followed else ""
    if word == "HISTORY":
        cursor.next()
        return _history(cursor)
    if word in ("DETAIL", "EXTENDED", "FORMATTED"):
        raise Unsupported(
            f"DESCRIBE {word} is not supported: DESCRIBE t lists columns, DESCRIBE HISTORY t"
            " versions"
        )
    if word in ("SCHEMA", "DATABASE", "CATALOG", "FUNCTION", "QUERY"):
        cursor.refuse(f"DESCRIBE {word} is not supported: only tables and queries are described")
    if word == "TABLE":
        cursor.next()
    ref = cursor.ref()
    if cursor.sees_version():
        cursor.refuse('write the version in the name, as in DESCRIBE "t@v5"')
    cursor.expect_end()
    return columns_of(ref)


def _history(cursor: Cursor) -> Shown:
    cursor.take("TABLE")
    ref = cursor.target()
    name = ".".join(map(quoted, (ref.bucket, ref.schema, history_name(ref.table))))
    text = " ".join(("SELECT * FROM", name, "ORDER BY version DESC"))
    if cursor.take("LIMIT"):
        token = cursor.next()
        if token.kind is not Kind.NUMBER or not token.text.isdecimal():
            cursor.fail("LIMIT takes a number of rows", at=token)
        text += f" LIMIT {min(int(token.text[:10]), _ROWS_MAX)}"
    cursor.expect_end()
    return Shown(text)


def columns_of(ref: TableRef) -> Shown:
    """Return the query for the columns of a table."""
    name, _ = parse_versioned_name(ref.table)
    values = zip(
        ("table_catalog", "table_schema", "table_name"), (ref.bucket, ref.schema, name), strict=True
    )
    where = " AND ".join(_is(column, value) for column, value in values)
    text = " ".join((_COLUMNS, "WHERE", where, "ORDER BY ordinal_position"))
    return Shown(text, must_exist=ref)


def _is(column: str, value: str) -> str:
    return f"{column} = {literal(value)}"


# SHOW


def show(cursor: Cursor, *, known: Known, session: Mapping[str, str]) -> Shown:
    """Read from behind SHOW; ``session`` holds the options that are set, as text."""
    what = cursor.peek().upper
    if what in ("COLUMNS", "FIELDS"):
        cursor.next()
        return _show_columns(cursor)
    if what in _LISTINGS and cursor.peek(1).text != ".":
        cursor.next()
        return _list(cursor, _LISTINGS[what])
    if what in _REFUSED:
        cursor.refuse(_REFUSED[what])
    facts = _facts(known) | dict(session)
    if cursor.take("ALL"):
        cursor.expect_end()
        rows = ", ".join(f"({literal(n)}, {literal(v)})" for n, v in sorted(facts.items()))
        return Shown(
            " ".join(("SELECT * FROM (VALUES", rows, ") AS options (name, setting) ORDER BY 1")),
            of_session=True,
        )
    return _show_option(cursor, facts)


def _facts(known: Known) -> dict[str, str]:
    """Return what is so in every session, under the names that PostgreSQL has for it."""
    return {
        "autocommit": "on",
        "catalog": known.bucket,
        "client_encoding": "UTF8",
        "schema": known.schema,
        "search_path": known.schema,
        "server_encoding": "UTF8",
        "server_version": known.version,
        "standard_conforming_strings": "on",
        "timezone": "UTC",
        "transaction_isolation": "none",
    }


def _show_option(cursor: Cursor, facts: Mapping[str, str]) -> Shown:
    first = cursor.peek()
    if cursor.take("TRANSACTION", "ISOLATION", "LEVEL"):
        name = "transaction_isolation"
    elif cursor.take("TIME", "ZONE"):
        name = "timezone"
    elif first.kind in (Kind.WORD, Kind.QUOTED):
        name = ".".join(cursor.path("the name of an option", parts_max=4))
    else:
        raise cursor.wrong(_LISTS)
    cursor.expect_end()
    if name not in facts:
        names = ", ".join(sorted(facts))
        raise InvalidRequest(f"there is no such option: there are {names}. Or write {_LISTS}")
    text = " ".join(("SELECT", literal(facts[name]), "AS", quoted(name)))
    return Shown(text, of_session=True)


def _show_columns(cursor: Cursor) -> Shown:
    if not (cursor.take("FROM") or cursor.take("IN")):
        raise InvalidRequest("write SHOW COLUMNS FROM a table")
    ref = cursor.ref()
    cursor.expect_end()
    return columns_of(ref)


def _list(cursor: Cursor, listing: _Listing) -> Shown:
    """Read ``[FROM [bucket.]schema] [LIKE '…']``."""
    conditions = [listing.condition] if listing.condition else []
    if listing.scope and (cursor.take("FROM") or cursor.take("IN")):
        parts = cursor.path("the name of a schema", parts_max=len(listing.scope))
        values = (cursor.bucket, *parts)[-len(listing.scope) :]
        pairs = zip(listing.scope, values, strict=True)
        conditions += [_is(column, value) for column, value in pairs]
    if cursor.take("LIKE"):
        conditions.append(f"{listing.liked} LIKE {literal(cursor.string('a pattern'))}")
    cursor.expect_end()
    where = ["WHERE", " AND ".join(conditions)] if conditions else []
    order = ", ".join(str(i + 1) for i in range(listing.columns.count(",") + 1))
    parts_of = ["SELECT DISTINCT", listing.columns, "FROM", listing.source, *where]
    return Shown(" ".join([*parts_of, "ORDER BY", order]))
