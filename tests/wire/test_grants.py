"""Grants that come and go under open sessions, prepared statements, tickets, streams and writes."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_server.protocol import commands
from tests.lakehouse import ORDERS_ROWS, build_lakehouse, orders_table, write
from tests.servers import Server, running, wait_until
from tests.wire.loading import ingest
from tests.wire.raw import RawClient, error_code, refused

PASSWORD = "quite another horse"
ORDERS = "SELECT count(*) AS n FROM sales.orders"
# A hundred million rows: nobody reads them all here.
ENDLESS = "SELECT a.*, b.order_id AS other FROM sales.orders a CROSS JOIN sales.orders b"
# Some seconds of work for one row, and much more.
SLOW = (
    "SELECT count(*) AS n FROM sales.orders a CROSS JOIN sales.orders b"
    " WHERE (a.order_id * b.order_id) % 7 <> length(a.customer || b.customer)"
)
SLOWER = SLOW.replace(" WHERE", " CROSS JOIN generate_series(1, 1000) c WHERE")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("grants")
    build_lakehouse(directory)
    with running(directory, environment={"LAKEFLIGHT_WORKERS__COUNT_MAX": "8"}) as server:
        yield server


@pytest.fixture(scope="module")
def admin(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        yield client


def new_user(admin: RawClient, *roles: str) -> str:
    """Make a user who may do nothing yet; return the name."""
    name = f"user{next(_numbers)}"
    admin.call("auth.register", username=name, email=f"{name}@example.com", password=PASSWORD)
    admin.call("user.approve", username=name, role="registered", tier="enterprise")
    admin.call("user.set_role", username=name, role="registered", custom_roles=list(roles))
    return name


def grant(
    admin: RawClient, user: str, resource: str = "primary.sales", *, privilege: str = "read"
) -> str:
    """Let a user do something; return the id of the grant."""
    (answer,) = admin.call("grant.add", privilege=privilege, resource=resource, to={"user": user})
    assert answer["added"]
    return str(answer["grant_id"])


def ungrant(admin: RawClient, grant_id: str) -> None:
    admin.call("grant.remove", grant_id=grant_id)


def version(admin: RawClient, table: str) -> int:
    """Return the newest version of a table."""
    return int(admin.call("table.history", table=table, limit=1)[0]["version"])


def running_of(admin: RawClient, user: str) -> list[dict[str, Any]]:
    return [each for each in admin.call("query.list") if each["username"] == user]


# The next call


def test_a_grant_holds_from_the_next_call_on_and_until_it_is_gone(
    own: Server, admin: RawClient
) -> None:
    user = new_user(admin)
    tables = commands.GetTables("primary", None, None, (), include_schema=True)
    with (
        RawClient.connect(own, user, PASSWORD) as client,
        own.connect(user, PASSWORD) as connection,
        connection.cursor() as cursor,
    ):
        assert refused(lambda: client.fetch(ORDERS)) == "bucket_not_found"
        assert client.fetch(tables).num_rows == 0
        given = grant(admin, user, "primary.sales.orders")
        for _ in range(3):  # the last one from memory
            assert client.fetch(ORDERS).to_pylist() == [{"n": ORDERS_ROWS}]
        assert "orders" in client.fetch(tables)["table_name"].to_pylist()
        cursor.adbc_prepare(ORDERS)
        cursor.execute(ORDERS)
        assert cursor.fetchall() == [(ORDERS_ROWS,)]
        handle = client.prepare(ORDERS).prepared_statement_handle
        (endpoint,) = client.info(ORDERS).endpoints
        assert client.read(endpoint.ticket).num_rows == 1
        ungrant(admin, given)
        with pytest.raises(flightsql.Error) as raised:
            cursor.execute(ORDERS)
        assert error_code(raised.value) == "bucket_not_found"
        assert refused(lambda: client.read(endpoint.ticket)) == "bucket_not_found"
        prepared = commands.PreparedStatementQuery(handle)
        assert refused(lambda: client.fetch(prepared)) == "bucket_not_found"
        assert refused(lambda: client.fetch(ORDERS)) == "bucket_not_found"
        assert client.fetch(tables).num_rows == 0
        grant(admin, user, "primary.sales.orders")
        assert client.read(endpoint.ticket).num_rows == 1


def test_a_deny_beats_what_was_allowed_before_and_after(own: Server, admin: RawClient) -> None:
    user = new_user(admin, "analyst")
    with RawClient.connect(own, user, PASSWORD) as client:
        grant(admin, user)
        (endpoint,) = client.info(ORDERS).endpoints
        denied, *_ = admin.call(
            "grant.add",
            privilege="read",
            resource="primary.sales.orders",
            to={"role": "analyst"},
            effect="deny",
        )
        grant(admin, user, "primary.sales.orders")
        assert refused(lambda: client.read(endpoint.ticket)) == "table_not_found"
        assert refused(lambda: client.fetch(ORDERS)) == "table_not_found"
        assert client.fetch("SELECT count(*) FROM sales.regions").num_rows == 1
        ungrant(admin, denied["grant_id"])
        assert client.read(endpoint.ticket).num_rows == 1


def test_a_view_needs_the_rights_of_its_tables_each_time(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    admin.info("CREATE OR REPLACE VIEW sales.seen AS SELECT count(*) AS n FROM sales.orders")
    with RawClient.connect(own, user, PASSWORD) as client:
        sql = "SELECT n FROM sales.seen"
        of_view, of_table = (
            grant(admin, user, f"primary.sales.{name}") for name in ("seen", "orders")
        )
        (endpoint,) = client.info(sql).endpoints
        assert client.read(endpoint.ticket).to_pylist() == [{"n": ORDERS_ROWS}]
        ungrant(admin, of_table)
        for attempt in (lambda: client.read(endpoint.ticket), lambda: client.fetch(sql)):
            assert refused(attempt) == "table_not_found"
        of_table = grant(admin, user, "primary.sales.orders")
        assert client.read(endpoint.ticket).num_rows == 1
        ungrant(admin, of_view)
        assert refused(lambda: client.fetch(sql)) == "table_not_found"


def test_each_privilege_is_one_of_its_own(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    write(own.directory / "sales" / "mine", pa.table({"x": [1]}))
    with RawClient.connect(own, user, PASSWORD) as client:
        grant(admin, user, "primary.sales.mine")
        insert = "INSERT INTO sales.mine VALUES (2)"
        assert refused(lambda: client.info(insert)) == "permission_denied"
        writing = grant(admin, user, "primary.sales.mine", privilege="write")
        assert client.info(insert).total_records == 1
        assert refused(lambda: client.info("OPTIMIZE sales.mine")) == "permission_denied"
        grant(admin, user, "primary.sales.mine", privilege="maintain")
        client.info("OPTIMIZE sales.mine")
        ungrant(admin, writing)
        assert refused(lambda: client.info(insert)) == "permission_denied"


# Streams


def kill_sessions(admin: RawClient, user: str) -> None:
    for session in admin.call("session.list", user=user):
        admin.call("session.kill", session_id=session["session_id"])


def disable(admin: RawClient, user: str) -> None:
    admin.call("user.disable", username=user)


def take_role(admin: RawClient, user: str) -> None:
    admin.call("user.set_role", username=user, role="registered", custom_roles=[])


def remove_grant(admin: RawClient, user: str) -> None:
    admin.call("grant.remove", privilege="read", resource="primary.sales", to={"role": f"r_{user}"})


def deny(admin: RawClient, user: str) -> None:
    to = {"user": user}
    admin.call("grant.add", privilege="read", resource="primary", to=to, effect="deny")


WITHDRAWALS: Mapping[Callable[[RawClient, str], None], str] = {
    kill_sessions: "token_revoked",
    disable: "token_revoked",
    take_role: "permission_denied",
    remove_grant: "permission_denied",
    deny: "permission_denied",
}


REFUSED = {"token_revoked", "bucket_not_found"}


def reader_by_role(admin: RawClient) -> str:
    """Make a user who may read by a role that nobody else has."""
    user = new_user(admin)
    role = f"r_{user}"
    admin.call("user.set_role", username=user, role="registered", custom_roles=[role])
    admin.call("grant.add", privilege="read", resource="primary.sales", to={"role": role})
    return user


def endless(client: RawClient) -> Any:
    (endpoint,) = client.info(ENDLESS).endpoints
    reader = client.open(endpoint.ticket)
    assert reader.read_chunk().data.num_rows
    return reader


def note_end(reader: Any, user: str, ends: dict[str, str]) -> None:
    ends[user] = end_of(reader)


def end_of(reader: Any) -> str:
    """Read to the end; return the code that it ends with."""

    def read_on() -> None:
        while True:
            reader.read_chunk()

    return refused(read_on)


@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not reading"])
def test_streams_end_within_seconds_and_those_of_others_go_on(
    own: Server, admin: RawClient, *, reads: bool
) -> None:
    users = {reader_by_role(admin): withdraw for withdraw in WITHDRAWALS}
    other = reader_by_role(admin)
    ends: dict[str, str] = {}
    with ExitStack() as open_ones:
        clients = {
            user: open_ones.enter_context(RawClient.connect(own, user, PASSWORD))
            for user in (*users, other)
        }
        streams = {user: endless(client) for user, client in clients.items()}
        threads = {
            user: Thread(target=note_end, args=(streams[user], user, ends)) for user in users
        }
        if reads:
            for thread in threads.values():
                thread.start()
        for user, withdraw in users.items():
            assert running_of(admin, user)
            withdraw(admin, user)
        for user in users:
            wait_until(lambda: not running_of(admin, user), seconds_max=5, what="the end")  # noqa: B023  called at once
        for thread in threads.values():
            if not reads:
                thread.start()
            thread.join(10)
        assert ends == {user: WITHDRAWALS[withdraw] for user, withdraw in users.items()}
        for _ in range(20):
            assert streams[other].read_chunk().data.num_rows
        assert running_of(admin, other)
        for user in users:
            assert refused(lambda: clients[user].fetch(ORDERS)) in REFUSED  # noqa: B023  called at once
        streams[other].cancel()


def test_a_stream_over_a_personal_token_ends_with_it(own: Server, admin: RawClient) -> None:
    user = reader_by_role(admin)
    with RawClient.connect(own, user, PASSWORD) as client:
        (made,) = client.call("token.create", name="robot")
        bearer = (b"authorization", f"Bearer {made['token']}".encode())
        with RawClient(fl.FlightClient(own.uri), fl.FlightCallOptions(headers=[bearer])) as robot:
            by_token, by_session = endless(robot), endless(client)
            client.call("token.revoke", token_id=made["token_id"])
            assert end_of(by_token) == "token_revoked"
            assert by_session.read_chunk().data.num_rows
            by_session.cancel()


def test_a_role_that_changes_nothing_ends_nothing(own: Server, admin: RawClient) -> None:
    user = reader_by_role(admin)
    grant(admin, user)
    with RawClient.connect(own, user, PASSWORD) as client:
        stream = endless(client)
        take_role(admin, user)
        admin.call("user.set_role", username=user, role="trader", custom_roles=["a", "b"])
        # The next one shows that the guard has looked.
        victim = reader_by_role(admin)
        with RawClient.connect(own, victim, PASSWORD) as another:
            ended = endless(another)
            disable(admin, victim)
            assert end_of(ended) == "token_revoked"
        assert stream.read_chunk().data.num_rows
        assert running_of(admin, user)
        stream.cancel()


def test_a_query_before_its_first_row_ends_too(own: Server, admin: RawClient) -> None:
    user = reader_by_role(admin)
    with RawClient.connect(own, user, PASSWORD) as client:
        (endpoint,) = client.info(SLOWER).endpoints
        ends: list[str] = []
        thread = Thread(target=lambda: ends.append(refused(lambda: client.read(endpoint.ticket))))
        thread.start()
        wait_until(lambda: running_of(admin, user))
        remove_grant(admin, user)
        wait_until(lambda: not running_of(admin, user), seconds_max=5, what="the end")
        thread.join(10)
        assert ends == ["permission_denied"]


# Writes


def make_target(own: Server, name: str) -> str:
    write(own.directory / "sales" / name, orders_table(1))
    return f"sales.{name}"


def test_a_load_of_a_disabled_user_is_not_committed(own: Server, admin: RawClient) -> None:
    table = make_target(own, "loaded")
    user = new_user(admin)
    grant(admin, user, privilege="write")
    batch = orders_table(100).to_batches()[0]
    with RawClient.connect(own, user, PASSWORD) as client:
        writer, reader = client.client.do_put(
            ingest("loaded", mode="append"), batch.schema, client.options
        )
        writer.write_batch(batch)
        wait_until(lambda: running_of(admin, user))
        disable(admin, user)

        def finish() -> None:
            writer.write_batch(batch)
            writer.done_writing()
            reader.read()
            writer.close()

        assert refused(finish) == "token_revoked"
    assert version(admin, table) == 0


@pytest.mark.parametrize("privilege", ["read", "write"])
def test_a_statement_whose_right_is_withdrawn_is_not_committed(
    own: Server, admin: RawClient, privilege: str
) -> None:
    name = f"inserted_{privilege}"
    write(own.directory / "sales" / name, pa.table({"n": pa.array([], pa.int64())}))
    user = new_user(admin)
    given = {each: grant(admin, user, privilege=each) for each in ("read", "write")}
    ends: list[str] = []
    with RawClient.connect(own, user, PASSWORD) as client:
        thread = Thread(
            target=lambda: ends.append(
                refused(lambda: client.info(f"INSERT INTO sales.{name} {SLOW}"))
            )
        )
        thread.start()
        wait_until(lambda: [r for r in running_of(admin, user) if r["kind"] == "write"])
        ungrant(admin, given[privilege])
        thread.join(30)
    assert ends == ["permission_denied"]
    assert version(admin, f"sales.{name}") == 0
    assert len(list((own.directory / "sales" / name).glob("*.parquet"))) <= 1


# The actions


def test_grants_are_listed_and_the_same_twice_is_one(admin: RawClient) -> None:
    user = new_user(admin)
    body = {"privilege": "read", "resource": 'primary.sales."a.b"', "to": {"user": user}}
    (first,), (again,) = admin.call("grant.add", **body), admin.call("grant.add", **body)
    assert first.pop("added")
    assert not again.pop("added")
    assert first == again
    assert first | {"grant_id": "", "created_at": ""} == {
        **body,
        "grant_id": "",
        "effect": "allow",
        "columns": None,
        "purposes": None,
        "created_at": "",
        "created_by": "admin",
    }
    assert admin.call("grant.list", user=user) == [first]
    for resource in ("primary", "primary.sales", 'primary.sales."a.b"'):
        assert first in admin.call("grant.list", resource=resource)
    for resource in ("primary.other", "primary.sales.c", "system"):
        assert first not in admin.call("grant.list", resource=resource)
    assert admin.call("grant.remove", **body) == [first]
    assert admin.call("grant.list", user=user) == []
    assert refused(lambda: admin.call("grant.remove", **body)) == "grant_not_found"


READ = {"privilege": "read", "resource": "primary", "to": {"role": "registered"}}
READ_ORDERS = {**READ, "resource": "primary.sales.orders"}
READ_LOG = {**READ, "resource": "system.audit.audit_log"}


@pytest.mark.parametrize(
    ("action", "body", "code"),
    [
        ("grant.add", {**READ, "privilege": "fly"}, "invalid_request"),
        ("grant.add", {**READ, "effect": "maybe"}, "invalid_request"),
        ("grant.add", {**READ, "resource": "primary.a.b.c"}, "invalid_request"),
        ("grant.add", {**READ, "resource": ""}, "invalid_request"),
        ("grant.add", {**READ, "resource": "nowhere.sales"}, "bucket_not_found"),
        ("grant.add", {**READ, "to": {}}, "invalid_request"),
        ("grant.add", {**READ, "to": {"user": "admin", "role": "a"}}, "invalid_request"),
        ("grant.add", {**READ, "to": {"group": "a"}}, "invalid_request"),
        ("grant.add", {**READ, "to": {"user": 1}}, "invalid_request"),
        ("grant.add", {**READ, "to": {"user": "nobody-of-this-name"}}, "user_not_found"),
        ("grant.add", {**READ, "to": {"role": "No Role"}}, "invalid_request"),
        ("grant.add", {**READ, "to": {"role": "pending"}}, "invalid_request"),
        ("grant.add", {**READ, "columns": ["a"]}, "invalid_request"),
        ("grant.add", {**READ_ORDERS, "columns": []}, "invalid_request"),
        ("grant.add", {**READ_ORDERS, "columns": [""]}, "invalid_request"),
        ("grant.add", {**READ_ORDERS, "columns": ["Note"]}, "column_not_found"),
        ("grant.add", {**READ_ORDERS, "columns": ["a"], "privilege": "write"}, "invalid_request"),
        ("grant.add", {**READ_LOG, "columns": ["details"]}, "invalid_request"),
        ("grant.add", {**READ_ORDERS, "purposes": []}, "invalid_request"),
        ("grant.add", {**READ_ORDERS, "purposes": ["curiosity"]}, "invalid_request"),
        ("grant.add", {"privilege": "read"}, "invalid_request"),
        ("grant.remove", {}, "invalid_request"),
        ("grant.remove", {"privilege": "read", "resource": "primary"}, "invalid_request"),
        ("grant.remove", {**READ, "grant_id": "x"}, "invalid_request"),
        ("grant.remove", {"grant_id": "x"}, "grant_not_found"),
        ("grant.list", {"resource": "a..b"}, "invalid_request"),
    ],
)
def test_bad_bodies_get_a_clear_answer(
    admin: RawClient, action: str, body: dict[str, Any], code: str
) -> None:
    before = admin.call("grant.list")
    assert refused(lambda: admin.call(action, **body)) == code
    assert admin.call("grant.list") == before


def test_grants_are_for_administrators(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    with RawClient.connect(own, user, PASSWORD) as client:
        for action, body in (
            ("grant.add", READ),
            ("grant.remove", {"grant_id": "x"}),
            ("grant.list", {}),
        ):
            attempt = client.call
            assert refused(lambda: attempt(action, **body)) == "permission_denied"  # noqa: B023  called at once


# Storage


def test_grants_outlive_the_server_and_a_damaged_table_opens_nothing(tmp_path: Path) -> None:
    lakehouse = tmp_path / "lake"
    write(lakehouse / "sales" / "orders", orders_table(10))
    with running(lakehouse) as server, RawClient.connect(server) as admin:
        user = new_user(admin)
        grant(admin, user)
    with (
        running(lakehouse) as server,
        RawClient.connect(server) as admin,
        RawClient.connect(server, user, PASSWORD) as client,
    ):
        assert client.fetch(ORDERS).to_pylist() == [{"n": 10}]
        log = lakehouse / ".lakeflight" / "policy" / "grants" / "_delta_log"
        torn = log / f"{len(list(log.glob('*.json'))):020d}.json"
        torn.write_bytes(b"")
        for each in (client, admin):
            wait_until(lambda: _is_refused(each, "unavailable"))  # noqa: B023  called at once
        torn.unlink()
        wait_until(lambda: not _is_refused(client, "unavailable"))
        shutil.rmtree(log.parent)
        wait_until(lambda: _is_refused(client, "unavailable"))


def _is_refused(client: RawClient, code: str) -> bool:
    try:
        client.fetch(ORDERS)
    except fl.FlightError as error:
        return error_code(error) == code
    return False
