"""polars over a connection of the ADBC driver."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from tests.clients.cases import Program, Site
from tests.clients.programs.adbc_connect import connect, fetch, refusal
from tests.wire import kinds

PROGRAM = Program(("polars", "adbc-driver-flightsql"))
PROGRAM.cannot("browse", "has no call for it")
PROGRAM.cannot("DDL/DML", "polars has no calls for it beyond those of its ingest")
PROGRAM.cannot("cancel", "has no call for it")


def _read(site: Site, sql: str, **options: Any) -> Any:
    import polars as pl  # noqa: PLC0415  only its own process has it

    with connect(site) as connection:
        return pl.read_database(sql, connection, **options)


@PROGRAM.case("connect")
def reads_over_a_connection(site: Site) -> None:
    assert _read(site, "SELECT 1 AS one").rows() == [(1,)]


@PROGRAM.case("query")
def reads_queries(site: Site) -> None:
    frame = _read(site, "SELECT * FROM sales.orders WHERE order_id <= 3 ORDER BY order_id")
    assert frame.row(1) == (2, "customer-001", Decimal("0.25"), date(2026, 1, 2), None)
    empty = _read(site, "SELECT * FROM sales.empty")
    assert empty.shape == (0, 5)


@PROGRAM.case("query")
def reads_in_batches(site: Site) -> None:
    import polars as pl  # noqa: PLC0415  as above

    sql = "SELECT order_id FROM sales.orders"
    with connect(site) as connection:
        frames = pl.read_database(sql, connection, iter_batches=True, batch_size=1000)
        assert sum(frame.height for frame in frames) == 10_000


@PROGRAM.case("query")
def shows_errors_as_they_are(site: Site) -> None:
    assert "nowhere" in refusal(lambda: _read(site, "SELECT * FROM sales.nowhere"))


@PROGRAM.case("parameters", "parameters")
def binds_values(site: Site) -> None:
    sql = "SELECT order_id FROM sales.orders WHERE order_id < ? AND customer = ?"
    frame = _read(site, sql, execute_options={"parameters": [100, "customer-007"]})
    assert frame.rows() == [(8,)]


def _frame(rows: int = 3) -> Any:
    import polars as pl  # noqa: PLC0415  as above

    return pl.DataFrame(
        {
            "id": range(rows),
            "name": [f"name {n}" if n % 2 else None for n in range(rows)],
            "tags": [["a", "b"][: n % 3] for n in range(rows)],
            "kind": pl.Series([f"kind {n % 2}" for n in range(rows)], dtype=pl.Categorical),
        }
    )


def _write(site: Site, frame: Any, name: str, if_table_exists: str) -> int:
    with connect(site) as connection:
        count: int = frame.write_database(
            f"{site.schema}.{name}", connection, if_table_exists=if_table_exists, engine="adbc"
        )
        return count


def _count(site: Site, name: str) -> int:
    count: int = fetch(site, f"SELECT count(*) FROM {site.schema}.{name}").column(0)[0].as_py()
    return count


@PROGRAM.case("ingest", "ingest")
def writes_a_frame(site: Site) -> None:
    assert _write(site, _frame(), "frame", "fail") == 3
    found = fetch(site, f"SELECT * FROM {site.schema}.frame ORDER BY id").to_pydict()
    assert found == {
        "id": [0, 1, 2],
        "name": [None, "name 1", None],
        "tags": [[], ["a"], ["a", "b"]],
        "kind": ["kind 0", "kind 1", "kind 0"],
    }
    refusal(lambda: _write(site, _frame(), "frame", "fail"))
    assert _count(site, "frame") == 3


@PROGRAM.case("ingest", "ingest")
def appends_to_a_table_and_replaces_it(site: Site) -> None:
    assert _write(site, _frame(5), "kept", "append") == 5
    assert _write(site, _frame(5), "kept", "append") == 5
    assert _count(site, "kept") == 10
    assert _write(site, _frame(2).select("id"), "kept", "replace") == 2
    assert fetch(site, f"SELECT * FROM {site.schema}.kept").column_names == ["id"]


@PROGRAM.case("types")
def reads_every_type(site: Site) -> None:
    # polars has no maps, and decimals of at most 38 digits.
    names = [name for name in kinds.SCHEMA.names if "map" not in name and name != "a_deep_one"]
    columns = ", ".join(f'"{name}"' for name in names)
    frame = _read(site, f"SELECT {columns} FROM types.every ORDER BY row")
    found = frame.to_arrow().select(names).cast(kinds.every_kind().select(names).schema)
    assert kinds.same(found, kinds.every_kind().select(names))


if __name__ == "__main__":
    PROGRAM.main()
