"""The audit log over the wire: each their own by action and by SQL, and nothing of others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flight_server.protocol import commands
from tests.auth.test_users import open_users
from tests.servers import ADMIN_PASSWORD, Server, running
from tests.stating import let_state
from tests.wire.raw import RawClient, refused

PASSWORD = "quite another horse"
GRANT = '[[grants]]\nprivilege = "read"\nresource = "primary"\nrole = "registered"\n'
PEOPLE: Mapping[str, Mapping[str, Any]] = {
    "bob": {"role": "registered"},
    "ann": {"role": "registered"},
    "aud": {"role": "registered", "custom_roles": ["auditor"]},
    "lyn": {"role": "registered", "custom_roles": ["audit_analyst"]},
    "gus": {"role": "guest"},
    "eve": {"role": "pending"},
}
SECRET = "HIDDENWORD"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of its own, whose log is flushed by those only who read it."""
    directory = tmp_path_factory.mktemp("usage")
    config = directory / "lakeflight.toml"
    config.write_text(GRANT, encoding="utf-8")
    lake = directory / "lake"
    (lake / ".lakeflight").mkdir(parents=True)
    users = open_users(lake / ".lakeflight")
    for name, values in PEOPLE.items():
        users.add(name, PASSWORD, tier="enterprise", **values)
    let_state(lake, "research", "provider_access", user="bob")
    environment = {"LAKEFLIGHT_AUDIT__FLUSH_SECONDS_MAX": "600"}
    arguments = ("--config", str(config))
    with running(lake, arguments=arguments, environment=environment) as server:
        with RawClient.connect(server) as admin:
            admin.call("table.create", table="t", columns=[{"name": "id", "type": "BIGINT"}])
            admin.call("table.append", table="t", rows=[{"id": 1}, {"id": 2}, {"id": 3}])
        yield server


@pytest.fixture(scope="module")
def people(own: Server) -> Iterator[dict[str, RawClient]]:
    """Sign everybody in, and let two of them do something."""
    clients = {name: RawClient.connect(own, name, PASSWORD) for name in PEOPLE}
    clients["admin"] = RawClient.connect(own, "admin", ADMIN_PASSWORD)
    clients["bob"].fetch("SELECT id FROM t")
    clients["ann"].fetch(f"SELECT count(*) AS {SECRET} FROM t")
    clients["ann"].call("audit.log", action="note.write", resource=SECRET, details={"n": SECRET})
    clients["admin"].call("audit.activity", limit=1)  # which flushes what was done so far
    yield clients
    for client in clients.values():
        client.client.close()


def rows(client: RawClient, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.fetch(sql).to_pylist()
    return found


def test_ones_own_last_call_is_there(people: dict[str, RawClient]) -> None:
    people["bob"].fetch("SELECT id FROM t WHERE id < 3")
    last, *_ = people["bob"].call("audit.activity", action="query")
    assert last["username"] == "bob"
    assert (last["action"], last["outcome"], last["row_count"]) == ("query", "success", 2)
    assert last["byte_count"] > 0
    assert last["resource"] == "primary.public.t"
    assert last["table_versions"] == {"primary.public.t": 1}
    assert last["details"]["statement"] == "SELECT id FROM t WHERE id < ?"
    assert last["ip_address"] == "127.0.0.1"
    assert last["engine_ms"] is None or last["engine_ms"] > 0
    assert datetime.fromisoformat(last["timestamp"]) <= datetime.now(UTC)
    times = [row["timestamp"] for row in people["bob"].call("audit.activity")]
    assert times == sorted(times, reverse=True)


def test_others_are_seen_by_auditors_only(people: dict[str, RawClient]) -> None:
    for name in ("bob", "lyn", "gus"):
        assert SECRET not in json.dumps(people[name].call("audit.activity", limit=1000))
        assert refused(lambda n=name: people[n].call("audit.activity", user="ann")) == (  # type: ignore[misc]  # bound at once
            "permission_denied"
        )
    for name in ("aud", "admin"):
        found = people[name].call("audit.activity", user="ann")
        assert SECRET in json.dumps(found)
        assert {row["username"] for row in found} == {"ann"}
        everybody = people[name].call("audit.activity", limit=1000)
        assert {"ann", "bob"} <= {row["username"] for row in everybody}
    # That somebody looked is on record as well.
    looked = people["admin"].call("audit.activity", user="aud", action="audit.activity")
    assert "ann" in [row["details"].get("user") for row in looked]


def test_views_show_each_their_own(people: dict[str, RawClient]) -> None:
    names = "SELECT DISTINCT username FROM system.usage."
    for view in ("activity", "user_actions", "billing_summary"):
        assert rows(people["bob"], names + view) == [{"username": "bob"}]
        assert {"ann", "bob"} <= {row["username"] for row in rows(people["aud"], names + view)}
    bills = rows(people["ann"], "SELECT * FROM system.usage.billing_summary")
    assert sum(bill["queries"] for bill in bills) >= 1
    for sql in (
        f"SELECT * FROM system.usage.activity WHERE resource = '{SECRET}' OR username <> 'bob'",
        "SELECT * FROM system.usage.activity WHERE user_id IS NULL",
    ):
        assert rows(people["bob"], sql) == []


@pytest.mark.parametrize("name", ["bob", "lyn", "gus"])
def test_the_log_itself_is_not_there_for_others(people: dict[str, RawClient], name: str) -> None:
    client = people[name]
    for sql in (
        "SELECT * FROM system.audit.audit_log",
        'SELECT * FROM system.audit."audit_log@v1"',
        "SELECT * FROM system.audit.audit_log VERSION AS OF 1",
        "SELECT a.* FROM system.usage.activity a, system.audit.audit_log b",
        "SELECT * FROM system.auth.users",
        "DESCRIBE HISTORY system.audit.audit_log",
    ):
        assert refused(lambda text=sql: client.fetch(text)) == "table_not_found", sql  # type: ignore[misc]  # bound at once
        assert refused(lambda text=sql: client.prepare(text)) == "table_not_found", sql  # type: ignore[misc]  # bound at once
    assert refused(lambda: client.fetch("EXPLAIN ANALYZE SELECT * FROM system.usage.activity")) == (
        "unsupported"
    )
    for sql in ("DELETE FROM system.usage.activity", "DROP VIEW system.usage.activity",
                "CREATE VIEW system.usage.mine AS SELECT 1 AS x"):  # fmt: skip
        assert refused(lambda text=sql: client.fetch(text)) == "permission_denied"  # type: ignore[misc]  # bound at once


def test_a_pending_account_sees_nothing(people: dict[str, RawClient]) -> None:
    eve = people["eve"]
    for sql in ("SELECT * FROM system.usage.activity", "SELECT 1", "SHOW CATALOGS"):
        assert refused(lambda text=sql: eve.fetch(text)) == "permission_denied"  # type: ignore[misc]  # bound at once
    for name, values in (
        ("audit.activity", {}),
        ("audit.billing_summary", {"from": "2026-01-01", "to": "2026-01-02"}),
        ("audit.log", {"action": "x"}),
        ("audit.verify", {}),
        ("audit.head", {}),
    ):
        assert refused(lambda n=name, v=values: eve.call(n, **v)) == "permission_denied"  # type: ignore[misc]  # bound at once


def test_tickets_and_statements_are_their_callers(people: dict[str, RawClient]) -> None:
    sql = "SELECT username FROM system.usage.activity"
    bob, ann = people["bob"], people["ann"]
    (endpoint,) = bob.info(sql).endpoints
    assert refused(lambda: ann.read(endpoint.ticket)) == "permission_denied"
    handle = bob.prepare(sql).prepared_statement_handle
    prepared = commands.PreparedStatementQuery(handle)
    assert refused(lambda: ann.info(prepared)) == "permission_denied"
    assert {row["username"] for row in bob.fetch(prepared).to_pylist()} == {"bob"}
    assert {row["username"] for row in bob.read(endpoint.ticket).to_pylist()} == {"bob"}
    # The same text of another caller is not answered by what is remembered.
    assert {row["username"] for row in ann.fetch(sql).to_pylist()} == {"ann"}


def test_what_is_listed(people: dict[str, RawClient]) -> None:
    def listed(name: str) -> list[str]:
        command = commands.GetTables(catalog="system")
        found = people[name].fetch(command).to_pylist()
        return [
            f"{row['db_schema_name']}.{row['table_name']}"
            for row in found
            if row["db_schema_name"] != "information_schema"
        ]

    usage = ["usage.activity", "usage.billing_summary", "usage.user_actions"]
    assert listed("bob") == listed("gus") == usage
    assert listed("lyn") == ["audit.audit_view", *usage]
    assert listed("aud") == ["audit.audit_log", "audit.audit_view", "audit.user_actions", *usage]
    assert "auth.users" in listed("admin")
    shown = rows(people["bob"], "SHOW TABLES IN system.usage")
    assert sorted(str(row) for row in shown) == [str(row) for row in shown]
    assert len(shown) == 3


def test_analysts_see_what_purposes_leave(own: Server, people: dict[str, RawClient]) -> None:
    for purpose in ("research", "provider_access"):
        with RawClient.connect(own, "bob", PASSWORD, x_lakehouse_purpose=purpose) as bob:
            bob.fetch("SELECT max(id) FROM t")
    people["admin"].call("audit.activity", limit=1)
    sql = (
        "SELECT purpose, user_id, username, user_agent, ip_address, resource"
        " FROM system.audit.audit_view WHERE purpose IS NOT NULL AND action = 'query'"
        " ORDER BY purpose"
    )
    provider, research = rows(people["lyn"], sql)
    assert (provider["username"], provider["ip_address"]) == ("bob", "127.0.0.0/24")
    assert provider["user_agent"]
    assert research == {
        "purpose": "research", "user_id": None, "username": None, "user_agent": None,
        "ip_address": "127.0.0.0/24", "resource": "primary.public.t",
    }  # fmt: skip
    (full,) = rows(
        people["aud"], "SELECT * FROM system.audit.audit_log"
        " WHERE purpose = 'research' AND action = 'query' AND outcome = 'success'"
    )  # fmt: skip
    assert (full["username"], full["ip_address"]) == ("bob", "127.0.0.1")
    assert refused(lambda: people["bob"].fetch(sql)) == "table_not_found"


def test_bills(people: dict[str, RawClient]) -> None:
    # A day on either side, for a test that runs over midnight.
    today = datetime.now(UTC).date()
    days = {"from": str(today - timedelta(days=1)), "to": str(today + timedelta(days=1))}
    before = people["bob"].call("audit.billing_summary", **days)
    people["bob"].fetch("SELECT id FROM t WHERE id > 1")
    after = people["bob"].call("audit.billing_summary", **days)

    def total(bills: list[dict[str, Any]], name: str) -> float:
        return float(sum(bill[name] for bill in bills))

    assert total(after, "queries") == total(before, "queries") + 1
    assert total(after, "rows") >= total(before, "rows") + 2
    assert total(after, "bytes") > total(before, "bytes")
    assert all(bill["username"] == "bob" for bill in after)
    assert after[-1]["actions"]["query"] == after[-1]["queries"]
    everybody = people["aud"].call("audit.billing_summary", **days)
    assert {"ann", "bob"} <= {bill["username"] for bill in everybody}
    assert (
        people["bob"].call("audit.billing_summary", **{"from": "2001-01-01", "to": "2001-01-02"})
        == []
    )


def test_entries_of_ones_own(people: dict[str, RawClient]) -> None:
    bob = people["bob"]
    (made,) = bob.call("audit.log", action="user.approve", details={"share": 0.5, "n": 1})
    assert made["action"] == "app.user.approve"
    entry, *_ = bob.call("audit.activity", action=made["action"])
    assert entry["details"] == {"share": 0.5, "n": 1}
    assert entry["request_id"].startswith(made["request_id"])
    assert bob.call("audit.activity", action="user.approve") == []
    secret = "lfp_abcdefghijkl"
    for values in ({"resource": secret}, {"details": {"x": secret}}, {"details": {"secret": 1}}):
        assert refused(lambda v=values: bob.call("audit.log", action="x", **v)) == "secret_refused"  # type: ignore[misc]  # bound at once
    found = json.dumps(people["aud"].call("audit.activity", limit=1000))
    assert secret not in found


@pytest.mark.parametrize(
    ("name", "values", "code"),
    [
        ("audit.activity", {"from": "2026-03-02", "to": "2026-03-01"}, "invalid_range"),
        ("audit.activity", {"from": "tomorrow"}, "invalid_time"),
        ("audit.activity", {"limit": 0}, "invalid_request"),
        ("audit.activity", {"limit": 10**30}, "invalid_request"),
        ("audit.activity", {"outcome": "fine"}, "invalid_request"),
        ("audit.activity", {"usr": "bob"}, "invalid_request"),
        ("audit.activity", {"user": "nobody"}, "user_not_found"),
        ("audit.activity", {"user": "n\n" * 5000}, "user_not_found"),
        ("audit.billing_summary", {"from": "2026-03-01"}, "invalid_request"),
        ("audit.billing_summary", {"from": "0000-00-00", "to": "2026-03-01"}, "invalid_time"),
        ("audit.billing_summary", {"from": "2026-03-01", "to": "9999-12-31"}, "invalid_time"),
        ("audit.log", {"action": "X Y"}, "invalid_request"),
        ("audit.log", {"action": "x", "details": {"y": {"z": 1}}}, "invalid_request"),
        ("audit.verify", {"head": {}}, "invalid_request"),
        ("audit.verify", {"head": {"sequence": "1"}}, "invalid_request"),
        ("audit.head", {"x": 1}, "invalid_request"),
    ],
)
def test_bad_input(
    people: dict[str, RawClient], name: str, values: dict[str, Any], code: str
) -> None:
    assert refused(lambda: people["admin"].call(name, **values)) == code


def test_the_proof(people: dict[str, RawClient]) -> None:
    for name in ("bob", "lyn", "gus"):
        assert refused(lambda n=name: people[n].call("audit.verify")) == "permission_denied"  # type: ignore[misc]  # bound at once
        assert refused(lambda n=name: people[n].call("audit.head")) == "permission_denied"  # type: ignore[misc]  # bound at once
    (head,) = people["aud"].call("audit.head")
    (fine,) = people["aud"].call("audit.verify", head=head)
    assert fine["ok"]
    assert fine["records"] > head["sequence"]
    (bad,) = people["admin"].call("audit.verify", head={**head, "hash": "0" * 64})
    assert not bad["ok"]
    assert bad["first_bad"]["fault"] == "foreign_head"


def test_a_reader_beside_it_keeps_a_log_of_its_own(
    own: Server, people: dict[str, RawClient], tmp_path: Path
) -> None:
    elsewhere = {"LAKEFLIGHT_STORAGE__STATE": str(tmp_path / "state")}
    arguments = ("--config", str(own.directory.parent / "lakeflight.toml"))
    for environment in ({}, elsewhere):
        with (
            running(
                own.directory, arguments=arguments, environment=environment, read_only=True
            ) as reader,
            RawClient.connect(reader, "bob", PASSWORD, x_lakehouse_query_tag="there") as bob,
        ):
            bob.fetch("SELECT max(id) FROM t")
            (last,) = bob.call("audit.activity", action="query")
            assert last["details"]["query_tag"] == "there"
            counted = rows(bob, "SELECT count(*) AS n FROM system.usage.activity")
            assert counted[0]["n"] >= 1
            there = "SELECT * FROM system.usage.activity WHERE details LIKE '%there%'"
            assert len(rows(bob, there)) == 1
    assert "there" not in json.dumps(people["bob"].call("audit.activity", limit=1000))
