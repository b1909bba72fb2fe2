from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol import metadata as m

# As in the reference schemas: a trailing ! marks what may not be null.
PINNED = {
    "catalogs": "catalog_name string!",
    "db_schemas": "catalog_name string, db_schema_name string!",
    "tables": "catalog_name string, db_schema_name string, table_name string!, table_type string!",
    "tables_with_schema": "catalog_name string, db_schema_name string, table_name string!, "
    "table_type string!, table_schema binary!",
    "table_types": "table_type string!",
    "primary_keys": "catalog_name string, db_schema_name string, table_name string!, "
    "column_name string!, key_sequence int32!, key_name string",
    "foreign_keys": "pk_catalog_name string, pk_db_schema_name string, pk_table_name string!, "
    "pk_column_name string!, fk_catalog_name string, fk_db_schema_name string, "
    "fk_table_name string!, fk_column_name string!, key_sequence int32!, fk_key_name string, "
    "pk_key_name string, update_rule uint8!, delete_rule uint8!",
    "xdbc": "type_name string!, data_type int32!, column_size int32, literal_prefix string, "
    "literal_suffix string, create_params list<item: string not null>, nullable int32!, "
    "case_sensitive bool!, searchable int32!, unsigned_attribute bool, fixed_prec_scale bool!, "
    "auto_increment bool, local_type_name string, minimum_scale int32, maximum_scale int32, "
    "sql_data_type int32!, datetime_subcode int32, num_prec_radix int32, interval_precision int32",
}
REPLIES = {
    "catalogs": m.catalogs(["b", "a"]),
    "db_schemas": m.db_schemas([("b", "x"), ("a", "y"), (None, "z"), ("a", "x")]),
    "tables": m.tables([m.TableRow("a", "x", "t", m.VIEW)], include_schema=False),
    "tables_with_schema": m.tables(
        [m.TableRow("a", "x", "t", m.VIEW, pa.schema([("c", pa.int8())]))], include_schema=True
    ),
    "table_types": m.table_types(),
    "primary_keys": m.primary_keys([m.PrimaryKeyRow("a", "x", "t", "c", 1)]),
    "foreign_keys": m.imported_keys(
        [m.ForeignKeyRow("a", "x", "t", "c", "a", "x", "u", "d", key_sequence=1)]
    ),
    "xdbc": m.xdbc_type_info(),
}
EMPTY = {
    "catalogs": m.catalogs([]),
    "db_schemas": m.db_schemas([]),
    "tables": m.tables([], include_schema=False),
    "tables_with_schema": m.tables([], include_schema=True),
    "table_types": m.table_types([]),
    "primary_keys": m.primary_keys(),
    "foreign_keys": m.cross_reference(),
    "xdbc": m.xdbc_type_info(12345),
}


def spelled(schema: pa.Schema) -> str:
    return ", ".join(
        f"{field.name} {field.type}{'' if field.nullable else '!'}" for field in schema
    )


@pytest.mark.parametrize("name", sorted(PINNED))
@pytest.mark.parametrize("replies", [REPLIES, EMPTY], ids=["rows", "empty"])
def test_schemas_are_the_reference_ones(name: str, replies: dict[str, pa.Table]) -> None:
    reply = replies[name]
    assert spelled(reply.schema) == PINNED[name]
    assert len(reply.to_batches()) <= 1
    assert not reply.schema.metadata
    reply.validate(full=True)


def test_rows_are_in_the_order_of_the_specification() -> None:
    assert REPLIES["catalogs"].column(0).to_pylist() == ["a", "b"]
    pairs = [tuple(row.values()) for row in REPLIES["db_schemas"].to_pylist()]
    assert pairs == [(None, "z"), ("a", "x"), ("a", "y"), ("b", "x")]
    assert m.table_types().column(0).to_pylist() == ["BASE TABLE", "VIEW"]
    key = [m.PrimaryKeyRow("a", "x", "t", column, place) for column, place in [("d", 2), ("c", 1)]]
    assert m.primary_keys(key).column("column_name").to_pylist() == ["c", "d"]


def test_keys_are_ordered_by_the_other_table() -> None:
    rows = [
        m.ForeignKeyRow("a", "x", pk, "c", "a", "x", fk, "d", key_sequence=1)
        for pk, fk in [("t2", "u1"), ("t1", "u2")]
    ]
    assert m.imported_keys(rows).column("pk_table_name").to_pylist() == ["t1", "t2"]
    assert m.exported_keys(rows).column("fk_table_name").to_pylist() == ["u1", "u2"]


def test_a_table_schema_is_an_ipc_stream() -> None:
    schema = pa.schema([pa.field("c", pa.int64(), nullable=False, metadata={"k": "v"})])
    reply = m.tables([m.TableRow("a", "x", "t", m.BASE_TABLE, schema)], include_schema=True)
    data = reply.column("table_schema")[0].as_py()
    assert pa.ipc.open_stream(data).schema.equals(schema, check_metadata=True)


@pytest.mark.parametrize(
    ("table_type", "wanted", "expected"),
    [
        ("BASE TABLE", (), True),
        ("BASE TABLE", ("TABLE",), True),
        ("BASE TABLE", ("table",), True),
        ("BASE TABLE", ("BASE TABLE",), True),
        ("BASE TABLE", ("VIEW",), False),
        ("VIEW", ("TABLE",), False),
        ("VIEW", ("TABLE", "VIEW"), True),
    ],
)
def test_table_types_match(table_type: str, wanted: tuple[str, ...], *, expected: bool) -> None:
    assert m.is_wanted_type(table_type, wanted) is expected


def test_type_info_is_filtered_and_ordered() -> None:
    numbers: list[Any] = REPLIES["xdbc"].column("data_type").to_pylist()
    assert numbers == sorted(numbers)
    timestamps = m.xdbc_type_info(pb.XDBC_TIMESTAMP).to_pylist()
    assert [row["type_name"] for row in timestamps] == ["TIMESTAMP", "TIMESTAMP WITH TIME ZONE"]
    assert {row["sql_data_type"] for row in timestamps} == {pb.XDBC_DATETIME}
    assert [row["datetime_subcode"] for row in timestamps] == [3, 5]
    (text,) = m.xdbc_type_info(pb.XDBC_VARCHAR).to_pylist()
    assert (text["searchable"], text["case_sensitive"]) == (pb.SEARCHABLE_FULL, True)
    (decimal,) = m.xdbc_type_info(pb.XDBC_DECIMAL).to_pylist()
    assert (decimal["column_size"], decimal["create_params"]) == (38, ["precision", "scale"])


def test_column_metadata() -> None:
    columns: list[pa.Field[Any]] = [
        pa.field("price", pa.decimal128(12, 2), metadata={"comment": "in €", "secret": "x"}),
        pa.field("name", pa.string(), nullable=False),
    ]
    schema = pa.schema(columns, metadata={"pandas": "{}", "comment": "of all"})
    described = m.column_metadata(schema, "primary", db_schema="public", table="t", read_only=True)
    assert described.metadata == {b"comment": b"of all"}
    assert described.equals(schema)
    prefix = "ARROW:FLIGHT:SQL:"
    names = {"CATALOG_NAME": "primary", "SCHEMA_NAME": "public", "TABLE_NAME": "t"}
    flags = {"IS_AUTO_INCREMENT": "0", "IS_READ_ONLY": "1", "IS_SEARCHABLE": "1"}
    price = {
        **names,
        **flags,
        "TYPE_NAME": "DECIMAL(12,2)",
        "PRECISION": "12",
        "SCALE": "2",
        "IS_CASE_SENSITIVE": "0",
        "REMARKS": "in €",
    }
    name = {**names, **flags, "TYPE_NAME": "VARCHAR", "IS_CASE_SENSITIVE": "1"}
    for field, expected in zip(described, (price, name), strict=True):
        assert {key.decode(): value.decode() for key, value in (field.metadata or {}).items()} == {
            prefix + key: value for key, value in expected.items()
        }


def test_extension_types_keep_their_metadata() -> None:
    field = pa.field("u", pa.binary(16), metadata={"ARROW:extension:name": "arrow.uuid"})
    described = m.column_metadata(
        pa.schema([field]), None, db_schema=None, table="t", read_only=False
    )
    metadata = described.field(0).metadata or {}
    assert metadata[b"ARROW:extension:name"] == b"arrow.uuid"
    assert b"ARROW:FLIGHT:SQL:CATALOG_NAME" not in metadata
    assert metadata[b"ARROW:FLIGHT:SQL:IS_READ_ONLY"] == b"0"
