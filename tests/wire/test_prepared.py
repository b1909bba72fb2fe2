"""Statement queries, prepared queries, and the tickets that both hand out."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.flight as fl
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from flight_server.protocol import actions, commands
from tests.lakehouse import ORDERS_ROWS, build_lakehouse, orders_table, write
from tests.servers import Server, running, wait_until
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.raw import RawClient, error_code, refused

_TICKET_SECONDS = 3


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of our own: two users, and tickets that last for seconds."""
    directory = tmp_path_factory.mktemp("strict")
    build_lakehouse(directory)
    environment = {
        "LAKEFLIGHT_LIMITS__TICKET_SECONDS_MAX": str(_TICKET_SECONDS),
        "LAKEFLIGHT_GRANTS": '[{"privilege": "read", "resource": "primary", "user": "ann"},'
        ' {"privilege": "read", "resource": "primary", "user": "bob"}]',
    }
    with running(directory, environment=environment) as server:
        for name in ("ann", "bob"):
            add_user(directory, name)
        yield server


QUERIES = [
    "SELECT * FROM sales.orders ORDER BY order_id",
    "SELECT count(*) AS n FROM sales.orders",
    "SELECT * FROM sales.orders WHERE order_id < 0",
    "SELECT customer, sum(amount) AS total FROM sales.orders GROUP BY 1 ORDER BY 1",
    "SELECT 1 AS one",
    "SELECT * FROM information_schema.tables ORDER BY 1, 2, 3",
    "  SELECT 1 AS one ; ",
    "-- a comment\nSELECT 1 AS one",
    "(SELECT 1 AS one)",
    "VALUES (1, 'a'), (2, NULL)",
    "WITH t AS (SELECT 1 AS x) SELECT x FROM t",
    "SHOW TABLES",
    "DESCRIBE sales.orders",
    "EXPLAIN SELECT 1",
]


@pytest.mark.parametrize("sql", QUERIES)
def test_every_way_announces_and_sends_the_same_schema(raw: RawClient, sql: str) -> None:
    prepared = raw.prepare(sql)
    by_handle = commands.PreparedStatementQuery(prepared.prepared_statement_handle)
    direct, through_handle = raw.info(sql), raw.info(by_handle)
    (endpoint,), (other,) = direct.endpoints, through_handle.endpoints
    rows, same_rows = raw.read(endpoint.ticket), raw.read(other.ticket)
    schemas = [
        pa.ipc.read_schema(pa.py_buffer(prepared.dataset_schema)),
        direct.schema,
        through_handle.schema,
        raw.schema(sql),
        raw.schema(by_handle),
        rows.schema,
        same_rows.schema,
    ]
    assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    assert len(schemas[0]) > 0
    assert rows.equals(same_rows)
    assert prepared.is_update is False
    assert len(pa.ipc.read_schema(pa.py_buffer(prepared.parameter_schema))) == 0


def test_a_handle_may_be_used_again_and_sees_the_newest_rows(
    raw: RawClient, lakehouse: Path
) -> None:
    write(lakehouse / "prepared" / "growing", pa.table({"x": [1]}))
    handle = raw.prepare("SELECT count(*) AS n FROM prepared.growing").prepared_statement_handle
    command = commands.PreparedStatementQuery(handle)
    assert raw.fetch(command).to_pylist() == [{"n": 1}]
    write(lakehouse / "prepared" / "growing", pa.table({"x": [2]}))
    assert raw.fetch(command).to_pylist() == [{"n": 2}]
    assert raw.act(actions.ClosePreparedStatement(handle)) == []
    assert raw.act(actions.ClosePreparedStatement(handle)) == []


def test_a_ticket_may_be_used_again_and_keeps_its_version(raw: RawClient, lakehouse: Path) -> None:
    folder = lakehouse / "prepared" / "pinned"
    write(folder, pa.table({"x": [1, 2]}))
    (endpoint,) = raw.info("SELECT x FROM prepared.pinned ORDER BY x").endpoints
    assert raw.read(endpoint.ticket).to_pydict() == {"x": [1, 2]}
    assert raw.read(endpoint.ticket).to_pydict() == {"x": [1, 2]}
    write(folder, pa.table({"x": [3]}))
    assert raw.read(endpoint.ticket).to_pydict() == {"x": [1, 2]}
    assert raw.fetch("SELECT x FROM prepared.pinned ORDER BY x").to_pydict() == {"x": [1, 2, 3]}


def test_a_ticket_keeps_its_version_also_when_the_schema_changed(
    raw: RawClient, lakehouse: Path
) -> None:
    folder = lakehouse / "prepared" / "changing"
    write(folder, pa.table({"x": [1]}))
    (endpoint,) = raw.info("SELECT * FROM prepared.changing").endpoints
    write_deltalake(folder, pa.table({"y": ["a"]}), mode="overwrite", schema_mode="overwrite")
    assert raw.read(endpoint.ticket).to_pydict() == {"x": [1]}
    assert raw.fetch("SELECT * FROM prepared.changing").to_pydict() == {"y": ["a"]}


def test_one_table_at_two_versions_keeps_both(raw: RawClient, lakehouse: Path) -> None:
    folder = lakehouse / "prepared" / "both"
    write(folder, pa.table({"x": [1]}))
    write(folder, pa.table({"x": [2]}))
    (endpoint,) = raw.info(
        "SELECT (SELECT count(*) FROM prepared.both) AS now,"
        " (SELECT count(*) FROM prepared.both VERSION AS OF 0) AS before"
    ).endpoints
    write(folder, pa.table({"x": [3]}))
    assert raw.read(endpoint.ticket).to_pylist() == [{"now": 2, "before": 1}]


def test_a_ticket_of_replaced_parquet_is_a_conflict(raw: RawClient, lakehouse: Path) -> None:
    file = lakehouse / "prepared" / "plain.parquet"
    file.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"x": [1]}), file)
    (endpoint,) = raw.info("SELECT * FROM prepared.plain").endpoints
    assert raw.read(endpoint.ticket).to_pydict() == {"x": [1]}
    file.unlink()
    pq.write_table(pa.table({"x": [1, 2]}), file)
    assert refused(lambda: raw.read(endpoint.ticket)) == "conflict"
    assert raw.fetch("SELECT * FROM prepared.plain").num_rows == 2


def test_there_is_one_endpoint_here_and_it_says_when_it_expires(raw: RawClient) -> None:
    info = raw.info("SELECT * FROM sales.orders")
    (endpoint,) = info.endpoints
    assert endpoint.locations == []
    left = endpoint.expiration_time.as_py() - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(minutes=60)
    assert (info.total_records, info.total_bytes) == (-1, -1)


def test_the_driver_reads_partitions_one_by_one(adbc: flightsql.Connection) -> None:
    with adbc.cursor() as cursor:
        partitions, schema = cursor.adbc_execute_partitions("SELECT * FROM sales.orders")
        (partition,) = partitions
        assert schema is None or schema.equals(orders_table(1).schema)
        for _ in range(2):
            cursor.adbc_read_partition(partition)
            assert cursor.fetch_arrow_table().num_rows == ORDERS_ROWS


def test_the_driver_knows_the_schema_before_it_runs(adbc: flightsql.Connection) -> None:
    with adbc.cursor() as cursor:
        schema = cursor.adbc_execute_schema("SELECT * FROM sales.orders")
        assert schema.equals(orders_table(1).schema)
        assert cursor.adbc_prepare("SELECT 1 AS one") is not None
        cursor.execute("SELECT 1 AS one")
        assert cursor.fetchall() == [(1,)]
        cursor.execute("SELECT 1 AS one")
        assert cursor.fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM nothing", "table_not_found"),
        ("SELECT nothing FROM events", "invalid_request"),
        ("SELEC 1", "invalid_request"),
        ("", "invalid_request"),
        ("   -- nothing\n", "invalid_request"),
        ("SELECT 1; SELECT 2", "invalid_request"),
        ("CREATE INDEX i ON events (id)", "unsupported"),
        ("INSERT events", "invalid_request"),
        ("UPDATE events SET", "invalid_request"),
    ],
)
def test_what_cannot_be_prepared_cannot_be_planned_either(
    raw: RawClient, sql: str, code: str
) -> None:
    assert refused(lambda: raw.info(sql)) == code
    assert refused(lambda: raw.prepare(sql)) == code
    with pytest.raises(pa.ArrowException):  # GetSchema has no room for a code in this client
        raw.schema(sql)


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT kind COLLATE "C" FROM events',
        "SELECT * FROM events PIVOT (max(id) FOR kind IN ('a'))",
    ],
)
def test_a_form_that_is_not_supported_is_named_in_few_words(raw: RawClient, sql: str) -> None:
    with pytest.raises(fl.FlightError, match="not supported: ") as failed:
        raw.info(sql)
    assert error_code(failed.value) == "unsupported"
    words = json.loads(failed.value.extra_info)["message"]
    assert not any(mark in words for mark in "{[]}")
    assert len(words) < 100


@pytest.mark.parametrize(
    "sql", ["SELECT id FROM events WHERE id = ?", "SELECT id FROM events WHERE id = $1"]
)
def test_parameters_are_announced_bound_and_never_missing(
    raw: RawClient, adbc: flightsql.Connection, sql: str
) -> None:
    announced = pa.ipc.read_schema(pa.py_buffer(raw.prepare(sql).parameter_schema))
    assert announced.types == [pa.int64()]
    assert refused(lambda: raw.fetch(sql)) == "invalid_request"  # there are no values
    with adbc.cursor() as cursor:
        cursor.execute(sql, (2,))
        assert cursor.fetchall() == [(2,)]
        cursor.execute(sql, ("3",))
        assert cursor.fetchall() == [(3,)]
        assert refused(lambda: cursor.execute(sql, (1, 2))) == "invalid_request"


def test_a_statement_that_writes_is_prepared_as_an_update_and_does_nothing_yet(
    raw: RawClient, lakehouse: Path
) -> None:
    write(lakehouse / "prepared" / "untouched", pa.table({"x": [1]}))
    for sql, types in (
        ("INSERT INTO prepared.untouched VALUES (2)", []),
        ("INSERT INTO prepared.untouched VALUES (?)", [pa.int64()]),
        ("UPDATE prepared.untouched SET x = ? WHERE x = ?", [pa.int64()] * 2),
        ("DELETE FROM prepared.untouched WHERE x = $1", [pa.int64()]),
        ("CREATE TABLE prepared.unmade (x BIGINT)", []),
        ("DROP TABLE prepared.untouched", []),
    ):
        prepared = raw.prepare(sql)
        assert prepared.is_update is True
        assert prepared.dataset_schema == b""
        announced = pa.ipc.read_schema(pa.py_buffer(prepared.parameter_schema))
        assert announced.types == types
        assert len(raw.schema(sql)) == 0
    assert raw.fetch("SELECT x FROM prepared.untouched").to_pydict() == {"x": [1]}
    assert refused(lambda: raw.info("SELECT * FROM prepared.unmade")) == "table_not_found"


def test_what_is_written_takes_effect_once_whichever_way_it_comes(
    raw: RawClient, adbc: flightsql.Connection, lakehouse: Path
) -> None:
    write(lakehouse / "prepared" / "ways", pa.table({"x": [0]}))
    insert = "INSERT INTO prepared.ways VALUES ({})".format
    with adbc.cursor() as cursor:
        cursor.execute(insert(1))  # prepared, and executed as a query
        cursor.executescript(insert(2))  # an update that was never prepared
        cursor.executemany(insert("?"), [(3,), (4,)])
        cursor.adbc_ingest(
            "ways", pa.table({"x": [5, 6]}), mode="append", db_schema_name="prepared"
        )
    info = raw.info(insert(7))  # executed, and never fetched
    assert (info.total_records, len(info.schema)) == (1, 0)
    assert raw.fetch(insert(8)).num_rows == 0  # fetched: not once more
    handle = raw.prepare(insert(9)).prepared_statement_handle
    assert raw.info(commands.PreparedStatementQuery(handle)).total_records == 1
    assert raw.fetch("SELECT x FROM prepared.ways ORDER BY x").to_pydict() == {"x": [*range(10)]}


def test_rows_are_changed_and_counted(adbc: flightsql.Connection, lakehouse: Path) -> None:
    write(lakehouse / "prepared" / "changed", pa.table({"x": [1, 2, 3]}))
    with adbc.cursor() as cursor:
        for sql, rows in (
            ("UPDATE prepared.changed SET x = x + 10 WHERE x > 1", 2),
            ("DELETE FROM prepared.changed WHERE x = 1", 1),
            ("DELETE FROM prepared.changed WHERE x = 1", 0),
            ("INSERT INTO prepared.changed SELECT x + 1 FROM prepared.changed", 2),
            ("CREATE TABLE prepared.made (x BIGINT)", -1),
            ("DROP TABLE prepared.made", -1),
        ):
            cursor.adbc_statement.set_sql_query(sql)
            assert cursor.adbc_statement.execute_update() == rows
        cursor.execute("SELECT x FROM prepared.changed ORDER BY x")
        assert cursor.fetchall() == [(12,), (13,), (13,), (14,)]


def _ticket(client: RawClient, sql: str = "SELECT count(*) AS n FROM sales.orders") -> bytes:
    (endpoint,) = client.info(sql).endpoints
    ticket: bytes = endpoint.ticket.ticket
    return ticket


def test_an_expired_ticket_is_refused_and_a_new_one_works(strict: Server) -> None:
    with RawClient.connect(strict) as client:
        ticket = _ticket(client)
        (endpoint,) = client.info("SELECT 1").endpoints
        expires_at = endpoint.expiration_time.as_py()
        assert expires_at - datetime.now(UTC) <= timedelta(seconds=_TICKET_SECONDS)
        assert client.read(ticket).num_rows == 1
        wait_until(lambda: datetime.now(UTC) > expires_at, what="the end of the ticket")
        assert refused(lambda: client.read(ticket)) == "ticket_expired"
        assert client.read(_ticket(client)).num_rows == 1


def test_the_ticket_and_the_handle_of_somebody_else_are_refused(strict: Server) -> None:
    with (
        RawClient.connect(strict, "ann", PASSWORD) as ann,
        RawClient.connect(strict, "bob", PASSWORD) as bob,
    ):
        handle = ann.prepare("SELECT 1 AS one").prepared_statement_handle
        command = commands.PreparedStatementQuery(handle)
        assert ann.read(_ticket(ann)).num_rows == 1
        assert bob.read(_ticket(bob)).num_rows == 1
        ticket = _ticket(ann)
        assert refused(lambda: bob.read(ticket)) == "permission_denied"
        assert refused(lambda: bob.info(command)) == "permission_denied"
        assert refused(lambda: bob.act(actions.ClosePreparedStatement(handle))) == (
            "permission_denied"
        )
        with pytest.raises(pa.ArrowException):
            bob.schema(command)
        assert ann.fetch(command).to_pylist() == [{"one": 1}]


def test_two_connections_of_one_user_share_their_tickets(raw: RawClient, server: Server) -> None:
    with RawClient.connect(server) as other:
        assert other.read(_ticket(raw)).to_pylist() == [{"n": ORDERS_ROWS}]


def test_a_ticket_with_any_bit_changed_is_refused(raw: RawClient) -> None:
    command = commands.decode_command(_ticket(raw))
    assert isinstance(command, commands.TicketStatementQuery)
    sealed = command.statement_handle
    forged = [
        sealed[:at] + bytes([sealed[at] ^ 0x10]) + sealed[at + 1 :]
        for at in range(0, len(sealed), max(1, len(sealed) // 40))
    ]
    forged += [b"", sealed[:-1], sealed + b"\0", sealed[: len(sealed) // 2]]
    for handle in forged:
        ticket = commands.encode_command(commands.TicketStatementQuery(handle))
        assert refused(functools.partial(raw.read, ticket)) == "invalid_request"
    for garbage in (b"", b"\0", b"garbage", _ticket(raw)[:-1]):
        assert refused(functools.partial(raw.read, garbage)) == "invalid_request"


def test_a_handle_is_no_ticket_and_a_ticket_is_no_handle(raw: RawClient) -> None:
    handle = raw.prepare("SELECT 1").prepared_statement_handle
    forged = commands.encode_command(commands.TicketStatementQuery(handle))
    assert refused(lambda: raw.read(forged)) == "invalid_request"
    sealed = commands.decode_command(_ticket(raw))
    assert isinstance(sealed, commands.TicketStatementQuery)
    wrong = commands.PreparedStatementQuery(sealed.statement_handle)
    assert refused(lambda: raw.info(wrong)) == "invalid_request"
    assert refused(lambda: raw.info(commands.PreparedStatementQuery(b""))) == "invalid_request"


def test_a_ticket_of_another_server_is_refused(raw: RawClient, strict: Server) -> None:
    with RawClient.connect(strict) as other:
        assert refused(functools.partial(raw.read, _ticket(other))) == "invalid_request"


def test_a_statement_itself_is_no_ticket(raw: RawClient) -> None:
    for command in (commands.StatementQuery("SELECT 1"), commands.StatementUpdate("SELECT 1")):
        ticket = commands.encode_command(command)
        assert refused(functools.partial(raw.read, ticket)) == "invalid_request"


def test_descriptors_by_path_are_refused_but_for_rows(raw: RawClient) -> None:
    descriptor = fl.FlightDescriptor.for_path("sales", "orders")

    def ask() -> Any:
        return raw.client.get_flight_info(descriptor, raw.options)

    assert refused(ask) == "unsupported"
