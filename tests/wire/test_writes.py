"""Statements that change rows and tables, through the official driver, as its users write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tests.servers import Server, running


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server over an empty folder of its own."""
    with running(tmp_path_factory.mktemp("writes")) as server:
        yield server


@pytest.fixture
def cursor(own: Server) -> Iterator[flightsql.Cursor]:
    """Return a cursor in a session of its own, with an empty table ``t``."""
    with own.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE TABLE t (id BIGINT NOT NULL, n BIGINT, name VARCHAR)")
        yield cursor


def rows(cursor: flightsql.Cursor, sql: str) -> list[tuple[object, ...]]:
    cursor.execute(sql)
    return list(cursor.fetchall())


def count(cursor: flightsql.Cursor, sql: str, parameters: tuple[object, ...] | None = None) -> int:
    cursor.execute(sql, parameters)
    return int(cursor.rowcount)


def test_rows_are_changed_and_counted(cursor: flightsql.Cursor) -> None:
    assert count(cursor, "INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, NULL)") == 3
    assert count(cursor, "UPDATE t SET n = n + 1 WHERE id <> ?", (2,)) == 2
    assert count(cursor, "DELETE FROM t WHERE name IS NULL") == 1
    merged = """
        MERGE INTO t USING (VALUES (2, 'B'), (9, 'new')) AS s(id, name) ON t.id = s.id
        WHEN MATCHED THEN UPDATE SET name = s.name
        WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)
    """
    assert count(cursor, merged) == 2
    expected = [(1, 11, "a"), (2, 20, "B"), (9, None, "new")]
    assert rows(cursor, "SELECT * FROM t ORDER BY id") == expected
    assert count(cursor, "TRUNCATE TABLE t") == 3


def test_a_statement_takes_effect_without_being_fetched_and_once(
    own: Server, cursor: flightsql.Cursor
) -> None:
    before = DeltaTable(str(own.directory / "public" / "t")).version()
    cursor.execute("INSERT INTO t (id) VALUES (1)")
    after = DeltaTable(str(own.directory / "public" / "t"))
    assert after.version() == before + 1
    assert after.to_pyarrow_table()["id"].to_pylist() == [1]


def test_rows_of_parameters_are_one_change(own: Server, cursor: flightsql.Cursor) -> None:
    cursor.executemany("INSERT INTO t VALUES (?, ?, ?)", [(i, i, str(i)) for i in range(1000)])
    assert cursor.rowcount == 1000
    folder = own.directory / "public" / "t"
    version = DeltaTable(str(folder)).version()
    cursor.executemany("UPDATE t SET name = ? WHERE id = ?", [("x", 1), ("y", 2)])
    assert cursor.rowcount == 2
    assert DeltaTable(str(folder)).version() == version + 1


def test_rows_of_parameters_that_build_on_each_other_run_in_order(cursor: flightsql.Cursor) -> None:
    cursor.execute("INSERT INTO t VALUES (1, 0, '')")
    changes = [(1, "a", 1), (2, "b", 1), (5, "c", 1)]
    cursor.executemany("UPDATE t SET n = n + ?, name = name || ? WHERE id = ?", changes)
    assert cursor.rowcount == 3
    assert rows(cursor, "SELECT n, name FROM t") == [(8, "abc")]


def test_equal_values_go_to_different_columns(cursor: flightsql.Cursor) -> None:
    assert count(cursor, "INSERT INTO t SELECT 1, 1, NULL") == 1
    assert count(cursor, "INSERT INTO t (id, n) SELECT id, id FROM t") == 1
    assert rows(cursor, "SELECT id, n FROM t") == [(1, 1), (1, 1)]


def test_tables_are_defined_and_redefined(cursor: flightsql.Cursor) -> None:
    cursor.execute("CREATE SCHEMA IF NOT EXISTS shop")
    cursor.execute("CREATE OR REPLACE TABLE shop.items AS SELECT 1 AS id, 'nail' AS name")
    cursor.execute("CREATE TABLE IF NOT EXISTS shop.items (other DATE)")
    cursor.execute("ALTER TABLE shop.items ADD COLUMN price DECIMAL(10, 2)")
    cursor.execute("ALTER TABLE shop.items RENAME COLUMN name TO title")
    assert count(cursor, "UPDATE shop.items SET price = 1.255") == 1
    assert rows(cursor, "SELECT title, CAST(price AS VARCHAR) FROM shop.items") == [
        ("nail", "1.26")
    ]
    cursor.execute("ALTER TABLE shop.items DROP COLUMN price")
    cursor.execute("ALTER TABLE shop.items RENAME TO shop.things")
    assert rows(cursor, "SELECT * FROM shop.things") == [(1, "nail")]
    cursor.execute("CREATE VIEW shop.names AS SELECT title FROM shop.things")
    assert rows(cursor, "SELECT * FROM shop.names") == [("nail",)]
    with pytest.raises(flightsql.ProgrammingError, match="not empty"):
        cursor.execute("DROP SCHEMA shop")
    cursor.execute("DROP SCHEMA shop CASCADE")
    with pytest.raises(flightsql.ProgrammingError, match=r"shop\.names does not exist"):
        cursor.execute("SELECT * FROM shop.names")


def test_older_states_are_listed_and_brought_back(cursor: flightsql.Cursor) -> None:
    cursor.execute("CREATE OR REPLACE TABLE aged (id BIGINT)")
    cursor.execute("INSERT INTO aged VALUES (1)")
    cursor.execute("INSERT INTO aged VALUES (2)")
    cursor.execute('SELECT version, operation, rows FROM "aged@history" ORDER BY version DESC')
    (version, operation, added), *_ = cursor.fetchall()
    assert (operation, added) == ("WRITE", 1)
    cursor.execute(f"RESTORE TABLE aged TO VERSION AS OF {version - 1}")
    assert rows(cursor, "SELECT * FROM aged") == [(1,)]
    cursor.execute("OPTIMIZE aged ZORDER BY (id)")
    assert rows(cursor, "VACUUM aged RETAIN 0 HOURS DRY RUN")
    cursor.execute("VACUUM aged RETAIN 0 HOURS")
    assert rows(cursor, "SELECT * FROM aged") == [(1,)]


def test_a_repeat_with_the_same_key_changes_nothing(own: Server, cursor: flightsql.Cursor) -> None:
    header = "adbc.flight.sql.rpc.call_header.x-lakehouse-idempotency-key"
    for _ in range(2):
        with own.connect(**{header: "load-1"}) as connection, connection.cursor() as other:
            assert count(other, "INSERT INTO t (id) VALUES (1), (2)") == 2
    with own.connect(**{header: "load-2"}) as connection, connection.cursor() as other:
        data = pa.table({"id": [3], "n": [3], "name": ["c"]})
        for _ in range(2):
            assert other.adbc_ingest("t", data, mode="append") == 1
    assert rows(cursor, "SELECT count(*) FROM t") == [(3,)]


def test_a_temporary_table_is_its_sessions_alone(own: Server, cursor: flightsql.Cursor) -> None:
    cursor.adbc_ingest("mine", pa.table({"a": [1]}), mode="create", temporary=True)
    cursor.execute("CREATE TEMPORARY TABLE more AS SELECT a + 1 AS a FROM mine")
    assert count(cursor, "INSERT INTO mine SELECT a FROM more") == 1
    assert rows(cursor, "SELECT sum(a) FROM mine") == [(3,)]
    with (
        own.connect() as connection,
        connection.cursor() as other,
        pytest.raises(flightsql.ProgrammingError, match="does not exist"),
    ):
        other.execute("SELECT * FROM mine")


def test_temporary_tables_go_with_their_session(own: Server) -> None:
    folder = own.directory / ".lakeflight" / "_temporary"
    with own.connect() as connection, connection.cursor() as cursor:
        before = set(folder.iterdir()) if folder.is_dir() else set[Path]()
        cursor.adbc_ingest("mine", pa.table({"a": [1]}), mode="create", temporary=True)
        assert len(set(folder.iterdir()) - before) == 1
    assert set(folder.iterdir()) <= before


def test_a_write_with_two_keys_is_refused_as_it_may_be_no_repeat(cursor: flightsql.Cursor) -> None:
    """The driver adds a header to those that its statement has, where a user means to replace."""
    option = "adbc.flight.sql.rpc.call_header.x-lakehouse-idempotency-key"
    statement = cursor.adbc_statement
    statement.set_options(**{option: "first"})
    assert count(cursor, "INSERT INTO t (id) VALUES (1)") == 1
    assert count(cursor, "INSERT INTO t (id) VALUES (1)") == 1
    statement.set_options(**{option: "second"})
    with pytest.raises(flightsql.Error, match="several values"):
        cursor.execute("INSERT INTO t (id) VALUES (2)")
    statement.set_options(**{option: ""})
    statement.set_options(**{option: "second"})
    assert count(cursor, "INSERT INTO t (id) VALUES (2)") == 1
    statement.set_options(**{option: ""})
    assert rows(cursor, "SELECT id FROM t ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize("schema", ["..", "../auth", "s_0", ""])
def test_no_name_leads_to_the_temporary_tables(own: Server, schema: str) -> None:
    before = untouched(own.directory)
    data = pa.table({"a": [1]})
    header = "adbc.flight.sql.rpc.call_header.x-lakehouse-bucket"
    forms = ["SELECT * FROM", "DESCRIBE", "SHOW COLUMNS FROM", "DELETE FROM", "DROP TABLE"]
    with own.connect() as connection, connection.cursor() as cursor:
        for mode in ("create", "append", "replace", "create_append"):
            with pytest.raises(flightsql.ProgrammingError):
                cursor.adbc_ingest("x", data, mode=mode, catalog_name="temp", db_schema_name=schema)
        for form in forms:
            for table in ("x", "users"):
                with pytest.raises(flightsql.ProgrammingError):
                    cursor.execute(f'{form} temp."{schema}".{table}')
    with own.connect(**{header: "temp"}) as connection, connection.cursor() as cursor:
        for form in forms:
            with pytest.raises(flightsql.ProgrammingError):
                cursor.execute(f'{form} "{schema}".users')
        with pytest.raises(flightsql.ProgrammingError):
            cursor.execute("CREATE TABLE x (a BIGINT)")
    assert untouched(own.directory) == before


def untouched(directory: Path) -> list[Path]:
    """Return all that is in a folder but what every sign-in and every call adds to."""
    system = directory / ".lakeflight"
    own = (system / "auth" / "sessions", system / "audit", system / "state")
    return sorted(
        path for path in directory.rglob("*") if not any(path.is_relative_to(each) for each in own)
    )
