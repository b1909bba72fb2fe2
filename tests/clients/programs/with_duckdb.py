"""DuckDB over the Arrow streams of the ADBC driver; its own extensions are in no registry."""

from __future__ import annotations

from typing import Any

from tests.clients.cases import Program, Site
from tests.clients.programs.adbc_connect import connect, fetch
from tests.wire import kinds

PROGRAM = Program(("duckdb", "adbc-driver-flightsql"))
_BY_ADBC = "the ADBC driver has it, DuckDB has no part in it"
for _column in ("browse", "parameters", "DDL/DML", "cancel"):
    PROGRAM.cannot(_column, _BY_ADBC)


def _over(site: Site, remote: str, local: str) -> list[tuple[Any, ...]]:
    """Run a query of DuckDB over the stream of a remote one, which is called ``remote`` there."""
    import duckdb  # noqa: PLC0415  only its own process has it

    with connect(site) as connection, connection.cursor() as cursor, duckdb.connect() as local_db:
        cursor.execute(remote)
        local_db.register("remote", cursor.fetch_record_batch())
        rows: list[tuple[Any, ...]] = local_db.execute(local).fetchall()
        return rows


@PROGRAM.case("connect")
def reads_over_a_connection(site: Site) -> None:
    assert _over(site, "SELECT 1 AS one", "SELECT one FROM remote") == [(1,)]


@PROGRAM.case("query")
def aggregates_a_stream(site: Site) -> None:
    rows = _over(
        site,
        "SELECT customer, amount FROM sales.orders",
        "SELECT count(*), count(DISTINCT customer), sum(amount) FROM remote",
    )
    (expected,) = fetch(
        site,
        "SELECT count(*) AS a, count(DISTINCT customer) AS b, sum(amount) AS c FROM sales.orders",
    ).to_pylist()
    assert rows == [tuple(expected.values())]


@PROGRAM.case("query")
def stops_reading_early(site: Site) -> None:
    remote = "SELECT a.order_id FROM sales.orders a, sales.orders b"
    assert len(_over(site, remote, "SELECT * FROM remote LIMIT 3")) == 3


@PROGRAM.case("ingest", "ingest")
def loads_a_result_of_its_own(site: Site) -> None:
    import duckdb  # noqa: PLC0415  as above

    sql = "SELECT i AS id, 'name ' || i AS name, i::DECIMAL(9, 2) AS price FROM range(5000) AS r(i)"
    with (
        connect(site) as connection,
        connection.cursor() as cursor,
        duckdb.connect() as local,
    ):
        reader = local.execute(sql).to_arrow_reader()
        count = cursor.adbc_ingest("loaded", reader, mode="create", db_schema_name=site.schema)
    assert count == 5000
    found = fetch(site, f"SELECT count(*), max(name), sum(price) FROM {site.schema}.loaded")
    assert [str(v) for v in found.to_pylist()[0].values()] == ["5000", "name 999", "12497500.00"]


@PROGRAM.case("types")
def reads_every_type(site: Site) -> None:
    import duckdb  # noqa: PLC0415  as above

    expected = kinds.every_kind()
    with connect(site) as connection, connection.cursor() as cursor, duckdb.connect() as local:
        cursor.execute("SELECT * FROM types.every ORDER BY row")
        local.register("remote", cursor.fetch_record_batch())
        found = local.execute("SELECT * FROM remote").to_arrow_table()
    assert found is not None
    assert kinds.same(found.cast(expected.schema), expected)


if __name__ == "__main__":
    PROGRAM.main()
