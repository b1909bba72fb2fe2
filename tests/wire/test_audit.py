"""What a server puts on record: every read, change, sign-in and refusal, over the real wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from adbc_driver_manager import Error

from flight_server.protocol import commands
from tests.lakehouse import build_lakehouse
from tests.servers import ADMIN_PASSWORD, Server, running, wait_until
from tests.wire.accounts import PASSWORD, add_user

TAG = "adbc.flight.sql.rpc.call_header.x-lakehouse-query-tag"
PURPOSE = "adbc.flight.sql.rpc.call_header.x-lakehouse-purpose"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("audited")
    build_lakehouse(folder)
    settings = {"LAKEFLIGHT_AUDIT__FLUSH_SECONDS_MAX": "0.2"}
    with running(folder, environment=settings) as server:
        add_user(folder, "reader")
        yield server


class Trail:
    """The records that came after it was made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._since = self._newest()

    def _newest(self) -> int:
        self._flush()
        table = self._server.fetch("SELECT max(sequence) AS s FROM system.audit.audit_log")
        return int(table["s"][0].as_py() or 0)

    def _flush(self) -> None:
        act(self._server, "audit.activity", limit=1)

    def of(self, action: str, *, request_id: str | None = None) -> list[dict[str, Any]]:
        """Return the records of an action, oldest first."""
        self._flush()
        found = self._server.fetch(
            "SELECT * FROM system.audit.audit_log"
            f" WHERE sequence > {self._since} AND action = '{action}' ORDER BY sequence"
        )
        rows: list[dict[str, Any]] = found.to_pylist()
        for row in rows:
            row["details"] = json.loads(row["details"])
            row["table_versions"] = json.loads(row["table_versions"])
        return rows


def act(server: Server, name: str, **fields: object) -> list[dict[str, Any]]:
    """Run one of the server's own actions as the administrator."""
    with fl.FlightClient(server.uri) as client:
        header = client.authenticate_basic_token("admin", ADMIN_PASSWORD)
        options = fl.FlightCallOptions(headers=[header])
        answers = client.do_action((name, json.dumps(fields).encode()), options)
        return [json.loads(answer.body.to_pybytes()) for answer in answers]


def test_a_read_is_on_record_with_rows_bytes_versions_and_purpose(served: Server) -> None:
    trail = Trail(served)
    options = {TAG: "nightly", PURPOSE: "research"}
    with served.connect(**options) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT order_id FROM sales.orders WHERE customer = 'customer-001' AND order_id > 17"
        )
        rows = cursor.fetch_arrow_table()
    queries = [row for row in trail.of("query") if row["details"].get("query_tag") == "nightly"]
    intent, outcome = queries
    assert (intent["outcome"], outcome["outcome"]) == ("intent", "success")
    assert intent["request_id"] == outcome["request_id"]
    assert outcome["row_count"] == rows.num_rows > 0
    assert outcome["byte_count"] >= 8 * rows.num_rows
    assert outcome["duration_ms"] > 0
    assert outcome["table_versions"] == {"primary.sales.orders": 1}
    assert outcome["resource"] == "primary.sales.orders"
    assert outcome["purpose"] == "research"
    assert outcome["policy_version"]
    assert outcome["username"] == "admin"
    assert outcome["ip_address"] == "127.0.0.1"
    assert "grpc" in outcome["user_agent"]
    statement = outcome["details"]["statement"]
    assert "customer-001" not in statement
    assert "17" not in statement


STATEMENTS = (
    ("CREATE SCHEMA ledger", "schema.create", None),
    ("CREATE TABLE ledger.t (id BIGINT, secret VARCHAR)", "table.create", None),
    ("INSERT INTO ledger.t VALUES (1, 'hidden'), (2, 'hidden')", "table.insert", 2),
    ("UPDATE ledger.t SET secret = 'hidden too' WHERE id = 1", "table.update", 1),
    ("DELETE FROM ledger.t WHERE secret = 'hidden'", "table.delete", 1),
    ("OPTIMIZE ledger.t", "table.optimize", None),
    ("VACUUM ledger.t", "table.vacuum", None),
    ("TRUNCATE TABLE ledger.t", "table.truncate", 1),
    ("DROP TABLE ledger.t", "table.drop", None),
    ("CREATE VIEW ledger.v AS SELECT 1 AS one", "view.create", None),
    ("DROP VIEW ledger.v", "view.drop", None),
    ("DROP SCHEMA ledger", "schema.drop", None),
)


def test_every_change_is_an_intent_and_an_outcome_without_values(served: Server) -> None:
    trail = Trail(served)
    with served.connect() as connection, connection.cursor() as cursor:
        for sql, _, _ in STATEMENTS:
            cursor.execute(sql)
    for _, action, rows in STATEMENTS:
        intent, outcome = trail.of(action)
        assert (intent["outcome"], outcome["outcome"]) == ("intent", "success"), action
        assert outcome["row_count"] == rows, action
        assert "ledger" in outcome["resource"], action
        assert "hidden" not in json.dumps(outcome["details"]), action
        changes_rows = action in {"table.insert", "table.update", "table.delete", "table.truncate"}
        assert ("primary.ledger.t" in outcome["table_versions"]) >= changes_rows, action


def test_a_load_is_on_record(served: Server) -> None:
    trail = Trail(served)
    with served.connect() as connection, connection.cursor() as cursor:
        rows = pa.table({"id": [1, 2, 3]})
        cursor.adbc_ingest("loaded", rows, mode="create", db_schema_name="public")
    intent, outcome = trail.of("table.load")
    assert (intent["outcome"], outcome["outcome"]) == ("intent", "success")
    assert (outcome["resource"], outcome["row_count"]) == ("primary.public.loaded", 3)


def test_a_change_names_the_tables_that_it_read(served: Server) -> None:
    trail = Trail(served)
    with served.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE copied AS SELECT * FROM sales.regions")
        cursor.execute("INSERT INTO copied SELECT * FROM sales.regions")
    _, outcome = trail.of("table.insert")
    versions = outcome["table_versions"]
    assert versions.keys() == {"primary.public.copied", "primary.sales.regions"}
    assert versions["primary.public.copied"] == 1


def test_refusals_are_on_record_with_their_code(served: Server) -> None:
    trail = Trail(served)
    with pytest.raises(Error), served.connect("reader", "a wrong password"):
        pass
    with served.connect("reader", PASSWORD) as connection, connection.cursor() as cursor:
        for sql in ("SELECT * FROM sales.orders", "INSERT INTO sales.empty SELECT * FROM none"):
            with pytest.raises(Error):
                cursor.execute(sql)
    (sign_in,) = [row for row in trail.of("auth.login") if row["outcome"] == "refused"]
    assert sign_in["details"]["code"] == "invalid_credentials"
    assert sign_in["user_id"] is None
    refused = [row for row in trail.of("query") if row["username"] == "reader"]
    assert {(row["outcome"], row["details"]["code"]) for row in refused} == {
        ("refused", "bucket_not_found")  # nothing was granted, so it sees none
    }


def test_sign_ins_and_actions_are_on_record_without_secrets(served: Server) -> None:
    trail = Trail(served)
    act(served, "audit.log", action="review", resource="the books")
    signed_in = trail.of("auth.login")
    assert {row["outcome"] for row in signed_in} == {"intent", "success"}
    assert {row["username"] for row in signed_in} == {"admin"}
    journal = b"".join(
        path.read_bytes() for path in (served.directory / ".lakeflight" / "audit").rglob("*.json*")
    )
    assert ADMIN_PASSWORD.encode() not in journal
    assert PASSWORD.encode() not in journal


def test_a_sign_in_by_action_names_who_it_was(served: Server) -> None:
    trail = Trail(served)
    with fl.FlightClient(served.uri) as client:
        body = json.dumps({"username": "reader", "password": PASSWORD}).encode()
        (answer,) = client.do_action(("auth.login", body))
        login = json.loads(answer.body.to_pybytes())
        body = json.dumps({"refresh_token": login["refresh_token"]}).encode()
        list(client.do_action(("auth.refresh", body)))
    by_action = [row for row in trail.of("auth.login") if row["details"].get("username")]
    for rows in (by_action, trail.of("auth.refresh")):
        assert [row["outcome"] for row in rows] == ["intent", "success"]
        assert [row["username"] for row in rows] == [None, "reader"]
        assert rows[1]["session_id"] == login["session_id"]
        assert login["refresh_token"] not in json.dumps([row["details"] for row in rows])


def test_a_result_that_is_left_early_is_on_record_as_cancelled(served: Server) -> None:
    trail = Trail(served)
    with served.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT a.value FROM generate_series(1, 30000000) a")
        reader = cursor.fetch_record_batch()
        reader.read_next_batch()
        cursor.adbc_cancel()
        cursor.close()

    def is_there() -> bool:
        return "cancelled" in {row["outcome"] for row in trail.of("query")}

    wait_until(is_there, what="the record of a cancelled query")


def test_a_change_whose_time_was_cut_short_is_interrupted(tmp_path: Path) -> None:
    """Kill a server between intent and outcome; the next one says so."""
    build_lakehouse(tmp_path)
    command = commands.encode_command(
        commands.StatementQuery("SELECT value FROM generate_series(1, 1000000000)")
    )
    with running(tmp_path) as server, fl.FlightClient(server.uri) as client:
        header = client.authenticate_basic_token("admin", ADMIN_PASSWORD)
        options = fl.FlightCallOptions(headers=[header])
        info = client.get_flight_info(fl.FlightDescriptor.for_command(command), options)
        reader = client.do_get(info.endpoints[0].ticket, options)
        reader.read_chunk()
        server.process.kill()
        server.process.wait()
        with pytest.raises(fl.FlightError):
            reader.read_all()
    with running(tmp_path) as server:
        act(server, "audit.activity", limit=1)
        rows = server.fetch(
            "SELECT outcome FROM system.audit.audit_log WHERE action = 'query' ORDER BY sequence"
        )
        assert rows["outcome"].to_pylist()[:2] == ["intent", "interrupted"]
        assert act(server, "audit.verify")[0]["ok"]


def test_the_table_is_there_from_the_start(tmp_path: Path) -> None:
    build_lakehouse(tmp_path)
    with running(tmp_path, environment={"LAKEFLIGHT_AUDIT__FLUSH_SECONDS_MAX": "3600"}) as server:
        assert server.fetch("SELECT * FROM system.audit.audit_log").num_rows == 0
        assert server.fetch("SELECT * FROM system.usage.activity").num_rows == 0
