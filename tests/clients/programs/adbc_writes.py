"""DDL and DML through ADBC: they take effect when nobody fetches, once, with exact counts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tests.clients.cases import Program, Site
from tests.clients.programs.adbc_connect import connect, fetch, refusal, run
from tests.wire import kinds


def rows(site: Site, sql: str) -> list[tuple[Any, ...]]:
    """Return a query's rows."""
    return [tuple(row.values()) for row in fetch(site, sql).to_pylist()]


def creates_without_fetching(site: Site) -> None:
    table = f"{site.schema}.unfetched"
    run(site, f"CREATE TABLE {table} (id BIGINT NOT NULL, name VARCHAR)")
    assert rows(site, f"SELECT * FROM {table}") == []
    run(site, f"INSERT INTO {table} VALUES (1, 'a'), (2, NULL)")
    assert rows(site, f"SELECT * FROM {table} ORDER BY id") == [(1, "a"), (2, None)]
    refusal(lambda: run(site, f"CREATE TABLE {table} (id BIGINT)"))
    run(site, f"CREATE TABLE IF NOT EXISTS {table} (id BIGINT)", f"DROP TABLE {table}")
    refusal(lambda: fetch(site, f"SELECT * FROM {table}"))
    run(site, f"DROP TABLE IF EXISTS {table}")


def counts_changed_rows(site: Site) -> None:
    table = f"{site.schema}.counted"
    run(site, f"CREATE TABLE {table} AS SELECT order_id, note FROM sales.orders")
    expected = {
        f"INSERT INTO {table} SELECT order_id + 20000, note FROM sales.orders LIMIT 10": 10,
        f"UPDATE {table} SET note = 'x' WHERE order_id <= 5": 5,
        f"DELETE FROM {table} WHERE order_id <= 3": 3,
        f"DELETE FROM {table} WHERE order_id < 0": 0,
    }
    with connect(site) as connection:
        for sql, count in expected.items():
            with connection.cursor() as cursor:
                cursor.execute(sql)
                cursor.fetchall()
                assert cursor.rowcount == count, (sql, cursor.rowcount)
    assert rows(site, f"SELECT count(*) FROM {table}") == [(10_007,)]
    assert rows(site, f"SELECT count(*) FROM {table} WHERE note = 'x'") == [(2,)]


def counts_what_an_update_call_changed(site: Site) -> None:
    """The driver's own update call: the count is the server's to the row."""
    table = f"{site.schema}.updated"
    run(site, f"CREATE TABLE {table} AS SELECT order_id FROM sales.orders")
    with connect(site) as connection, connection.cursor() as cursor:
        statement = cursor.adbc_statement
        statement.set_sql_query(f"DELETE FROM {table} WHERE order_id <= 1234")
        assert statement.execute_update() == 1234
        statement.set_sql_query(f"DROP TABLE {table}")
        assert statement.execute_update() == -1


def inserts_many_rows(site: Site) -> None:
    table = f"{site.schema}.many"
    run(site, f"CREATE TABLE {table} (id BIGINT, name VARCHAR, price DECIMAL(10, 2))")
    values = [(n, f"name {n}", Decimal(n) / 4) for n in range(100)]
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", values)
        assert cursor.rowcount == 100
        cursor.execute(f"INSERT INTO {table} (price, id) VALUES ($2, $1)", (100, Decimal("1.25")))
    expected = [*values, (100, None, Decimal("1.25"))]
    assert rows(site, f"SELECT * FROM {table} ORDER BY id") == expected


def writes_every_type_through_parameters(site: Site) -> None:
    table = f"{site.schema}.bound_types"
    run(site, f"CREATE TABLE {table} AS SELECT * FROM types.every LIMIT 0")
    places = ", ".join(["?"] * len(kinds.SCHEMA))
    batch = kinds.every_kind().combine_chunks().to_batches()[0]
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} VALUES ({places})", batch)
    assert kinds.same(fetch(site, f"SELECT * FROM {table} ORDER BY row"), kinds.every_kind())


def declares_every_type(site: Site) -> None:
    table = f"{site.schema}.declared"
    columns = {
        "a": ("BOOLEAN", "true", True),
        "b": ("TINYINT", "1", 1),
        "c": ("SMALLINT", "2", 2),
        "d": ("INT", "3", 3),
        "e": ("BIGINT", "4", 4),
        "f": ("FLOAT", "0.5", 0.5),
        "g": ("DOUBLE", "0.25", 0.25),
        "h": ("DECIMAL(12, 3)", "1.125", Decimal("1.125")),
        "i": ("VARCHAR", "'text'", "text"),
        "j": ("DATE", "DATE '2026-02-01'", date(2026, 2, 1)),
        "k": (
            "TIMESTAMP",
            "TIMESTAMP '2026-02-01 03:04:05'",
            datetime(2026, 2, 1, 3, 4, 5),  # noqa: DTZ001  as SQL has it
        ),
    }
    declared = ", ".join(f"{name} {kind}" for name, (kind, _, _) in columns.items())
    literals = ", ".join(text for _, text, _ in columns.values())
    run(site, f"CREATE TABLE {table} ({declared})", f"INSERT INTO {table} VALUES ({literals})")
    (found,) = rows(site, f"SELECT * FROM {table}")
    plain = tuple(v.replace(tzinfo=None) if isinstance(v, datetime) else v for v in found)
    assert plain == tuple(value for _, _, value in columns.values())


def merges(site: Site) -> None:
    target, source = f"{site.schema}.merged", f"{site.schema}.changes"
    run(
        site,
        f"CREATE TABLE {target} AS SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t(id, v)",
        f"CREATE TABLE {source} AS SELECT * FROM (VALUES (2, 'B'), (3, 'C')) AS t(id, v)",
        f"MERGE INTO {target} AS t USING {source} AS s ON t.id = s.id"
        " WHEN MATCHED THEN UPDATE SET v = s.v"
        " WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v)",
    )
    assert rows(site, f"SELECT * FROM {target} ORDER BY id") == [(1, "a"), (2, "B"), (3, "C")]


def changes_tables(site: Site) -> None:
    table = f"{site.schema}.altered"
    run(
        site,
        f"CREATE OR REPLACE TABLE {table} AS SELECT 1 AS id",
        f"ALTER TABLE {table} ADD COLUMN note VARCHAR",
        f"INSERT INTO {table} VALUES (2, 'two')",
    )
    assert rows(site, f"SELECT id, note FROM {table} ORDER BY id") == [(1, None), (2, "two")]
    run(site, f"TRUNCATE TABLE {table}")
    assert rows(site, f"SELECT count(*) FROM {table}") == [(0,)]
    run(site, f"CREATE OR REPLACE TABLE {table} AS SELECT 'x' AS other")
    assert rows(site, f"SELECT * FROM {table}") == [("x",)]


def makes_schemas_and_views(site: Site) -> None:
    schema, view = f"{site.schema}_made", f"{site.schema}_made.cheap"
    run(
        site,
        f"CREATE SCHEMA IF NOT EXISTS {schema}",
        f"CREATE VIEW {view} AS SELECT order_id FROM sales.orders WHERE amount < 1",
    )
    assert rows(site, f"SELECT count(*) > 0 FROM {view}") == [(True,)]
    with connect(site) as connection:
        (catalog,) = (
            connection.adbc_get_objects(
                depth="tables", catalog_filter="primary", db_schema_filter=schema
            )
            .read_all()
            .to_pylist()
        )
    ((found,),) = (s["db_schema_tables"] for s in catalog["catalog_db_schemas"])
    assert (found["table_name"], found["table_type"]) == ("cheap", "VIEW")
    run(site, f"DROP VIEW {view}", f"DROP SCHEMA {schema}")
    refusal(lambda: fetch(site, f"SELECT * FROM {view}"))


def runs_scripts(site: Site) -> None:
    table = f"{site.schema}.scripted"
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.executescript(f"CREATE TABLE {table} (id BIGINT)")
        cursor.executescript(f"INSERT INTO {table} VALUES (1)")
    assert rows(site, f"SELECT * FROM {table}") == [(1,)]


def leaves_nothing_of_a_bad_write(site: Site) -> None:
    table = f"{site.schema}.strict"
    run(site, f"CREATE TABLE {table} (id INT NOT NULL, name VARCHAR)")
    run(site, f"INSERT INTO {table} VALUES (1, 'a')")
    text = refusal(lambda: run(site, f"INSERT INTO {table} VALUES (2, 'b'), (NULL, 'c')"))
    assert "id" in text, text
    refusal(lambda: run(site, f"INSERT INTO {table} VALUES (99999999999, 'd')"))
    refusal(lambda: run(site, f"INSERT INTO {table} VALUES (3)"))
    refusal(lambda: run(site, f"INSERT INTO {table} VALUES ('x', 'y')"))
    refusal(lambda: run(site, f"UPDATE {table} SET id = NULL"))
    assert rows(site, f"SELECT * FROM {table}") == [(1, "a")]
    refusal(lambda: run(site, f'CREATE TABLE {site.schema}."../out" (id INT)'))
    refusal(lambda: run(site, f"CREATE TABLE {site.schema}.twice (id INT, id INT)"))


def writes_awkward_values(site: Site) -> None:
    table = f"{site.schema}.awkward"
    run(site, f'CREATE TABLE {table} ("At" TIMESTAMP WITH TIME ZONE, "Text" VARCHAR)')
    values = (datetime(2024, 2, 29, 1, 2, 3, 456789, UTC), "it's ? $1 -- \u2603\n")
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} VALUES (?, ?)", values)
    found = fetch(site, f'SELECT "Text", "At" FROM {table}')
    assert found.column("Text").to_pylist() == [values[1]]
    assert found.column("At").cast(pa.timestamp("us", "UTC")).to_pylist() == [values[0]]


def add_to(program: Program) -> None:
    """Add the cases of this module."""
    add = program.case("DDL/DML", "ddl", "dml")
    for function in (
        creates_without_fetching,
        counts_changed_rows,
        counts_what_an_update_call_changed,
        declares_every_type,
        merges,
        changes_tables,
        runs_scripts,
        leaves_nothing_of_a_bad_write,
    ):
        add(function)
    program.case("DDL/DML", "ddl")(makes_schemas_and_views)
    bound = program.case("DDL/DML", "ddl", "dml", "bound writes")
    for function in (
        inserts_many_rows,
        writes_every_type_through_parameters,
        writes_awkward_values,
    ):
        bound(function)
