"""The catalog replies over the wire: in the shape of the protocol, filtered, and true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pandas as pd
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from flightsql import FlightSQLClient
from flightsql import connect as connect_dbapi
from flightsql.client import TableRef as DbapiTable

from flight_server.protocol import commands
from tests.lakehouse import ORDERS_ROWS, orders_table, write
from tests.servers import Server
from tests.wire.kinds import every_kind
from tests.wire.raw import RawClient, dbapi_client, refused

# The reference schemas, as the specification and the Go and Java libraries have them.
_TEXT = pa.string()


def _fields(*fields: tuple[str, pa.DataType, bool]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=nullable) for name, kind, nullable in fields])


_TABLES = _fields(
    ("catalog_name", _TEXT, True),
    ("db_schema_name", _TEXT, True),
    ("table_name", _TEXT, False),
    ("table_type", _TEXT, False),
)
_FOREIGN_KEYS = _fields(
    ("pk_catalog_name", _TEXT, True),
    ("pk_db_schema_name", _TEXT, True),
    ("pk_table_name", _TEXT, False),
    ("pk_column_name", _TEXT, False),
    ("fk_catalog_name", _TEXT, True),
    ("fk_db_schema_name", _TEXT, True),
    ("fk_table_name", _TEXT, False),
    ("fk_column_name", _TEXT, False),
    ("key_sequence", pa.int32(), False),
    ("fk_key_name", _TEXT, True),
    ("pk_key_name", _TEXT, True),
    ("update_rule", pa.uint8(), False),
    ("delete_rule", pa.uint8(), False),
)
_CREATE_PARAMS = pa.list_(pa.field("item", _TEXT, nullable=False))
_XDBC = _fields(
    ("type_name", _TEXT, False),
    ("data_type", pa.int32(), False),
    ("column_size", pa.int32(), True),
    ("literal_prefix", _TEXT, True),
    ("literal_suffix", _TEXT, True),
    ("create_params", _CREATE_PARAMS, True),
    ("nullable", pa.int32(), False),
    ("case_sensitive", pa.bool_(), False),
    ("searchable", pa.int32(), False),
    ("unsigned_attribute", pa.bool_(), True),
    ("fixed_prec_scale", pa.bool_(), False),
    ("auto_increment", pa.bool_(), True),
    ("local_type_name", _TEXT, True),
    ("minimum_scale", pa.int32(), True),
    ("maximum_scale", pa.int32(), True),
    ("sql_data_type", pa.int32(), False),
    ("datetime_subcode", pa.int32(), True),
    ("num_prec_radix", pa.int32(), True),
    ("interval_precision", pa.int32(), True),
)
_NUMBERS_BY_NUMBER = pa.map_(pa.int32(), pa.list_(pa.int32()))
_INFO_VALUE = pa.dense_union(
    [
        pa.field("string_value", _TEXT, nullable=False),
        pa.field("bool_value", pa.bool_(), nullable=False),
        pa.field("bigint_value", pa.int64(), nullable=False),
        pa.field("int32_bitmask", pa.int32(), nullable=False),
        pa.field("string_list", pa.list_(_TEXT), nullable=False),
        pa.field(
            "int32_to_int32_list_map", pa.map_(pa.int32(), pa.list_(pa.int32())), nullable=False
        ),
    ]
)
REPLIES: list[tuple[commands.Command, pa.Schema]] = [
    (commands.GetCatalogs(), _fields(("catalog_name", _TEXT, False))),
    (
        commands.GetDbSchemas(),
        _fields(("catalog_name", _TEXT, True), ("db_schema_name", _TEXT, False)),
    ),
    (commands.GetTables(), _TABLES),
    (
        commands.GetTables(include_schema=True),
        _TABLES.append(pa.field("table_schema", pa.binary(), nullable=False)),
    ),
    (commands.GetTables(table_name_filter_pattern="no such table"), _TABLES),
    (commands.GetTableTypes(), _fields(("table_type", _TEXT, False))),
    (commands.GetXdbcTypeInfo(), _XDBC),
    (commands.GetXdbcTypeInfo(4), _XDBC),
    (
        commands.GetPrimaryKeys("primary", "sales", "orders"),
        _fields(
            ("catalog_name", _TEXT, True),
            ("db_schema_name", _TEXT, True),
            ("table_name", _TEXT, False),
            ("column_name", _TEXT, False),
            ("key_sequence", pa.int32(), False),
            ("key_name", _TEXT, True),
        ),
    ),
    (commands.GetImportedKeys(None, None, "orders"), _FOREIGN_KEYS),
    (commands.GetExportedKeys(None, None, "orders"), _FOREIGN_KEYS),
    (commands.GetCrossReference(None, None, "orders", None, None, "regions"), _FOREIGN_KEYS),
    (
        commands.GetSqlInfo(),
        _fields(("info_name", pa.uint32(), False), ("value", _INFO_VALUE, False)),
    ),
]


@pytest.mark.parametrize(("command", "reference"), REPLIES, ids=lambda value: type(value).__name__)
def test_stream_info_and_schema_are_the_reference_schema(
    raw: RawClient, command: commands.Command, reference: pa.Schema
) -> None:
    info = raw.info(command)
    assert len(info.endpoints) == 1
    stream = raw.open(info.endpoints[0].ticket)
    for schema in (info.schema, raw.schema(command), stream.schema):
        assert schema.equals(reference, check_metadata=True)
    stream.read_all().validate(full=True)


def _tables(raw: RawClient, schema: str = "catalog\\_%", **filters: Any) -> list[str]:
    command = commands.GetTables(db_schema_filter_pattern=schema, **filters)
    return [
        f"{row['db_schema_name']}.{row['table_name']}" for row in raw.fetch(command).to_pylist()
    ]


@pytest.fixture(scope="module", autouse=True)
def _catalog(lakehouse: Path) -> None:
    for name in ("alpha", "alpha_1", "alphax1", "Alpha", "per cent", "zürich", "it's"):
        write(lakehouse / "catalog_one" / name, pa.table({"x": [1]}))
    write(lakehouse / "catalog_two" / "alpha", every_kind())
    (lakehouse / "catalogxthree" / "alpha" / "_delta_log").mkdir(parents=True)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("alpha", ["alpha"]),
        ("alpha_1", ["alpha_1", "alphax1"]),
        ("alpha\\_1", ["alpha_1"]),
        ("alpha%", ["alpha", "alpha_1", "alphax1"]),
        ("%", ["Alpha", "alpha", "alpha_1", "alphax1", "it's", "per cent", "zürich"]),
        ("_lpha", ["Alpha", "alpha"]),
        ("%1", ["alpha_1", "alphax1"]),
        ("z_rich", ["zürich"]),
        ("ALPHA", []),
        ("", []),
        ("alpha\\%", []),
        ("al*", []),
        ("it's", ["it's"]),
        ("SELECT * FROM t WHERE a LIKE '%\\_%' -- \n\t\"", []),
        ("%" * 100_000, ["Alpha", "alpha", "alpha_1", "alphax1", "it's", "per cent", "zürich"]),
        ("%a" * 50_000, []),
        ("\\", []),
        ("\U0001f4a9" * 1000, []),
    ],
    ids=range(18),
)
def test_patterns_of_tables(raw: RawClient, pattern: str, names: list[str]) -> None:
    expected = [f"catalog_one.{name}" for name in names]
    assert _tables(raw, "catalog\\_one", table_name_filter_pattern=pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "schemas"),
    [
        ("catalog_one", ["catalog_one"]),
        ("catalog\\_%", ["catalog_one", "catalog_two"]),
        ("catalog_t%", ["catalog_two", "catalogxthree"]),
        ("CATALOG%", []),
        ("", []),
    ],
)
def test_patterns_of_schemas(raw: RawClient, pattern: str, schemas: list[str]) -> None:
    command = commands.GetDbSchemas("primary", pattern)
    assert raw.fetch(command)["db_schema_name"].to_pylist() == schemas


def test_catalogs_are_compared_whole(raw: RawClient) -> None:
    assert raw.fetch(commands.GetCatalogs())["catalog_name"].to_pylist() == ["primary", "system"]
    for catalog, found in (("primary", True), ("prim%", False), ("", False), ("PRIMARY", False)):
        assert bool(_tables(raw, catalog=catalog)) is found
        assert bool(raw.fetch(commands.GetDbSchemas(catalog)).num_rows) is found


def test_types_of_tables(raw: RawClient) -> None:
    listed: dict[str, Any] = {"catalog": "primary", "table_types": ("BASE TABLE",)}
    assert "catalog_two.alpha" in _tables(raw, **listed)
    assert _tables(raw, table_types=("table",)) == _tables(raw)
    assert _tables(raw, table_types=("VIEW",)) == []
    assert _tables(raw, table_types=("no such type",)) == []
    made = _tables(raw, "information\\_schema", catalog="primary", table_types=("SYSTEM TABLE",))
    assert made == [
        f"information_schema.{name}"
        for name in (
            *("character_sets", "check_constraints", "columns", "constraint_column_usage"),
            *("key_column_usage", "referential_constraints", "schemata", "table_constraints"),
            *("tables", "views"),
        )
    ]
    every = raw.fetch(commands.GetTableTypes())["table_type"].to_pylist()
    assert set(raw.fetch(commands.GetTables())["table_type"].to_pylist()) <= set(every)


def test_replies_are_in_order(raw: RawClient) -> None:
    rows = [tuple(row.values())[:3] for row in raw.fetch(commands.GetTables()).to_pylist()]
    assert rows == sorted(rows)


def test_schemas_of_tables_are_those_of_their_rows(raw: RawClient) -> None:
    command = commands.GetTables(db_schema_filter_pattern="catalog\\_two", include_schema=True)
    (row,) = raw.fetch(command).to_pylist()
    schema = pa.ipc.read_schema(pa.py_buffer(row["table_schema"]))
    assert schema.equals(raw.info("SELECT * FROM catalog_two.alpha").schema)
    assert schema.equals(every_kind().schema)
    for field in schema:
        metadata: Mapping[bytes, bytes] = field.metadata or {}
        assert metadata[b"ARROW:FLIGHT:SQL:TABLE_NAME"] == b"alpha"
        assert metadata[b"ARROW:FLIGHT:SQL:TYPE_NAME"]
        assert all(key.startswith(b"ARROW:FLIGHT:SQL:") for key in metadata)


def test_a_damaged_table_is_listed_and_hides_nothing(raw: RawClient) -> None:
    command = commands.GetTables("primary", "catalog%", include_schema=True)
    rows = raw.fetch(command).to_pylist()
    assert len(rows) == 9
    (damaged,) = (row for row in rows if row["db_schema_name"] == "catalogxthree")
    assert len(pa.ipc.read_schema(pa.py_buffer(damaged["table_schema"]))) == 0


def test_adbc_lists_at_every_depth(adbc: flightsql.Connection) -> None:
    def listed(**arguments: Any) -> list[dict[str, Any]]:
        return adbc.adbc_get_objects(**arguments).read_all().to_pylist()

    (catalog,) = listed(depth="catalogs", catalog_filter="primary")
    assert catalog == {"catalog_name": "primary", "catalog_db_schemas": None}
    (catalog,) = listed(depth="db_schemas", catalog_filter="prim%", db_schema_filter="catalog_one")
    assert catalog["catalog_db_schemas"] == [
        {"db_schema_name": "catalog_one", "db_schema_tables": None}
    ]
    (catalog,) = listed(
        depth="tables", catalog_filter="primary", db_schema_filter="sales", table_name_filter="o%"
    )
    (schema,) = catalog["catalog_db_schemas"]
    (table,) = schema["db_schema_tables"]
    assert (table["table_name"], table["table_type"]) == ("orders", "BASE TABLE")
    (catalog,) = listed(
        depth="all",
        catalog_filter="primary",
        db_schema_filter="sales",
        table_name_filter="orders",
        table_types_filter=["BASE TABLE"],
    )
    columns = catalog["catalog_db_schemas"][0]["db_schema_tables"][0]["table_columns"]
    assert [(c["column_name"], c["ordinal_position"], c["xdbc_type_name"]) for c in columns] == [
        ("order_id", 1, "BIGINT"),
        ("customer", 2, "VARCHAR"),
        ("amount", 3, "DECIMAL(12,2)"),
        ("ordered_on", 4, "DATE"),
        ("note", 5, "VARCHAR"),
    ]
    few = listed(depth="all", db_schema_filter="sales", column_name_filter="order%")
    names = {
        column["column_name"]
        for catalog in few
        for schema in catalog["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
        for column in table["table_columns"]
    }
    assert names == {"order_id", "ordered_on"}
    everything = listed(depth="all")
    assert {row["catalog_name"] for row in everything} == {"primary", "system"}


def test_adbc_describes_a_table(adbc: flightsql.Connection) -> None:
    for arguments in (
        {},
        {"db_schema_filter": "sales"},
        {"catalog_filter": "primary", "db_schema_filter": "sales"},
    ):
        schema = adbc.adbc_get_table_schema("orders", **arguments)
        assert schema.equals(orders_table(1).schema)
    assert adbc.adbc_get_table_schema("alpha_1").names == ["x"]
    with pytest.raises(flightsql.ProgrammingError):
        adbc.adbc_get_table_schema("nothing")
    with pytest.raises(flightsql.ProgrammingError):
        adbc.adbc_get_table_schema("orders", db_schema_filter="files")


def test_adbc_asks_what_the_server_is(adbc: flightsql.Connection) -> None:
    info = adbc.adbc_get_info()
    assert info["vendor_name"] == "Lakeflight"
    assert info["vendor_arrow_version"] == pa.__version__
    assert adbc.adbc_get_table_types() == ["BASE TABLE", "SYSTEM TABLE", "VIEW"]


def test_pandas_sends_its_sql_as_the_pattern_of_a_table(adbc: flightsql.Connection) -> None:
    sql = (
        "SELECT count(*) AS n, '100%_\\' AS \"a\"\n\t-- ☃\n"
        "FROM sales.orders WHERE customer LIKE 'customer%'"
    )
    connection: Any = adbc  # pandas has no name for a connection like this
    assert pd.read_sql(sql, connection)["n"].tolist() == [ORDERS_ROWS]


@pytest.fixture(scope="module")
def dbapi(server: Server) -> Iterator[FlightSQLClient]:
    client = dbapi_client(server)
    yield client
    client.close()


def test_flightsql_dbapi_asks_for_everything(dbapi: FlightSQLClient) -> None:
    table = DbapiTable("primary", "sales", "orders")

    def read(info: Any) -> pa.Table:
        found: pa.Table = dbapi.do_get(info.endpoints[0].ticket).read_all()
        return found

    assert "primary" in read(dbapi.get_catalogs())["catalog_name"].to_pylist()
    assert read(dbapi.get_db_schemas(db_schema_filter_pattern="sal_s")).num_rows == 1
    assert read(dbapi.get_tables(db_schema_filter_pattern="catalog\\_one")).num_rows == 7
    assert read(dbapi.get_table_types()).num_rows == 3
    assert read(dbapi.get_sql_info([0, 8]))["info_name"].to_pylist() == [0, 8]
    assert read(dbapi.get_xdbc_type_info(4))["type_name"].to_pylist()[0] == "INTEGER"
    for keys in (
        dbapi.get_primary_keys(table),
        dbapi.get_exported_keys(table),
        dbapi.get_imported_keys(table),
        dbapi.get_cross_reference(table, table),
    ):
        assert read(keys).num_rows == 0
    with connect_dbapi(dbapi) as connection:
        assert "catalog_one" in connection.flightsql_get_schema_names()
        assert connection.flightsql_get_table_names("catalog_two") == ["alpha"]
        columns = connection.flightsql_get_columns("orders", "sales")
        assert [column["name"] for column in columns] == orders_table(1).column_names
        assert connection.flightsql_get_sql_info([0, 2, 3, 504]) == {
            0: "Lakeflight",
            2: pa.__version__,
            3: False,
            504: '"',
        }


def test_xdbc_types_by_number(raw: RawClient) -> None:
    every = raw.fetch(commands.GetXdbcTypeInfo())
    numbers: list[Any] = every["data_type"].to_pylist()
    assert numbers == sorted(numbers)
    integers = raw.fetch(commands.GetXdbcTypeInfo(4))
    assert set(integers["data_type"].to_pylist()) == {4}
    assert raw.fetch(commands.GetXdbcTypeInfo(12345)).num_rows == 0


def test_the_default_schema_and_bucket(server: Server, raw: RawClient) -> None:
    for name in ("events", "public.events", "primary.public.events", '"primary"."public"."events"'):
        assert raw.fetch(f"SELECT count(*) AS n FROM {name}").to_pylist() == [{"n": 3}]
    with RawClient.connect(server, x_lakehouse_bucket="system") as there:
        assert there.fetch("SELECT count(*) AS n FROM auth.users").num_rows == 1
        assert refused(lambda: there.fetch("SELECT * FROM events")) == "table_not_found"
        assert there.fetch("SELECT count(*) AS n FROM primary.public.events").num_rows == 1
    with RawClient.connect(server, x_lakehouse_bucket="nowhere") as lost:
        assert refused(lambda: lost.fetch("SELECT * FROM events")) == "bucket_not_found"
        with pytest.raises(fl.FlightError, match="buckets you may use: primary, system"):
            lost.fetch("SELECT * FROM events")


def test_secrets_of_the_system_bucket_are_in_no_reply(raw: RawClient) -> None:
    command = commands.GetTables(catalog="system", include_schema=True)
    for row in raw.fetch(command).to_pylist():
        names = pa.ipc.read_schema(pa.py_buffer(row["table_schema"])).names
        assert not {"password_hash", "token_hash"} & set(names)
    assert "password_hash" not in raw.info("SELECT * FROM system.auth.users").schema.names
    hidden = "SELECT password_hash FROM system.auth.users"
    assert refused(lambda: raw.info(hidden)) == "invalid_request"
