"""The catalog replies: one reference schema and one function that fills it, for each.

Names, types and nullability are those of the specification and of the reference schemas of the Go
and Java libraries; clients compare them exactly. Every reply is one table of at most one batch, in
the order that the specification asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import pyarrow as pa

from flight_server.protocol.sql_types import SQL_TYPES, ColumnType, column_type

BASE_TABLE = "BASE TABLE"
VIEW = "VIEW"
_COMMENT = b"comment"


def _required(name: str, kind: pa.DataType) -> pa.Field[Any]:
    return pa.field(name, kind, nullable=False)


def _optional(name: str, kind: pa.DataType) -> pa.Field[Any]:
    return pa.field(name, kind, nullable=True)


CATALOGS_SCHEMA = pa.schema([_required("catalog_name", pa.string())])
DB_SCHEMAS_SCHEMA = pa.schema(
    [_optional("catalog_name", pa.string()), _required("db_schema_name", pa.string())]
)
TABLES_SCHEMA = pa.schema(
    [
        _optional("catalog_name", pa.string()),
        _optional("db_schema_name", pa.string()),
        _required("table_name", pa.string()),
        _required("table_type", pa.string()),
    ]
)
TABLES_WITH_SCHEMA_SCHEMA = TABLES_SCHEMA.append(_required("table_schema", pa.binary()))
TABLE_TYPES_SCHEMA = pa.schema([_required("table_type", pa.string())])
PRIMARY_KEYS_SCHEMA = pa.schema(
    [
        _optional("catalog_name", pa.string()),
        _optional("db_schema_name", pa.string()),
        _required("table_name", pa.string()),
        _required("column_name", pa.string()),
        _required("key_sequence", pa.int32()),
        _optional("key_name", pa.string()),
    ]
)
# One schema for exported keys, imported keys and cross references.
FOREIGN_KEYS_SCHEMA = pa.schema(
    [
        _optional("pk_catalog_name", pa.string()),
        _optional("pk_db_schema_name", pa.string()),
        _required("pk_table_name", pa.string()),
        _required("pk_column_name", pa.string()),
        _optional("fk_catalog_name", pa.string()),
        _optional("fk_db_schema_name", pa.string()),
        _required("fk_table_name", pa.string()),
        _required("fk_column_name", pa.string()),
        _required("key_sequence", pa.int32()),
        _optional("fk_key_name", pa.string()),
        _optional("pk_key_name", pa.string()),
        _required("update_rule", pa.uint8()),
        _required("delete_rule", pa.uint8()),
    ]
)
XDBC_TYPE_INFO_SCHEMA = pa.schema(
    [
        _required("type_name", pa.string()),
        _required("data_type", pa.int32()),
        _optional("column_size", pa.int32()),
        _optional("literal_prefix", pa.string()),
        _optional("literal_suffix", pa.string()),
        _optional("create_params", pa.list_(_required("item", pa.string()))),
        _required("nullable", pa.int32()),
        _required("case_sensitive", pa.bool_()),
        _required("searchable", pa.int32()),
        _optional("unsigned_attribute", pa.bool_()),
        _required("fixed_prec_scale", pa.bool_()),
        _optional("auto_increment", pa.bool_()),
        _optional("local_type_name", pa.string()),
        _optional("minimum_scale", pa.int32()),
        _optional("maximum_scale", pa.int32()),
        _required("sql_data_type", pa.int32()),
        _optional("datetime_subcode", pa.int32()),
        _optional("num_prec_radix", pa.int32()),
        _optional("interval_precision", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class TableRow:
    """One table or view of a GetTables reply; ``schema`` is only needed when it was asked for."""

    catalog: str | None
    db_schema: str | None
    name: str
    table_type: str
    schema: pa.Schema | None = None


@dataclass(frozen=True, slots=True)
class PrimaryKeyRow:
    """One column of a primary key; ``key_sequence`` counts from 1."""

    catalog_name: str | None
    db_schema_name: str | None
    table_name: str
    column_name: str
    key_sequence: int
    key_name: str | None = None


@dataclass(frozen=True, slots=True)
class ForeignKeyRow:
    """One column of a foreign key; the rules are UpdateDeleteRules, 3 is NO ACTION."""

    pk_catalog_name: str | None
    pk_db_schema_name: str | None
    pk_table_name: str
    pk_column_name: str
    fk_catalog_name: str | None
    fk_db_schema_name: str | None
    fk_table_name: str
    fk_column_name: str
    key_sequence: int
    fk_key_name: str | None = None
    pk_key_name: str | None = None
    update_rule: int = 3
    delete_rule: int = 3


def catalogs(names: Iterable[str]) -> pa.Table:
    """Answer GetCatalogs, in order of name."""
    return _table(CATALOGS_SCHEMA, [(name,) for name in sorted(names)])


def db_schemas(rows: Iterable[tuple[str | None, str]]) -> pa.Table:
    """Answer GetDbSchemas from pairs of catalog and schema, in that order."""
    return _table(DB_SCHEMAS_SCHEMA, sorted(rows, key=_order))


def tables(rows: Iterable[TableRow], *, include_schema: bool) -> pa.Table:
    """Answer GetTables, in order of catalog, schema and name.

    With ``include_schema`` each row's schema goes along as an IPC message; a row without one gets
    an empty schema.
    """
    ordered = sorted(rows, key=lambda row: _order((row.catalog, row.db_schema, row.name)))
    plain = [(row.catalog, row.db_schema, row.name, row.table_type) for row in ordered]
    if not include_schema:
        return _table(TABLES_SCHEMA, plain)
    encoded = [(row.schema or pa.schema([])).serialize().to_pybytes() for row in ordered]
    return _table(
        TABLES_WITH_SCHEMA_SCHEMA, [(*row, data) for row, data in zip(plain, encoded, strict=True)]
    )


def table_types(names: Iterable[str] = (BASE_TABLE, VIEW)) -> pa.Table:
    """Answer GetTableTypes, in order of name."""
    return _table(TABLE_TYPES_SCHEMA, [(name,) for name in sorted(names)])


def is_wanted_type(table_type: str, wanted: Sequence[str]) -> bool:
    """Tell whether a GetTables request wants tables of this type; no types at all wants every one.

    JDBC tools say TABLE, ODBC tools and Grafana either that or the standard's BASE TABLE: both mean
    the same here. Case does not count, since Grafana writes ``table``.
    """
    if not wanted:
        return True
    folded = {BASE_TABLE if name.upper() == "TABLE" else name.upper() for name in wanted}
    return table_type.upper() in folded


def primary_keys(rows: Iterable[PrimaryKeyRow] = ()) -> pa.Table:
    """Answer GetPrimaryKeys, in order of table, key name and place in the key."""
    ordered = sorted(map(astuple, rows), key=lambda row: (_order((*row[:3], row[5])), row[4]))
    return _table(PRIMARY_KEYS_SCHEMA, ordered)


def exported_keys(rows: Iterable[ForeignKeyRow] = ()) -> pa.Table:
    """Answer GetExportedKeys, in order of the table that points here, key name and place."""
    return _foreign_keys(rows, by="fk")


def imported_keys(rows: Iterable[ForeignKeyRow] = ()) -> pa.Table:
    """Answer GetImportedKeys, in order of the table pointed to, key name and place."""
    return _foreign_keys(rows, by="pk")


def cross_reference(rows: Iterable[ForeignKeyRow] = ()) -> pa.Table:
    """Answer GetCrossReference, in order of the table that points, key name and place."""
    return _foreign_keys(rows, by="fk")


def xdbc_type_info(data_type: int | None = None) -> pa.Table:
    """Answer GetXdbcTypeInfo: all types, or those with this ODBC number, in order of number."""
    rows = [row for row in _XDBC_ROWS if data_type is None or row[1] == data_type]
    return _table(XDBC_TYPE_INFO_SCHEMA, rows)


def column_metadata(
    schema: pa.Schema, catalog: str | None, *, db_schema: str | None, table: str, read_only: bool
) -> pa.Schema:
    """Give each field of a table's schema the metadata that Flight SQL clients read, and no other.

    What the storage keeps in field metadata (column mapping, generation expressions, constraints)
    is not for clients and is dropped, but for the comment of a column, which becomes REMARKS, and
    for Arrow's extension types. The comment of the whole table, for which Flight SQL has no place,
    is metadata of the schema. Only for GetTables: on the schema of a result JDBC would show the
    remark in place of the column's name.
    """
    names = {"CATALOG_NAME": catalog, "SCHEMA_NAME": db_schema, "TABLE_NAME": table}
    comment = (schema.metadata or {}).get(_COMMENT)
    fields = [_described(field, names, read_only=read_only) for field in schema]
    return pa.schema(fields, None if comment is None else {_COMMENT: comment})


def result_metadata(schema: pa.Schema) -> pa.Schema:
    """Give each field of a result what says how wide its values are, and nothing else."""
    return pa.schema([_with_entries(field, _width(column_type(field.type))) for field in schema])


def _described(
    field: pa.Field[Any], names: Mapping[str, str | None], *, read_only: bool
) -> pa.Field[Any]:
    kind = column_type(field.type)
    comment = (field.metadata or {}).get(_COMMENT)
    entries: dict[str, str | None] = {
        **names,
        **_width(kind),
        "IS_AUTO_INCREMENT": "0",
        "IS_READ_ONLY": "1" if read_only else "0",
        "IS_SEARCHABLE": "1",
        "REMARKS": None if comment is None else comment.decode("utf-8", "replace"),
    }
    return _with_entries(field, entries)


def _width(kind: ColumnType) -> dict[str, str | None]:
    return {
        "TYPE_NAME": kind.name,
        "PRECISION": None if kind.precision is None else str(kind.precision),
        "SCALE": None if kind.scale is None else str(kind.scale),
        "IS_CASE_SENSITIVE": "1" if kind.case_sensitive else "0",
    }


def _with_entries(field: pa.Field[Any], entries: Mapping[str, str | None]) -> pa.Field[Any]:
    kept = field.metadata or {}
    metadata: dict[bytes | str, bytes | str] = {
        key: value for key, value in kept.items() if key.startswith(b"ARROW:extension:")
    }
    for name, value in entries.items():
        if value is not None:
            metadata[f"ARROW:FLIGHT:SQL:{name}"] = value
    return field.with_metadata(metadata)


def _foreign_keys(rows: Iterable[ForeignKeyRow], *, by: str) -> pa.Table:
    names = [field.name for field in fields(ForeignKeyRow)]
    places = [
        names.index(f"{by}_{part}")
        for part in ("catalog_name", "db_schema_name", "table_name", "key_name")
    ]
    sequence = names.index("key_sequence")
    ordered = sorted(
        map(astuple, rows),
        key=lambda row: (_order([row[place] for place in places]), row[sequence]),
    )
    return _table(FOREIGN_KEYS_SCHEMA, ordered)


def _order(names: Iterable[str | None]) -> tuple[tuple[bool, str], ...]:
    """Sort by name, with what has no name first."""
    return tuple((name is not None, name or "") for name in names)


def _table(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = [
        pa.array([row[place] for row in rows], type=field.type)
        for place, field in enumerate(schema)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


_XDBC_ROWS: tuple[tuple[Any, ...], ...] = tuple(
    (
        kind.name,
        kind.data_type,
        kind.digits,
        kind.prefix,
        kind.suffix,
        None if kind.parameters is None else list(kind.parameters),
        1,  # every type takes NULL
        kind.case_sensitive,
        kind.searchable,
        kind.unsigned,
        False,  # no type is a currency
        False,  # nothing counts by itself
        kind.name,
        kind.scale_min,
        kind.scale_max,
        kind.data_type if kind.sql_data_type is None else kind.sql_data_type,
        kind.datetime_subcode,
        kind.radix,
        None,  # intervals have no leading precision
    )
    for kind in sorted(SQL_TYPES, key=lambda kind: kind.data_type)
)
