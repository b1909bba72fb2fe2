"""What a tool such as DBeaver asks of JDBC's metadata: everything answers, and agrees with ADBC."""

from __future__ import annotations

from typing import Any

from tests.clients.cases import Program, Site
from tests.clients.programs import adbc_connect
from tests.clients.programs.jdbc_connect import connected, query, read
from tests.clients.programs.jvm import JavaError, Remote
from tests.wire import kinds

# java.sql.Types
BOOLEAN, TINYINT, SMALLINT, INTEGER, BIGINT = 16, -6, 5, 4, -5
FLOAT, DOUBLE, DECIMAL, VARCHAR, VARBINARY = 6, 8, 3, 12, -3
DATE, TIMESTAMP, TIMESTAMP_WITH_ZONE, ARRAY, JAVA_OBJECT = 91, 93, 2014, 2003, 2000
SQL_TYPES = {
    "row": BIGINT,
    "a_boolean": BOOLEAN,
    "an_int8": TINYINT,
    "an_int16": SMALLINT,
    "an_int32": INTEGER,
    "an_int64": BIGINT,
    "a_float32": FLOAT,
    "a_float64": DOUBLE,
    "odd_float64": DOUBLE,
    "odd_float32": FLOAT,
    "a_decimal": DECIMAL,
    "widest_decimal": DECIMAL,
    "finest_decimal": DECIMAL,
    "a_string": VARCHAR,
    "a_binary": VARBINARY,
    "a_date": DATE,
    "a_timestamp": TIMESTAMP_WITH_ZONE,
    "a_timestamp_ntz": TIMESTAMP,
    "a_list": ARRAY,
    "a_list_of_lists": ARRAY,
    "a_struct": JAVA_OBJECT,
    "a_map": JAVA_OBJECT,
    "a_deep_one": JAVA_OBJECT,
    "a_map_of_structs": JAVA_OBJECT,
}


def _seen_by_adbc(site: Site) -> list[tuple[Any, ...]]:
    with adbc_connect.connect(site) as connection:
        catalogs = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    return [
        (
            catalog["catalog_name"],
            schema["db_schema_name"],
            table["table_name"],
            table["table_type"],
            tuple((c["column_name"], c["ordinal_position"]) for c in table["table_columns"]),
        )
        for catalog in catalogs
        for schema in catalog["catalog_db_schemas"] or []
        for table in schema["db_schema_tables"] or []
    ]


def lists_what_adbc_lists(site: Site) -> None:
    seen = _seen_by_adbc(site)
    with connected(site) as connection:
        meta = connection.getMetaData()
        catalogs = read(meta.getCatalogs()).column("TABLE_CAT")
        schemas = read(meta.getSchemas()).records("TABLE_CATALOG", "TABLE_SCHEM")
        tables = read(meta.getTables(None, None, "%", None)).records(
            "TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE"
        )
        columns = read(meta.getColumns(None, None, "%", "%")).records(
            "TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "COLUMN_NAME", "ORDINAL_POSITION"
        )
    assert {entry[0] for entry in seen} <= set(catalogs)
    assert {entry[:2] for entry in seen} <= set(schemas)
    assert sorted(tables) == sorted(entry[:4] for entry in seen)
    assert sorted(columns) == sorted((*e[:3], *column) for e in seen for column in e[4])


def finds_tables_by_patterns(site: Site) -> None:
    with connected(site) as connection:
        meta = connection.getMetaData()

        def found(catalog: str | None, schema: Any, table: str, types: Any = None) -> list[Any]:
            tables = read(meta.getTables(catalog, schema, table, types))
            return tables.column("TABLE_NAME") if tables.rows else []

        assert found("primary", "sales", "%") == ["empty", "orders", "regions"]
        assert found(None, "s_les", "o%") == ["orders"]
        escape = meta.getSearchStringEscape()
        assert found(None, f"s{escape}_les", "%") == []
        assert found(None, "sales", f"o{escape}%") == []
        assert found("nowhere", "sales", "%") == []
        assert found("", "sales", "%") == []
        assert found("primary", "sales", "%", ["TABLE"]) == ["empty", "orders", "regions"]
        assert found("primary", "sales", "%", ["BASE TABLE", "VIEW"]) == [
            "empty",
            "orders",
            "regions",
        ]
        assert found("primary", "sales", "%", ["VIEW"]) == []
        types = read(meta.getTableTypes()).column("TABLE_TYPE")
        assert {"BASE TABLE", "VIEW"} <= set(types)
        schemas = read(meta.getSchemas("primary", "sal%")).column("TABLE_SCHEM")
        assert schemas == ["sales"]


def describes_columns_of_every_type(site: Site) -> None:
    with connected(site) as connection:
        meta = connection.getMetaData()
        columns = read(meta.getColumns("primary", "types", "every", "%"))
        one = read(meta.getColumns("primary", "types", "every", "a_decimal"))
    found = columns.records("COLUMN_NAME", "ORDINAL_POSITION", "DATA_TYPE", "NULLABLE")
    assert found == [(name, i, kind, 1) for i, (name, kind) in enumerate(SQL_TYPES.items(), 1)]
    assert list(SQL_TYPES) == kinds.SCHEMA.names
    assert all(columns.column("TYPE_NAME"))
    # The driver matches names of columns itself, and knows no escape there.
    found = one.records("COLUMN_NAME", "COLUMN_SIZE", "DECIMAL_DIGITS")
    assert found == [("a_decimal", 10, 2)], found


def asks_for_keys_and_the_rest(site: Site) -> None:
    """These are empty: there are no keys, and the driver answers most of them by itself."""
    table = ("primary", "sales", "orders")
    calls: dict[str, tuple[Any, ...]] = {
        "getPrimaryKeys": table,
        "getImportedKeys": table,
        "getExportedKeys": table,
        "getCrossReference": (*table, "primary", "sales", "regions"),
        "getIndexInfo": (*table, False, True),
        "getBestRowIdentifier": (*table, 0, True),
        "getVersionColumns": table,
        "getTypeInfo": (),
        "getProcedures": ("primary", None, "%"),
        "getProcedureColumns": ("primary", None, "%", "%"),
        "getFunctions": ("primary", None, "%"),
        "getFunctionColumns": ("primary", None, "%", "%"),
        "getUDTs": ("primary", None, "%", None),
        "getAttributes": ("primary", None, "%", "%"),
        "getSuperTypes": ("primary", None, "%"),
        "getSuperTables": ("primary", None, "%"),
        "getTablePrivileges": ("primary", None, "%"),
        "getColumnPrivileges": (*table, "%"),
        "getPseudoColumns": ("primary", None, "%", "%"),
        "getClientInfoProperties": (),
    }
    with connected(site) as connection:
        meta = connection.getMetaData()
        for name, arguments in calls.items():
            assert read(getattr(meta, name)(*arguments)).rows == [], name


def answers_every_getter(site: Site) -> None:
    with connected(site) as connection:
        meta = connection.getMetaData()
        found = meta.getters("(get|supports|stores|uses|nulls?|is|all|data|does|locators).*")
        failed = {name: str(v) for name, v in found.items() if isinstance(v, JavaError)}
        for value in found.values():
            if isinstance(value, Remote) and value.is_result_set():
                value.close()
        version = query(connection, "SELECT version() AS v").rows
    assert not failed
    assert len(found) > 130
    assert found["getDatabaseProductName"] == "Lakeflight"
    assert found["getIdentifierQuoteString"] == '"'
    assert found["getSearchStringEscape"] == "\\"
    assert found["getUserName"] == site.username
    assert found["getCatalogSeparator"] == "."
    assert found["supportsTransactions"] is False
    assert "select" in found["getSQLKeywords"].lower()
    assert version


def describes_results(site: Site) -> None:
    with connected(site) as connection:
        sql = "SELECT amount AS price, o.* FROM sales.orders o WHERE order_id = 1"
        prepared = connection.prepareStatement(sql)
        for shape in (prepared.getMetaData(), prepared.executeQuery().getMetaData()):
            assert shape.getColumnCount() == 6
            assert [shape.getColumnLabel(i) for i in (1, 2, 6)] == ["price", "order_id", "note"]
            assert [shape.getColumnType(i) for i in (1, 2, 5)] == [DECIMAL, BIGINT, DATE]
        prepared.close()


def add_to(program: Program) -> None:
    """Add the cases of this module."""
    for function in (
        lists_what_adbc_lists,
        finds_tables_by_patterns,
        describes_columns_of_every_type,
        asks_for_keys_and_the_rest,
        answers_every_getter,
        describes_results,
    ):
        program.case("browse")(function)
