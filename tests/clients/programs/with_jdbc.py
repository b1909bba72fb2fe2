"""The JDBC driver of Apache Arrow, in a Java process: DBeaver, Tableau, Metabase, Spark, …"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from tests.clients.cases import Program, Site
from tests.clients.environments import jdbc_version
from tests.clients.programs import jdbc_metadata, jdbc_writes
from tests.clients.programs.jdbc_connect import (
    connected,
    machine,
    query,
    read,
    thrown,
    url,
)
from tests.clients.programs.jvm import Java, closing

PROGRAM = Program(())
ENDLESS = (
    "SELECT sum(a.order_id * b.order_id % 7 + c.order_id) "
    "FROM sales.orders a, sales.orders b, sales.orders c"
)
CANCEL_SECONDS_MAX = 10.0


@PROGRAM.case("connect")
def signs_in_with_user_and_password(site: Site) -> None:
    with connected(site) as connection:
        assert query(connection, "SELECT 1 AS one").rows == [(1,)]
        assert connection.isClosed() is False
    assert connection.isClosed() is True


@PROGRAM.case("connect")
def is_refused_with_a_wrong_password(site: Site) -> None:
    def wrong() -> None:
        with connected(site, user=site.username, password="wrong"):
            raise AssertionError("it connected")

    assert "wrong user name or password" in thrown(wrong).message


@PROGRAM.case("connect")
def signs_in_with_a_token(site: Site) -> None:
    with connected(site, token=site.user_token) as connection:
        assert query(connection, "SELECT 1 AS one").rows == [(1,)]
    with connected(site, user="token", password=site.user_token) as connection:
        assert query(connection, "SELECT 1 AS one").rows == [(1,)]


@PROGRAM.case("connect")
def trusts_the_certificate_that_it_is_given(site: Site) -> None:
    tls = {"useEncryption": "true", "tlsRootCerts": site.certificate}
    with connected(site, address=site.tls_address, **tls) as connection:
        assert query(connection, "SELECT count(*) AS n FROM sales.orders").rows == [(10_000,)]
    unverified = {"useEncryption": "true", "disableCertificateVerification": "true"}
    with connected(site, address=site.tls_address, **unverified) as connection:
        assert query(connection, "SELECT 1 AS one").rows == [(1,)]


@PROGRAM.case("connect")
def does_not_trust_a_stranger(site: Site) -> None:
    def untrusting() -> None:
        with connected(site, address=site.tls_address, useEncryption="true"):
            raise AssertionError("it connected")

    thrown(untrusting)

    def plain_with_tls() -> None:
        with connected(site, useEncryption="true"):
            raise AssertionError("it connected")

    thrown(plain_with_tls)


@PROGRAM.case("connect", "sessions")
def connects_to_a_catalog(site: Site) -> None:
    # This driver sends the catalog that it is given, keeps what setCatalog says to itself, and
    # closes the session twice, once too late.
    ours, theirs = "SELECT count(*) > 0 FROM sales.orders", "SELECT count(*) > 0 FROM auth.users"
    for catalog, right, wrong in (("primary", ours, theirs), ("system", theirs, ours)):
        connection = machine().connect(url(site, catalog=catalog), {})
        assert query(connection, right).rows == [(True,)]
        thrown(partial(query, connection, wrong))
        assert "Channel shutdown" in thrown(connection.close).message

    def nowhere() -> None:
        with connected(site, catalog="nowhere"):
            raise AssertionError("it connected")

    thrown(nowhere)


@PROGRAM.case("connect", "sessions", "statements")
def keeps_its_place_to_itself(site: Site) -> None:
    with connected(site) as connection, connected(site) as other:
        query_or_update(connection, "USE sales")
        assert query(connection, "SELECT count(*) AS n FROM orders").rows == [(10_000,)]
        thrown(lambda: query(other, "SELECT count(*) AS n FROM orders"))


def query_or_update(connection: Any, sql: str) -> None:
    """Run a statement of which a tool does not know what it is."""
    with closing(connection.createStatement()) as statement:
        statement.execute(sql)


@PROGRAM.case("connect")
def has_no_transactions(site: Site) -> None:
    with connected(site) as connection:
        assert connection.getAutoCommit() is True
        assert connection.getTransactionIsolation() == 0
        assert connection.isValid(5) is True
        assert connection.getWarnings() is None


@PROGRAM.case("query")
def streams_a_large_result(site: Site) -> None:
    sql = "SELECT a.order_id FROM sales.orders a, sales.orders b WHERE b.order_id <= 20"
    with connected(site) as connection:
        with closing(connection.createStatement()) as statement:
            statement.setFetchSize(100)
            assert statement.getFetchSize() == 100
            found = read(statement.executeQuery(sql))
        assert len(found.rows) == 200_000
        with closing(connection.createStatement()) as statement:
            statement.setMaxRows(7)
            assert len(read(statement.executeQuery(sql)).rows) == 7


@PROGRAM.case("query")
def closes_a_result_half_read(site: Site) -> None:
    sql = "SELECT a.* FROM sales.orders a, sales.orders b"
    with connected(site) as connection:
        for _ in range(3):
            with closing(connection.createStatement()) as statement:
                assert len(statement.executeQuery(sql).read(10).rows) == 10
        assert query(connection, "SELECT 1 AS one").rows == [(1,)]


@PROGRAM.case("query")
def runs_a_prepared_query_again(site: Site) -> None:
    sql = "SELECT order_id FROM sales.orders WHERE order_id <= 2 ORDER BY 1"
    with connected(site) as connection, closing(connection.prepareStatement(sql)) as prepared:
        assert prepared.getParameterMetaData().getParameterCount() == 0
        for _ in range(3):
            assert read(prepared.executeQuery()).rows == [(1,), (2,)]


@PROGRAM.case("query")
def has_no_rows(site: Site) -> None:
    # The plain statement of this driver shows the columns of an empty result twice.
    sql = "SELECT order_id, note FROM sales.orders WHERE 1 = 0"
    with connected(site) as connection:
        assert query(connection, sql).rows == []
        with closing(connection.prepareStatement(sql)) as prepared:
            assert read(prepared.executeQuery()).labels == ["order_id", "note"]


@PROGRAM.case("query")
def tells_how_wide_values_are(site: Site) -> None:
    sql = "SELECT amount, order_id, note FROM sales.orders WHERE order_id = 1"
    with connected(site) as connection:
        with closing(connection.prepareStatement(sql)) as prepared:
            shape = prepared.getMetaData()
            assert (shape.getPrecision(1), shape.getScale(1)) == (12, 2)
            assert shape.getPrecision(2) == 19
        with closing(connection.createStatement()) as statement:
            shape = statement.executeQuery(sql).getMetaData()
            assert (shape.getPrecision(1), shape.getScale(1)) == (12, 2)
            assert shape.getColumnLabel(3) == "note"


@PROGRAM.case("query")
def shows_errors_as_they_are(site: Site) -> None:
    with connected(site) as connection:
        for sql, word in {
            "SELECT * FROM sales.nowhere": "nowhere",
            "SELECT nothing FROM sales.orders": "nothing",
            "SELEC 1": "SELEC",
            "SELECT 1 / (order_id - 1) FROM sales.orders": "division by zero",
        }.items():
            error = thrown(partial(query, connection, sql))
            # What ends a stream after its first rows, the driver throws as it gets it.
            assert error.kind in {"SQLException", "FlightRuntimeException"}, error
            assert word in error.message
            assert "Traceback" not in error.message + error.causes
        assert query(connection, "SELECT 1 AS one").rows == [(1,)]


@PROGRAM.case("cancel")
def ends_a_running_query(site: Site) -> None:
    with connected(site) as connection:
        statement = connection.createStatement()
        began = time.monotonic()
        running = statement.aside("executeQuery", ENDLESS)
        assert not running.ready.wait(0.7)
        statement.cancel()
        assert "CANCELLED" in thrown(running.wait).causes
        assert time.monotonic() - began < CANCEL_SECONDS_MAX
        assert query(connection, "SELECT 1 AS one").rows == [(1,)]


@PROGRAM.case("cancel")
def ends_with_its_time(site: Site) -> None:
    with connected(site) as connection, closing(connection.createStatement()) as statement:
        statement.setQueryTimeout(1)
        began = time.monotonic()
        assert "timed out" in thrown(lambda: statement.executeQuery(ENDLESS)).message
        assert time.monotonic() - began < CANCEL_SECONDS_MAX


PLAIN: dict[str, list[Any]] = {
    "a_boolean": [True, False, True, False, None],
    "an_int8": [1, -128, 127, 0, None],
    "an_int16": [1, -(2**15), 2**15 - 1, 0, None],
    "an_int32": [1, -(2**31), 2**31 - 1, 0, None],
    "an_int64": [1, -(2**63), 2**63 - 1, 0, None],
    "a_float32": [1.5, math.inf, -math.inf, -0.0, None],
    "a_float64": [0.1, 1.7976931348623157e308, 5e-324, -0.0, None],
    "a_decimal": [Decimal(t) for t in ("1.50", "-99999999.99", "0.00", "1.00")] + [None],
    "widest_decimal": [Decimal(t) for t in ("1", "9" * 38, "-" + "9" * 38, "0")] + [None],
    "a_string": ["plain", "", "zürich ☃ 𝄞 \u202e", "a\nb\t'c' \"d\" \\ % _\0", None],
    "a_binary": [b"plain", b"", b"\0\xff\xfe", bytes(range(256)), None],
    "a_list": [[1, 2], [], [None], [2**63 - 1, None, -(2**63)], None],
}
TIMES: dict[str, list[Any]] = {
    "a_date": ["2024-02-29", "0001-01-01", "9999-12-31"],
    "a_timestamp": [
        "2024-02-29 01:02:03.456789",
        "0001-01-01 00:00:00.0",
        "9999-12-31 23:59:59.999999",
        "1969-12-31 23:59:59.999999",
    ],
    "a_timestamp_ntz": [
        "2024-03-31 02:30:00.0",
        "0001-01-01 00:00:00.0",
        "9999-12-31 23:59:59.999999",
        "1970-01-01 00:00:00.0",
    ],
}


@PROGRAM.case("types")
def reads_every_type(site: Site) -> None:
    columns = ", ".join(PLAIN)
    with connected(site) as connection:
        found = query(connection, f"SELECT {columns} FROM types.every ORDER BY row")
    for name, values in PLAIN.items():
        assert repr(found.column(name)) == repr(values), name


@PROGRAM.case("types")
def reads_dates_and_times(site: Site) -> None:
    # getObject does not know times with a zone in this driver; getTimestamp and getString do.
    getters = {
        "a_date": "getDate",
        "a_timestamp": "getTimestamp",
        "a_timestamp_ntz": "getTimestamp",
    }
    with connected(site) as connection, closing(connection.createStatement()) as statement:
        for name, getter in getters.items():
            rows = statement.executeQuery(f"SELECT {name} FROM types.every ORDER BY row")
            for expected in TIMES[name]:
                assert rows.next()
                value = getattr(rows, getter)(1)
                assert isinstance(value, Java)
                assert value.text == expected, name
                assert rows.getString(1) == expected
        moment = Java("Class", "java.time.OffsetDateTime")
        rows = statement.executeQuery("SELECT a_timestamp FROM types.every WHERE row = 0")
        assert rows.next()
        assert rows.getObject(1, moment).text == "2024-02-29T01:02:03.456789Z"


@PROGRAM.case("types")
def reads_nested_types(site: Site) -> None:
    nested = ("a_list_of_lists", "a_struct", "a_map", "a_deep_one", "a_map_of_structs")
    with connected(site) as connection:
        found = query(connection, f"SELECT {', '.join(nested)} FROM types.every ORDER BY row")
    assert len(found.rows) == 5
    assert found.rows[4] == (None,) * len(nested)
    assert dict(found.column("a_struct")[0]) == {"x": 1, "y": Java("Text", "a")}
    assert found.column("a_map")[3] == [
        [Java("Text", "x"), 2**63 - 1],
        [Java("Text", "y"), -(2**63)],
    ]


def versions() -> Mapping[str, str]:
    """Return the driver's version."""
    return {"flight-sql-jdbc-driver": jdbc_version()}


jdbc_metadata.add_to(PROGRAM)
jdbc_writes.add_to(PROGRAM)

if __name__ == "__main__":
    PROGRAM.main(versions)
