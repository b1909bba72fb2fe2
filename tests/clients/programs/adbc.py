"""The Flight SQL driver of ADBC through its Python DBAPI, in any version."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.clients.cases import Program, Site
from tests.clients.programs import adbc_ingest, adbc_writes
from tests.clients.programs.adbc_connect import connect, fetch, refusal
from tests.wire import kinds

PROGRAM = Program(("adbc-driver-flightsql", "adbc-driver-manager"))
ENDLESS = (
    "SELECT sum(a.order_id * b.order_id % 7 + c.order_id) "
    "FROM sales.orders a, sales.orders b, sales.orders c"
)
CANCEL_SECONDS_MAX = 10.0


@PROGRAM.case("connect")
def signs_in_with_user_and_password(site: Site) -> None:
    assert fetch(site, "SELECT 1 AS one").to_pylist() == [{"one": 1}]


@PROGRAM.case("connect")
def is_refused_with_a_wrong_password(site: Site) -> None:
    text = refusal(lambda: connect(site, password="wrong"))
    assert "UNAUTHENTICATED" in text.upper(), text
    assert site.password not in text


@PROGRAM.case("connect")
def signs_in_with_a_token(site: Site) -> None:
    header = {
        "username": None,
        "password": None,
        "adbc.flight.sql.authorization_header": f"Bearer {site.user_token}",
    }
    with connect(site, **header) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sales.orders")
        assert cursor.fetchone() == (10_000,)


@PROGRAM.case("connect")
def signs_in_with_a_token_as_password(site: Site) -> None:
    with (
        connect(site, username="token", password=site.user_token) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


@PROGRAM.case("connect")
def trusts_the_certificate_that_it_is_given(site: Site) -> None:
    roots = Path(site.certificate).read_text(encoding="ascii")
    options = {"adbc.flight.sql.client_option.tls_root_certs": roots}
    with connect(site, site.tls_uri, **options) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sales.orders")
        assert cursor.fetchone() == (10_000,)


@PROGRAM.case("connect", "sessions")
def knows_its_catalog_and_schema(site: Site) -> None:
    with connect(site) as connection, connect(site) as other:
        assert connection.adbc_current_catalog == "primary"
        connection.adbc_current_db_schema = "sales"
        assert connection.adbc_current_db_schema == "sales"
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM orders")
            assert cursor.fetchone() == (10_000,)
        assert other.adbc_current_db_schema != "sales"
        refusal(lambda: setattr(connection, "adbc_current_catalog", "nowhere"))
        assert connection.adbc_current_catalog == "primary"


@PROGRAM.case("connect", "sessions", "statements")
def tells_sql_where_it_is(site: Site) -> None:
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.execute("USE sales")
        cursor.execute("SELECT current_catalog(), current_schema(), current_user")
        assert cursor.fetchone() == ("primary", "sales", site.username)


@PROGRAM.case("browse")
def lists_catalogs_schemas_tables_and_columns(site: Site) -> None:
    with connect(site) as connection:
        reader = connection.adbc_get_objects(
            depth="all", catalog_filter="primary", db_schema_filter="sales"
        )
        (catalog,) = reader.read_all().to_pylist()
    assert catalog["catalog_name"] == "primary"
    (schema,) = catalog["catalog_db_schemas"]
    assert schema["db_schema_name"] == "sales"
    tables = {table["table_name"]: table for table in schema["db_schema_tables"]}
    assert {"orders", "regions", "empty"} <= set(tables)
    columns = [c["column_name"] for c in tables["orders"]["table_columns"]]
    assert columns == ["order_id", "customer", "amount", "ordered_on", "note"]
    assert [c["ordinal_position"] for c in tables["orders"]["table_columns"]] == [1, 2, 3, 4, 5]


@PROGRAM.case("browse")
def filters_by_patterns(site: Site) -> None:
    with connect(site) as connection:
        reader = connection.adbc_get_objects(
            depth="tables", db_schema_filter="s_les", table_name_filter="o%"
        )
        found = [
            (schema["db_schema_name"], table["table_name"])
            for catalog in reader.read_all().to_pylist()
            for schema in catalog["catalog_db_schemas"] or []
            for table in schema["db_schema_tables"] or []
        ]
    assert found == [("sales", "orders")]


@PROGRAM.case("browse")
def describes_one_table(site: Site) -> None:
    with connect(site) as connection:
        schema = connection.adbc_get_table_schema("every", db_schema_filter="types")
        refusal(lambda: connection.adbc_get_table_schema("ever_", db_schema_filter="types"))
    assert schema.remove_metadata().names == kinds.SCHEMA.names
    assert schema.types == kinds.SCHEMA.types


@PROGRAM.case("browse")
def lists_types_of_tables_and_facts(site: Site) -> None:
    with connect(site) as connection:
        assert "BASE TABLE" in connection.adbc_get_table_types()
        facts = connection.adbc_get_info()
    assert facts["vendor_name"]
    assert facts["vendor_version"]
    assert facts["driver_name"].startswith("ADBC Flight SQL Driver")


@PROGRAM.case("query")
def fetches_rows_and_tables(site: Site) -> None:
    sql = "SELECT order_id, customer FROM sales.orders WHERE order_id <= 3 ORDER BY order_id"
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        assert [d[0] for d in cursor.description] == ["order_id", "customer"]
        assert cursor.fetchone() == (1, "customer-000")
        assert cursor.fetchmany(5) == [(2, "customer-001"), (3, "customer-002")]
        cursor.execute(sql)  # the same text uses the handle again
        assert cursor.fetch_arrow_table().num_rows == 3
        cursor.execute("SELECT order_id FROM sales.empty")
        assert cursor.fetchall() == []


@PROGRAM.case("query")
def streams_a_large_result(site: Site) -> None:
    sql = "SELECT a.order_id, b.customer FROM sales.orders a, sales.orders b WHERE b.order_id < 200"
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        rows = sum(batch.num_rows for batch in cursor.fetch_record_batch())
    assert rows == 10_000 * 199


@PROGRAM.case("query")
def leaves_a_result_half_read(site: Site) -> None:
    with connect(site) as connection:
        for _ in range(5):
            with connection.cursor() as cursor:
                cursor.execute("SELECT a.* FROM sales.orders a, sales.orders b")
                assert cursor.fetchone() is not None
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == [(1,)]


@PROGRAM.case("query")
def knows_a_schema_before_it_runs(site: Site) -> None:
    with connect(site) as connection, connection.cursor() as cursor:
        schema = cursor.adbc_execute_schema("SELECT order_id, note FROM sales.orders")
        assert schema.names == ["order_id", "note"]
        assert schema.types == [pa.int64(), pa.string()]


@PROGRAM.case("query")
def reads_partitions(site: Site) -> None:
    with connect(site) as connection, connection.cursor() as cursor:
        partitions, schema = cursor.adbc_execute_partitions("SELECT order_id FROM sales.orders")
        rows = 0
        for partition in partitions:
            cursor.adbc_read_partition(partition)
            rows += cursor.fetch_arrow_table().num_rows
    assert rows == 10_000
    assert schema is None or schema.names == ["order_id"]


@PROGRAM.case("query")
def shows_errors_as_they_are(site: Site) -> None:
    text = refusal(lambda: fetch(site, "SELECT nothing FROM sales.orders"))
    assert "nothing" in text
    assert "Traceback" not in text
    assert "mismatch" not in text, "the details of the error disagree with its status"
    text = refusal(lambda: fetch(site, "SELECT * FROM sales.nowhere"))
    assert "nowhere" in text
    refusal(lambda: fetch(site, "SELEC 1"))


def _bound(site: Site, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


@PROGRAM.case("parameters", "parameters")
def binds_question_marks_and_numbers(site: Site) -> None:
    sql = "SELECT customer FROM sales.orders WHERE order_id = {} AND customer LIKE {}"
    expected = [("customer-006",)]
    assert _bound(site, sql.format("?", "?"), 7, "cust%") == expected
    assert _bound(site, sql.format("$1", "$2"), 7, "cust%") == expected
    sql = "SELECT '?' || customer -- ?\n, 'a''?', \"customer\" /* $9 */ FROM sales.orders"
    assert _bound(site, f"{sql} WHERE order_id = ?", 1) == [
        ("?customer-000", "a'?", "customer-000")
    ]


@PROGRAM.case("parameters", "parameters")
def joins_texts_that_are_all_bound(site: Site) -> None:
    assert _bound(site, "SELECT $2 || $1", "b", "a") == [("ab",)]


@PROGRAM.case("parameters", "parameters")
def never_takes_a_value_for_sql(site: Site) -> None:
    text = "x' OR '1'='1"
    assert _bound(site, "SELECT count(*) FROM sales.orders WHERE customer = ?", text) == [(0,)]
    assert _bound(site, "SELECT ? || ''", text) == [(text,)]


@PROGRAM.case("parameters", "parameters")
def knows_what_parameters_are_of(site: Site) -> None:
    with connect(site) as connection, connection.cursor() as cursor:
        schema = cursor.adbc_prepare(
            "SELECT order_id FROM sales.orders WHERE order_id > ? AND amount < ? AND note = ?"
        )
    assert schema is not None
    assert schema.types == [pa.int64(), pa.decimal128(12, 2), pa.string()]


@PROGRAM.case("parameters", "parameters")
def runs_a_prepared_text_again_with_other_values(site: Site) -> None:
    sql = "SELECT order_id FROM sales.orders WHERE order_id = ?"
    with connect(site) as connection, connection.cursor() as cursor:
        for wanted in (1, 5_000, 10_000, 10_001):
            cursor.execute(sql, (wanted,))
            assert cursor.fetchall() == ([(wanted,)] if wanted <= 10_000 else [])


@PROGRAM.case("parameters", "parameters")
def joins_the_results_of_several_rows(site: Site) -> None:
    rows = pa.RecordBatch.from_pydict({"0": [3, 1, 2]})
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT order_id FROM sales.orders WHERE order_id = ?", rows)
        assert cursor.fetchall() == [(3,), (1,), (2,)]


COMPARED: dict[str, Any] = {
    "a_boolean": True,
    "an_int8": 1,
    "an_int16": 1,
    "an_int32": 1,
    "an_int64": kinds.INT64 - 1,
    "a_float32": 1.5,
    "a_float64": 0.1,
    "a_decimal": Decimal("1.50"),
    "widest_decimal": kinds.WIDEST,
    "finest_decimal": kinds.FINEST,
    "a_string": "zürich ☃ 𝄞 \u202e",
    "a_binary": b"\0\xff\xfe",
    "a_date": date(2024, 2, 29),
    "a_timestamp": datetime(2024, 2, 29, 1, 2, 3, 456789, UTC),
    "a_timestamp_ntz": datetime(2024, 3, 31, 2, 30),  # noqa: DTZ001  it has no zone
}


@PROGRAM.case("parameters", "parameters")
def finds_rows_by_values_of_every_type(site: Site) -> None:
    wrong = []
    for name, value in COMPARED.items():
        sql = f'SELECT "{name}" FROM types.every WHERE "{name}" = ?'
        rows = _bound(site, sql, value)
        if not rows or set(rows) != {(value,)}:
            wrong.append(f"{name}: {rows}")
        if _bound(site, sql, None):
            wrong.append(f"{name}: NULL equals something")
    assert not wrong, "\n".join(wrong)


@PROGRAM.case("parameters", "parameters")
def binds_places_that_say_nothing_of_their_type(site: Site) -> None:
    assert len(_bound(site, "SELECT order_id FROM sales.orders LIMIT ?", 3)) == 3
    assert _bound(site, "SELECT CAST(? AS BIGINT) + 1", 41) == [(42,)]
    assert _bound(site, "SELECT count(*) FROM sales.orders WHERE order_id IN (?, ?)", 1, 2) == [
        (2,)
    ]
    assert _bound(
        site, "SELECT coalesce(note, ?) FROM sales.orders WHERE order_id = 2", "none"
    ) == [("none",)]


@PROGRAM.case("parameters", "parameters")
def is_told_of_a_wrong_number_of_values(site: Site) -> None:
    sql = "SELECT order_id FROM sales.orders WHERE order_id = ? OR order_id = ?"
    assert _bound(site, sql, 1, 1) == [(1,)]
    for values in ((1,), (1, 2, 3)):
        text = refusal(partial(_bound, site, sql, *values))
        assert "parameter" in text.lower(), text
    text = refusal(lambda: fetch(site, sql))
    assert "parameter" in text.lower(), text


@PROGRAM.case("parameters", "parameters")
def is_told_of_a_value_that_does_not_fit(site: Site) -> None:
    sql = "SELECT row FROM types.every WHERE an_int8 = ?"
    assert _bound(site, sql, 1) == [(0,)]
    refusal(lambda: _bound(site, sql, "not a number"))


@PROGRAM.case("cancel")
def ends_a_running_query(site: Site) -> None:
    with connect(site) as connection:
        _cancelled(connection, lambda cursor: cursor.fetchall())
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == [(1,)]


@PROGRAM.case("cancel")
def ends_with_its_deadline(site: Site) -> None:
    options = {"adbc.flight.sql.rpc.timeout_seconds.fetch": "0.5"}
    began = time.monotonic()
    with connect(site, connection_options=options) as connection, connection.cursor() as cursor:

        def run() -> None:
            cursor.execute(ENDLESS)
            cursor.fetchall()

        text = refusal(run)
    assert "deadline" in text.lower().replace("_", " "), text
    assert time.monotonic() - began < CANCEL_SECONDS_MAX


def _cancelled(connection: Any, read: Callable[[Any], object]) -> None:
    """Run a query without end and cancel it from another thread; it must end soon."""
    with connection.cursor() as cursor:
        timer = threading.Timer(0.7, cursor.adbc_cancel)
        timer.start()
        began = time.monotonic()

        def run() -> None:
            cursor.execute(ENDLESS)
            read(cursor)

        text = refusal(run)
        took = time.monotonic() - began
        timer.join()
    assert "cancel" in text.lower(), text
    assert took < CANCEL_SECONDS_MAX, took


@PROGRAM.case("types")
def reads_every_type_to_the_bit(site: Site) -> None:
    assert kinds.same(fetch(site, "SELECT * FROM types.every ORDER BY row"), kinds.every_kind())


@PROGRAM.case("types")
def reads_every_type_as_python_values(site: Site) -> None:
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM types.every ORDER BY row")
        rows = cursor.fetchall()
    expected = [tuple(row.values()) for row in kinds.every_kind().to_pylist()]
    assert repr(rows) == repr(expected)


adbc_writes.add_to(PROGRAM)
adbc_ingest.add_to(PROGRAM)

if __name__ == "__main__":
    PROGRAM.main()
