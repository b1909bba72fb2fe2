"""SQLAlchemy with the dialect of this project, over the ADBC driver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

from tests.clients.cases import Program, Site

PROGRAM = Program(("sqlalchemy", "adbc-driver-flightsql"))
ENDLESS = (
    "SELECT sum(a.order_id * b.order_id % 7 + c.order_id) "
    "FROM sales.orders a, sales.orders b, sales.orders c"
)
CANCEL_SECONDS_MAX = 10.0


@contextmanager
def _engine(site: Site, place: str = "primary", **options: str) -> Iterator[Any]:
    import sqlalchemy as sa  # noqa: PLC0415  only its own process has it

    scheme = options.pop("scheme", "lakeflight")
    address = options.pop("address", site.address)
    login = options.pop("login", f"{site.username}:{quote(site.password, safe='')}@")
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    engine = sa.create_engine(f"{scheme}://{login}{address}/{place}?{query}")
    try:
        yield engine
    finally:
        engine.dispose()


def _rows(engine: Any, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    import sqlalchemy as sa  # noqa: PLC0415  as above

    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(sql), values)]


@PROGRAM.case("connect")
def signs_in_with_user_and_password(site: Site) -> None:
    with _engine(site) as engine:
        assert _rows(engine, "SELECT 1 AS one") == [(1,)]
    with _engine(site, "primary/sales") as engine:
        assert _rows(engine, "SELECT count(*) FROM orders") == [(10_000,)]


@PROGRAM.case("connect")
def signs_in_with_a_token(site: Site) -> None:
    with _engine(site, login="", token=site.user_token) as engine:
        assert _rows(engine, "SELECT 1 AS one") == [(1,)]


@PROGRAM.case("connect")
def trusts_the_certificate_that_it_is_given(site: Site) -> None:
    options = {"scheme": "lakeflight+tls", "tls_roots": site.certificate}
    with _engine(site, address=site.tls_address, **options) as engine:
        assert _rows(engine, "SELECT count(*) FROM sales.orders") == [(10_000,)]


@PROGRAM.case("browse")
def reflects_tables(site: Site) -> None:
    import sqlalchemy as sa  # noqa: PLC0415  as above

    with _engine(site) as engine:
        found = sa.inspect(engine)
        assert {"sales", "types"} <= set(found.get_schema_names())
        assert set(found.get_table_names("sales")) == {"orders", "regions", "empty"}
        assert found.get_pk_constraint("orders", "sales")["constrained_columns"] == []
        orders = sa.Table("orders", sa.MetaData(), schema="sales", autoload_with=engine)
    assert [c.name for c in orders.columns] == [
        "order_id",
        "customer",
        "amount",
        "ordered_on",
        "note",
    ]
    assert isinstance(orders.c.amount.type, sa.Numeric)
    assert (orders.c.amount.type.precision, orders.c.amount.type.scale) == (12, 2)


@PROGRAM.case("query")
def selects(site: Site) -> None:
    import sqlalchemy as sa  # noqa: PLC0415  as above

    with _engine(site) as engine, engine.connect() as connection:
        orders = sa.Table("orders", sa.MetaData(), schema="sales", autoload_with=engine)
        by_day = (
            sa.select(orders.c.ordered_on, sa.func.count().label("n"))
            .group_by(orders.c.ordered_on)
            .order_by(orders.c.ordered_on)
        )
        rows = connection.execute(by_day.limit(2).offset(1)).all()
        streamed = connection.execution_options(yield_per=100).execute(sa.select(orders.c.order_id))
        assert len(streamed.all()) == 10_000
    assert [row.ordered_on for row in rows] == [date(2026, 1, 2), date(2026, 1, 3)]


@PROGRAM.case("query")
def shows_errors_as_they_are(site: Site) -> None:
    import sqlalchemy as sa  # noqa: PLC0415  as above

    with _engine(site) as engine, pytest.raises(sa.exc.DBAPIError, match="nowhere"):
        _rows(engine, "SELECT * FROM sales.nowhere")


@PROGRAM.case("parameters", "parameters")
def binds_values(site: Site) -> None:
    import sqlalchemy as sa  # noqa: PLC0415  as above

    sql = "SELECT order_id FROM sales.orders WHERE order_id < :most AND customer = :customer"
    with _engine(site) as engine:
        assert _rows(engine, sql, most=100, customer="customer-007") == [(8,)]
        assert _rows(engine, sql, most=100, customer="x' OR '1'='1") == []
        orders = sa.Table("orders", sa.MetaData(), schema="sales", autoload_with=engine)
        chosen = sa.select(orders.c.order_id).where(
            orders.c.order_id.in_([3, 1, 2]), orders.c.amount >= Decimal("0.25")
        )
        with engine.connect() as connection:
            assert sorted(connection.scalars(chosen)) == [2, 3]


@PROGRAM.case("DDL/DML", "ddl", "dml", "bound writes")
def makes_and_changes_a_table(site: Site) -> None:
    import sqlalchemy as sa  # noqa: PLC0415  as above

    table = sa.Table(
        "written",
        sa.MetaData(schema=site.schema),
        sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("name", sa.String),
        sa.Column("price", sa.Numeric(10, 2)),
        sa.Column("on_day", sa.Date),
        sa.Column("at", sa.DateTime(timezone=True)),
    )
    at = datetime(2024, 2, 29, 1, 2, 3, 456789, UTC)
    rows = [(n, f"name {n}", Decimal(n) / 4, date(2026, 1, 1), at) for n in range(1, 4)]
    with _engine(site) as engine:
        table.create(engine)
        with engine.begin() as connection:
            names = [column.name for column in table.columns]
            values = [dict(zip(names, row, strict=True)) for row in rows]
            connection.execute(table.insert(), values)
            changed = connection.execute(table.update().where(table.c.id == 1).values(name="one"))
            assert changed.rowcount == 1
            connection.execute(table.delete().where(table.c.id == 2))
            found = connection.execute(sa.select(table).order_by(table.c.id)).all()
        assert [tuple(row) for row in found] == [(1, "one", *rows[0][2:]), rows[2]]
        table.drop(engine)
        assert not sa.inspect(engine).has_table("written", site.schema)


@PROGRAM.case("ingest", "ddl", "dml", "bound writes")
def writes_a_frame_of_pandas(site: Site) -> None:
    import pandas as pd  # noqa: PLC0415  as above

    frame = pd.DataFrame({"id": range(100), "name": [f"name {n}" for n in range(100)]})
    with _engine(site) as engine:
        for if_exists in ("fail", "append", "replace"):
            frame.to_sql("frame", engine, schema=site.schema, index=False, if_exists=if_exists)
        assert _rows(engine, f"SELECT count(*) FROM {site.schema}.frame") == [(100,)]


@PROGRAM.case("cancel")
def ends_with_its_deadline(site: Site) -> None:
    import sqlalchemy as sa  # noqa: PLC0415  as above

    began = time.monotonic()
    with (
        _engine(site, timeout_seconds="1") as engine,
        pytest.raises((sa.exc.DBAPIError, OSError), match=r"(?i)deadline"),
    ):
        _rows(engine, ENDLESS)
    assert time.monotonic() - began < CANCEL_SECONDS_MAX


@PROGRAM.case("types")
def reads_types_as_python_values(site: Site) -> None:
    names = "a_boolean, an_int8, an_int64, a_float64, a_decimal, a_string, a_binary, a_date"
    with _engine(site) as engine:
        sql = f"SELECT {names}, a_timestamp, a_timestamp_ntz FROM types.every WHERE row = 0"
        (row,) = _rows(engine, sql)
    assert row[:8] == (True, 1, 1, 0.1, Decimal("1.50"), "plain", b"plain", date(2024, 2, 29))
    assert row[8] == datetime(2024, 2, 29, 1, 2, 3, 456789, UTC)
    assert row[9] == datetime(2024, 3, 31, 2, 30)  # noqa: DTZ001  it has no zone


if __name__ == "__main__":
    PROGRAM.main()
