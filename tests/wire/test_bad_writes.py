"""Writes that cannot be: one clean error each, and not a file or a version more than before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from deltalake import DeltaTable

from flight_server.protocol import actions, commands
from tests.lakehouse import build_lakehouse
from tests.servers import Server, running
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.loading import ingest, load
from tests.wire.raw import RawClient
from tests.wire.untouched import Failure, failure, nothing_written

_STATEMENT_BYTES = 100 * 1024 * 1024
_MEMORY_BYTES_MAX = 1024 * 1024 * 1024
_MADE = (
    "CREATE TABLE sales.t (id BIGINT NOT NULL, n INT, d DECIMAL(5, 2), s STRUCT<x: INT NOT NULL>)",
    "INSERT INTO sales.t VALUES (1, 10, 1.5, NULL), (2, 20, 2.5, NULL)",
    "CREATE VIEW sales.v AS SELECT id FROM sales.t",
)
BAD_NAMES = {
    "slash": "a/b",
    "dots": "..",
    "dot": ".",
    "climbing": "../x",
    "encoded": "%2e%2e",
    "hidden": ".x",
    "internal": "_x",
    "newline": "a\nb",
    "NUL": "a\0b",
    "long": "x" * 10_240,
    "equals": "a=b",
    "backslash": "a\\b",
    "version": "t@v1",
}

BAD: dict[str, list[str]] = {
    "schema_mismatch": [
        "CREATE TABLE sales.x (a TIME)",
        "CREATE TABLE sales.x (a INTERVAL)",
        "CREATE TABLE sales.x (a DECIMAL(39, 0))",
        "CREATE TABLE sales.x AS SELECT NULL AS a",
        "CREATE TABLE sales.x AS SELECT CAST('12:00' AS TIME) AS a",
        "INSERT INTO sales.t (id, zz) VALUES (1, 2)",
        "INSERT INTO sales.t (n) VALUES (1)",
        "INSERT INTO sales.t (id) VALUES (NULL)",
        "INSERT INTO sales.t (id) SELECT nullif(order_id, 5000) FROM sales.orders",
        "INSERT INTO sales.t (id, s) VALUES (1, named_struct('x', NULL))",
        "INSERT INTO sales.t (id, n) VALUES (1, 2147483648)",
        "INSERT INTO sales.t (id, n) SELECT order_id, order_id * 300000 FROM sales.orders",
        "INSERT INTO sales.t (id, d) VALUES (1, 1000)",
        "INSERT INTO sales.t (id, n) VALUES (1, 'twelve')",
        "INSERT INTO sales.t (id) VALUES (9223372036854775808)",
        "UPDATE sales.t SET id = NULL",
        "UPDATE sales.t SET n = 99999999999",
        """MERGE INTO sales.t USING (VALUES (7)) AS s(id) ON t.id = s.id
        WHEN NOT MATCHED THEN INSERT (n) VALUES (s.id)""",
    ],
    "invalid_request": [
        "CREATE TABLE sales.x (a INT, a INT)",
        "CREATE TABLE sales.x (a INT, A INT)",
        "CREATE TABLE sales.x AS SELECT 1 AS a, 2 AS a",
        'CREATE TABLE sales.x AS SELECT 1 AS a, 2 AS "A"',
        "CREATE TABLE sales.x ()",
        'CREATE TABLE sales.x ("a b" INT)',
        'CREATE TABLE sales."" (a INT)',
        "CREATE TABLE sales.x (a INT) PARTITIONED BY (b)",
        "CREATE TABLE sales.x (a INT) PARTITIONED BY (a)",
        "INSERT INTO sales.t VALUES (1)",
        "INSERT INTO sales.t VALUES (1, 2, 3, NULL, 5)",
        "INSERT INTO sales.t (id, n) VALUES (1)",
        "INSERT INTO sales.t (id, n) VALUES (1, 2), (3)",
        "INSERT INTO sales.t (id, id) VALUES (1, 2)",
        "UPDATE sales.t SET n = 1 / 0",
        "UPDATE sales.t SET n = n / 0 WHERE id = 1",
        "UPDATE sales.t SET n = 1, n = 2",
        'UPDATE sales.t SET n = 1, "N" = 2',
        "UPDATE sales.t SET zz = 1",
        "UPDATE sales.t SET n = 1 WHERE zz = 1",
        "DELETE FROM sales.t WHERE zz = 1",
        "DELETE FROM sales.t WHERE 1 / 0 = 1",
        "VACUUM sales.t RETAIN -1 HOURS",
        "RESTORE TABLE sales.t TO VERSION AS OF -1",
        "OPTIMIZE sales.t ZORDER BY (zz)",
        "CREATE VIEW sales.w AS DELETE FROM sales.t",
        "DROP VIEW sales.t",
        "DELETE FROM sales.t; DELETE FROM sales.t",
        'INSERT INTO "sales"."t@v0" VALUES (1)',
        "INSERT INTO sales.t VALUES (?, 1, 1, NULL)",
        "UPDATE sales.t SET n = ?",
    ],
    "merge_ambiguous": [
        """MERGE INTO sales.t USING (VALUES (1, 5), (1, 6)) AS s(id, n) ON t.id = s.id
        WHEN MATCHED THEN UPDATE SET n = s.n""",
    ],
    "table_not_found": [
        "INSERT INTO sales.none VALUES (1)",
        "INSERT INTO nowhere.t VALUES (1)",
        "INSERT INTO sales.t (id) SELECT id FROM sales.none",
        "UPDATE sales.none SET n = 1",
        "DELETE FROM sales.none",
        "DELETE FROM sales.t WHERE id IN (SELECT id FROM sales.none)",
        "MERGE INTO sales.t USING sales.none s ON t.id = s.id WHEN MATCHED THEN DELETE",
        "TRUNCATE TABLE sales.none",
        "DROP TABLE sales.none",
        "ALTER TABLE sales.none ADD COLUMN a INT",
        "VACUUM sales.none",
        "OPTIMIZE sales.none",
        "RESTORE TABLE sales.none TO VERSION AS OF 0",
        "CREATE VIEW sales.w AS SELECT * FROM sales.none",
    ],
    "view_not_found": ["DROP VIEW sales.none"],
    "schema_not_found": ["CREATE TABLE nowhere.x (a INT)", "DROP SCHEMA nowhere"],
    "schema_not_empty": ["DROP SCHEMA sales"],
    "version_not_found": [
        "RESTORE TABLE sales.t TO VERSION AS OF 99",
        "RESTORE TABLE sales.t TO TIMESTAMP AS OF '1999-01-01'",
    ],
    "column_not_found": [
        "ALTER TABLE sales.t DROP COLUMN zz",
        "ALTER TABLE sales.t RENAME COLUMN zz TO yy",
    ],
    "column_exists": [
        "ALTER TABLE sales.t ADD COLUMN n INT",
        'ALTER TABLE sales.t ADD COLUMN "N" INT',
    ],
    "table_exists": [
        "CREATE TABLE sales.t (a INT)",
        "CREATE TABLE sales.t AS SELECT 1 AS a",
        "ALTER TABLE sales.t RENAME TO orders",
        "CREATE VIEW sales.t AS SELECT 1 AS a",
    ],
    "permission_denied": [
        "INSERT INTO information_schema.tables VALUES (1)",
        "INSERT INTO primary.information_schema.tables VALUES (1)",
        "CREATE TABLE information_schema.x (a INT)",
        "DELETE FROM system.auth.users",
        "INSERT INTO system.auth.users VALUES (1)",
        "DROP TABLE system.auth.users",
        "CREATE TABLE system.auth.x (a INT)",
    ],
    "unsupported": [
        "CREATE TABLE sales.x (a INT DEFAULT 1)",
        "ALTER TABLE sales.t ADD COLUMN x INT NOT NULL",
        "INSERT INTO sales.v VALUES (1)",
        "UPDATE sales.v SET id = 1",
        "DELETE FROM sales.v",
        "DROP TABLE sales.v",
        "INSERT INTO files.cities VALUES ('Bonn')",
        "DELETE FROM files.cities",
        "DROP TABLE files.cities",
        "COPY sales.t TO '/tmp/x.csv'",
        "CREATE EXTERNAL TABLE sales.x STORED AS CSV LOCATION '/etc/passwd'",
    ],
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server over a lakehouse of its own, with a table of two rows and a view of it."""
    directory = tmp_path_factory.mktemp("bad")
    build_lakehouse(directory)
    add_user(directory, "reader")
    with running(directory) as server:
        with server.connect() as connection, connection.cursor() as cursor:
            for sql in _MADE:
                cursor.execute(sql)
        yield server


@pytest.fixture(scope="module")
def client(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        yield client


def _update(client: RawClient, sql: str, **more: Any) -> int:
    """Execute by DoPut, the other way that drivers have."""
    command = commands.StatementUpdate(sql, **more)
    descriptor = fl.FlightDescriptor.for_command(commands.encode_command(command))
    return load(client, descriptor, [], schema=pa.schema([]))


@pytest.mark.parametrize("code", BAD)
def test_statements(own: Server, client: RawClient, code: str) -> None:
    with nothing_written(own.directory):
        version = DeltaTable(own.directory / "sales" / "t").version()
        for sql in BAD[code]:
            executed = failure(lambda sql=sql: client.fetch(sql))  # type: ignore[misc]
            assert executed.code == code, (sql, executed)
            updated = failure(lambda sql=sql: _update(client, sql))  # type: ignore[misc]
            assert updated.code == executed.code, (sql, updated)
        assert DeltaTable(own.directory / "sales" / "t").version() == version
    assert client.fetch("SELECT id FROM sales.t ORDER BY id").to_pylist() == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
def test_names(own: Server, client: RawClient, name: str) -> None:
    data = pa.table({"a": [1]})
    quoted = '"' + name + '"'
    with nothing_written(own.directory):
        found = {
            failure(call).code
            for call in (
                lambda: client.fetch(f"CREATE TABLE sales.{quoted} (a INT)"),
                lambda: client.fetch(f"CREATE TABLE sales.{quoted} AS SELECT 1 AS a"),
                lambda: client.fetch(f"CREATE VIEW sales.{quoted} AS SELECT 1 AS a"),
                lambda: client.fetch(f"CREATE SCHEMA {quoted}"),
                lambda: client.fetch(f"ALTER TABLE sales.t RENAME TO {quoted}"),
                lambda: load(client, ingest(name), data),
                lambda: load(client, ingest(name, mode="replace"), data),
                lambda: load(client, ingest(name, mode="create_append"), data),
                lambda: load(client, ingest(name, schema=None, temporary=True), data),
                lambda: load(client, ingest("x", schema=name), data),
            )
        }
        path = fl.FlightDescriptor.for_path("primary", "sales", name)
        assert failure(lambda: load(client, path, data)).code in {"invalid_name", "table_not_found"}
    assert found <= {"invalid_name", "invalid_request", "schema_not_found"}, found
    assert "invalid_name" in found


def test_loads(own: Server, client: RawClient) -> None:
    data = pa.table({"id": [1]})
    no_nulls = pa.table({"id": pa.array([3, None])})
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([1])], names=["a", "a"])
    cased = pa.Table.from_arrays([pa.array([1]), pa.array([1])], names=["a", "A"])
    cases: dict[str, list[tuple[fl.FlightDescriptor, pa.Table]]] = {
        "invalid_request": [
            (ingest("x"), twice),
            (ingest("x"), cased),
            (ingest("x"), pa.table({})),
            (ingest("x"), pa.table({"a b": [1]})),
            (ingest("x"), pa.table({"": [1]})),
            (ingest("x", temporary=True), data),
        ],
        "invalid_name": [(ingest(""), data)],
        "unsupported": [
            (ingest("x", options={"speed": "11"}), data),
            (ingest("x", transaction_id=b"tx"), data),
            (ingest("v", mode="append"), data),
            (ingest("cities", schema="files", mode="replace"), data),
        ],
        "schema_mismatch": [
            (ingest("x"), pa.table({"a": pa.nulls(1)})),
            (ingest("t", mode="append"), no_nulls),
            (ingest("t", mode="append"), pa.table({"id": ["a"]})),
            (ingest("t", mode="append"), pa.table({"n": [1]})),
            (ingest("t", mode="append"), pa.table({"id": [1], "zz": [1]})),
            (ingest("t", mode="append"), pa.table({"id": [1], "n": [2**31]})),
        ],
        "permission_denied": [
            (ingest("users", schema="auth", catalog="system", mode="append"), data),
            (ingest("tables", schema="information_schema", mode="append"), data),
            (ingest("x", schema="information_schema"), data),
        ],
        "schema_not_found": [(ingest("x", schema="nowhere"), data)],
        "bucket_not_found": [(ingest("x", catalog="nowhere"), data)],
        "table_exists": [(ingest("t"), data)],
        "table_not_found": [(ingest("none", mode="append"), data)],
    }
    for code, tried in cases.items():
        for target, table in tried:
            with nothing_written(own.directory):
                failed = failure(lambda a=target, b=table: load(client, a, b))  # type: ignore[misc]
            assert failed.code == code, (failed, table.schema)


def test_a_load_without_data_or_with_another_command(own: Server, client: RawClient) -> None:
    with nothing_written(own.directory):
        for command in (commands.GetTables(), commands.StatementQuery("SELECT 1")):
            descriptor = fl.FlightDescriptor.for_command(commands.encode_command(command))
            failed = failure(
                lambda to=descriptor: load(client, to, pa.table({"a": [1]}))  # type: ignore[misc]
            )
            assert failed.code == "invalid_request"


@pytest.mark.parametrize("rows", [pa.table({}), pa.table({"a": [1]})])
def test_the_number_of_parameters(own: Server, client: RawClient, rows: pa.Table) -> None:
    for sql in ("INSERT INTO sales.t (id, n) VALUES (?, ?)", "UPDATE sales.t SET n = ? + ?"):
        handle = client.prepare(sql).prepared_statement_handle
        command = commands.PreparedStatementUpdate(handle)
        target = fl.FlightDescriptor.for_command(commands.encode_command(command))
        wide = pa.table({name: [1] for name in "abc"})
        for sent in (rows, wide):
            with nothing_written(own.directory):
                failed = failure(lambda to=target, s=sent: load(client, to, s))  # type: ignore[misc]
            assert failed.code == "invalid_request", failed


def test_transactions(own: Server, client: RawClient) -> None:
    insert = "INSERT INTO sales.t (id) VALUES (3)"
    with nothing_written(own.directory):
        assert failure(lambda: _update(client, insert, transaction_id=b"tx")) == Failure(
            "unsupported", "transactions are not supported; every statement stands alone"
        )
        query = commands.StatementQuery(insert, b"tx")
        assert failure(lambda: client.info(query)).code == "unsupported"
        prepare = actions.CreatePreparedStatement(insert, b"tx")
        assert failure(lambda: client.act(prepare)).code == "unsupported"


def test_a_user_without_the_right(own: Server, client: RawClient) -> None:
    data = pa.table({"id": [3]})
    allowed = {"permission_denied", "table_not_found", "schema_not_found", "bucket_not_found"}
    statements = (
        *("INSERT INTO sales.t (id) VALUES (3)", "UPDATE sales.t SET n = 1", "DROP TABLE sales.t"),
        *("DELETE FROM sales.t", "CREATE TABLE sales.x (a INT)", "CREATE SCHEMA theirs"),
        *("ALTER TABLE sales.t ADD COLUMN x INT", "TRUNCATE TABLE sales.t", "VACUUM sales.t"),
        *("CREATE VIEW sales.w AS SELECT 1 AS a", "DROP VIEW sales.v", "OPTIMIZE sales.t"),
        *("RESTORE TABLE sales.t TO VERSION AS OF 0", "INSERT INTO system.auth.users VALUES (1)"),
    )
    with RawClient.connect(own, "reader", PASSWORD) as reader, nothing_written(own.directory):
        for sql in statements:
            assert failure(lambda sql=sql: reader.fetch(sql)).code in allowed, sql  # type: ignore[misc]
            assert failure(lambda sql=sql: _update(reader, sql)).code in allowed, sql  # type: ignore[misc]
        for mode in ("create", "append", "replace", "create_append"):
            target = ingest("t", mode=mode)
            assert failure(lambda to=target: load(reader, to, data)).code in allowed  # type: ignore[misc]
        path = fl.FlightDescriptor.for_path("primary", "sales", "t")
        assert failure(lambda: load(reader, path, data)).code in allowed


def test_a_statement_of_a_hundred_megabytes(own: Server, client: RawClient) -> None:
    sql = f"INSERT INTO sales.t (id) VALUES ({' ' * _STATEMENT_BYTES}3)"
    with nothing_written(own.directory):
        for call in (
            lambda: client.info(sql),
            lambda: client.act(actions.CreatePreparedStatement(sql)),
            lambda: _update(client, sql),
        ):
            assert failure(call).code == "limit_exceeded"
    status = Path(f"/proc/{own.process.pid}/status").read_text(encoding="ascii")
    assert int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 < _MEMORY_BYTES_MAX
