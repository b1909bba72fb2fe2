"""The plain Flight client of pyarrow, with the messages of Flight SQL put together by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from flight_server.protocol import actions, commands
from tests.clients.cases import Program, Site
from tests.wire import kinds

PROGRAM = Program(("pyarrow",))
DATA = pa.table({"id": [1, 2, 3], "name": ["a", None, "c"]})
ENDLESS = (
    "SELECT sum(a.order_id * b.order_id % 7 + c.order_id) "
    "FROM sales.orders a, sales.orders b, sales.orders c"
)
CANCEL_SECONDS_MAX = 10.0


class Client:
    """A signed-in Flight client."""

    def __init__(self, client: fl.FlightClient, headers: list[tuple[bytes, bytes]]) -> None:
        self.client = client
        self.options = fl.FlightCallOptions(headers=headers)

    def info(self, command: commands.Command | str) -> Any:
        """GetFlightInfo for a command; text is a query."""
        return self.client.get_flight_info(_descriptor(command), self.options)

    def fetch(self, command: commands.Command | str) -> pa.Table:
        """GetFlightInfo and DoGet, all rows."""
        (endpoint,) = self.info(command).endpoints
        return self.get(endpoint.ticket)

    def get(self, ticket: fl.Ticket) -> pa.Table:
        """DoGet, all rows."""
        table: pa.Table = self.client.do_get(ticket, self.options).read_all()
        return table

    def act(self, request: Any) -> list[bytes]:
        """DoAction, the bodies of the answers."""
        name, body = actions.encode_action(request)
        results = self.client.do_action(fl.Action(name, body), self.options)
        return [result.body.to_pybytes() for result in results]

    def put(self, command: commands.Command | fl.FlightDescriptor, table: pa.Table) -> bytes:
        """DoPut, the body of the first answer."""
        descriptor = command if isinstance(command, fl.FlightDescriptor) else _descriptor(command)
        writer, reader = self.client.do_put(descriptor, table.schema, self.options)
        with writer:
            writer.write_table(table)
            writer.done_writing()
            answer = reader.read()
            return answer.to_pybytes() if answer is not None else b""

    def update(self, command: commands.Command, table: pa.Table | None = None) -> int:
        """DoPut of a command that changes something, the count."""
        empty = pa.table({})
        body = self.put(command, empty if table is None else table)
        return commands.decode_put_result(commands.DoPutUpdateResult, body).record_count


def _descriptor(command: commands.Command | str) -> fl.FlightDescriptor:
    value = commands.StatementQuery(command) if isinstance(command, str) else command
    return fl.FlightDescriptor.for_command(commands.encode_command(value))


@contextmanager
def _signed_in(site: Site, uri: str | None = None, **options: Any) -> Iterator[Client]:
    client = fl.FlightClient(uri or site.uri, **options)
    try:
        yield Client(client, [client.authenticate_basic_token(site.username, site.password)])
    finally:
        client.close()


def _refused(call: Callable[[], object]) -> str:
    try:
        call()
    except (fl.FlightError, pa.ArrowException, KeyError) as error:
        return str(error)
    raise AssertionError("the call was not refused")


@PROGRAM.case("connect")
def signs_in_with_user_and_password(site: Site) -> None:
    with _signed_in(site) as client:
        assert client.fetch("SELECT 1 AS one").to_pylist() == [{"one": 1}]


@PROGRAM.case("connect")
def signs_in_with_a_token(site: Site) -> None:
    plain = fl.FlightClient(site.uri)
    try:
        client = Client(plain, [(b"authorization", f"Bearer {site.user_token}".encode())])
        assert client.fetch("SELECT 1 AS one").num_rows == 1
        nobody = Client(plain, [])
        _refused(lambda: nobody.fetch("SELECT 1"))
    finally:
        plain.close()


@PROGRAM.case("connect")
def trusts_the_certificate_that_it_is_given(site: Site) -> None:
    roots = Path(site.certificate).read_bytes()
    with _signed_in(site, site.tls_uri, tls_root_certs=roots) as client:
        assert client.fetch("SELECT count(*) AS n FROM sales.orders").to_pylist() == [{"n": 10_000}]


@PROGRAM.case("connect", "sessions", "statements")
def keeps_options_by_token(site: Site) -> None:
    with _signed_in(site) as client, _signed_in(site) as other:
        client.client.do_action  # noqa: B018  the session's own calls are in C++ only: SQL it is
        client.update(commands.StatementUpdate("USE sales"))
        assert client.fetch("SELECT count(*) AS n FROM orders").to_pylist() == [{"n": 10_000}]
        _refused(lambda: other.fetch("SELECT count(*) FROM orders"))


@PROGRAM.case("browse")
def asks_for_everything_that_there_is(site: Site) -> None:
    asked: tuple[commands.Command, ...] = (
        commands.GetCatalogs(),
        commands.GetDbSchemas(catalog="primary"),
        commands.GetTables(db_schema_filter_pattern="sales", include_schema=True),
        commands.GetTableTypes(),
        commands.GetSqlInfo(),
        commands.GetXdbcTypeInfo(),
    )
    keys: tuple[commands.Command, ...] = (
        commands.GetPrimaryKeys(None, "sales", "orders"),
        commands.GetImportedKeys(None, "sales", "orders"),
        commands.GetExportedKeys(None, "sales", "orders"),
        commands.GetCrossReference(None, "sales", "orders", None, "sales", "regions"),
    )
    with _signed_in(site) as client:
        for command in asked:
            assert client.info(command).schema == client.fetch(command).schema
            assert client.fetch(command).num_rows > 0, command
        for command in keys:
            assert client.fetch(command).num_columns > 0, command


@PROGRAM.case("browse")
def lists_actions(site: Site) -> None:
    with _signed_in(site) as client:
        names = {action.type for action in client.client.list_actions(client.options)}
    assert {"CreatePreparedStatement", "ClosePreparedStatement"} <= names


@PROGRAM.case("query")
def fetches_a_ticket_twice(site: Site) -> None:
    with _signed_in(site) as client:
        info = client.info("SELECT order_id FROM sales.orders")
        (endpoint,) = info.endpoints
        for _ in range(2):
            found = client.get(endpoint.ticket).sort_by("order_id")
            assert found["order_id"].to_pylist()[:2] == [1, 2]
        schema = client.client.get_schema(
            _descriptor("SELECT order_id FROM sales.orders"), client.options
        ).schema
        assert schema == info.schema


@PROGRAM.case("query")
def shows_errors_as_they_are(site: Site) -> None:
    with _signed_in(site) as client:
        text = _refused(lambda: client.fetch("SELECT * FROM sales.nowhere"))
    assert "nowhere" in text
    assert "Traceback" not in text


def _prepared(client: Client, sql: str) -> actions.CreatePreparedStatementResult:
    (body,) = client.act(actions.CreatePreparedStatement(sql))
    answer = actions.decode_action_result("CreatePreparedStatement", body)
    assert isinstance(answer, actions.CreatePreparedStatementResult)
    return answer


@PROGRAM.case("parameters", "parameters")
def binds_and_is_handed_the_handle_back(site: Site) -> None:
    with _signed_in(site) as client:
        made = _prepared(client, "SELECT order_id FROM sales.orders WHERE order_id = ?")
        handle = made.prepared_statement_handle
        body = client.put(
            commands.PreparedStatementQuery(handle), pa.table({"0": pa.array([7, 9], pa.int64())})
        )
        answer = commands.decode_put_result(commands.DoPutPreparedStatementResult, body)
        bound = answer.prepared_statement_handle or handle
        found = client.fetch(commands.PreparedStatementQuery(bound))
        assert found.column("order_id").to_pylist() == [7, 9]
        client.act(actions.ClosePreparedStatement(handle))


@PROGRAM.case("DDL/DML", "ddl", "dml")
def changes_tables(site: Site) -> None:
    table = f"{site.schema}.written"
    with _signed_in(site) as client:
        made = commands.StatementUpdate(f"CREATE TABLE {table} (id BIGINT, name VARCHAR)")
        assert client.update(made) == -1
        sql = f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')"
        assert client.update(commands.StatementUpdate(sql)) == 2
        # As a query, which the older drivers send: done by GetFlightInfo, and once.
        client.info(f"DELETE FROM {table} WHERE id = 1")
        assert client.fetch(f"SELECT * FROM {table}").to_pylist() == [{"id": 2, "name": "b"}]
        client.fetch(f"INSERT INTO {table} VALUES (3, 'c')")
        assert client.fetch(f"SELECT count(*) AS n FROM {table}").to_pylist() == [{"n": 2}]


@PROGRAM.case("DDL/DML", "ddl", "dml", "bound writes")
def changes_tables_by_prepared_statements(site: Site) -> None:
    table = f"{site.schema}.prepared"
    with _signed_in(site) as client:
        client.update(commands.StatementUpdate(f"CREATE TABLE {table} (id BIGINT, name VARCHAR)"))
        made = _prepared(client, f"INSERT INTO {table} VALUES (?, ?)")
        assert made.dataset_schema is None or not made.dataset_schema
        command = commands.PreparedStatementUpdate(made.prepared_statement_handle)
        assert client.update(command, DATA.rename_columns(["0", "1"])) == 3
        assert client.fetch(f"SELECT * FROM {table} ORDER BY id").equals(DATA)


def _loading(
    site: Site, table: str, absent: commands.TableNotExist, there: commands.TableExists
) -> commands.StatementIngest:
    options = commands.TableDefinitionOptions(absent, there)
    return commands.StatementIngest(options, table, schema=site.schema)


@PROGRAM.case("ingest", "ingest")
def ingests_and_appends(site: Site) -> None:
    create = _loading(site, "loaded", commands.TableNotExist.CREATE, commands.TableExists.FAIL)
    append = _loading(site, "loaded", commands.TableNotExist.FAIL, commands.TableExists.APPEND)
    with _signed_in(site) as client:
        assert client.update(create, DATA) == 3
        _refused(lambda: client.update(create, DATA))
        assert client.update(append, DATA) == 3
        assert client.fetch(f"SELECT * FROM {site.schema}.loaded").num_rows == 6


@PROGRAM.case("ingest", "ingest")
def puts_to_a_path(site: Site) -> None:
    path = fl.FlightDescriptor.for_path("primary", site.schema, "by_path")
    create = _loading(site, "by_path", commands.TableNotExist.CREATE, commands.TableExists.FAIL)
    with _signed_in(site) as client:
        client.update(create, DATA)
        client.put(path, DATA)
        assert client.fetch(f"SELECT * FROM {site.schema}.by_path").num_rows == 6


@PROGRAM.case("cancel")
def ends_a_running_query(site: Site) -> None:
    with _signed_in(site) as client:
        # pyarrow hands the stream out with its first batch, and cancels from then on.
        (endpoint,) = client.info("SELECT a.* FROM sales.orders a, sales.orders b").endpoints
        reader = client.client.do_get(endpoint.ticket, client.options)
        reader.read_chunk()
        began = time.monotonic()
        reader.cancel()
        text = _refused(lambda: [reader.read_chunk() for _ in range(1_000_000)])
        assert "cancel" in text.lower(), text
        assert time.monotonic() - began < CANCEL_SECONDS_MAX
        assert client.fetch("SELECT 1 AS one").num_rows == 1


@PROGRAM.case("cancel", "cancel actions")
def cancels_by_an_action(site: Site) -> None:
    with _signed_in(site) as client:
        info = client.info(ENDLESS)
        (endpoint,) = info.endpoints
        timer = threading.Timer(0.5, lambda: _cancel(client, info))
        timer.start()
        began = time.monotonic()
        text = _refused(lambda: client.get(endpoint.ticket))
        timer.join()
        assert "cancel" in text.lower(), text
        assert time.monotonic() - began < CANCEL_SECONDS_MAX


def _cancel(client: Client, info: fl.FlightInfo) -> None:
    # CancelFlightInfoRequest has the FlightInfo as its field 1.
    body = info.serialize()
    length, prefix = len(body), bytearray(b"\x0a")
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    action = fl.Action("CancelFlightInfo", bytes(prefix) + body)
    list(client.client.do_action(action, client.options))


@PROGRAM.case("types")
def reads_every_type_to_the_bit(site: Site) -> None:
    with _signed_in(site) as client:
        found = client.fetch("SELECT * FROM types.every ORDER BY row")
    assert kinds.same(found, kinds.every_kind())


if __name__ == "__main__":
    PROGRAM.main()
