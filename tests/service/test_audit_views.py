"""The views of the audit log: to each their own, to analysts what purposes leave of it."""

from __future__ import annotations

import ipaddress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.engine.base import BatchLimits, FencedScan, FileScan, Query
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.errors import LakeflightError, NotFound, Unsupported
from flight_server.service.audit_views import AUDIT_VIEWS
from flight_server.sql.names import AsOf, literal
from flight_server.sql.networks import network
from flight_server.storage.snapshots import PARTITION_TUPLES_MAX
from policies.names import Principal, Role, TableRef
from policies.purposes import PURPOSES, Part, Treatment, disclosure
from policies.records import ACTIVITY, AUDIT_LOG, AUDIT_VIEW
from tests.engine.test_fence import wire
from tests.service.opened import Lakehouse
from tests.service.records import NOON, record, write

BOB = Principal("id-bob", "bob", Role.REGISTERED)
ANN = Principal("id-ann", "ann", Role.TRADER)
GUEST = Principal("id-gus", "gus", Role.GUEST)
PENDING = Principal("id-bob", "bob", Role.PENDING)
ADMIN = Principal("id-root", "root", Role.ADMIN)
AUDITOR = Principal("id-aud", "aud", Role.REGISTERED, frozenset({"auditor"}))
ANALYST = Principal("id-lyn", "lyn", Role.REGISTERED, frozenset({"audit_analyst"}))
SECRET = "HIDDEN"


class House:
    """A lakehouse whose log is read by SQL."""

    def __init__(self, folder: Path) -> None:
        self.system = folder / "sys"
        self.system.mkdir()
        (folder / "p").mkdir()
        self.lake = Lakehouse({"primary": folder / "p", "system": self.system})
        options = EngineOptions(target_partitions=2)
        self.engine = LocalEngine(self.lake.tables, BatchLimits(), options)

    def batches(self, sql: str, who: Principal) -> tuple[pa.Schema, list[pa.RecordBatch]]:
        query = Query(sql, who, "primary", "public")
        schema, batches = self.engine.stream(query, is_cancelled=lambda: False)
        return schema, list(batches)

    def rows(self, sql: str, who: Principal = BOB) -> list[dict[str, Any]]:
        schema, batches = self.batches(sql, who)
        return pa.Table.from_batches(batches, schema).to_pylist()

    def refusal(self, sql: str, who: Principal = BOB) -> LakeflightError:
        with pytest.raises(LakeflightError) as raised:
            self.rows(sql, who)
        return raised.value


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    day = timedelta(days=1)
    write(
        house.system,
        [
            record("bob", outcome="intent", row_count=None, byte_count=None, engine_ms=None),
            record("bob", resource="7", row_count=1),
            record("bob", "table.append", resource="7", row_count=1, purpose="admin"),
            record("bob", outcome="refused", resource="7", row_count=None, byte_count=None),
            *(record("ann", resource=f"{SECRET}{i}", row_count=0) for i in range(200)),
        ],
    )
    write(
        house.system,
        [
            record("bob", timestamp=NOON + day, resource="7", row_count=1),
            record("ann", timestamp=NOON + day, user_agent=SECRET, resource=SECRET, row_count=0),
            record(None, "handshake", timestamp=NOON + day, outcome="refused", session_id=None),
        ],
    )
    return house


def test_what_is_listed_is_what_they_return(house: House) -> None:
    for ref, view in AUDIT_VIEWS.items():
        schema, batches = house.batches(f"SELECT * FROM {ref}", ADMIN)
        listed = house.lake.browser.columns(ADMIN, ref)
        assert [(f.name, f.type) for f in schema] == [(f.name, f.type) for f in listed], ref
        assert sum(batch.num_rows for batch in batches), ref
        assert view.comment
    # The text that administrators read says what the view does.
    for ref in (ACTIVITY, AUDIT_VIEW):
        order = "ORDER BY audit_id"
        text = AUDIT_VIEWS[ref].definition
        assert house.rows(f"{text} {order}", ADMIN) == house.rows(
            f"SELECT * FROM {ref} {order}", ADMIN
        )


def test_everybody_sees_their_own_and_auditors_all(house: House) -> None:
    sql = "SELECT username, count(*) AS n FROM system.usage.activity GROUP BY 1 ORDER BY 1"
    for who in (BOB, Principal("id-bob", "renamed", Role.GUEST)):
        assert house.rows(sql, who) == [{"username": "bob", "n": 4}]
    assert house.rows(sql, ANN) == [{"username": "ann", "n": 201}]
    assert house.rows(sql, GUEST) == house.rows(sql, ANALYST) == []
    everybody = [("ann", 201), ("bob", 4), (None, 1)]
    for who in (ADMIN, AUDITOR):
        assert [(row["username"], row["n"]) for row in house.rows(sql, who)] == everybody


def test_actions_and_bills(house: House) -> None:
    chosen = "SELECT day, action, calls, succeeded, refused, rows, bytes FROM"
    assert house.rows(f"{chosen} system.usage.user_actions ORDER BY 1, 2") == [
        {"day": date(2026, 3, 1), "action": "query", "calls": 2, "succeeded": 1, "refused": 1,
         "rows": 1, "bytes": 1000},
        {"day": date(2026, 3, 1), "action": "table.append", "calls": 1, "succeeded": 1,
         "refused": 0, "rows": 1, "bytes": 1000},
        {"day": date(2026, 3, 2), "action": "query", "calls": 1, "succeeded": 1, "refused": 0,
         "rows": 1, "bytes": 1000},
    ]  # fmt: skip
    bills = house.rows("SELECT * FROM system.usage.billing_summary ORDER BY day")
    assert bills[0] == {
        "day": date(2026, 3, 1), "user_id": "id-bob", "username": "bob", "actions": 2,
        "queries": 1, "refused": 1, "rows": 2, "bytes": 2000, "engine_seconds": 0.75,
        "last_at": NOON,
    }  # fmt: skip
    assert len(bills) == 2
    assert len(house.rows("SELECT * FROM system.usage.billing_summary", AUDITOR)) == 4
    everybody = "SELECT * FROM system.audit.user_actions ORDER BY 1, 2, 4"
    assert house.rows(everybody, AUDITOR) == house.rows(
        everybody.replace("audit.", "usage."), ADMIN
    )


@pytest.mark.parametrize(
    ("who", "table", "code"),
    [
        (BOB, AUDIT_LOG, "table_not_found"),
        (ANN, AUDIT_LOG, "table_not_found"),
        (ANALYST, AUDIT_LOG, "table_not_found"),
        (GUEST, AUDIT_VIEW, "table_not_found"),
        (BOB, TableRef("system", "audit", "user_actions"), "table_not_found"),
        (ANALYST, TableRef("system", "audit", "user_actions"), "table_not_found"),
        (BOB, TableRef("system", "auth", "users"), "table_not_found"),
        (AUDITOR, TableRef("system", "auth", "users"), "table_not_found"),
        (BOB, TableRef("system", "usage", "other"), "table_not_found"),
        (PENDING, ACTIVITY, "bucket_not_found"),
        (PENDING, AUDIT_VIEW, "bucket_not_found"),
    ],
)
def test_what_somebody_may_not_read_is_not_there(
    house: House, who: Principal, table: TableRef, code: str
) -> None:
    for sql in (
        f"SELECT * FROM {table}",
        f'SELECT * FROM "system"."{table.schema}"."{table.table}"',
    ):
        error = house.refusal(sql, who)
        assert isinstance(error, NotFound)
        assert error.code == code
    # Nor beside a view that reads it.
    if who is not PENDING:
        beside = house.refusal(f"SELECT * FROM system.usage.activity a, {table} b", who)
        assert beside.code == code
        history = house.refusal(f'SELECT * FROM system.{table.schema}."{table.table}@history"', who)
        assert history.code == code


def test_who_reads_the_log_itself(house: House) -> None:
    for who in (ADMIN, AUDITOR):
        assert house.rows(f"SELECT count(*) AS n FROM {AUDIT_LOG}", who) == [{"n": 207}]
        assert house.rows(f"SELECT count(*) AS n FROM {AUDIT_LOG} VERSION AS OF 0", who) == [
            {"n": 204}
        ]


HOSTILE = (
    "SELECT user_id FROM {v} WHERE CAST(resource AS INT) = 7",
    "SELECT 1 FROM {v} WHERE CASE WHEN row_count = 0 THEN CAST(resource AS INT) ELSE 7 END = 7",
    "SELECT user_id, 1 / row_count FROM {v} WHERE row_count IS NOT NULL",
    "SELECT audit_id FROM {v} WHERE row_count IS NOT NULL ORDER BY 1 / row_count LIMIT 1",
    "SELECT audit_id FROM {v} ORDER BY CAST(resource AS INT) LIMIT 2",
    "SELECT a.audit_id FROM {v} a JOIN (VALUES (7)) b(x) ON CAST(a.resource AS INT) = b.x",
    "SELECT resource, count(*) FROM {v} GROUP BY resource HAVING CAST(resource AS INT) = 7",
    "SELECT sum(CAST(resource AS INT)) FILTER (WHERE row_count = 1) FROM {v}",
    "SELECT row_number() OVER (PARTITION BY CAST(resource AS INT) ORDER BY user_agent) FROM {v}",
    "SELECT unnest(make_array(CAST(resource AS INT))) FROM {v}",
    "SELECT DISTINCT user_id, session_id, request_id, ip_address, user_agent, details FROM {v}",
    "SELECT min(resource), max(resource), min(username), max(user_agent) FROM {v}",
    "SELECT * FROM {v} WHERE user_id = 'id-ann' OR username = 'ann' OR 1 = 1",
    "SELECT * FROM {v} a FULL JOIN (SELECT 'id-ann' AS x) b ON a.user_id = b.x",
    "SELECT * FROM (SELECT * FROM {v} UNION ALL SELECT * FROM {v}) WHERE CAST(resource AS INT) = 7",
    "SELECT (SELECT max(1 / row_count) FROM {v} b WHERE b.row_count = a.row_count) FROM {v} a",
    "WITH c AS (SELECT * FROM {v}) SELECT CAST(resource AS INT) FROM c ORDER BY 1 DESC LIMIT 1",
)


@pytest.mark.parametrize("sql", HOSTILE)
def test_rows_of_others_do_not_leak(house: House, sql: str) -> None:
    schema, batches = house.batches(sql.format(v=ACTIVITY), BOB)
    left = wire(schema, batches)
    assert SECRET.encode() not in left
    assert b"id-ann" not in left.replace(b"id-ann", b"", sql.count("'id-ann' AS x"))


def test_views_have_no_older_versions_and_explain_is_not_for_everybody(house: House) -> None:
    for name in AUDIT_VIEWS:
        for clause in ("VERSION AS OF 0", "TIMESTAMP AS OF '2026-03-01'"):
            error = house.refusal(f"SELECT * FROM {name} {clause}", ADMIN)
            assert isinstance(error, Unsupported), name
        error = house.refusal(f'SELECT * FROM {name.bucket}.{name.schema}."{name.table}@v0"', ADMIN)
        assert isinstance(error, Unsupported)
        error = house.refusal(
            f'SELECT * FROM {name.bucket}.{name.schema}."{name.table}@history"', ADMIN
        )
        assert isinstance(error, Unsupported)
    for who in (BOB, AUDITOR):
        explained = "SELECT * FROM system.usage.activity"
        error = house.refusal(f"EXPLAIN ANALYZE {explained}", who)
        assert isinstance(error, Unsupported)
        for how in ("EXPLAIN", "EXPLAIN VERBOSE"):
            plan = str(house.rows(f"{how} {explained}", who))
            # Neither whose rows they are, nor where and in how many files they lie.
            assert not any(part in plan for part in ("intent", "id-bob", "file_groups", "92233"))


def test_pins_hold_for_the_view_and_roles_for_the_moment(house: House) -> None:
    pin = house.lake.open(*str(ACTIVITY).split("."), principal=BOB).pin
    write(house.system, [record("bob")])
    pinned = Query("SELECT count(*) AS n FROM system.usage.activity", BOB, "p", "s", (pin,))
    _, batches = house.engine.stream(pinned, is_cancelled=lambda: False)
    assert pa.Table.from_batches(list(batches)).to_pylist() == [{"n": 4}]
    assert house.rows("SELECT count(*) AS n FROM system.usage.activity") == [{"n": 5}]
    # The condition is made for who asks now, not for who asked then.
    theirs = house.lake.open(*str(ACTIVITY).split("."), principal=ANN, pin=pin).scan
    assert isinstance(theirs, FencedScan)
    assert "id-ann" in theirs.condition
    with pytest.raises(NotFound):
        house.lake.open(*str(ACTIVITY).split("."), principal=PENDING, pin=pin)
    with pytest.raises(Unsupported):
        house.lake.open(*str(ACTIVITY).split("."), as_of=AsOf(version=0))


def test_before_the_first_record_there_is_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    for ref in AUDIT_VIEWS:
        assert house.rows(f"SELECT * FROM {ref}", ADMIN) == []
    pin = house.lake.open(*str(ACTIVITY).split("."), principal=BOB).pin
    write(house.system, [record("bob")])
    again = house.lake.open(*str(ACTIVITY).split("."), principal=BOB, pin=pin)
    assert again.pin == pin
    assert len(house.rows("SELECT * FROM system.usage.activity")) == 1


def test_a_name_in_a_user_id_is_no_sql(house: House) -> None:
    mallory = Principal("x' OR user_id = 'id-ann", "mallory", Role.REGISTERED)
    assert house.rows("SELECT * FROM system.usage.activity", mallory) == []


def test_a_deny_closes_them(house: House) -> None:
    house.lake.deny("system", "usage", "billing_summary")
    assert house.refusal("SELECT * FROM system.usage.billing_summary").code == "table_not_found"
    assert house.rows("SELECT count(*) AS n FROM system.usage.activity") == [{"n": 4}]
    house.lake.deny("system", "usage")
    assert house.refusal("SELECT * FROM system.usage.activity").code == "bucket_not_found"


def test_what_is_listed_to_whom(house: House) -> None:
    browser = house.lake.browser
    usage = ["activity", "billing_summary", "user_actions"]
    for who, more in ((BOB, []), (GUEST, []), (ANALYST, ["audit_view"]),
                      (AUDITOR, ["audit_log", "audit_view", "user_actions"])):  # fmt: skip
        assert "system" in browser.catalogs(who)
        rows = browser.tables(who, "system")
        listed = [str(row.ref) for row in rows if row.ref.schema != "information_schema"]
        expected = [f"system.audit.{name}" for name in more]
        assert listed == [*expected, *(f"system.usage.{name}" for name in usage)]
        schemas = {"audit"} if more else set()
        assert {schema for _, schema in browser.schemas(who, "system")} == {
            "usage", "information_schema", *schemas,
        }  # fmt: skip
        assert not [row for row in browser.views(who) if row.definition is not None]
        shown = house.rows(
            "SELECT DISTINCT table_schema AS s FROM system.information_schema.columns"
            " WHERE table_catalog = 'system' AND table_schema <> 'information_schema' ORDER BY 1",
            who,
        )
        assert [row["s"] for row in shown] == [*sorted(schemas), "usage"]
    assert browser.catalogs(PENDING) == ()
    assert all(row.definition for row in browser.views(ADMIN))


def test_nothing_on_disk_takes_their_names(house: House) -> None:
    other = record("ann")
    write(house.system, [other])
    (house.system / "audit/audit_log").rename(house.system / "kept")
    (house.system / "usage").mkdir()
    (house.system / "kept").rename(house.system / "usage/activity")
    assert house.rows("SELECT * FROM system.usage.activity", ADMIN) == []


PARTS = {
    Part.USER: ("user_id", "username", "session_id", "request_id", "details"),
    Part.DEVICE: ("user_agent",),
    Part.ADDRESS: ("ip_address",),
}


@pytest.mark.parametrize("purpose", [None, "other", "Research", "", *PURPOSES])
def test_analysts_see_what_the_purpose_leaves(tmp_path: Path, purpose: str | None) -> None:
    house = House(tmp_path)
    written = record("bob", purpose=purpose)
    write(house.system, [written])
    for who in (ANALYST, AUDITOR, ADMIN):
        (row,) = house.rows(f"SELECT * FROM {AUDIT_VIEW}", who)
        for part, columns in PARTS.items():
            shown = {
                Treatment.KEPT: [written[column] for column in columns],
                Treatment.NETWORK: ["203.0.113.0/24"],
                Treatment.DROPPED: [None] * len(columns),
            }[disclosure(purpose).of(part)]
            assert [row[column] for column in columns] == shown
        assert row["resource"] == written["resource"]
        assert row["purpose"] == purpose
        assert not {"hash", "prev_hash"} & row.keys()
    # The full record is there, for auditors.
    (full,) = house.rows(f"SELECT * FROM {AUDIT_LOG}", AUDITOR)
    assert full["user_agent"] == written["user_agent"]


@pytest.mark.parametrize(
    ("action", "is_shown"),
    [("query", True), ("table.append", True), ("view.create", True), ("user.disable", False),
     ("session.kill", False), ("app.table.x", False), ("query.cancel", False)],
)  # fmt: skip
def test_a_resource_that_may_be_a_person_goes_with_the_user(
    tmp_path: Path, action: str, is_shown: bool
) -> None:
    house = House(tmp_path)
    write(house.system, [record(action=action, resource="x", purpose="research")])
    write(house.system, [record(action=action, resource="x", purpose="admin")])
    rows = house.rows(f"SELECT resource FROM {AUDIT_VIEW} ORDER BY purpose", ANALYST)
    assert [row["resource"] for row in rows] == ["x", "x" if is_shown else None]


DROPPED = {
    **dict.fromkeys((*PARTS[Part.USER], "user_agent"), f"{SECRET}-dropped"),
    "details": f'{{"x": "{SECRET}-dropped"}}',
    "ip_address": "198.51.100.99",
    "purpose": "research",
}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM {v}",
        "SELECT user_id, make_array(username, user_agent), struct(details) FROM {v} LIMIT 60",
        "SELECT nullif(user_id, 'x'), coalesce(username, ''), ip_address FROM {v} ORDER BY user_id",
        "SELECT user_id, count(*), array_agg(details) FROM {v} GROUP BY user_id",
        "SELECT max(ip_address), min(user_agent) FROM {v} WHERE purpose = 'research'",
    ],
)
def test_nothing_dropped_is_left_in_the_bytes(tmp_path: Path, sql: str) -> None:
    house = House(tmp_path)
    write(
        house.system,
        [
            record(f"{SECRET}{i}", **(DROPPED if i % 2 else {"purpose": "admin"}))
            for i in range(100)
        ],
    )
    left = wire(*house.batches(sql.format(v=AUDIT_VIEW), ANALYST))
    assert b"dropped" not in left
    assert b"198.51.100.99" not in left
    failing = f"SELECT * FROM {AUDIT_VIEW} WHERE CAST(coalesce(username, '1') AS INT) = 1"
    assert "dropped" not in house.refusal(failing, ANALYST).message


def networks(house: LocalEngine, addresses: list[str]) -> list[str | None]:
    values = ", ".join(f"({number}, {literal(text)})" for number, text in enumerate(addresses))
    sql = f"SELECT nullif({network('a')}, '') AS n FROM (VALUES {values}) AS t(i, a) ORDER BY i"
    query = Query(sql, ADMIN, "primary", "public")
    _, batches = house.stream(query, is_cancelled=lambda: False)
    return [row["n"] for batch in batches for row in batch.to_pylist()]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return House(tmp_path_factory.mktemp("house")).engine


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("10.0.0.1", "10.0.0.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("2001:db8::1", "2001:db8::/48"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8::/48"),
        ("fe80::1", "fe80::/48"),
        ("::1", None),
        ("::ffff:c000:201", None),
        ("bob@example.com", None),
        ("203.0.113.77 (bob)", None),
        ("2001:db8:1:2:3:4:5:6:bob", None),
        ("999.0.113.77", None),
        ("", None),
    ],
)
def test_networks(engine: LocalEngine, address: str, shown: str | None) -> None:
    assert networks(engine, [address]) == [shown]


@given(st.lists(st.ip_addresses(), min_size=1, max_size=50))
def test_networks_are_those_of_the_standard_library(
    engine: LocalEngine, addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]
) -> None:
    texts = [str(address) for address in addresses]
    expected = [
        None
        if text.startswith("::")
        else str(ipaddress.ip_network(f"{text}/{24 if address.version == 4 else 48}", strict=False))
        for text, address in zip(texts, addresses, strict=True)
    ]
    assert networks(engine, texts) == expected


@pytest.mark.parametrize(
    "days",
    [pytest.param(PARTITION_TUPLES_MAX, marks=pytest.mark.slow), PARTITION_TUPLES_MAX + 44],
)
def test_a_log_of_many_days(tmp_path: Path, days: int) -> None:
    """More days than are scanned one by one are read by another reader, behind the same fence."""
    house = House(tmp_path)
    moments = [NOON + timedelta(days=day) for day in range(days)]
    own = [record("bob", timestamp=moment, resource="7", row_count=1) for moment in moments]
    others = [
        record("ann", timestamp=moment, resource=SECRET, row_count=0, purpose="research")
        for moment in moments
    ]
    write(house.system, [*own, *others])
    reading = house.lake.open(*str(AUDIT_LOG).split(".")).scan
    assert isinstance(reading, FileScan) == (days <= PARTITION_TUPLES_MAX)
    for sql in HOSTILE[:6]:
        assert SECRET.encode() not in wire(*house.batches(sql.format(v=ACTIVITY), BOB))
    assert house.rows(f"SELECT count(*) AS n, min(day) AS d FROM {ACTIVITY}") == [
        {"n": days, "d": NOON.date()}
    ]
    bills = "SELECT count(*) AS n, sum(queries) AS q FROM system.usage.billing_summary"
    assert house.rows(bills) == [{"n": days, "q": days}]
    told = f"SELECT count(*) AS n, count(user_id) AS u FROM {AUDIT_VIEW} WHERE purpose = 'research'"
    assert house.rows(told, ANALYST) == [{"n": days, "u": 0}]
