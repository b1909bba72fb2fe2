"""What exists, asked of the catalog by the metadata calls of Flight SQL, without running SQL."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

import pyarrow as pa
from sqlalchemy.exc import NoSuchTableError

from flight_server.client.sqlalchemy.compiler import split_schema
from flight_server.client.sqlalchemy.dbapi import Connection
from flight_server.client.sqlalchemy.types import from_arrow

_TABLE_KINDS: Final = frozenset({"BASE TABLE", "TABLE", "SYSTEM TABLE"})
_VIEW_KINDS: Final = frozenset({"VIEW", "SYSTEM VIEW"})
_NO_KEYS: Final = frozenset({"info_cache", "unreflectable"})
_REMARKS: Final = b"ARROW:FLIGHT:SQL:REMARKS"
_Method = TypeVar("_Method", bound=Callable[..., Any])


def cached(method: _Method) -> _Method:
    """Ask once for each inspector, which hands ``info_cache`` to a method of the dialect.

    SQLAlchemy's own decorator does the same; that of 1.4 cannot read annotations.
    """

    @functools.wraps(method)
    def ask(self: Any, connection: Any, *args: Any, **kw: Any) -> Any:
        answers = kw.get("info_cache")
        if answers is None:
            return method(self, connection, *args, **kw)
        others = tuple(sorted((k, str(v)) for k, v in kw.items() if k not in _NO_KEYS))
        key = (method.__name__, args, others)
        if key not in answers:
            answers[key] = method(self, connection, *args, **kw)
        return answers[key]

    return ask  # type: ignore[return-value]  # the wrapper takes what the method takes


def place(connection: Connection, schema: str | None) -> tuple[str, str]:
    """Return the bucket and the schema that SQLAlchemy's schema means in this session."""
    bucket, name = (None, None) if schema is None else split_schema(schema)
    if bucket is not None and name is not None:
        return bucket, name
    current_bucket, current_schema = connection.names()
    return current_bucket, current_schema if name is None else name


def buckets(connection: Connection) -> list[str]:
    """Return the buckets that the caller may use."""
    return [one["catalog_name"] for one in connection.objects("catalogs")]


def schemas(connection: Connection, bucket: str | None = None) -> list[str]:
    """Return the schemas of a bucket, of the session's own without one."""
    wanted = bucket or place(connection, None)[0]
    return [
        inner["db_schema_name"]
        for one in connection.objects("db_schemas", catalog_filter=wanted)
        if one["catalog_name"] == wanted
        for inner in one["catalog_db_schemas"] or ()
    ]


def table_names(connection: Connection, schema: str | None) -> list[str]:
    """Return the tables of a schema; views are none."""
    return [name for name, kind in _tables(connection, schema) if kind in _TABLE_KINDS]


def view_names(connection: Connection, schema: str | None) -> list[str]:
    """Return the views of a schema."""
    return [name for name, kind in _tables(connection, schema) if kind in _VIEW_KINDS]


def has_table(connection: Connection, table: str, schema: str | None) -> bool:
    """Tell whether there is a table or view of that name."""
    return any(name == table for name, _kind in _tables(connection, schema, table=table))


def columns(connection: Connection, table: str, schema: str | None) -> list[dict[str, Any]]:
    """Return the columns of a table or view as SQLAlchemy's ReflectedColumn.

    Raises NoSuchTableError when there is none of that name.
    """
    return [
        {
            "name": field.name,
            "type": from_arrow(field.type),
            "nullable": field.nullable,
            "default": None,
            "comment": comment(field.metadata),
        }
        for field in arrow_schema(connection, table, schema)
    ]


def table_comment(connection: Connection, table: str, schema: str | None) -> str | None:
    """Return what a table or view is said to hold; raises NoSuchTableError when there is none."""
    found = (arrow_schema(connection, table, schema).metadata or {}).get(b"comment")
    return None if found is None else found.decode("utf-8", "replace")


def arrow_schema(connection: Connection, table: str, schema: str | None) -> pa.Schema:
    """Return the Arrow schema of a table; raises NoSuchTableError when there is none."""
    bucket, name = place(connection, schema)
    found = connection.table_schema(table, bucket=bucket, schema=_escaped(name))
    if found is None:
        raise NoSuchTableError(table if schema is None else f"{schema}.{table}")
    return found


def comment(metadata: dict[bytes, bytes] | None) -> str | None:
    """Return the remarks in the metadata of a field."""
    found = (metadata or {}).get(_REMARKS)
    return None if found is None else found.decode("utf-8", "replace")


def _tables(
    connection: Connection, schema: str | None, *, table: str | None = None
) -> list[tuple[str, str]]:
    bucket, name = place(connection, schema)
    found = connection.objects(
        "tables",
        catalog_filter=bucket,
        db_schema_filter=_escaped(name),
        table_name_filter=None if table is None else _escaped(table),
    )
    return [
        (leaf["table_name"], leaf["table_type"])
        for one in found
        if one["catalog_name"] == bucket
        for inner in one["catalog_db_schemas"] or ()
        if inner["db_schema_name"] == name
        for leaf in inner["db_schema_tables"] or ()
    ]


def _escaped(name: str) -> str:
    r"""Return a pattern that fits one name only; the server says that its escape is ``\``."""
    return name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
