"""Rows that are hidden by their keys, by every way to read."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.protocol import commands
from tests.lakehouse import build_lakehouse, orders_table, write
from tests.servers import Server, running
from tests.wire.raw import RawClient, error_code, refused

PASSWORD = "quite another horse"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tombstones")
    build_lakehouse(directory)
    return directory


@pytest.fixture(scope="module")
def own(folder: Path) -> Iterator[Server]:
    with running(folder, environment={"LAKEFLIGHT_WORKERS__COUNT_MAX": "4"}) as server:
        yield server


@pytest.fixture(scope="module")
def admin(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        yield client


def table(folder: Path, rows: int = 10) -> str:
    """Make a table of its own with orders; return its name."""
    name = f"orders{next(_numbers)}"
    write(folder / "sales" / name, orders_table(rows))
    return f"sales.{name}"


def hide(admin: RawClient, name: str, *values: Any, column: str = "order_id") -> list[str]:
    answers = admin.call(
        "tombstone.add",
        table=name,
        row_key_column=column,
        row_key_values=list(values),
        reason="asked to be forgotten",
    )
    assert [answer["row_key_value"] for answer in answers] == list(values)
    return [answer["status"] for answer in answers]


def unhide(admin: RawClient, name: str, *values: Any) -> list[str]:
    answers = admin.call("tombstone.remove", table=name, row_key_values=list(values))
    return [answer["status"] for answer in answers]


def column(admin: RawClient, sql: str) -> list[Any]:
    """Return the one column of a query, sorted."""
    values: list[Any] = admin.fetch(sql).column(0).to_pylist()
    return sorted(values)


def ids(admin: RawClient, name: str) -> list[Any]:
    return column(admin, f"SELECT order_id FROM {name}")


def new_user(admin: RawClient) -> str:
    name = f"user{next(_numbers)}"
    admin.call("auth.register", username=name, email=f"{name}@example.com", password=PASSWORD)
    admin.call("user.approve", username=name, role="registered", tier="enterprise")
    return name


def allow(admin: RawClient, user: str, privilege: str, name: str) -> None:
    admin.call("grant.add", privilege=privilege, resource=f"primary.{name}", to={"user": user})


def test_rows_are_hidden_and_seen_again(admin: RawClient, own: Server, folder: Path) -> None:
    name = table(folder)
    assert hide(admin, name, 1, 2, 99) == ["added"] * 3
    assert ids(admin, name) == list(range(3, 11))
    assert own.fetch(f"SELECT count(*) AS n FROM {name}").to_pylist() == [{"n": 8}]
    assert own.fetch(f"SELECT * FROM {name} WHERE order_id = 1").num_rows == 0
    assert unhide(admin, name, 2, 3) == ["removed", "absent"]
    assert ids(admin, name) == list(range(2, 11))


def test_each_value_has_its_own_answer(admin: RawClient, folder: Path) -> None:
    name = table(folder)
    answers = admin.call(
        "tombstone.add",
        table=name,
        row_key_column="ORDER_ID",
        row_key_values=[1, "2", 1, 1.5, None, "x", True, [3], 4],
        reason="why not",
        actor="dpo@example.com",
    )
    assert [answer["status"] for answer in answers] == [
        *("added", "added", "already", "refused", "refused", "refused", "refused", "refused"),
        "added",
    ]
    assert [answer["row_key_value"] for answer in answers] == [
        *(1, "2", 1, 1.5, None, "x", True, [3], 4),
    ]
    assert "NULL" in answers[4]["message"]
    assert ids(admin, name) == [3, 5, 6, 7, 8, 9, 10]
    assert hide(admin, name, 1) == ["already"]


TYPES: dict[str, tuple[pa.DataType, list[Any], Any]] = {
    "tiny": (pa.int8(), [1, -1, None], 1),
    "whole": (pa.int64(), [2**62 + 1, 2**62, None], 2**62 + 1),
    "real": (pa.float64(), [0.1, 0.2, None], 0.1),
    "zero": (pa.float64(), [0.0, 1.0, None], 0),
    "negative_zero": (pa.float64(), [-0.0, 1.0, None], 0),
    "single": (pa.float32(), [0.1, 0.2, None], 0.1),
    "money": (pa.decimal128(12, 2), [Decimal("1.00"), Decimal("1.50"), None], 1),
    "flag": (pa.bool_(), [True, False, None], True),
    "text": (pa.string(), ["x ", "x", None], "x "),
    "empty_text": (pa.string(), ["", " ", None], ""),
    "accent": (pa.string(), ["e\u0301", "\u00e9", None], "e\u0301"),
    "quote": (pa.string(), ["'; DROP TABLE t; --", "'", None], "'; DROP TABLE t; --"),
    "bytes": (pa.binary(), [b"\xff\x00", b"\xff", None], base64.b64encode(b"\xff\x00").decode()),
    "day": (pa.date32(), [date(2026, 1, 1), date(2026, 1, 2), None], "2026-01-01"),
    "moment": (
        pa.timestamp("us", tz="UTC"),
        [datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=UTC), None],
        "2026-01-01T13:00:00+01:00",
    ),
    "local": (
        pa.timestamp("us"),
        [datetime(2026, 1, 1, 12), datetime(2026, 1, 1, 13), None],  # noqa: DTZ001  without a zone
        "2026-01-01T12:00:00",
    ),
}


@pytest.mark.parametrize("kind", TYPES)
def test_keys_of_every_type_hide_their_rows_and_never_those_without_key(
    admin: RawClient, folder: Path, kind: str
) -> None:
    column_type, values, key = TYPES[kind]
    rows = pa.table({"n": [1, 2, 3, 4], "key": pa.array([*values, values[0]], column_type)})
    write(folder / "types" / kind, rows)
    name = f"types.{kind}"
    assert hide(admin, name, key, column="key") == ["added"]
    assert column(admin, f"SELECT n FROM {name}") == [2, 3]
    (page,) = admin.call("tombstone.list", table=name)
    (shown,) = page["tombstones"]
    assert unhide(admin, name, shown["row_key_value"]) == ["removed"]
    assert admin.fetch(f"SELECT n FROM {name}").num_rows == 4


def test_rows_of_partitions_are_hidden_by_the_partition_column(
    admin: RawClient, folder: Path
) -> None:
    rows = pa.table({"n": [1, 2, 3], "zone": ["a/b=c", "x", None]})
    write(folder / "types" / "zones", rows, partition_by=("zone",))
    assert hide(admin, "types.zones", "a/b=c", column="zone") == ["added"]
    assert column(admin, "SELECT n FROM types.zones") == [2, 3]


def test_plain_parquet_has_tombstones_too(admin: RawClient, folder: Path) -> None:
    pq.write_table(pa.table({"city": ["Oslo", "Rome"]}), folder / "files" / "towns.parquet")
    assert hide(admin, "files.towns", "Oslo", column="city") == ["added"]
    assert admin.fetch("SELECT city FROM files.towns")["city"].to_pylist() == ["Rome"]


def test_a_ticket_and_a_prepared_statement_from_before_hide_them(
    admin: RawClient, own: Server, folder: Path
) -> None:
    name = table(folder)
    sql = f"SELECT order_id FROM {name}"
    (endpoint,) = admin.info(sql).endpoints
    with own.connect() as connection, connection.cursor() as cursor:
        cursor.adbc_prepare(sql)
        cursor.execute(sql)
        assert cursor.fetch_arrow_table().num_rows == 10
        hide(admin, name, 1)
        assert admin.read(endpoint.ticket).num_rows == 9
        cursor.execute(sql)
        assert cursor.fetch_arrow_table().num_rows == 9
    prepared = admin.prepare(sql)
    hide(admin, name, 2)
    handle = commands.PreparedStatementQuery(prepared.prepared_statement_handle)
    assert admin.fetch(handle).num_rows == 8


def test_kept_results_are_not_answered_again(admin: RawClient, own: Server, folder: Path) -> None:
    name = table(folder)
    sql = f"SELECT count(*) AS n FROM {name}"
    for hidden in range(4):
        for _ in range(3):
            assert own.fetch(sql).to_pylist() == [{"n": 10 - hidden}]
        hide(admin, name, hidden + 1)


def test_older_versions_hide_them_as_well(admin: RawClient, folder: Path) -> None:
    name = table(folder)
    write(folder / name.replace(".", "/"), orders_table(5))
    hide(admin, name, 1)
    bucket, plain = name.split(".")
    for source in (f"{name} VERSION AS OF 0", f'{bucket}."{plain}@v0"'):
        assert ids(admin, source) == list(range(2, 11))


def test_the_table_without_its_tombstones_is_for_those_who_may_read_it_raw(
    admin: RawClient, own: Server, folder: Path
) -> None:
    name = table(folder)
    schema, plain = name.split(".")
    raw = f"{schema}.__raw__{plain}"
    hide(admin, name, 1)
    assert ids(admin, raw) == list(range(1, 11))
    assert ids(admin, f"{raw} VERSION AS OF 0") == list(range(1, 11))
    assert ids(admin, f'{schema}."__raw__{plain}@v0"') == list(range(1, 11))
    for sql in (f"DELETE FROM {raw}", f"INSERT INTO {raw} SELECT * FROM {name}"):
        assert refused(partial(admin.fetch, sql)) == "unsupported"
    assert refused(lambda: admin.fetch(f"CREATE TABLE {schema}.__raw__x (a INT)")) == "invalid_name"
    user = new_user(admin)
    allow(admin, user, "read", name)
    with RawClient.connect(own, user, PASSWORD) as client:
        assert len(ids(client, name)) == 9
        texts = []
        for missing in (raw, f"{schema}.__raw__nothing", f"{schema}.nothing"):
            with pytest.raises(Exception, match="does not exist") as error:
                client.fetch(f"SELECT * FROM {missing}")
            assert error_code(error.value) == "table_not_found"
            texts.append(str(error.value).replace(missing, "NAME"))
        assert texts[0] == texts[1] == texts[2]
        (endpoint,) = admin.info(f"SELECT * FROM {raw}").endpoints
        allow(admin, user, "read_raw", name)
        assert len(ids(client, raw)) == 10
        (endpoint,) = client.info(f"SELECT * FROM {raw}").endpoints
        assert client.read(endpoint.ticket).num_rows == 10
    listed = admin.fetch("SELECT table_name FROM information_schema.tables")
    assert "__raw__" not in str(listed["table_name"].to_pylist())


def test_one_key_column_for_each_table(admin: RawClient, folder: Path) -> None:
    name = table(folder)
    hide(admin, name, 1)
    other: dict[str, Any] = {
        "table": name,
        "row_key_column": "customer",
        "row_key_values": ["x"],
        "reason": "r",
    }
    assert refused(lambda: admin.call("tombstone.add", **other)) == "tombstone_key_column"
    unhide(admin, name, 1)
    assert [each["status"] for each in admin.call("tombstone.add", **other)] == ["added"]


def test_what_cannot_be_hidden_is_refused(admin: RawClient, folder: Path) -> None:
    name = table(folder)
    admin.fetch(f"CREATE VIEW {name}_view AS SELECT * FROM {name}")
    nested = pa.table({"s": pa.array([{"a": 1}])})
    write(folder / "sales" / "nested", nested)

    def code(target: str, column: str = "order_id", reason: str = "r", **more: Any) -> str:
        body = {"row_key_column": column, "row_key_values": [1], "reason": reason, **more}
        return refused(lambda: admin.call("tombstone.add", table=target, **body))

    assert code("sales.nothing_here") == "table_not_found"
    assert code(f"{name}_view") == "unsupported"
    assert code("system.policy.grants", "grant_id") == "unsupported"
    assert code(name, "nothing") == "schema_mismatch"
    assert code("sales.nested", "s") == "invalid_request"
    assert code(name, reason=" ") == "invalid_request"
    assert code(name, reason="x" * 1001) == "invalid_request"
    assert code(name, actor="") == "invalid_request"
    assert refused(lambda: hide(admin, name, *[1] * 100_001)) == "limit_exceeded"


def test_who_may_hide_and_who_learns_what_is_hidden(
    admin: RawClient, own: Server, folder: Path
) -> None:
    name = table(folder)
    hide(admin, name, 1, 2, 3)
    stranger, reader, writer = (new_user(admin) for _ in range(3))
    allow(admin, reader, "read", name)
    allow(admin, writer, "write", name)
    with RawClient.connect(own, stranger, PASSWORD) as client:
        for action in ("tombstone.list", "tombstone.remove"):
            more: dict[str, Any] = {} if action == "tombstone.list" else {"row_key_values": [1]}
            code = refused(partial(client.call, action, table=name, **more))
            assert code in ("table_not_found", "bucket_not_found")
    with RawClient.connect(own, reader, PASSWORD) as client:
        assert client.call("tombstone.list", table=name) == [
            {"table": f"primary.{name}", "count": 3}
        ]
        assert refused(lambda: hide(client, name, 4)) == "permission_denied"
        assert refused(lambda: unhide(client, name, 1)) == "permission_denied"
    with RawClient.connect(own, writer, PASSWORD) as client:
        assert hide(client, name, 4) == ["added"]
        (page,) = client.call("tombstone.list", table=name, limit=2)
        assert [each["row_key_value"] for each in page["tombstones"]] == [1, 2]
        (page,) = client.call("tombstone.list", table=name, page_token=page["next_page_token"])
        assert [each["row_key_value"] for each in page["tombstones"]] == [3, 4]
        assert page["next_page_token"] is None
        last = page["tombstones"][-1]
        assert (last["actor"], last["reason"]) == (writer, "asked to be forgotten")
        assert unhide(client, name, 4) == ["removed"]
    assert admin.call("tombstone.list", table=name)[0]["count"] == 3


def test_the_record_holds_counts_and_no_keys(admin: RawClient, folder: Path) -> None:
    name = f"people{next(_numbers)}"
    write(folder / "sales" / name, pa.table({"who": ["alice-4711", "bob"]}))
    hide(admin, f"sales.{name}", "alice-4711", "carol-4711", column="who")
    sql = (
        "SELECT details, row_count FROM system.audit.audit_log WHERE action = 'tombstone.add'"
        f" AND resource = 'sales.{name}' AND outcome = 'success'"
    )
    deadline = time.monotonic() + 20
    rows: list[Any] = []
    while not rows and time.monotonic() < deadline:
        rows = admin.fetch(sql).to_pylist()
    assert rows
    assert all("4711" not in str(row) for row in rows)
    assert rows[-1]["row_count"] == 2
    history = admin.fetch(
        "SELECT key, event, actor, reason FROM system.policy.tombstones"
        f" WHERE table_name = 'primary/sales/{name}'"
    )
    assert sorted(map(str, history["key"].to_pylist())) == ["alice-4711", "carol-4711"]


def test_a_state_that_lacks_the_key_column_shows_nothing(admin: RawClient, folder: Path) -> None:
    path = folder / "sales" / "grown"
    write(path, pa.table({"a": [1, 2]}))
    admin.fetch("ALTER TABLE sales.grown ADD COLUMN b BIGINT")
    admin.fetch("UPDATE sales.grown SET b = a")
    hide(admin, "sales.grown", 1, column="b")
    assert admin.fetch("SELECT a FROM sales.grown")["a"].to_pylist() == [2]
    old = "SELECT a FROM sales.grown VERSION AS OF 0"
    assert refused(lambda: admin.fetch(old)) == "policy_misfit"
    unhide(admin, "sales.grown", 1)
    assert admin.fetch(old).num_rows == 2


def test_a_hundred_thousand_in_one_call_and_a_restart(tmp_path: Path) -> None:
    write(tmp_path / "sales" / "orders", orders_table(120_000))
    with running(tmp_path) as server, RawClient.connect(server) as admin:
        began = time.perf_counter()
        statuses = hide(admin, "sales.orders", *range(1, 100_001))
        assert time.perf_counter() - began < 30
        assert set(statuses) == {"added"}
        assert server.fetch("SELECT count(*) AS n FROM sales.orders").to_pylist() == [{"n": 20_000}]
    with running(tmp_path) as server, RawClient.connect(server) as admin:
        assert server.fetch("SELECT count(*) AS n FROM sales.orders").to_pylist() == [{"n": 20_000}]
        assert unhide(admin, "sales.orders", 7) == ["removed"]
        assert server.fetch(
            "SELECT order_id FROM sales.orders WHERE order_id < 100"
        ).to_pylist() == [{"order_id": 7}]


def test_every_session_sees_it_at_once(admin: RawClient, own: Server, folder: Path) -> None:
    name = table(folder, 200)
    sql = f"SELECT count(*) AS n FROM {name}"
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient.connect(own)) for _ in range(4)]
        pool = stack.enter_context(ThreadPoolExecutor(len(clients)))
        for hidden in range(1, 31):
            hide(admin, name, hidden)
            found = list(pool.map(lambda client: client.fetch(sql)["n"].to_pylist(), clients))
            assert found == [[200 - hidden]] * len(clients)


def test_names_lead_to_no_hidden_row(admin: RawClient, folder: Path) -> None:
    name = table(folder)
    hide(admin, name, 1)
    for change in (f"{name} RENAME TO {name}_other", f"{name} RENAME COLUMN order_id TO other"):
        assert refused(partial(admin.fetch, f"ALTER TABLE {change}")) == "has_policies"
    admin.fetch(f"CREATE VIEW {name}_seen AS SELECT * FROM {name}")
    admin.fetch(f"CREATE TABLE {name}_copy AS SELECT * FROM {name}")
    for other in (f"{name}_seen", f"{name}_copy"):
        assert ids(admin, other) == list(range(2, 11))
    admin.fetch(f"INSERT INTO {name} (order_id) VALUES (1), (11)")
    assert ids(admin, name) == list(range(2, 12))
    admin.fetch(f"DROP TABLE {name}")
    admin.fetch(f"CREATE TABLE {name} AS SELECT * FROM sales.orders WHERE order_id < 4")
    assert ids(admin, name) == [2, 3]


@pytest.mark.slow
def test_a_million_tombstones_stay_usable(tmp_path: Path) -> None:
    rows = 1_100_000
    write(tmp_path / "sales" / "orders", pa.table({"id": pa.array(range(rows), pa.int64())}))
    count = "SELECT count(*) AS n FROM sales.orders"
    with running(tmp_path) as server, RawClient.connect(server) as admin:
        for start in range(0, 1_000_000, 100_000):
            statuses = hide(admin, "sales.orders", *range(start, start + 100_000), column="id")
            assert set(statuses) == {"added"}
        assert server.fetch(count).to_pylist() == [{"n": 100_000}]
        seen, token = 0, None
        more: dict[str, Any]
        while True:
            more = {} if token is None else {"page_token": token}
            (page,) = admin.call("tombstone.list", table="sales.orders", limit=10_000, **more)
            assert page["tombstones"][0]["row_key_value"] == seen
            seen, token = seen + len(page["tombstones"]), page["next_page_token"]
            if token is None or seen >= 50_000:
                break
        assert page["count"] == 1_000_000
    with running(tmp_path) as server, RawClient.connect(server) as admin:
        began = time.perf_counter()
        assert server.fetch(count).to_pylist() == [{"n": 100_000}]
        assert time.perf_counter() - began < 20
        assert unhide(admin, "sales.orders", 5) == ["removed"]
        assert column(admin, "SELECT id FROM sales.orders WHERE id < 100") == [5]
        (done,) = admin.call("table.compact", table="sales.orders")
        assert (done["rows_removed"], done["tombstones_cleared"]) == (999_999, 999_999)
        assert server.fetch(count).to_pylist() == [{"n": 100_001}]
        assert server.fetch(f"{count} VERSION AS OF 0").to_pylist() == [{"n": 100_001}]


def test_who_sees_a_key_column_redacted_learns_no_keys(
    admin: RawClient, own: Server, folder: Path
) -> None:
    name = table(folder)
    hide(admin, name, "customer-001", column="customer")
    user = new_user(admin)
    allow(admin, user, "read", name)
    allow(admin, user, "write", name)
    with RawClient.connect(own, user, PASSWORD) as client:
        assert "tombstones" in client.call("tombstone.list", table=name)[0]
        admin.call(
            "mask.put",
            name="hidden",
            table=f"primary.{name}",
            column="customer",
            redaction={"kind": "null"},
            to={"user": user},
        )
        assert client.call("tombstone.list", table=name) == [
            {"table": f"primary.{name}", "count": 1}
        ]
        assert refused(lambda: unhide(client, name, "customer-001")) == "permission_denied"
        assert refused(lambda: hide(client, name, "customer-002", column="customer")) == (
            "permission_denied"
        )
    assert unhide(admin, name, "customer-001") == ["removed"]
