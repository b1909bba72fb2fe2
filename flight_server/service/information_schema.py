"""The tables of ``information_schema``, made of what the caller can see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.types as pt

from flight_server.errors import LakeflightError
from flight_server.protocol.sql_types import sql_type_name
from policies.names import Principal, TableRef

INFORMATION_SCHEMA = "information_schema"


def _text(name: str, *, nullable: bool = False) -> pa.Field[Any]:
    return pa.field(name, pa.string(), nullable=nullable)


def _number(name: str, *, nullable: bool = True) -> pa.Field[Any]:
    return pa.field(name, pa.int32(), nullable=nullable)


_NAMES = [_text("table_catalog"), _text("table_schema"), _text("table_name")]
_CONSTRAINT = [_text("constraint_catalog"), _text("constraint_schema"), _text("constraint_name")]

SCHEMAS: dict[str, pa.Schema] = {
    "schemata": pa.schema(
        [
            _text("catalog_name"),
            _text("schema_name"),
            _text("schema_owner", nullable=True),
            _text("default_character_set_catalog", nullable=True),
            _text("default_character_set_schema", nullable=True),
            _text("default_character_set_name", nullable=True),
            _text("sql_path", nullable=True),
        ]
    ),
    "tables": pa.schema([*_NAMES, _text("table_type")]),
    "views": pa.schema(
        [
            *_NAMES,
            _text("view_definition", nullable=True),
            _text("check_option"),
            _text("is_updatable"),
            _text("comment", nullable=True),
        ]
    ),
    "columns": pa.schema(
        [
            *_NAMES,
            _text("column_name"),
            _number("ordinal_position", nullable=False),
            _text("column_default", nullable=True),
            _text("is_nullable"),
            _text("data_type"),
            _number("character_maximum_length"),
            _number("character_octet_length"),
            _number("numeric_precision"),
            _number("numeric_precision_radix"),
            _number("numeric_scale"),
            _number("datetime_precision"),
            _text("interval_type", nullable=True),
            _text("comment", nullable=True),
        ]
    ),
    # Tables have no keys: these are what tools look into for some, in the columns of the standard.
    "table_constraints": pa.schema(
        [
            *_CONSTRAINT,
            *_NAMES,
            _text("constraint_type"),
            _text("is_deferrable"),
            _text("initially_deferred"),
            _text("enforced"),
        ]
    ),
    "key_column_usage": pa.schema(
        [
            *_CONSTRAINT,
            *_NAMES,
            _text("column_name"),
            _number("ordinal_position", nullable=False),
            _number("position_in_unique_constraint"),
        ]
    ),
    "referential_constraints": pa.schema(
        [
            *_CONSTRAINT,
            _text("unique_constraint_catalog", nullable=True),
            _text("unique_constraint_schema", nullable=True),
            _text("unique_constraint_name", nullable=True),
            _text("match_option"),
            _text("update_rule"),
            _text("delete_rule"),
        ]
    ),
    "constraint_column_usage": pa.schema([*_NAMES, _text("column_name"), *_CONSTRAINT]),
    "check_constraints": pa.schema([*_CONSTRAINT, _text("check_clause", nullable=True)]),
    "character_sets": pa.schema(
        [
            _text("character_set_catalog", nullable=True),
            _text("character_set_schema", nullable=True),
            _text("character_set_name"),
            _text("character_repertoire"),
            _text("form_of_use"),
            _text("default_collate_catalog", nullable=True),
            _text("default_collate_schema", nullable=True),
            _text("default_collate_name", nullable=True),
        ]
    ),
}

_BITS: dict[pa.DataType, int] = {
    pa.int8(): 8,
    pa.int16(): 16,
    pa.int32(): 32,
    pa.int64(): 64,
    pa.uint8(): 8,
    pa.uint16(): 16,
    pa.uint32(): 32,
    pa.uint64(): 64,
    pa.float32(): 24,
    pa.float64(): 53,
}
_FRACTION_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
Row = dict[str, object]


class Listed(Protocol):
    """A table in a listing."""

    @property
    def ref(self) -> TableRef:
        """Its full name."""
        ...

    @property
    def table_type(self) -> str:
        """Its type, such as ``BASE TABLE``."""
        ...


class ListedView(Protocol):
    """A view in a listing."""

    @property
    def ref(self) -> TableRef:
        """Its full name."""
        ...

    @property
    def definition(self) -> str | None:
        """The text of its query, None where it is not shown."""
        ...

    @property
    def comment(self) -> str | None:
        """What it is for, in words."""
        ...


class Catalog(Protocol):
    """What somebody can see."""

    def schemas(self, principal: Principal) -> Sequence[tuple[str, str]]:
        """Return schemas as (catalog, schema)."""
        ...

    def tables(self, principal: Principal) -> Sequence[Listed]:
        """Return tables of every type."""
        ...

    def views(self, principal: Principal) -> Sequence[ListedView]:
        """Return views."""
        ...

    def columns(self, principal: Principal, ref: TableRef) -> pa.Schema:
        """Return the columns of a table."""
        ...


def rows(catalog: Catalog, principal: Principal, table: str) -> pa.Table:
    """Return a table of ``information_schema`` as that principal sees it, over all catalogs.

    ``table`` is a key of ``SCHEMAS``. Tables that cannot be opened are listed without columns.
    """
    made = _MAKERS[table](catalog, principal)
    return pa.Table.from_pylist(list(made), schema=SCHEMAS[table])


def _schemata(catalog: Catalog, principal: Principal) -> Iterator[Row]:
    for name, schema in catalog.schemas(principal):
        yield {"catalog_name": name, "schema_name": schema}


def _tables(catalog: Catalog, principal: Principal) -> Iterator[Row]:
    for row in catalog.tables(principal):
        yield {**_name(row.ref), "table_type": row.table_type}


def _views(catalog: Catalog, principal: Principal) -> Iterator[Row]:
    for view in catalog.views(principal):
        shown = {"view_definition": view.definition, "check_option": "NONE", "is_updatable": "NO"}
        yield {**_name(view.ref), **shown, "comment": view.comment}


def _columns(catalog: Catalog, principal: Principal) -> Iterator[Row]:
    for row in catalog.tables(principal):
        try:
            schema = catalog.columns(principal, row.ref)
        except LakeflightError:
            continue
        for position, column in enumerate(schema, 1):
            yield {**_name(row.ref), **_column(column), "ordinal_position": position}


def _character_sets(_catalog: Catalog, _principal: Principal) -> Iterator[Row]:
    yield {
        "character_set_name": "UTF8",
        "character_repertoire": "UCS",
        "form_of_use": "UTF8",
    }


def _nothing(_catalog: Catalog, _principal: Principal) -> Iterator[Row]:
    yield from ()


_MAKERS = {
    "schemata": _schemata,
    "tables": _tables,
    "views": _views,
    "columns": _columns,
    "table_constraints": _nothing,
    "key_column_usage": _nothing,
    "referential_constraints": _nothing,
    "constraint_column_usage": _nothing,
    "check_constraints": _nothing,
    "character_sets": _character_sets,
}


def _name(ref: TableRef) -> Row:
    return {"table_catalog": ref.bucket, "table_schema": ref.schema, "table_name": ref.table}


def _column(column: pa.Field[Any]) -> Row:
    kind = column.type
    comment = (column.metadata or {}).get(b"comment")
    row: Row = {
        "column_name": column.name,
        "is_nullable": "YES" if column.nullable else "NO",
        "data_type": sql_type_name(kind),
        "comment": None if comment is None else comment.decode(errors="replace"),
    }
    if kind in _BITS:
        row |= {"numeric_precision": _BITS[kind], "numeric_precision_radix": 2}
        if pt.is_integer(kind):
            row["numeric_scale"] = 0
    elif pt.is_decimal(kind):
        row |= {
            "numeric_precision": kind.precision,
            "numeric_precision_radix": 10,
            "numeric_scale": kind.scale,
        }
    elif pt.is_timestamp(kind) or pt.is_time(kind):
        row["datetime_precision"] = _FRACTION_DIGITS[kind.unit]
    elif pt.is_date(kind):
        row["datetime_precision"] = 0
    return row
