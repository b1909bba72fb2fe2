"""Every type that Delta can hold, read by every client, is what was written."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import adbc_driver_flightsql.dbapi as flightsql
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datafusion import SessionContext
from flightsql import FlightSQLClient
from flightsql import connect as connect_dbapi

from tests.lakehouse import orders_table, write
from tests.servers import ADMIN_PASSWORD, Server
from tests.tables import DeltaFolder
from tests.wire.kinds import COLUMNS, every_kind, same
from tests.wire.raw import RawClient, dbapi_client, error_code


class Clients(NamedTuple):
    """One connection of each kind."""

    adbc: flightsql.Connection
    raw: RawClient
    dbapi: FlightSQLClient


Reader = Callable[[Clients, str], pa.Table]


def _by_adbc(clients: Clients, sql: str) -> pa.Table:
    with clients.adbc.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


def _by_adbc_rows(clients: Clients, sql: str) -> pa.Table:
    """Read Python values row by row, as the DB-API has it; the types come from the driver."""
    with clients.adbc.cursor() as cursor:
        schema = cursor.adbc_execute_schema(sql)
        cursor.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return pa.Table.from_pylist(rows, schema=schema)


def _by_pandas(clients: Clients, sql: str) -> pa.Table:
    connection: Any = clients.adbc  # pandas has no name for a connection like this
    frame: pd.DataFrame = pd.read_sql(sql, connection, dtype_backend="pyarrow")
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def _by_raw_client(clients: Clients, sql: str) -> pa.Table:
    return clients.raw.fetch(sql)


def _by_flightsql_client(clients: Clients, sql: str) -> pa.Table:
    (endpoint,) = clients.dbapi.execute(sql).endpoints
    table: pa.Table = clients.dbapi.do_get(endpoint.ticket).read_all()
    return table


READERS: dict[str, Reader] = {
    "adbc": _by_adbc,
    "adbc rows": _by_adbc_rows,
    "pandas": _by_pandas,
    "pyarrow": _by_raw_client,
    "flightsql-dbapi": _by_flightsql_client,
}


@pytest.fixture(scope="module")
def clients(adbc: flightsql.Connection, raw: RawClient, dbapi: FlightSQLClient) -> Clients:
    return Clients(adbc, raw, dbapi)


@pytest.fixture(scope="module")
def dbapi(server: Server) -> Iterator[FlightSQLClient]:
    client = dbapi_client(server)
    yield client
    client.close()


@pytest.fixture(scope="module", params=["delta", "parquet"])
def kinds(request: pytest.FixtureRequest, lakehouse: Path) -> str:
    """The name of a table with every type, as Delta and as plain Parquet."""
    folder = lakehouse / f"kinds_{request.param}"
    if request.param == "delta":
        write(folder / "every", every_kind())
    else:
        folder.mkdir()
        pq.write_table(every_kind(), folder / "every.parquet")
    return f"{folder.name}.every"


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_every_type_is_read_as_it_was_written(clients: Clients, kinds: str, reader: Reader) -> None:
    result = reader(clients, f"SELECT * FROM {kinds} ORDER BY row")
    expected = every_kind()
    if reader is _by_pandas:  # pandas 3 keeps text and binary with large offsets
        result = result.cast(expected.schema)
    assert same(result, expected)


def test_every_type_is_what_datafusion_reads_from_the_same_files(
    clients: Clients, kinds: str, lakehouse: Path
) -> None:
    folder = lakehouse / kinds.partition(".")[0]
    (file,) = folder.rglob("*.parquet")
    context = SessionContext()
    context.register_parquet("direct", str(file))
    direct = context.sql("SELECT * FROM direct ORDER BY row").to_arrow_table()
    result = _by_adbc(clients, f"SELECT * FROM {kinds} ORDER BY row")
    assert same(result, direct.cast(result.schema))


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_is_read_alone_and_by_predicate(clients: Clients, kinds: str, name: str) -> None:
    result = _by_raw_client(
        clients, f"SELECT {name} FROM {kinds} WHERE {name} IS NOT NULL ORDER BY row"
    )
    expected = every_kind().select([name])
    assert same(result, expected.filter(expected[name].is_valid()))


def test_polars_reads_every_type(clients: Clients, kinds: str) -> None:
    frame = pl.read_database(f"SELECT * FROM {kinds} ORDER BY row", clients.adbc)
    expected = pl.DataFrame(pl.from_arrow(every_kind()))
    assert frame.schema == expected.schema
    assert [list(map(repr, row)) for row in frame.rows()] == [
        list(map(repr, row)) for row in expected.rows()
    ]


def test_duckdb_reads_every_type_from_the_stream(clients: Clients, kinds: str) -> None:
    with clients.adbc.cursor() as cursor, duckdb.connect() as duck:
        cursor.execute(f"SELECT * FROM {kinds} ORDER BY row")
        duck.register("stream", cursor.fetch_record_batch())
        result = duck.sql("SELECT * FROM stream").to_arrow_table()
        duck.register("written", every_kind())
        assert same(result, duck.sql("SELECT * FROM written").to_arrow_table())


def test_flightsql_dbapi_reads_every_type_through_its_cursor(clients: Clients, kinds: str) -> None:
    with connect_dbapi(clients.dbapi) as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT * FROM {kinds} ORDER BY row")
        rows = cursor.fetchall()
    # Its values are those of pandas: NaT for a date, NumPy arrays for lists, NaN for NULL.
    frame = every_kind().to_pandas(date_as_object=False, integer_object_nulls=True)
    assert repr(rows) == repr(frame.values.tolist())


# Its dialect was written for SQLAlchemy 1.4, and works with 2 all the same.
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_superset_reaches_the_server_through_its_sqlalchemy_dialect(server: Server) -> None:
    importlib.import_module("flightsql.sqlalchemy")  # registers the dialect
    sqlalchemy: Any = importlib.import_module("sqlalchemy")
    address = server.uri.partition("://")[2]
    login = f"admin:{quote(ADMIN_PASSWORD)}"
    engine = sqlalchemy.create_engine(f"datafusion://{login}@{address}?insecure=True")
    with engine.connect() as connection:
        inspector = sqlalchemy.inspect(connection)
        assert "sales" in inspector.get_schema_names()
        assert "orders" in inspector.get_table_names("sales")
        columns = inspector.get_columns("orders", "sales")
        assert [column["name"] for column in columns] == orders_table(1).column_names
        orders = sqlalchemy.table("orders", sqlalchemy.column("order_id"), schema="sales")
        query = sqlalchemy.select(orders).order_by("order_id").limit(2)
        assert [tuple(row) for row in connection.execute(query)] == [(1,), (2,)]
    engine.dispose()


def test_columns_and_tables_without_a_value(clients: Clients, lakehouse: Path) -> None:
    schema = every_kind().schema
    nulls = pa.table([pa.nulls(3, field.type) for field in schema], schema=schema)
    write(lakehouse / "kinds_none" / "nulls", nulls)
    write(lakehouse / "kinds_none" / "empty", schema.empty_table())
    for read in READERS.values():
        for name, expected in (("nulls", nulls), ("empty", schema.empty_table())):
            result = read(clients, f"SELECT * FROM kinds_none.{name}")
            assert same(result.cast(schema), expected)


def test_required_columns_stay_required(clients: Clients, lakehouse: Path) -> None:
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("tags", pa.list_(pa.field("element", pa.string(), nullable=False))),
            pa.field("s", pa.struct([pa.field("x", pa.int32(), nullable=False)]), nullable=False),
        ]
    )
    table = pa.Table.from_pylist([{"id": 1, "tags": ["a"], "s": {"x": 1}}], schema=schema)
    write(lakehouse / "kinds_required" / "t", table)
    result = _by_adbc(clients, "SELECT * FROM kinds_required.t")
    assert [field.nullable for field in result.schema] == [False, True, False]
    assert result.schema.field("tags").type.value_field.nullable is False
    assert result.to_pylist() == table.to_pylist()


@pytest.mark.slow  # DataFusion needs some 7 s of CPU to plan 10,000 columns
def test_ten_thousand_columns(clients: Clients, lakehouse: Path) -> None:
    table = pa.table({f"c{i}": pa.array([i, None], pa.int64()) for i in range(10_000)})
    write(lakehouse / "kinds_wide" / "t", table)
    assert _by_adbc(clients, "SELECT * FROM kinds_wide.t").equals(table)
    few = _by_raw_client(clients, "SELECT c9999, c0 FROM kinds_wide.t WHERE c7 = 7")
    assert few.to_pylist() == [{"c9999": 9999, "c0": 0}]


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_one_row(clients: Clients, reader: Reader) -> None:
    assert reader(clients, "SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_one_value_of_three_megabytes(clients: Clients, lakehouse: Path) -> None:
    table = pa.table({"id": [1, 2, 3], "text": ["a", "zü" * 1_000_000, None]})
    write(lakehouse / "kinds_big" / "t", table)
    for read in READERS.values():
        result = read(clients, "SELECT * FROM kinds_big.t ORDER BY id")
        assert result.cast(table.schema).equals(table)


AWKWARD_NAMES = [
    "with space",
    "with.dot",
    'with "quotes"',
    "it's",
    "UPPER",
    "zürich ☃",
    "select",
    "a@v1",
    "per%cent_",
    "back\\slash",
    "semi;colon--",
    "$1",
    "?",
]


def test_awkward_names_of_columns(clients: Clients, lakehouse: Path) -> None:
    allowed = [name for name in AWKWARD_NAMES if not set(name) & set(" ,;{}()\n\t=")]
    table = pa.table({name: [i] for i, name in enumerate(AWKWARD_NAMES)})
    write(lakehouse / "kinds_names" / "delta", table.select(allowed))
    pq.write_table(table, lakehouse / "kinds_names" / "parquet.parquet")
    for source, expected in (("delta", table.select(allowed)), ("parquet", table)):
        listed = ", ".join('"' + name.replace('"', '""') + '"' for name in expected.column_names)
        for sql in (
            f"SELECT * FROM kinds_names.{source}",
            f"SELECT {listed} FROM kinds_names.{source}",
        ):
            for read in READERS.values():
                assert read(clients, sql).equals(expected)


def test_awkward_names_of_tables(clients: Clients, lakehouse: Path) -> None:
    names = ["with space", "UPPER", "zürich ☃", 'q"uote', "it's", "100%", "a#b?", "a.b", "x@y"]
    for i, name in enumerate(names):
        folder = DeltaFolder(lakehouse / "Kinds Of Names" / name, pa.schema([("i", pa.int64())]))
        folder.create(folder.add(pa.table({"i": [i]}), "f 0%.parquet"))
        quoted = name.replace('"', '""')
        result = _by_adbc(clients, f'SELECT i FROM "Kinds Of Names"."{quoted}"')
        assert result.to_pylist() == [{"i": i}]


def test_a_folder_whose_name_looks_encoded_is_refused(clients: Clients, lakehouse: Path) -> None:
    # The Delta library would open the folder A in its place.
    for name in ("%41", "A"):
        folder = DeltaFolder(lakehouse / "kinds_encoded" / name, pa.schema([("i", pa.int64())]))
        folder.create(folder.add(pa.table({"i": [len(name)]}), "f.parquet"))
    assert _by_adbc(clients, 'SELECT i FROM kinds_encoded."A"').to_pylist() == [{"i": 1}]
    with pytest.raises(flightsql.NotSupportedError) as failed:
        _by_adbc(clients, 'SELECT i FROM kinds_encoded."%41"')
    assert error_code(failed.value) == "unsupported"


@pytest.mark.parametrize(
    ("sql", "names", "row"),
    [
        ("SELECT 1 AS a, 2 AS b, 3 AS c", ["a", "b", "c"], [1, 2, 3]),
        (
            "SELECT e.id, f.id FROM events e JOIN events f USING (id) WHERE e.id = 2",
            ["id", "id"],
            [2, 2],
        ),
        ('SELECT 1 AS "", 2 AS " "', ["", " "], [1, 2]),
        ('SELECT 1 AS "a""b", 2 AS "a.b"', ['a"b', "a.b"], [1, 2]),
        ("SELECT count(*) FROM events", ["count(*)"], [3]),
    ],
)
def test_names_in_the_select_list(
    clients: Clients, sql: str, names: list[str], row: list[object]
) -> None:
    for read in (_by_adbc, _by_raw_client, _by_flightsql_client):
        result = read(clients, sql)
        assert result.column_names == names
        assert [column.to_pylist() for column in result.columns] == [[value] for value in row]


def test_two_outputs_of_one_name_are_refused_unless_they_come_from_two_tables(
    clients: Clients,
) -> None:
    with pytest.raises(flightsql.ProgrammingError, match="unique") as failed:
        _by_adbc(clients, "SELECT id AS x, kind AS x FROM events")
    assert error_code(failed.value) == "invalid_request"


def test_sql_values_of_every_kind(clients: Clients) -> None:
    result: Any = _by_adbc(
        clients,
        "SELECT NULL AS n, true AS b, 1.5 AS f, 'x' AS s, X'00ff' AS bin, DATE '2024-02-29' AS d,"
        " TIMESTAMP '2024-02-29 01:02:03' AS ts, INTERVAL '1' DAY AS i, [1, 2] AS l,"
        " arrow_cast('v', 'Utf8View') AS v, arrow_cast('d', 'Dictionary(Int32, Utf8)') AS dict,"
        " arrow_cast('l', 'LargeUtf8') AS large, TIME '01:02:03' AS t",
    )
    assert result.num_rows == 1
    assert [result.schema.field(name).type for name in ("v", "dict", "large")] == [pa.string()] * 3
