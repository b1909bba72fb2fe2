"""No message of any failing call holds a path, a traceback, a plan or a value of the data."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.protocol import commands
from tests.lakehouse import orders_table, write
from tests.rpc.failures import failure_of
from tests.rpc.plain import Caller, Ending, descriptor, ticket
from tests.servers import Server, running

SECRET = "SECRETCELL"
CODES = {
    "invalid_request",
    "not_found",
    "table_not_found",
    "version_not_found",
    "schema_not_found",
    "bucket_not_found",
    "bucket_unavailable",
    "limit_exceeded",
    "permission_denied",
    "unsupported",
    "unavailable",
    "table_damaged",
    "conflict",
}
_FORBIDDEN = re.compile(
    r"/|file:|\.parquet|\.json|_delta_log|part-\d|SECRETCELL|77777|Traceback|File \"|\.rs\b|at 0x"
    r"|Exec:|Projection:|TableScan|Filter:|\?table\?|DataFusion|ArrowError|ParquetError|panicked"
    r"|External\(|Context\(|Some\("
)

WRONG = [
    ";",
    "SELECT",
    "SELEC 1",
    "SELECT 1; SELECT 2",
    "SELECT * FROM nothing",
    "SELECT * FROM sales.nothing",
    "SELECT * FROM nowhere.orders",
    "SELECT * FROM elsewhere.sales.orders",
    "SELECT * FROM a.b.c.d",
    "SELECT nothing FROM sales.orders",
    "SELECT nothing(1)",
    "SELECT o.nothing FROM sales.orders o",
    "SELECT x.order_id FROM sales.orders o",
    "SELECT order_id FROM sales.orders a, sales.orders b",
    "SELECT sum(note) FROM sales.orders",
    "SELECT abs(note) FROM sales.orders",
    "SELECT order_id, count(*) FROM sales.orders",
    "SELECT count(*) FROM sales.orders GROUP BY 9",
    "SELECT * FROM sales.orders ORDER BY 99",
    "SELECT * FROM sales.orders WHERE sum(order_id) > 1",
    "SELECT * FROM sales.orders WHERE note",
    "SELECT * FROM sales.orders WHERE order_id = 'abc'",
    "SELECT * FROM sales.orders LIMIT -1",
    "SELECT * FROM sales.orders LIMIT 'x'",
    "SELECT CAST('abc' AS INT)",
    "SELECT DATE '2020-99-99'",
    "SELECT INTERVAL 'x'",
    "SELECT $1",
    "SELECT ?",
    "SELECT 1/0",
    'SELECT 1 AS "a\0b"',
    "SELECT 'abc",
    'SELECT "abc',
    "SELECT /* open",
    "SELECT (SELECT 1, 2)",
    "SELECT (SELECT order_id FROM sales.orders)",
    "SELECT * FROM (SELECT 1",
    "SELECT 1 UNION SELECT 1, 2",
    "WITH a AS (SELECT 1) SELECT * FROM b",
    "SELECT * FROM sales.orders VERSION AS OF 99",
    "SELECT * FROM sales.orders VERSION AS OF -1",
    "SELECT * FROM sales.orders TIMESTAMP AS OF '1970-01-01T00:00:00Z'",
    "SELECT * FROM sales.orders TIMESTAMP AS OF 'yesterday'",
    'SELECT * FROM sales."orders@v99"',
    "SELECT * FROM sales.orders TABLESAMPLE (1 PERCENT)",
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM read_csv('/etc/passwd')",
    "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
    "COPY (SELECT 1) TO '/tmp/x.parquet'",
    "CREATE TABLE x AS SELECT nothing FROM sales.orders",
    "DROP TABLE sales.nothing",
    "INSERT INTO sales.orders SELECT 1",
    "DELETE FROM sales.orders WHERE nothing = 1",
    "UPDATE sales.orders SET nothing = 1",
    "SET datafusion.execution.batch_size = 1",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "BEGIN",
    "VALUES (1), (2, 3)",
    # Values of the data: each of these reads cells and fails on one.
    "SELECT CAST(word AS INT) FROM traps.words",
    "SELECT CAST(word AS DATE) FROM traps.words",
    "SELECT CAST(word AS TIMESTAMP) FROM traps.words",
    "SELECT CAST(word AS BOOLEAN) FROM traps.words",
    "SELECT CAST(word AS DECIMAL(5, 2)) FROM traps.words",
    "SELECT * FROM traps.words WHERE CAST(word AS INT) = 1",
    "SELECT to_timestamp(word) FROM traps.words",
    "SELECT to_date(word) FROM traps.words",
    "SELECT arrow_cast(word, 'Int8') FROM traps.words",
    "SELECT arrow_cast(number, 'Int8') FROM traps.words",
    "SELECT CAST(number AS TINYINT) FROM traps.words",
    "SELECT 1 / (number - number) FROM traps.words",
    "SELECT number % (number - number) FROM traps.words",
    "SELECT regexp_like(word, word || '(') FROM traps.words",
    "SELECT decode(word, 'hex') FROM traps.words",
    "SELECT date_trunc(word, now()) FROM traps.words",
    "SELECT date_part(word, now()) FROM traps.words",
    "SELECT chr(-number) FROM traps.words",
    "SELECT factorial(number) FROM traps.words",
    "SELECT (SELECT word FROM traps.words) = 'x'",
]
BROKEN = [
    "broken_log",
    "no_data_file",
    "corrupt_data",
    "empty_data",
    "gap_in_log",
    "unreadable",
    "corrupt_parquet",
]


def _data_files(table: Path) -> list[Path]:
    return [path for path in table.glob("*.parquet") if path.is_file()]


def _build(lake: Path) -> None:
    words = pa.table({"word": [f"{SECRET} {i}" for i in range(50)], "number": [77777] * 50})
    write(lake / "traps" / "words", words)
    write(lake / "sales" / "orders", orders_table(100))
    for name in BROKEN[:-1]:
        for _ in range(3):
            write(lake / "broken" / name, words)
    log = lake / "broken" / "broken_log" / "_delta_log" / f"{2:020}.json"
    log.write_text('{"add": {"path": "' + SECRET)
    (lake / "broken" / "gap_in_log" / "_delta_log" / f"{1:020}.json").unlink()
    for path in _data_files(lake / "broken" / "no_data_file"):
        path.unlink()
    for path in _data_files(lake / "broken" / "corrupt_data"):
        data = bytearray(path.read_bytes())
        data[4 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4)
        path.write_bytes(data)
    for path in _data_files(lake / "broken" / "empty_data"):
        path.write_bytes(b"")
    shutil.rmtree(lake / "broken" / "unreadable" / "_delta_log")
    # A file where the folder of the log should be: unreadable for root as well.
    (lake / "broken" / "unreadable" / "_delta_log").write_text(SECRET)
    (lake / "broken" / "corrupt_parquet.parquet").write_bytes(b"PAR1" + SECRET.encode() + b"PAR1")
    pq.write_table(words, lake / "broken" / "healthy.parquet")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server over tables of which many are damaged, with one bucket that is away."""
    lake = tmp_path_factory.mktemp("damaged")
    _build(lake)
    away = {"LAKEFLIGHT_STORAGE__BUCKETS": '{"away": "/nowhere/at/all"}'}
    with running(lake, environment=away) as server:
        yield server


def assert_says_nothing(text: str, sql: str, directory: Path) -> None:
    """Fail when an error tells what it must not; what the statement itself says is no secret."""
    for word in sorted(re.findall(r"'[^']*'|\"[^\"]*\"|\S+", sql), key=len, reverse=True):
        text = text.replace(word.strip("'\"();,"), "") if word.strip("'\"();,") else text
    found = _FORBIDDEN.search(text)
    assert found is None, f"{found} in {text}"
    assert str(directory) not in text


@pytest.mark.parametrize("sql", WRONG)
def test_a_wrong_query_is_told_so_and_nothing_else(damaged: Server, sql: str) -> None:
    failure = failure_of(damaged, sql)
    assert failure.code in CODES, failure
    assert failure.code not in {"unavailable", "table_damaged"}, failure
    assert_says_nothing(failure.message, sql, damaged.directory)
    assert len(failure.message) < 1500


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_table_says_that_it_is_and_nothing_else(damaged: Server, name: str) -> None:
    sql = f"SELECT * FROM broken.{name}"
    failure = failure_of(damaged, sql)
    assert failure.code in CODES - {"invalid_request", "limit_exceeded"}, failure
    assert_says_nothing(failure.message, sql, damaged.directory)


def test_a_bucket_that_is_away_says_so_and_nothing_else(damaged: Server) -> None:
    failure = failure_of(damaged, "SELECT * FROM away.sales.orders")
    assert failure.code in CODES, failure
    assert_says_nothing(failure.message, "away.sales.orders", damaged.directory)


def test_broken_tables_and_buckets_do_not_hide_the_healthy_ones(damaged: Server) -> None:
    assert damaged.fetch("SELECT count(*) AS n FROM sales.orders").to_pylist() == [{"n": 100}]
    assert damaged.fetch("SELECT count(*) AS n FROM broken.healthy").to_pylist() == [{"n": 50}]
    with damaged.connect() as connection:
        listed = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    names = {
        table["table_name"]
        for catalog in listed
        for schema in catalog["catalog_db_schemas"] or []
        for table in schema["db_schema_tables"] or []
    }
    assert {"orders", "words", "healthy"} <= names


@pytest.fixture(scope="module")
def caller(damaged: Server) -> Iterator[Caller]:
    made = Caller.connect(damaged)
    yield made
    made.close()


def _endings(caller: Caller, sql: str) -> Iterator[Ending]:
    command = commands.encode_command(commands.StatementQuery(sql))
    for method in ("GetFlightInfo", "GetSchema"):
        yield caller.call(method, descriptor(command))
    yield caller.call("DoGet", ticket(command))


def test_nothing_else_crosses_the_wire_either(caller: Caller, damaged: Server) -> None:
    """All trailers of all methods, as bytes, for every wrong query and every broken table."""
    for sql in [*WRONG, *(f"SELECT * FROM broken.{name}" for name in BROKEN)]:
        for ending in _endings(caller, sql):
            if ending.status == "OK":
                continue  # it fails when it runs, which is tested above
            assert ending.code in CODES, ending
            text = ending.everything().replace("\\", "").replace("Python exception", "")
            assert_says_nothing(text, sql, damaged.directory)
