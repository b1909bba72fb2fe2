"""Says what kind of statement a text is before anything runs, and which query answers it.

Pure: the gateway uses it as well, and must never load DataFusion. Whatever is not a read is refused
here, with a sentence; the session that runs queries refuses it once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.sql.lexer import SILENT, Kind, Token, position, tokens
from flight_server.sql.names import literal, parse_versioned_name
from flight_server.sql.timetravel import rewrite
from policies.names import TableRef


class StatementKind(Enum):
    """What is to be done with a statement."""

    QUERY = "query"
    EXPLAIN = "explain"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that may be planned.

    ``sql`` is the text to plan; ``is_rewritten`` tells that it is not the user's own, so that
    columns of a parser's message would mislead. ``must_exist`` is a table to open first, so that a
    wrong name is noticed.
    ``is_timeless`` tells that nothing in it asks the clock, whose answer a plan keeps;
    ``is_repeatable`` that it also asks for nothing random, so that the same data give the same
    answer.
    """

    kind: StatementKind
    sql: str
    is_rewritten: bool = False
    must_exist: TableRef | None = None
    is_timeless: bool = True
    is_repeatable: bool = True


_COLUMNS = "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
_QUERIES = frozenset({"SELECT", "WITH", "VALUES", "FROM"})
_NAMES = frozenset({Kind.WORD, Kind.QUOTED})
_CLOCKS = frozenset({"now", "today", "current_date", "current_time", "current_timestamp"})
_RANDOM = frozenset({"rand", "random", "uuid"})
_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "UPSERT"})
_NO_WRITES = "SQL writes are not supported yet"
_NO_DEFINITIONS = "SQL statements that define or change tables are not supported yet"
_NO_FILES = "SQL reads and writes no files: tables are found by name"
_NO_SETTINGS = "SQL changes no settings: use the session options of the connection"
_NO_PREPARED = "SQL has no PREPARE here: use the prepared statements of the driver"
_NO_TRANSACTIONS = "transactions are not supported: each statement stands alone"
_NO_RIGHTS = "SQL does not change users or rights"
_NO_UPKEEP = "SQL does not maintain tables yet"
_NO_PROCEDURES = "SQL calls no procedures yet"
_NO_CURSORS = "SQL has no cursors, locks or notifications here"
_REFUSALS: dict[str, str] = {
    word: sentence
    for words, sentence in (
        (" ".join(sorted(_WRITES)) + " TRUNCATE", _NO_WRITES),
        ("CREATE DROP ALTER RENAME COMMENT UNDROP", _NO_DEFINITIONS),
        ("COPY LOAD UNLOAD EXPORT IMPORT ATTACH DETACH INSTALL", _NO_FILES),
        ("SET RESET USE PRAGMA", _NO_SETTINGS),
        ("PREPARE EXECUTE DEALLOCATE", _NO_PREPARED),
        ("BEGIN START COMMIT ROLLBACK ABORT END SAVEPOINT RELEASE", _NO_TRANSACTIONS),
        ("GRANT REVOKE DENY", _NO_RIGHTS),
        ("VACUUM OPTIMIZE ANALYZE RESTORE REFRESH REPAIR CACHE UNCACHE MSCK", _NO_UPKEEP),
        ("CALL DO", _NO_PROCEDURES),
        ("DECLARE FETCH CLOSE MOVE LISTEN NOTIFY UNLISTEN LOCK UNLOCK KILL", _NO_CURSORS),
        ("TABLE", "TABLE t is not supported: write SELECT * FROM t"),
    )
    for word in words.split()
}


def read_statement(sql: str, *, bucket: str, schema: str) -> Statement:
    """Return the statement in this text; SHOW and DESCRIBE look in ``bucket`` and ``schema``.

    Raises InvalidRequest for an empty text, for several statements and for text that is no SQL;
    Unsupported for statements that this server does not do.
    """
    cut = tokens(sql)
    heard = _one_statement(sql, [token for token in cut if token.kind not in SILENT])
    _refuse_ignored_clauses(sql, heard)
    first = next((token for token in heard if token.text != "("), heard[0])
    if first.upper in _QUERIES:
        _refuse_writing_query(heard)
        return _query(sql, cut, kind=StatementKind.QUERY)
    if first is heard[0]:
        if first.upper == "EXPLAIN":
            _check_explained(sql, heard)
            return _query(sql, cut, kind=StatementKind.EXPLAIN)
        if first.upper in ("DESCRIBE", "DESC"):
            return _describe(sql, heard, bucket=bucket, schema=schema)
        if first.upper == "SHOW":
            return _show(sql, heard, bucket=bucket, schema=schema)
    if first.upper in _REFUSALS:
        raise Unsupported(f"{_REFUSALS[first.upper]} statement={first.upper}")
    raise _unexpected(sql, first, expected="a query such as SELECT")


def _query(sql: str, cut: Sequence[Token], *, kind: StatementKind) -> Statement:
    text = rewrite(sql, cut)
    names = {token.name for token in cut if token.kind in _NAMES}
    is_timeless = names.isdisjoint(_CLOCKS)
    return Statement(
        kind,
        text,
        is_rewritten=text != sql,
        is_timeless=is_timeless,
        is_repeatable=is_timeless and kind is StatementKind.QUERY and names.isdisjoint(_RANDOM),
    )


def _unexpected(sql: str, token: Token, *, expected: str) -> InvalidRequest:
    found = token.text if len(token.text) <= 40 else token.text[:40] + "…"
    where = position(sql, token.start)
    return InvalidRequest(f"expected {expected}, found {found} {where}")


def _one_statement(sql: str, heard: list[Token]) -> list[Token]:
    while heard and heard[-1].text == ";":
        heard.pop()
    if not heard:
        raise InvalidRequest("the statement is empty")
    for token in heard:
        if token.kind is Kind.SYMBOL and token.text == ";":
            where = position(sql, token.start)
            raise InvalidRequest(f"one statement at a time: several were sent {where}")
    return heard


def _refuse_ignored_clauses(sql: str, heard: Sequence[Token]) -> None:
    """Refuse what DataFusion parses and then silently leaves out: the answer would be wrong."""
    for at, token in enumerate(heard[:-1]):
        follows = heard[at + 1]
        after = heard[at + 2].text if at + 2 < len(heard) else ""
        opens = follows.text == "("
        sampled = token.upper in ("TABLESAMPLE", "SAMPLE") and (
            opens or (follows.kind is Kind.WORD and after == "(")
        )
        is_name = at > 0 and heard[at - 1].text == "."
        if sampled and not is_name:
            where = position(sql, token.start)
            raise Unsupported(f"{token.upper} is not supported: it would be ignored {where}")
        if token.upper == "PARTITION" and opens and not is_name:
            where = position(sql, token.start)
            raise Unsupported(f"PARTITION (...) is not supported: use WHERE {where}")


def _refuse_writing_query(heard: Sequence[Token]) -> None:
    """Refuse ``WITH … INSERT``: the word that does the work comes after the last parenthesis."""
    depth = 0
    for before, token in pairwise(heard):
        depth += {"(": 1, ")": -1}.get(before.text, 0)
        if depth == 0 and before.text == ")" and token.upper in _WRITES:
            raise Unsupported(f"{_NO_WRITES} statement={token.upper}")


def _check_explained(sql: str, heard: Sequence[Token]) -> None:
    at = 1
    while at < len(heard) and heard[at].upper in ("ANALYZE", "VERBOSE", "FORMAT"):
        at += 2 if heard[at].upper == "FORMAT" else 1
    inner = heard[at:]
    if not inner:
        raise InvalidRequest("EXPLAIN what? A query is missing")
    first = next((token for token in inner if token.text != "("), inner[0])
    if first.upper in _QUERIES:
        _refuse_writing_query(inner)
    elif first.upper in _REFUSALS and first is inner[0]:
        raise Unsupported(f"only queries can be explained: {_REFUSALS[first.upper]}")
    else:
        raise _unexpected(sql, first, expected="a query to explain")


def _table_name(
    sql: str, heard: Sequence[Token], at: int, *, bucket: str, schema: str
) -> tuple[TableRef, int]:
    """Return the table named from here on, and the place behind it."""
    parts: list[str] = []
    while at < len(heard) and heard[at].kind in (Kind.WORD, Kind.QUOTED) and len(parts) < 3:
        parts.append(heard[at].name)
        at += 1
        if at >= len(heard) or heard[at].text != ".":
            break
        at += 1
    if not parts:
        raise _unexpected(sql, heard[min(at, len(heard) - 1)], expected="the name of a table")
    return TableRef(*((bucket, schema)[: 3 - len(parts)] + tuple(parts))), at


def _end(sql: str, heard: Sequence[Token], at: int) -> None:
    if at < len(heard):
        raise _unexpected(sql, heard[at], expected="the end of the statement")


def _describe(sql: str, heard: Sequence[Token], *, bucket: str, schema: str) -> Statement:
    words = [token.upper for token in heard]
    if words[1:2] in (["HISTORY"], ["DETAIL"], ["EXTENDED"], ["FORMATTED"]) and len(words) > 2:
        raise Unsupported(f"DESCRIBE {words[1]} is not supported yet")
    at = 2 if words[1:2] == ["TABLE"] and len(words) > 2 else 1
    ref, at = _table_name(sql, heard, at, bucket=bucket, schema=schema)
    _end(sql, heard, at)
    return _columns_of(ref)


def _columns_of(ref: TableRef) -> Statement:
    name, _ = parse_versioned_name(ref.table)
    values = zip(
        ("table_catalog", "table_schema", "table_name"), (ref.bucket, ref.schema, name), strict=True
    )
    where = " AND ".join(_is(column, value) for column, value in values)
    text = " ".join((_COLUMNS, "WHERE", where, "ORDER BY ordinal_position"))
    return Statement(StatementKind.QUERY, text, is_rewritten=True, must_exist=ref)


def _is(column: str, value: str) -> str:
    return f"{column} = {literal(value)}"


def _show(sql: str, heard: Sequence[Token], *, bucket: str, schema: str) -> Statement:
    words = [token.upper for token in heard]
    what = words[1] if len(words) > 1 else ""
    if what == "COLUMNS":
        if words[2:3] not in (["FROM"], ["IN"]):
            raise InvalidRequest("write SHOW COLUMNS FROM a table")
        ref, at = _table_name(sql, heard, 3, bucket=bucket, schema=schema)
        _end(sql, heard, at)
        return _columns_of(ref)
    lists = {"CATALOGS": _CATALOGS, "DATABASES": _CATALOGS, "SCHEMAS": _SCHEMAS, "TABLES": _TABLES}
    if what not in lists:
        shown = what if what.isidentifier() else "this"
        raise Unsupported(
            f"SHOW {shown} is not supported: SHOW TABLES, SCHEMAS, CATALOGS and COLUMNS FROM are"
        )
    listing = lists[what]
    conditions, at = _show_conditions(sql, heard, listing=listing, bucket=bucket)
    _end(sql, heard, at)
    where = ["WHERE", " AND ".join(conditions)] if conditions else []
    parts = ["SELECT DISTINCT", listing.columns, "FROM", listing.source, *where]
    text = " ".join([*parts, "ORDER BY", listing.columns])
    return Statement(StatementKind.QUERY, text, is_rewritten=True)


@dataclass(frozen=True, slots=True)
class _Listing:
    """Where a SHOW reads: a table and its columns, that of LIKE, and those of FROM, outer first."""

    source: str
    columns: str
    liked: str
    scope: tuple[str, ...]


_CATALOGS = _Listing("information_schema.schemata", "catalog_name", "catalog_name", ())
_SCHEMAS = _Listing(
    "information_schema.schemata", "catalog_name, schema_name", "schema_name", ("catalog_name",)
)
_TABLES = _Listing(
    "information_schema.tables",
    "table_catalog, table_schema, table_name, table_type",
    "table_name",
    ("table_catalog", "table_schema"),
)


def _show_conditions(
    sql: str, heard: Sequence[Token], *, listing: _Listing, bucket: str
) -> tuple[list[str], int]:
    """Return the conditions of ``[FROM [bucket.]schema] [LIKE '…']`` and the place behind them."""
    at = 2
    conditions: list[str] = []
    if listing.scope and at < len(heard) and heard[at].upper in ("FROM", "IN"):
        ref, at = _table_name(sql, heard, at + 1, bucket="", schema=bucket)
        values = (ref.schema, ref.table)[-len(listing.scope) :]
        pairs = zip(listing.scope, values, strict=True)
        conditions += [_is(column, value) for column, value in pairs]
    if at + 1 < len(heard) and heard[at].upper == "LIKE" and heard[at + 1].text[:1] == "'":
        conditions.append(f"{listing.liked} LIKE {heard[at + 1].text}")
        at += 2
    return conditions, at
