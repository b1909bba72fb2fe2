"""The dialect against a real server: reading, writing, reflection, errors, connections."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from flight_server import errors
from flight_server.client.sqlalchemy import DOUBLE, MAP, STRUCT, NotEnforced
from tests.lakehouse import build_lakehouse
from tests.servers import ADMIN_PASSWORD, Server, running

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


def url_of(server: Server, *, path: str = "", password: str = ADMIN_PASSWORD) -> sa.URL:
    host, _, port = server.uri.partition("://")[2].rpartition(":")
    return sa.URL.create(
        "lakeflight", "admin", password, host=host, port=int(port), database=path or None
    )


@pytest.fixture
def engine(server: Server) -> Iterator[sa.Engine]:
    made = sa.create_engine(url_of(server, path="primary/sales"))
    yield made
    made.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as opened:
        yield opened


@pytest.fixture
def metadata(connection: sa.Connection) -> Iterator[sa.MetaData]:
    made = sa.MetaData(schema="public")
    yield made
    made.drop_all(connection)


# Names


def test_short_names_are_looked_up_where_the_url_says(connection: sa.Connection) -> None:
    assert connection.scalar(sa.text("SELECT count(*) FROM orders")) == 10_000
    assert connection.dialect.default_schema_name == "sales"
    assert connection.scalar(sa.text("SELECT current_schema()")) == "sales"


def test_without_names_in_the_url_the_servers_are_used(server: Server) -> None:
    engine = sa.create_engine(url_of(server))
    with engine.connect() as connection:
        assert connection.dialect.default_schema_name == "public"
        assert sa.inspect(connection).get_table_names() == ["events"]
    engine.dispose()


@pytest.mark.parametrize("path", ["nowhere", "primary/nowhere"])
def test_a_place_that_does_not_exist_is_refused(server: Server, path: str) -> None:
    engine = sa.create_engine(url_of(server, path=path))
    with pytest.raises(sa.exc.ProgrammingError, match="does not exist"):
        engine.connect()
    engine.dispose()


def test_a_schema_may_name_its_bucket(connection: sa.Connection) -> None:
    events = sa.Table("events", sa.MetaData(), schema="primary.public", autoload_with=connection)
    assert connection.scalar(sa.select(sa.func.count()).select_from(events)) == 3
    inspector = sa.inspect(connection)
    assert inspector.has_table("regions", schema="primary.sales")
    assert inspector.get_table_names("primary.public") == ["events"]


# Reading


def test_values_are_bound(connection: sa.Connection) -> None:
    orders = sa.Table("orders", sa.MetaData(), autoload_with=connection)
    found = connection.execute(
        sa.select(orders.c.order_id, orders.c.amount, orders.c.ordered_on)
        .where(orders.c.customer == "customer-001", orders.c.order_id.in_([2, 99, 100]))
        .order_by(orders.c.order_id)
    ).all()
    assert found == [
        (2, Decimal("0.25"), date(2026, 1, 2)),
        (99, Decimal("24.50"), date(2026, 1, 15)),
    ]


def test_results_stream(connection: sa.Connection) -> None:
    orders = sa.Table("orders", sa.MetaData(), autoload_with=connection)
    streamed = connection.execution_options(yield_per=700).scalars(sa.select(orders.c.order_id))
    parts = [len(part) for part in streamed.partitions()]
    assert sum(parts) == 10_000
    assert max(parts) == 700


def test_two_results_may_be_open_at_once(connection: sa.Connection) -> None:
    one = connection.execution_options(stream_results=True).execute(sa.text("SELECT * FROM orders"))
    two = connection.execute(sa.text("SELECT * FROM regions"))
    assert one.fetchone() is not None
    assert len(two.all()) == 4
    assert len(one.all()) == 9_999


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (sa.literal("ABC").ilike("abc"), True),
        (sa.literal("ABC").not_ilike("a%"), False),
        (sa.literal("a/b").like("a//b", escape="/"), True),
        (sa.literal("a%b").like("a/%b", escape="/"), True),
        (sa.literal("axb").like("a/%b", escape="/"), False),
        (sa.literal("a\\b").like("a\\b", escape="/"), True),
        (sa.literal("a_b%").contains("_b%", autoescape=True), True),
        (sa.literal("axb%").contains("_b%", autoescape=True), False),
        (sa.literal("abc").regexp_match("^a.c$"), True),
        (sa.literal("ABC").regexp_match("b", flags="i"), True),
        (~sa.literal("abc").regexp_match("x"), True),
        (sa.literal("aXbX").regexp_replace("X", "-"), "a-b-"),
        (sa.literal("a") + sa.literal("b"), "ab"),
        (sa.literal(7) / sa.literal(2), Decimal("3.5")),
        (sa.literal(7) // sa.literal(2), 3),
        (sa.literal(7) % sa.literal(4), 3),
        (sa.literal(1).is_distinct_from(None), True),
        (sa.literal(3).in_([]), False),
        (sa.literal(3).not_in([]), True),
        (sa.cast("12.5", sa.Numeric(10, 2)), Decimal("12.50")),
        (sa.literal(date(2026, 1, 31)), date(2026, 1, 31)),
        (sa.literal(NOON), NOON),
        (sa.literal(NOON) - timedelta(days=1, seconds=2), NOON - timedelta(days=1, seconds=2)),
        (
            sa.literal(timedelta(hours=36, microseconds=5)) + sa.literal(NOON),
            NOON + timedelta(hours=36, microseconds=5),
        ),
        (sa.literal(NOON.replace(tzinfo=None)), NOON.replace(tzinfo=None)),
        (sa.literal(b"\x00\xff"), b"\x00\xff"),
        (sa.literal(Decimal("1.25")), Decimal("1.25")),
        (sa.null(), None),
        (sa.true(), True),
        (sa.func.coalesce(sa.null(), "x"), "x"),
        (sa.extract("year", sa.literal(date(2026, 1, 31))), 2026),
    ],
    ids=str,
)
@pytest.mark.parametrize("inline", [False, True], ids=["bound", "inline"])
def test_expressions(
    connection: sa.Connection, expression: Any, value: object, inline: bool
) -> None:
    query = sa.select(expression)
    if inline:
        text = query.compile(connection, compile_kwargs={"literal_binds": True})
        found = connection.exec_driver_sql(str(text)).scalar_one()
    else:
        found = connection.execute(query).scalar_one()
    if isinstance(value, Decimal):
        found = Decimal(found).normalize()
        value = value.normalize()
    assert found == value


def test_limits(connection: sa.Connection) -> None:
    orders = sa.Table("orders", sa.MetaData(), autoload_with=connection)
    query = sa.select(orders.c.order_id).order_by(orders.c.order_id)
    assert connection.scalars(query.limit(2).offset(3)).all() == [4, 5]
    assert connection.scalars(query.offset(9_998)).all() == [9_999, 10_000]
    assert connection.scalars(query.fetch(1)).all() == [1]
    assert connection.scalars(query.limit(1).with_for_update()).all() == [1]
    with pytest.raises(sa.exc.CompileError, match="TIES"):
        connection.execute(query.fetch(1, with_ties=True))


# Reflection


def test_what_exists(connection: sa.Connection) -> None:
    inspector = sa.inspect(connection)
    assert {"files", "public", "sales"} <= set(inspector.get_schema_names())
    assert inspector.get_table_names() == ["empty", "orders", "regions"]
    assert inspector.has_table("orders")
    assert not inspector.has_table("order_")  # no pattern
    assert not inspector.has_table("orders", schema="public")
    assert inspector.get_pk_constraint("orders") == {"constrained_columns": [], "name": None}
    assert inspector.get_foreign_keys("orders") == []
    assert inspector.get_indexes("orders") == []
    assert inspector.get_unique_constraints("orders") == []
    assert inspector.get_check_constraints("orders") == []
    with pytest.raises(sa.exc.NoSuchTableError):
        inspector.get_columns("nowhere")


def test_columns_come_back_as_they_were_made(
    connection: sa.Connection, metadata: sa.MetaData
) -> None:
    sa.Table(
        "types",
        metadata,
        sa.Column("a", sa.BigInteger, nullable=False, comment="it's a key"),
        sa.Column("b", sa.Numeric(12, 2)),
        sa.Column("C_d", sa.DateTime(timezone=True)),
        sa.Column("e", sa.DateTime),
        sa.Column("f", sa.ARRAY(sa.Integer)),
        sa.Column("g", STRUCT({"x": sa.VARCHAR(), "Y": sa.DATE()})),
        sa.Column("h", MAP(sa.VARCHAR, sa.BIGINT)),
        sa.Column("i", sa.Double),
        sa.Column("j", sa.LargeBinary),
        sa.Column("k", sa.String(10)),
    )
    metadata.create_all(connection)
    columns = sa.inspect(connection).get_columns("types", schema="public")
    dialect = connection.dialect
    assert {c["name"]: c["type"].compile(dialect) for c in columns} == {
        "a": "BIGINT",
        "b": "DECIMAL(12, 2)",
        "C_d": "TIMESTAMP WITH TIME ZONE",
        "e": "TIMESTAMP",
        "f": "INTEGER[]",
        "g": 'STRUCT(x VARCHAR, "Y" DATE)',
        "h": "MAP<VARCHAR, BIGINT>",
        "i": "DOUBLE",
        "j": "BYTEA",
        "k": "VARCHAR",
    }
    assert [c["nullable"] for c in columns] == [False] + [True] * 9
    assert columns[0]["comment"] == "it's a key"


def test_views(connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE VIEW public.few AS SELECT * FROM sales.orders LIMIT 2")
    try:
        inspector = sa.inspect(connection)
        assert inspector.get_view_names("public") == ["few"]
        assert "few" not in inspector.get_table_names("public")
        assert inspector.has_table("few", schema="public")
        assert "sales.orders" in inspector.get_view_definition("few", schema="public")
        assert inspector.get_columns("few", "public")[0]["name"] == "order_id"
    finally:
        connection.exec_driver_sql("DROP VIEW public.few")


# Writing


def test_rows_go_in_and_come_back(connection: sa.Connection, metadata: sa.MetaData) -> None:
    table = sa.Table(
        "rows",
        metadata,
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("exact", sa.Numeric(12, 2)),
        sa.Column("at", sa.DateTime(timezone=True)),
        sa.Column("local", sa.DateTime),
        sa.Column("day", sa.Date),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("ok", sa.Boolean),
        sa.Column("number", DOUBLE),
        sa.Column("words", sa.ARRAY(sa.VARCHAR)),
        sa.Column("text", sa.Text),
    )
    metadata.create_all(connection)
    local = NOON.replace(tzinfo=None)
    full = (1, Decimal("9.50"), NOON, local, date(2026, 1, 31), b"\0", True, 0.5, ["a"], "ü'\\")
    empty = (2, *[None] * 9)
    names = [column.name for column in table.columns]
    connection.execute(table.insert(), dict(zip(names, full, strict=True)))
    connection.execute(table.insert(), [dict(zip(names, empty, strict=True))])
    found = connection.execute(sa.select(table).order_by(table.c.id)).all()
    assert found == [full, empty]


def test_many_rows_are_one_commit(
    connection: sa.Connection, metadata: sa.MetaData, server: Server
) -> None:
    table = sa.Table("many", metadata, sa.Column("id", sa.Integer), sa.Column("t", sa.Text))
    metadata.create_all(connection)
    done = connection.execute(table.insert(), [{"id": i, "t": f"t{i}"} for i in range(2_500)])
    assert done.rowcount in (-1, 2_500)
    assert connection.scalar(sa.select(sa.func.sum(table.c.id))) == sum(range(2_500))
    log = server.directory / "public" / "many" / "_delta_log"
    assert len(list(log.glob("*.json"))) == 2  # made, filled


def test_counts(connection: sa.Connection, metadata: sa.MetaData) -> None:
    table = sa.Table("counted", metadata, sa.Column("id", sa.Integer), sa.Column("t", sa.Text))
    metadata.create_all(connection)
    values = [{"id": i, "t": "x"} for i in range(5)]
    assert connection.execute(table.insert().values(values)).rowcount == 5
    assert connection.execute(table.update().where(table.c.id < 3).values(t="y")).rowcount == 3
    assert connection.execute(table.delete().where(table.c.t == "y")).rowcount == 3
    assert connection.execute(table.delete()).rowcount == 2
    copied = table.insert().from_select(["id"], sa.select(sa.literal(7)))
    assert connection.execute(copied).rowcount == 1


def test_nothing_is_rolled_back(engine: sa.Engine, metadata: sa.MetaData) -> None:
    table = sa.Table("kept", metadata, sa.Column("id", sa.Integer))
    with engine.connect() as connection:
        metadata.create_all(connection)
        connection.execute(table.insert(), {"id": 1})
        connection.rollback()
        assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 1
        assert connection.get_isolation_level() == "AUTOCOMMIT"
    with pytest.raises(sa.exc.ArgumentError):
        engine.execution_options(isolation_level="SERIALIZABLE").connect()


def test_constraints_are_left_out_with_a_warning(
    connection: sa.Connection, metadata: sa.MetaData
) -> None:
    other = sa.Table("other", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table(
        "keyed",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("other", sa.ForeignKey(other.c.id)),
        sa.Column("code", sa.Text, unique=True, index=True),
        sa.CheckConstraint("id > 0"),
    )
    with pytest.warns(NotEnforced) as warned:
        metadata.create_all(connection)
    said = " ".join(str(one.message) for one in warned)
    for kind in ("PRIMARY KEY", "FOREIGN KEY", "CHECK", "UNIQUE"):
        assert kind in said
    assert not sa.inspect(connection).get_columns("keyed", "public")[0]["nullable"]


@pytest.mark.parametrize(
    "column",
    [
        lambda: sa.Column("x", sa.Integer, server_default="1"),
        lambda: sa.Column("x", sa.Integer, sa.Computed("1 + 1")),
        lambda: sa.Column("x", sa.Integer, sa.Identity()),
    ],
    ids=["default", "computed", "identity"],
)
def test_what_no_table_has_is_refused(
    connection: sa.Connection, column: Callable[[], sa.Column[Any]]
) -> None:
    table = sa.Table("refused", sa.MetaData(schema="public"), column())
    with pytest.raises(sa.exc.CompileError, match="tables have no"):
        table.create(connection)
    assert not sa.inspect(connection).has_table("refused", schema="public")


def test_null_where_none_may_be(connection: sa.Connection, metadata: sa.MetaData) -> None:
    table = sa.Table("strict", metadata, sa.Column("id", sa.Integer, nullable=False))
    metadata.create_all(connection)
    with pytest.raises(sa.exc.DBAPIError, match="id"):
        connection.execute(table.insert(), {"id": None})
    assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_partitions_and_comments(
    connection: sa.Connection, metadata: sa.MetaData, server: Server
) -> None:
    table = sa.Table(
        "parts",
        metadata,
        sa.Column("id", sa.Integer),
        sa.Column("Day", sa.Date),
        comment="it's cut by day",
        lakeflight_partition_by="Day",
    )
    metadata.create_all(connection)
    connection.execute(table.insert(), {"id": 1, "Day": date(2026, 1, 31)})
    assert list((server.directory / "public" / "parts").glob("Day=2026-01-31/*.parquet"))
    inspector = sa.inspect(connection)
    assert inspector.get_table_comment("parts", table.schema) == {"text": "it's cut by day"}
    again = sa.Table("parts", sa.MetaData(), schema=table.schema, autoload_with=connection)
    assert again.comment == "it's cut by day"
    with pytest.raises(sa.exc.NoSuchTableError):
        inspector.get_table_comment("nowhere")


def test_the_orm(engine: sa.Engine) -> None:
    class Base(orm.DeclarativeBase):
        metadata = sa.MetaData(schema="public")

    class Person(Base):
        __tablename__ = "people"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True, autoincrement=False)
        name: orm.Mapped[str]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotEnforced)
        Base.metadata.create_all(engine)
    try:
        with orm.Session(engine) as session:
            session.add_all([Person(id=1, name="Ada"), Person(id=2, name="Bo")])
            session.commit()
            session.get_one(Person, 2).name = "Bea"
            session.delete(session.get_one(Person, 1))
            session.commit()
        with orm.Session(engine) as session:
            assert [(p.id, p.name) for p in session.scalars(sa.select(Person))] == [(2, "Bea")]
    finally:
        Base.metadata.drop_all(engine)


# pandas


@pytest.mark.parametrize("method", [None, "multi"])
def test_pandas_goes_in_and_comes_back(connection: sa.Connection, method: Any) -> None:
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "text": ["a", None, "ü"],
            "at": [pd.Timestamp("2026-01-01"), pd.NaT, pd.Timestamp("2026-01-03 12:00")],
            "number": [0.5, None, -1.0],
            "ok": [True, False, True],
        }
    )
    options: dict[str, Any] = {"index": False, "schema": "public", "method": method}
    try:
        frame.to_sql("frames", connection, if_exists="replace", chunksize=2, **options)
        frame.to_sql("frames", connection, if_exists="append", **options)
        back = pd.read_sql("SELECT * FROM public.frames ORDER BY id", connection)
        assert back["id"].tolist() == [1, 1, 2, 2, 3, 3]
        assert back["text"].isna().sum() == 2
        assert back["at"].dropna().max() == pd.Timestamp("2026-01-03 12:00")
        assert back["ok"].tolist() == [True, True, False, False, True, True]
        whole = pd.read_sql_table("frames", connection, schema="public")
        assert len(whole) == 6
        parts = pd.read_sql("SELECT * FROM public.frames", connection, chunksize=4)
        assert [len(part) for part in parts] == [4, 2]
        frame.to_sql("frames", connection, if_exists="replace", schema="public")  # with an index
        assert pd.read_sql_query("SELECT * FROM public.frames", connection).shape == (3, 6)
    finally:
        connection.exec_driver_sql("DROP TABLE IF EXISTS public.frames")


# Errors and connections


@pytest.mark.parametrize(
    ("sql", "kind", "code"),
    [
        ("SELECT * FROM nowhere", sa.exc.ProgrammingError, "table_not_found"),
        ("SELEC 1", sa.exc.ProgrammingError, "invalid_request"),
        ("BEGIN", sa.exc.NotSupportedError, "unsupported"),
        ("SELECT 1/0 FROM orders", sa.exc.ProgrammingError, "invalid_request"),
    ],
)
def test_errors_are_those_of_the_server(
    connection: sa.Connection, sql: str, kind: type[Exception], code: str
) -> None:
    with pytest.raises(kind) as caught:
        connection.execute(sa.text(sql)).all()
    error = caught.value
    assert isinstance(error, sa.exc.DBAPIError)
    assert error.orig is not None
    cause = error.orig.__cause__
    assert isinstance(cause, errors.LakeflightError)
    assert cause.code == code
    assert cause.message in str(error)
    assert not error.connection_invalidated


def test_a_refusal_says_why_beside_parameters(connection: sa.Connection) -> None:
    with pytest.raises(sa.exc.NotSupportedError, match="FOR UPDATE"):
        connection.execute(sa.text("SELECT 1 WHERE 1 = :one FOR UPDATE"), {"one": 1})


def test_a_wrong_password_is_refused(server: Server) -> None:
    engine = sa.create_engine(url_of(server, password="wrong"))
    with pytest.raises(sa.exc.OperationalError, match="wrong user name or password"):
        engine.connect()
    engine.dispose()


def test_the_adbc_connection_is_within_reach(engine: sa.Engine) -> None:
    with closing(engine.raw_connection()) as raw:
        assert raw.driver_connection is not None
        cursor = raw.driver_connection.cursor()
        cursor.execute("SELECT count(*) AS n FROM orders")
        assert cursor.fetch_arrow_table().to_pylist() == [{"n": 10_000}]
        cursor.close()


@pytest.mark.parametrize("pre_ping", [True, False])
def test_a_lost_server_is_found_again(tmp_path: Path, pre_ping: bool) -> None:
    build_lakehouse(tmp_path)
    with running(tmp_path) as server:
        engine = sa.create_engine(url_of(server), pool_pre_ping=pre_ping)
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT 1")) == 1
    port = server.uri.rpartition(":")[2]
    with pytest.raises(sa.exc.OperationalError), engine.connect() as connection:
        connection.execute(sa.text("SELECT 2"))
    with running(tmp_path, arguments=("--port", port)), engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 3")) == 3
    engine.dispose()
