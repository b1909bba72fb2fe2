"""flightsql-dbapi: the client under Superset's DataFusion engine, and its SQLAlchemy dialect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.clients.cases import Program, Site
from tests.wire import kinds

PROGRAM = Program(("flightsql-dbapi", "sqlalchemy"))
PROGRAM.cannot("parameters", "the client puts values into the text, and sends NULL for them")
PROGRAM.cannot("cancel", "has no call for it")


@contextmanager
def _client(site: Site, **options: Any) -> Iterator[Any]:
    from flightsql import FlightSQLClient  # noqa: PLC0415  only its own process has it

    host, _, port = site.address.partition(":")
    given = {"user": site.username, "password": site.password, **options}
    client = FlightSQLClient(host=host, port=int(port), insecure=True, **given)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _engine(site: Site) -> Iterator[Any]:
    import sqlalchemy  # noqa: PLC0415  as above

    password = site.password.replace(" ", "%20")
    url = f"datafusion://{site.username}:{password}@{site.address}?insecure=True"
    engine = sqlalchemy.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _rows(client: Any, info: Any) -> Any:
    return client.do_get(info.endpoints[0].ticket).read_all()


@PROGRAM.case("connect")
def signs_in_with_user_and_password(site: Site) -> None:
    with _client(site) as client:
        assert _rows(client, client.execute("SELECT 1 AS one")).to_pylist() == [{"one": 1}]


@PROGRAM.case("connect")
def signs_in_with_a_token(site: Site) -> None:
    with _client(site, user=None, password=None, token=site.user_token) as client:
        assert _rows(client, client.execute("SELECT 1 AS one")).num_rows == 1


@PROGRAM.case("browse")
def lists_schemas_and_tables(site: Site) -> None:
    with _client(site) as client:
        schemas = _rows(client, client.get_db_schemas()).column("db_schema_name").to_pylist()
        tables = _rows(
            client, client.get_tables(db_schema_filter_pattern="sales", include_schema=True)
        )
    assert {"sales", "types", "files"} <= set(schemas)
    assert tables.column("table_name").to_pylist() == ["empty", "orders", "regions"]


@PROGRAM.case("browse")
def inspects_as_superset_does(site: Site) -> None:
    import sqlalchemy  # noqa: PLC0415  as above

    with _engine(site) as engine:
        found = sqlalchemy.inspect(engine)
        assert "sales" in found.get_schema_names()
        assert set(found.get_table_names("sales")) >= {"orders", "regions"}
        columns = found.get_columns("orders", "sales")
    assert [c["name"] for c in columns] == ["order_id", "customer", "amount", "ordered_on", "note"]


@PROGRAM.case("query")
def runs_what_superset_sends(site: Site) -> None:
    sql = (
        "SELECT DATE_TRUNC('day', ordered_on) AS day, count(*) AS n FROM "
        "(SELECT * FROM sales.orders) AS virtual_table GROUP BY DATE_TRUNC('day', ordered_on) "
        "ORDER BY n DESC LIMIT 5"
    )
    with _engine(site) as engine, engine.connect() as connection:
        rows = connection.execute(sql).fetchall()
    assert len(rows) == 5
    assert all(n > 300 for _, n in rows)


@PROGRAM.case("query")
def shows_errors_as_they_are(site: Site) -> None:
    import pyarrow as pa  # noqa: PLC0415  as above

    with _client(site) as client, pytest.raises((pa.ArrowException, KeyError), match="nowhere"):
        client.execute("SELECT * FROM sales.nowhere")


@PROGRAM.case("DDL/DML", "ddl", "dml")
def changes_tables(site: Site) -> None:
    table = f"{site.schema}.written"
    with _client(site) as client:
        client.execute_update(f"CREATE TABLE {table} (id BIGINT, name VARCHAR)")
        assert client.execute_update(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')") == 2
        assert client.execute_update(f"DELETE FROM {table} WHERE id = 1") == 1
        found = _rows(client, client.execute(f"SELECT * FROM {table}"))
    assert found.to_pylist() == [{"id": 2, "name": "b"}]


PROGRAM.cannot("ingest", "has no call for it")


@PROGRAM.case("types")
def reads_every_type(site: Site) -> None:
    with _client(site) as client:
        found = _rows(client, client.execute("SELECT * FROM types.every ORDER BY row"))
    assert kinds.same(found, kinds.every_kind())


if __name__ == "__main__":
    PROGRAM.main()
