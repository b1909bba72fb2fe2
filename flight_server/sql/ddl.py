"""Reads the statements that make and change tables, schemas and views: CREATE, ALTER and DROP."""

from __future__ import annotations

from flight_server.sql.columns import (
    NO_CONSTRAINTS,
    NO_COPIES,
    begins_constraint,
    read_column,
    read_columns,
    read_partitions,
)
from flight_server.sql.commands import (
    AddColumns,
    AlterTable,
    Column,
    CreateSchema,
    CreateTable,
    CreateView,
    DropColumns,
    DropSchema,
    DropTable,
    DropView,
    IfThere,
    RenameColumn,
    RenameTable,
)
from flight_server.sql.cursor import SOURCE_WORDS, Cursor
from flight_server.sql.names import parse_versioned_name, table_ref

_NO_PROPERTIES = "tables have no properties to set here: leave the clause out"
_NO_LOCATION = "SQL names no files: a table lies in the folder of its schema"
_ONE_AT_A_TIME = "several at once are not supported: write a statement for each"
_NOT_MADE = {
    "INDEX": "there are no indexes: OPTIMIZE t ZORDER BY (…) brings near values together",
    "DATABASE": "CREATE SCHEMA makes a schema; buckets are added by an administrator",
    "CATALOG": "buckets are added by an administrator",
    "MATERIALIZED": "materialized views are not supported: use CREATE TABLE … AS, or CREATE VIEW",
    "FUNCTION": "SQL defines no functions",
    "MACRO": "SQL defines no functions",
    "PROCEDURE": "SQL defines no procedures",
    "TRIGGER": "there are no triggers",
    "SEQUENCE": "there are no sequences: use row_number() or uuid()",
    "TYPE": "there are no types of one's own",
    "DOMAIN": "there are no types of one's own",
    "EXTENSION": "there are no extensions",
    "USER": "SQL does not change users or rights",
    "ROLE": "SQL does not change users or rights",
    "EXTERNAL": _NO_LOCATION,
    "FOREIGN": _NO_LOCATION,
    "UNLOGGED": "every table is durable: leave UNLOGGED out",
    "GLOBAL": "GLOBAL is not supported: temporary tables belong to one session",
    "RECURSIVE": "write CREATE VIEW v AS WITH RECURSIVE …",
}


# CREATE


def read_create(cursor: Cursor) -> CreateTable | CreateSchema | CreateView:
    """Read from behind CREATE."""
    replaces = cursor.take("OR", "REPLACE")
    cursor.take("LOCAL")
    temporary = cursor.take("TEMPORARY") or cursor.take("TEMP")
    if cursor.take("TABLE"):
        return _create_table(cursor, replaces=replaces, temporary=temporary)
    if cursor.sees("VIEW") and temporary:
        cursor.refuse("temporary views are not supported: use WITH, or CREATE VIEW")
    if cursor.take("VIEW"):
        return _create_view(cursor, replaces=replaces)
    if cursor.sees("SCHEMA") and replaces:
        cursor.refuse("OR REPLACE is not for schemas: use CREATE SCHEMA IF NOT EXISTS")
    if cursor.take("SCHEMA"):
        return _create_schema(cursor)
    _refuse_kind(cursor)
    raise cursor.wrong("TABLE, VIEW or SCHEMA")


def _refuse_kind(cursor: Cursor) -> None:
    ahead = 1 if cursor.sees("UNIQUE") else 0
    word = cursor.peek(ahead).upper
    if word in _NOT_MADE:
        cursor.refuse(_NOT_MADE[word])


def _if_there(cursor: Cursor, *, replaces: bool) -> IfThere:
    token = cursor.peek()
    if not cursor.take("IF", "NOT", "EXISTS"):
        return IfThere.REPLACE if replaces else IfThere.FAIL
    if replaces:
        cursor.fail("OR REPLACE and IF NOT EXISTS exclude each other", at=token)
    return IfThere.KEEP


def _create_table(cursor: Cursor, *, replaces: bool, temporary: bool) -> CreateTable:
    if_there = _if_there(cursor, replaces=replaces)
    target = cursor.target()
    columns: tuple[Column, ...] = ()
    if cursor.sees("LIKE") or cursor.sees("CLONE") or cursor.peek(1).upper == "CLONE":
        cursor.refuse(NO_COPIES)
    if cursor.sees_symbol("(") and not cursor.opens_query():
        columns = read_columns(cursor)
    partition_by: tuple[str, ...] = ()
    comment: str | None = None
    while not cursor.is_done and not _begins_source(cursor):
        if cursor.take("PARTITIONED", "BY") or cursor.take("PARTITION", "BY"):
            partition_by = read_partitions(cursor)
        elif cursor.take("COMMENT"):
            comment = _comment(cursor)
        else:
            _table_clause(cursor, temporary=temporary)
    source = _source(cursor)
    if source is None and not columns:
        raise cursor.wrong("columns in parentheses or AS and a query")
    if columns:
        _check_partitions(cursor, columns, partition_by)
    return CreateTable(target, columns, source, partition_by, comment, if_there, temporary)


def _check_partitions(
    cursor: Cursor, columns: tuple[Column, ...], partition_by: tuple[str, ...]
) -> None:
    names = {column.name for column in columns}
    for name in partition_by:
        if name not in names:
            cursor.fail(f"the table is partitioned by {name}, which is no column", at=cursor.peek())
    if len(partition_by) == len(columns):
        cursor.fail("one column at least must not be partitioned by", at=cursor.peek())


def _table_clause(cursor: Cursor, *, temporary: bool) -> None:
    """Go past a clause that says what is so anyway, or refuse it."""
    if cursor.take("USING") or cursor.take("FORMAT") or cursor.take("ENGINE"):
        cursor.take_symbol("=")
        if not cursor.take("DELTA"):
            cursor.refuse("all tables are Delta tables: leave the format out")
    elif cursor.sees("LOCATION") or cursor.sees("STORED") or cursor.sees("ROW", "FORMAT"):
        cursor.refuse(_NO_LOCATION)
    elif cursor.take("TBLPROPERTIES") or cursor.take("OPTIONS") or cursor.take("WITH"):
        _properties(cursor)
    elif cursor.take("ON", "COMMIT"):
        if not (temporary and cursor.take("PRESERVE", "ROWS")):
            cursor.refuse("temporary tables keep their rows until the session ends")
    elif cursor.sees("CLUSTER", "BY") or cursor.sees("CLUSTERED") or cursor.sees("SORTED"):
        cursor.refuse("clustering is not supported: use OPTIMIZE t ZORDER BY (…)")
    elif cursor.sees("LIKE") or cursor.sees("INHERITS"):
        cursor.refuse(NO_COPIES)
    else:
        raise cursor.wrong("AS and a query, PARTITIONED BY, COMMENT or the end of the statement")


def _properties(cursor: Cursor) -> None:
    """Go past properties that say what is so anyway: the format of tables."""
    cursor.expect_symbol("(")
    while not cursor.take_symbol(")"):
        token = cursor.next()
        cursor.take_symbol("=")
        value = cursor.next()
        key = token.text.strip("'\"").lower()
        is_delta = value.text.strip("'\"").lower() in ("delta", "deltalake")
        if key not in ("format", "type", "provider") or not is_delta:
            cursor.refuse(_NO_PROPERTIES)
        if not cursor.sees_symbol(")"):
            cursor.expect_symbol(",")


def _comment(cursor: Cursor) -> str:
    cursor.take_symbol("=")
    return cursor.string("a comment")


def _begins_source(cursor: Cursor) -> bool:
    if cursor.sees("WITH"):
        return cursor.peek(1).text != "("
    return cursor.sees("AS") or cursor.sees_one_of(SOURCE_WORDS) or cursor.sees_symbol("(")


def _source(cursor: Cursor) -> str | None:
    if cursor.is_done:
        return None
    cursor.take("AS")
    source = _query(cursor)
    if not cursor.is_done:
        cursor.expect("WITH")
        if cursor.sees("NO", "DATA"):
            cursor.refuse("WITH NO DATA is not supported: end the query with LIMIT 0")
        cursor.expect("DATA")
        cursor.expect_end()
    return source


def _query(cursor: Cursor) -> str:
    """Return the text of the query that comes next, up to WITH [NO] DATA or the end."""
    if not (cursor.sees_one_of(SOURCE_WORDS) or cursor.sees_symbol("(")):
        raise cursor.wrong("a query such as SELECT")
    start = cursor.at
    while not cursor.is_done:
        cursor.pass_over(stops=frozenset({"WITH"}))
        if cursor.sees("WITH", "DATA") or cursor.sees("WITH", "NO", "DATA"):
            break
        if not cursor.is_done and not cursor.sees("WITH"):
            cursor.expect_end()
        cursor.at += 0 if cursor.is_done else 1
    return cursor.text(start, cursor.at)


def _create_schema(cursor: Cursor) -> CreateSchema:
    keep = cursor.take("IF", "NOT", "EXISTS")
    bucket, schema = _schema_name(cursor)
    if cursor.sees("LOCATION") or cursor.sees("MANAGED"):
        cursor.refuse(_NO_LOCATION)
    if cursor.sees("AUTHORIZATION"):
        cursor.refuse("SQL does not change users or rights")
    if cursor.sees("COMMENT") or cursor.sees("WITH"):
        cursor.refuse("schemas have no comments or properties here: leave the clause out")
    cursor.expect_end()
    return CreateSchema(bucket, schema, keep)


def _schema_name(cursor: Cursor) -> tuple[str, str]:
    parts = cursor.path("the name of a schema", parts_max=2)
    return (cursor.bucket, parts[0]) if len(parts) == 1 else (parts[0], parts[1])


def _create_view(cursor: Cursor, *, replaces: bool) -> CreateView:
    if_there = _if_there(cursor, replaces=replaces)
    target = cursor.target("the name of a view")
    columns: tuple[str, ...] = ()
    if cursor.sees_symbol("("):
        columns = _view_columns(cursor)
    comment = _comment(cursor) if cursor.take("COMMENT") else None
    if cursor.sees("TBLPROPERTIES") or cursor.sees("WITH"):
        cursor.refuse("views have no properties to set here: leave the clause out")
    cursor.expect("AS")
    opening = cursor.peek()
    start = cursor.at
    if not (cursor.sees_one_of(SOURCE_WORDS) or cursor.sees_symbol("(")):
        raise cursor.wrong("a query such as SELECT")
    cursor.pass_over()
    cursor.expect_end()
    if cursor.has_marks(start):
        cursor.fail("the query of a view takes no parameters", at=opening)
    return CreateView(target, cursor.text(start, cursor.at), columns, comment, if_there)


def _view_columns(cursor: Cursor) -> tuple[str, ...]:
    opening = cursor.peek()

    def column() -> str:
        name = cursor.name("the name of a column")
        if cursor.sees("COMMENT"):
            cursor.refuse("columns of a view have no comments here: leave them out")
        return name

    names = tuple(cursor.items(column))
    cursor.check_once(names, at=opening)
    return names


# DROP


def read_drop(cursor: Cursor) -> DropTable | DropSchema | DropView:
    """Read from behind DROP."""
    if cursor.take("TABLE"):
        if_exists = cursor.take("IF", "EXISTS")
        table = cursor.target()
        _drop_ends(cursor)
        return DropTable(table, if_exists)
    if cursor.take("VIEW"):
        if_exists = cursor.take("IF", "EXISTS")
        view = cursor.target("the name of a view")
        _drop_ends(cursor)
        return DropView(view, if_exists)
    if cursor.take("SCHEMA"):
        if_exists = cursor.take("IF", "EXISTS")
        bucket, schema = _schema_name(cursor)
        cascade = _drop_ends(cursor)
        return DropSchema(bucket, schema, if_exists, cascade)
    if cursor.sees("DATABASE"):
        cursor.refuse("DROP SCHEMA removes a schema; buckets are removed by an administrator")
    _refuse_kind(cursor)
    raise cursor.wrong("TABLE, VIEW or SCHEMA")


def _drop_ends(cursor: Cursor) -> bool:
    """Read the end of DROP; returns whether it is CASCADE."""
    if cursor.sees_symbol(","):
        cursor.refuse(_ONE_AT_A_TIME)
    if cursor.sees("PURGE"):
        cursor.refuse("PURGE is not supported: leave it out")
    cascade = cursor.take("CASCADE")
    if not cascade:
        cursor.take("RESTRICT")
    cursor.expect_end()
    return cascade


# ALTER


def read_alter(cursor: Cursor) -> AlterTable:
    """Read from behind ALTER."""
    if cursor.sees("VIEW"):
        cursor.refuse("ALTER VIEW is not supported: use CREATE OR REPLACE VIEW, or DROP VIEW")
    if cursor.sees("SCHEMA") or cursor.sees("DATABASE"):
        cursor.refuse("a schema cannot be altered: make another one")
    cursor.expect("TABLE")
    if_exists = cursor.take("IF", "EXISTS")
    cursor.take("ONLY")
    target = cursor.target()
    change: AddColumns | RenameColumn | DropColumns | RenameTable
    if cursor.take("ADD"):
        change = _add_columns(cursor)
    elif cursor.take("RENAME", "TO"):
        parts = cursor.path("the new name", parts_max=3)
        change = RenameTable(table_ref(parts, bucket=target.bucket, schema=target.schema))
        if parse_versioned_name(parts[-1])[1] is not None:
            cursor.fail("a name cannot end like a version", at=cursor.peek())
    elif cursor.take("RENAME"):
        cursor.take("COLUMN")
        old = _column_name(cursor)
        cursor.expect("TO")
        change = RenameColumn(old, _column_name(cursor))
    elif cursor.take("DROP"):
        change = _drop_columns(cursor)
    else:
        _refuse_change(cursor)
        raise cursor.wrong("ADD COLUMN, RENAME COLUMN, DROP COLUMN or RENAME TO")
    if cursor.sees_symbol(","):
        cursor.refuse(_ONE_AT_A_TIME)
    cursor.expect_end()
    return AlterTable(target, change, if_exists)


def _refuse_change(cursor: Cursor) -> None:
    if cursor.sees("ALTER") or cursor.sees("MODIFY") or cursor.sees("CHANGE"):
        cursor.refuse(
            "a column's type, default and nullability cannot be changed: add a column, or write"
            " the table anew with CREATE OR REPLACE TABLE … AS SELECT"
        )
    if cursor.sees("SET") or cursor.sees("UNSET"):
        cursor.refuse(_NO_PROPERTIES)
    if cursor.sees("CLUSTER"):
        cursor.refuse("clustering is not supported: use OPTIMIZE t ZORDER BY (…)")
    if cursor.sees("OWNER"):
        cursor.refuse("SQL does not change users or rights")


def _column_name(cursor: Cursor) -> str:
    name = cursor.name("the name of a column")
    if cursor.sees_symbol("."):
        cursor.refuse("fields of a struct cannot be changed by themselves")
    return name


def _add_columns(cursor: Cursor) -> AddColumns:
    opening = cursor.peek()
    if begins_constraint(cursor):
        cursor.refuse(NO_CONSTRAINTS)
    found: list[Column] = []
    if_not_exists = False
    while True:
        if not cursor.take("COLUMN"):
            cursor.take("COLUMNS")
        if_not_exists |= cursor.take("IF", "NOT", "EXISTS")
        if cursor.sees_symbol("("):
            found += cursor.items(lambda: read_column(cursor))
        else:
            found.append(read_column(cursor))
        if not (cursor.sees_symbol(",") and cursor.peek(1).upper == "ADD"):
            break
        cursor.at += 2
    cursor.check_once([column.name for column in found], at=opening)
    return AddColumns(tuple(found), if_not_exists)


def _drop_columns(cursor: Cursor) -> DropColumns:
    if begins_constraint(cursor):
        cursor.refuse(NO_CONSTRAINTS)
    if not cursor.take("COLUMN"):
        cursor.take("COLUMNS")
    if_exists = cursor.take("IF", "EXISTS")
    if cursor.sees_symbol("("):
        names = cursor.names("the name of a column")
    else:
        found = [_column_name(cursor)]
        while cursor.sees_symbol(",") and cursor.peek(1).upper == "DROP":
            cursor.at += 2
            cursor.take("COLUMN")
            cursor.take("IF", "EXISTS")
            found.append(_column_name(cursor))
        names = tuple(found)
    if not cursor.take("CASCADE"):
        cursor.take("RESTRICT")
    return DropColumns(names, if_exists)
