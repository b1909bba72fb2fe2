"""Parameters, DDL and DML through JDBC."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.clients.cases import Program, Site
from tests.clients.programs.jdbc_connect import connected, query, read, thrown, update
from tests.clients.programs.jvm import Java, closing

# The setter of PreparedStatement for each type, a value, and what getObject makes of it.
BOUND: dict[str, tuple[str, str, Any]] = {
    "a_boolean": ("BOOLEAN", "setBoolean", True),
    "a_byte": ("TINYINT", "setByte", Java("byte", "-128")),
    "a_short": ("SMALLINT", "setShort", Java("short", "32767")),
    "an_int": ("INT", "setInt", -(2**31)),
    "a_long": ("BIGINT", "setLong", 2**63 - 1),
    "a_float": ("FLOAT", "setFloat", Java("float", "1.5")),
    "a_double": ("DOUBLE", "setDouble", Java("double", "-0.1")),
    "a_decimal": ("DECIMAL(38, 10)", "setBigDecimal", Decimal("12345678901234567890.0123456789")),
    "a_string": ("VARCHAR", "setString", "zürich ☃ 𝄞 ' \" \\ ? $1"),
    "bytes": ("BINARY", "setBytes", b"\0\xff\xfe"),
    "a_date": ("DATE", "setDate", Java("Date", "2024-02-29")),
    "a_time": ("TIMESTAMP", "setTimestamp", Java("Timestamp", "2024-02-29 01:02:03.456")),
}


def _plain(value: Any) -> Any:
    if isinstance(value, Java) and value.type in {"byte", "short"}:
        return int(value.text)
    return (
        float(value.text)
        if isinstance(value, Java) and value.type in {"float", "double"}
        else value
    )


def binds_a_query(site: Site) -> None:
    sql = "SELECT order_id FROM sales.orders WHERE order_id < ? AND customer = ? ORDER BY order_id"
    with connected(site) as connection, closing(connection.prepareStatement(sql)) as prepared:
        shape = prepared.getParameterMetaData()
        assert shape.getParameterCount() == 2
        for most, customer, expected in (
            (200, "customer-007", [8, 105]),
            (10, "customer-007", [8]),
        ):
            prepared.setLong(1, most)
            prepared.setString(2, customer)
            assert read(prepared.executeQuery()).column("order_id") == expected
        prepared.setInt(1, 10)  # an int where a long is expected
        prepared.setString(2, "x' OR '1'='1")
        assert read(prepared.executeQuery()).rows == []


def finds_rows_by_values_of_every_type(site: Site) -> None:
    values: dict[str, tuple[str, Any]] = {
        "a_boolean": ("setBoolean", True),
        "an_int8": ("setByte", Java("byte", "1")),
        "an_int16": ("setShort", Java("short", "1")),
        "an_int32": ("setInt", 1),
        "an_int64": ("setLong", 2**63 - 1),
        "a_float32": ("setFloat", Java("float", "1.5")),
        "a_float64": ("setDouble", Java("double", "0.1")),
        "a_decimal": ("setBigDecimal", Decimal("1.50")),
        "a_string": ("setString", "zürich ☃ 𝄞 \u202e"),
        "a_binary": ("setBytes", b"\0\xff\xfe"),
        "a_date": ("setDate", Java("Date", "2024-02-29")),
        "a_timestamp_ntz": ("setTimestamp", Java("Timestamp", "2024-03-31 02:30:00")),
    }
    wrong = []
    with connected(site) as connection:
        for name, (setter, value) in values.items():
            sql = f"SELECT count(*) AS n FROM types.every WHERE {name} = ?"
            with closing(connection.prepareStatement(sql)) as prepared:
                getattr(prepared, setter)(1, value)
                found = read(prepared.executeQuery()).column("n")
                prepared.setNull(1, 12)
                none = read(prepared.executeQuery()).column("n")
            expected = 2 if name == "a_boolean" else 1
            if (found, none) != ([expected], [0]):
                wrong.append(f"{name}: {found}, NULL: {none}")
        # The driver cuts times to milliseconds.
        sql = "SELECT count(*) AS n FROM types.every WHERE a_timestamp > ? AND a_timestamp < ?"
        with closing(connection.prepareStatement(sql)) as prepared:
            prepared.setTimestamp(1, Java("Timestamp", "2024-02-29 01:02:03.456"))
            prepared.setTimestamp(2, Java("Timestamp", "2024-02-29 01:02:03.457"))
            if read(prepared.executeQuery()).column("n") != [1]:
                wrong.append("a_timestamp")
    assert not wrong, "\n".join(wrong)


def binds_by_set_object(site: Site) -> None:
    sql = "SELECT order_id FROM sales.orders WHERE order_id = ? AND amount = ? AND ordered_on = ?"
    with connected(site) as connection, closing(connection.prepareStatement(sql)) as prepared:
        prepared.setObject(1, Java("Long", "2"))
        prepared.setObject(2, Decimal("0.25"))
        prepared.setObject(3, Java("Date", "2026-01-02"))
        assert read(prepared.executeQuery()).column("order_id") == [2]


def is_told_of_values_that_are_missing(site: Site) -> None:
    sql = "SELECT order_id FROM sales.orders WHERE order_id = ?"
    with connected(site) as connection:
        with closing(connection.prepareStatement(sql)) as prepared:
            prepared.setLong(1, 5)
            assert read(prepared.executeQuery()).column("order_id") == [5]
        assert "parameter" in thrown(lambda: query(connection, sql)).message


def writes_every_type_through_parameters(site: Site) -> None:
    table = f"{site.schema}.bound"
    columns = ", ".join(f"{name} {kind}" for name, (kind, _, _) in BOUND.items())
    sql = f"INSERT INTO {table} VALUES ({', '.join(['?'] * len(BOUND))})"
    with connected(site) as connection:
        update(connection, f"CREATE TABLE {table} ({columns})")
        with closing(connection.prepareStatement(sql)) as prepared:
            for i, (_, setter, value) in enumerate(BOUND.values(), 1):
                getattr(prepared, setter)(i, value)
            assert prepared.executeUpdate() == 1
            for i in range(1, len(BOUND) + 1):
                prepared.setNull(i, 0)
            assert prepared.executeUpdate() == 1
        values = ", ".join(name for name in BOUND if name != "a_time")
        found = query(connection, f"SELECT {values} FROM {table} ORDER BY a_boolean NULLS LAST")
        (moment,) = query(
            connection, f"SELECT CAST(a_time AS VARCHAR) AS t FROM {table} WHERE a_time IS NOT NULL"
        ).column("t")
    expected = tuple(_plain(v) for name, (_, _, v) in BOUND.items() if name != "a_time")
    assert found.rows == [expected, (None,) * len(expected)]
    assert moment.startswith(("2024-02-29T01:02:03.456", "2024-02-29 01:02:03.456"))


def executes_ddl_and_dml(site: Site) -> None:
    table = f"{site.schema}.executed"
    with connected(site) as connection, closing(connection.createStatement()) as statement:
        assert statement.execute(f"CREATE TABLE {table} (id BIGINT NOT NULL, v VARCHAR)") is False
        insert = f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b'), (3, NULL)"
        assert statement.execute(insert) is False
        assert statement.getUpdateCount() == 3
        assert statement.executeUpdate(f"UPDATE {table} SET v = 'x' WHERE id >= 2") == 2
        assert statement.executeUpdate(f"DELETE FROM {table} WHERE id = 1") == 1
        assert statement.executeUpdate(f"DELETE FROM {table} WHERE id = 1") == 0
        assert statement.execute(f"SELECT count(*) AS n FROM {table}") is True
        assert read(statement.getResultSet()).rows == [(2,)]
        error = thrown(lambda: statement.executeUpdate(f"INSERT INTO {table} VALUES (NULL, 'y')"))
        assert "id" in error.message
        statement.executeUpdate(f"ALTER TABLE {table} ADD COLUMN w DOUBLE")
        columns = read(connection.getMetaData().getColumns(None, site.schema, "executed", "%"))
        assert columns.records("COLUMN_NAME", "NULLABLE") == [("id", 0), ("v", 1), ("w", 1)]
        statement.executeUpdate(f"DROP TABLE {table}")
        thrown(lambda: query(connection, f"SELECT * FROM {table}"))
        assert connection.getMetaData().isReadOnly() is False


def inserts_in_batches(site: Site) -> None:
    table = f"{site.schema}.batched"
    with connected(site) as connection:
        update(connection, f"CREATE TABLE {table} (id BIGINT, v VARCHAR)")
        sql = f"INSERT INTO {table} VALUES (?, ?)"
        with closing(connection.prepareStatement(sql)) as prepared:
            for n in range(500):
                prepared.setLong(1, n)
                prepared.setString(2, f"value {n}")
                prepared.addBatch()
            counts = prepared.executeBatch()
            assert all(isinstance(count, int) for count in counts)
        found = query(
            connection, f"SELECT count(*) AS n, count(DISTINCT v) AS d, sum(id) AS s FROM {table}"
        )
    assert found.rows == [(500, 500, 124750)]


def add_to(program: Program) -> None:
    """Add the cases of this module."""
    for function in (
        binds_a_query,
        finds_rows_by_values_of_every_type,
        binds_by_set_object,
        is_told_of_values_that_are_missing,
    ):
        program.case("parameters", "parameters")(function)
    program.case("DDL/DML", "ddl", "dml")(executes_ddl_and_dml)
    program.case("DDL/DML", "ddl", "dml", "bound writes")(writes_every_type_through_parameters)
    program.case("ingest", "ddl", "dml", "bound writes")(inserts_in_batches)
