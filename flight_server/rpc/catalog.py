"""The catalog replies: each command to what the caller may see, in the shape of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from flight_server import errors
from flight_server.protocol import commands, metadata
from flight_server.protocol.patterns import equals, like
from flight_server.protocol.sql_info import SQL_INFO_SCHEMA, Abilities, sql_info
from flight_server.service.browse import TABLE_TYPES, Browser
from flight_server.service.browse import TableRow as Listed
from flight_server.service.request import Request

# Default clients of gRPC take messages up to 4 MiB.
BATCH_BYTES_MAX = 3_670_016

CatalogCommand = (
    commands.GetSqlInfo
    | commands.GetXdbcTypeInfo
    | commands.GetCatalogs
    | commands.GetDbSchemas
    | commands.GetTables
    | commands.GetTableTypes
    | commands.GetPrimaryKeys
    | commands.GetExportedKeys
    | commands.GetImportedKeys
    | commands.GetCrossReference
)

_SCHEMAS: Mapping[type[CatalogCommand], pa.Schema] = {
    commands.GetSqlInfo: SQL_INFO_SCHEMA,
    commands.GetXdbcTypeInfo: metadata.XDBC_TYPE_INFO_SCHEMA,
    commands.GetCatalogs: metadata.CATALOGS_SCHEMA,
    commands.GetDbSchemas: metadata.DB_SCHEMAS_SCHEMA,
    commands.GetTables: metadata.TABLES_SCHEMA,
    commands.GetTableTypes: metadata.TABLE_TYPES_SCHEMA,
    commands.GetPrimaryKeys: metadata.PRIMARY_KEYS_SCHEMA,
    commands.GetExportedKeys: metadata.FOREIGN_KEYS_SCHEMA,
    commands.GetImportedKeys: metadata.FOREIGN_KEYS_SCHEMA,
    commands.GetCrossReference: metadata.FOREIGN_KEYS_SCHEMA,
}


class CatalogReplies:
    """Answers the catalog commands; every answer is narrowed to its caller when it is made."""

    def __init__(self, browser: Browser, abilities: Abilities) -> None:
        self._browser = browser
        self.abilities = abilities

    def schema(self, command: CatalogCommand) -> pa.Schema:
        """Return the reference schema of a reply."""
        if isinstance(command, commands.GetTables) and command.include_schema:
            return metadata.TABLES_WITH_SCHEMA_SCHEMA
        return _SCHEMAS[type(command)]

    def reply(self, request: Request, command: CatalogCommand) -> pa.Table:
        """Return all rows of a reply, in as few batches as fit into messages.

        Some clients read no further than the first one, so it holds all that a filter on one
        table's name finds.
        """
        rows = _REPLIES[type(command)](self, request, command)
        return pa.Table.from_batches(_cut(rows.combine_chunks()), schema=rows.schema)

    def _catalogs(self, request: Request, command: commands.GetCatalogs) -> pa.Table:  # noqa: ARG002
        return metadata.catalogs(self._browser.catalogs(request.principal))

    def _db_schemas(self, request: Request, command: commands.GetDbSchemas) -> pa.Table:
        in_catalog = equals(command.catalog)
        fits = like(command.db_schema_filter_pattern)
        return metadata.db_schemas(
            (catalog, schema)
            for catalog, schema in self._browser.schemas(request.principal)
            if in_catalog(catalog) and fits(schema)
        )

    def _tables(self, request: Request, command: commands.GetTables) -> pa.Table:
        rows = (
            metadata.TableRow(
                catalog=row.ref.bucket,
                db_schema=row.ref.schema,
                name=row.ref.table,
                table_type=row.table_type,
                schema=self._columns(request, row) if command.include_schema else None,
            )
            for row in self._listed(request, command)
        )
        return metadata.tables(rows, include_schema=command.include_schema)

    def _listed(self, request: Request, command: commands.GetTables) -> Iterator[Listed]:
        in_catalog = equals(command.catalog)
        in_schema = like(command.db_schema_filter_pattern)
        fits = like(command.table_name_filter_pattern)
        for row in self._browser.tables(request.principal):
            if (
                in_catalog(row.ref.bucket)
                and in_schema(row.ref.schema)
                and fits(row.ref.table)
                and metadata.is_wanted_type(row.table_type, command.table_types)
            ):
                yield row

    def _columns(self, request: Request, row: Listed) -> pa.Schema | None:
        try:
            columns = self._browser.columns(request.principal, row.ref)
        except errors.LakeflightError:
            return None  # a damaged table is listed, without columns; reading it says what is wrong
        return metadata.column_metadata(
            columns,
            row.ref.bucket,
            db_schema=row.ref.schema,
            table=row.ref.table,
            read_only=not self._browser.may_write(request.principal, row.ref),
        )


def _cut(rows: pa.Table) -> list[pa.RecordBatch]:
    """Cut into batches of at most ``BATCH_BYTES_MAX``, but for rows that are larger by themselves.

    The description of a table with ten thousand columns is one, and nobody could read half of it.
    """
    if rows.nbytes <= BATCH_BYTES_MAX or rows.num_rows <= 1:
        return list(rows.to_batches())
    half = rows.num_rows // 2
    return [*_cut(rows.slice(0, half)), *_cut(rows.slice(half))]


_REPLIES: Mapping[type[CatalogCommand], Callable[[CatalogReplies, Request, Any], pa.Table]] = {
    commands.GetSqlInfo: lambda replies, _request, command: sql_info(
        command.info, replies.abilities
    ),
    commands.GetXdbcTypeInfo: lambda _self, _request, command: metadata.xdbc_type_info(
        command.data_type
    ),
    commands.GetCatalogs: CatalogReplies._catalogs,  # noqa: SLF001  our own table
    commands.GetDbSchemas: CatalogReplies._db_schemas,  # noqa: SLF001  our own table
    commands.GetTables: CatalogReplies._tables,  # noqa: SLF001  our own table
    commands.GetTableTypes: lambda _self, _request, _command: metadata.table_types(TABLE_TYPES),
    # Delta tables declare no keys, so there are none to list.
    commands.GetPrimaryKeys: lambda _self, _request, _command: metadata.primary_keys(),
    commands.GetExportedKeys: lambda _self, _request, _command: metadata.exported_keys(),
    commands.GetImportedKeys: lambda _self, _request, _command: metadata.imported_keys(),
    commands.GetCrossReference: lambda _self, _request, _command: metadata.cross_reference(),
}
CATALOG_COMMANDS = tuple(_REPLIES)
