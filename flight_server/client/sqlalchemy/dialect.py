"""The dialect itself: what it can do, and where each question goes."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar, Final

from sqlalchemy import exc, pool, schema, text
from sqlalchemy.engine import default
from sqlalchemy.engine.url import URL

from flight_server.client.sqlalchemy import dbapi, url
from flight_server.client.sqlalchemy import reflection as catalog
from flight_server.client.sqlalchemy.compiler import (
    LakeflightCompiler,
    LakeflightIdentifierPreparer,
    LakeflightTypeCompiler,
)
from flight_server.client.sqlalchemy.ddl import NOTHING, LakeflightDDLCompiler
from flight_server.client.sqlalchemy.types import COLSPECS

_AUTOCOMMIT: Final = "AUTOCOMMIT"
_CONSTRUCT_ARGUMENTS: Final[list[Any]] = [(schema.Table, {"partition_by": None})]


class LakeflightExecutionContext(default.DefaultExecutionContext):
    """One execution; every cursor streams, so that a server-side one is like any other."""

    def create_server_side_cursor(self) -> Any:
        """Return a cursor whose rows are read as they are fetched."""
        return self._dbapi_connection.cursor()


class LakeflightDialect(default.DefaultDialect):
    """``lakeflight://user:password@host:port/bucket/schema``, without encryption unless asked."""

    name = "lakeflight"
    driver = "adbc"
    statement_compiler = LakeflightCompiler
    ddl_compiler = LakeflightDDLCompiler
    type_compiler_cls = LakeflightTypeCompiler
    type_compiler = LakeflightTypeCompiler  # SQLAlchemy 1.4 asks for it by this name
    preparer = LakeflightIdentifierPreparer
    execution_ctx_cls = LakeflightExecutionContext
    colspecs = COLSPECS
    construct_arguments = _CONSTRUCT_ARGUMENTS
    tls: ClassVar[bool] = False

    default_paramstyle = "qmark"
    supports_statement_cache = True
    supports_native_boolean = True
    supports_native_decimal = True
    supports_multivalues_insert = True
    supports_empty_insert = False
    supports_default_values = False
    supports_comments = True
    inline_comments = True
    supports_alter = False
    supports_sequences = False
    supports_identity_columns = False
    supports_server_side_cursors = True
    supports_sane_rowcount = True
    supports_sane_multi_rowcount = True
    postfetch_lastrowid = False
    implicit_returning = False
    returns_native_bytes = True
    returns_unicode_strings = True
    supports_unicode_statements = True
    supports_unicode_binds = True
    max_identifier_length = 255

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not hasattr(self, "type_compiler_instance"):  # SQLAlchemy 1.4
            self.type_compiler_instance: Any = self.type_compiler

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """Return the DB-API module."""
        return dbapi

    @classmethod
    def dbapi(cls) -> ModuleType:  # type: ignore[override]  # how SQLAlchemy 1.4 asks for it
        """Return the DB-API module, to SQLAlchemy 1.4."""
        return dbapi

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        """Return the pool: connections cost a handshake, so they are kept."""
        return pool.QueuePool

    def create_connect_args(self, url_: URL) -> tuple[list[Any], dict[str, Any]]:
        """Turn the URL into the arguments of ``dbapi.connect``."""
        made = url.target(url_, tls=self.tls)
        return [made.uri], {
            "options": dict(made.options),
            "bucket": made.bucket,
            "schema": made.schema,
        }

    def get_driver_connection(self, connection: Any) -> Any:
        """Return the connection of the ADBC driver, which knows Arrow and bulk ingest."""
        return connection.adbc

    # -- executing

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Run one statement; what is known to return no rows is asked for its row count."""
        if statement == NOTHING:
            return
        if context is not None and _returns_no_rows(context):
            cursor.update(statement, [parameters] if parameters else None)
        else:
            cursor.execute(statement, parameters or ())

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> None:
        """Run one statement without parameters."""
        self.do_execute(cursor, statement, (), context)

    def do_begin(self, dbapi_connection: Any) -> None:
        """Do nothing: there are no transactions."""

    def do_commit(self, dbapi_connection: Any) -> None:
        """Do nothing: each statement has been committed when it returned."""

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Do nothing: what a statement has done stays done."""

    def do_savepoint(self, connection: Any, name: str) -> None:
        """Refuse: there are no transactions."""
        raise exc.NotSupportedError("SAVEPOINT", None, Exception("there are no transactions"))

    def get_isolation_level_values(self, dbapi_connection: Any) -> Sequence[Any]:
        """Return the one level that there is."""
        return [_AUTOCOMMIT]

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        """Return AUTOCOMMIT."""
        return _AUTOCOMMIT

    def get_default_isolation_level(self, dbapi_conn: Any) -> Any:
        """Return AUTOCOMMIT."""
        return _AUTOCOMMIT

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        """Accept AUTOCOMMIT, which is always on."""
        if level != _AUTOCOMMIT:
            raise exc.ArgumentError(f"the isolation level is {_AUTOCOMMIT}, not {level}")

    def detect_autocommit_setting(self, dbapi_conn: Any) -> bool:
        """Tell that each statement stands alone."""
        return True

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Tell whether the session is gone: the connection broke, or the token ran out."""
        return dbapi.is_lost(e)

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Ask for nothing, over the wire."""
        cursor = dbapi_connection.cursor()
        try:
            cursor.execute("SELECT 1").fetchall()
        finally:
            cursor.close()
        return True

    # -- reflection

    def _get_default_schema_name(self, connection: Any) -> str:
        return _raw(connection).names()[1]

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...] | None:
        said = str(_raw(connection).adbc.adbc_get_info().get("vendor_version", ""))
        parts = said.partition("+")[0].split(".")
        return tuple(int(part) for part in parts if part.isdigit()) or None

    @catalog.cached
    def get_schema_names(self, connection: Any, **kw: Any) -> list[str]:
        """Return the schemas of the session's bucket."""
        return catalog.schemas(_raw(connection))

    @catalog.cached
    def get_table_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        """Return the tables of a schema."""
        return catalog.table_names(_raw(connection), schema)

    @catalog.cached
    def get_view_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        """Return the views of a schema."""
        return catalog.view_names(_raw(connection), schema)

    def get_materialized_view_names(
        self, connection: Any, schema: str | None = None, **kw: Any
    ) -> list[str]:
        """Return nothing: there are none."""
        return []

    @catalog.cached
    def has_table(
        self, connection: Any, table_name: str, schema: str | None = None, **kw: Any
    ) -> bool:
        """Tell whether there is a table or a view of that name."""
        self._ensure_has_table_connection(connection)
        return catalog.has_table(_raw(connection), table_name, schema)

    def has_sequence(
        self, connection: Any, sequence_name: str, schema: str | None = None, **kw: Any
    ) -> bool:
        """Tell that there are no sequences."""
        return False

    def has_index(
        self,
        connection: Any,
        table_name: str,
        index_name: str,
        schema: str | None = None,
        **kw: Any,
    ) -> bool:
        """Tell that there are no indexes."""
        return False

    @catalog.cached
    def get_columns(
        self, connection: Any, table_name: str, schema: str | None = None, **kw: Any
    ) -> Any:
        """Return the columns of a table or view."""
        return catalog.columns(_raw(connection), table_name, schema)

    def get_pk_constraint(
        self, connection: Any, table_name: str, schema: str | None = None, **kw: Any
    ) -> Any:
        """Return no columns: tables have no keys."""
        self._must_exist(connection, table_name, schema, **kw)
        return {"constrained_columns": [], "name": None}

    def get_foreign_keys(
        self, connection: Any, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[Any]:
        """Return nothing: tables have no keys."""
        return self._must_exist(connection, table_name, schema, **kw)

    def get_indexes(
        self, connection: Any, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[Any]:
        """Return nothing: tables have no indexes."""
        return self._must_exist(connection, table_name, schema, **kw)

    def get_unique_constraints(
        self, connection: Any, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[Any]:
        """Return nothing: tables have no constraints but NOT NULL."""
        return self._must_exist(connection, table_name, schema, **kw)

    def get_check_constraints(
        self, connection: Any, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[Any]:
        """Return nothing: tables have no constraints but NOT NULL."""
        return self._must_exist(connection, table_name, schema, **kw)

    @catalog.cached
    def get_table_comment(
        self, connection: Any, table_name: str, schema: str | None = None, **kw: Any
    ) -> Any:
        """Return the comment of a table or view."""
        return {"text": catalog.table_comment(_raw(connection), table_name, schema)}

    @catalog.cached
    def get_view_definition(
        self, connection: Any, view_name: str, schema: str | None = None, **kw: Any
    ) -> str:
        """Return the query of a view, nothing of one whose text is for others."""
        bucket, name = catalog.place(_raw(connection), schema)
        found = connection.execute(
            text(
                "SELECT view_definition FROM information_schema.views WHERE table_catalog = :bucket"
                " AND table_schema = :schema AND table_name = :name"
            ),
            {"bucket": bucket, "schema": name, "name": view_name},
        ).first()
        if found is None:
            raise exc.NoSuchTableError(view_name if schema is None else f"{schema}.{view_name}")
        return str(found[0] or "")

    def get_bucket_names(self, connection: Any) -> list[str]:
        """Return the buckets, which are the catalogs of SQL."""
        return catalog.buckets(_raw(connection))

    def _must_exist(
        self, connection: Any, table_name: str, schema: str | None, **kw: Any
    ) -> list[Any]:
        self.get_columns(connection, table_name, schema, **kw)
        return []


class LakeflightTLSDialect(LakeflightDialect):
    """``lakeflight+tls://…``: the same, encrypted."""

    tls = True
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """Return the DB-API module: SQLAlchemy looks for this method in the class itself."""
        return dbapi


def _raw(connection: Any) -> dbapi.Connection:
    pooled = connection.connection
    # SQLAlchemy 1.4 shows a new connection as it is, before the pool has it.
    found: dbapi.Connection = getattr(pooled, "dbapi_connection", pooled)
    return found


def _returns_no_rows(context: Any) -> bool:
    return bool(context.isddl or context.isinsert or context.isupdate or context.isdelete)
