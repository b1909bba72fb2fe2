"""Kills the server right after it has acknowledged something: each of that is on record, once.

``LAKEFLIGHT_TEST_KILLS`` and ``LAKEFLIGHT_TEST_SEED`` choose how often, and what is done.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from tests.lakehouse import build_lakehouse
from tests.servers import ADMIN_PASSWORD, Server, running

KILLS = int(os.environ.get("LAKEFLIGHT_TEST_KILLS", "6"))
SEED = int(os.environ.get("LAKEFLIGHT_TEST_SEED", "1"))
TAG = "adbc.flight.sql.rpc.call_header.x-lakehouse-query-tag"
STATEMENTS = {
    "query": "SELECT order_id FROM sales.orders ORDER BY order_id LIMIT 100",
    "table.insert": "INSERT INTO events VALUES (9, 'x')",
    "table.update": "UPDATE events SET kind = 'y' WHERE id = 9",
}


def acknowledged(connection: flightsql.Connection, action: str, tag: str) -> None:
    """Run a statement to the end of what it answers."""
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{TAG: tag})
        cursor.execute(STATEMENTS[action])
        cursor.fetch_arrow_table()


def one_life(folder: Path, chance: random.Random, life: int) -> dict[str, str]:
    """Let a server acknowledge a few things and kill it at once; return actions by tag."""
    done: dict[str, str] = {}
    with running(folder) as server:
        connection = server.connect()
        try:
            for number in range(chance.randint(1, 6)):
                tag, action = f"{life}-{number}", chance.choice(list(STATEMENTS))
                acknowledged(connection, action, tag)
                done[tag] = action
            server.process.kill()
            server.process.wait()
        finally:
            connection.close()
    return done


def act(server: Server, name: str) -> list[dict[str, Any]]:
    with fl.FlightClient(server.uri) as client:
        header = client.authenticate_basic_token("admin", ADMIN_PASSWORD)
        answers = client.do_action((name, b""), fl.FlightCallOptions(headers=[header]))
        return [json.loads(answer.body.to_pybytes()) for answer in answers]


def recorded(server: Server) -> pa.Table:
    act(server, "audit.activity")  # brings all there is into the table
    found: pa.Table = server.fetch("SELECT action, outcome, details FROM system.audit.audit_log")
    return found


@pytest.mark.slow
def test_what_was_acknowledged_right_before_a_kill_is_on_record(tmp_path: Path) -> None:
    build_lakehouse(tmp_path)
    chance = random.Random(SEED)
    done: dict[str, str] = {}
    for life in range(KILLS):
        done |= one_life(tmp_path, chance, life)
    with running(tmp_path) as server:
        found: Counter[tuple[str, str, str]] = Counter()
        for row in recorded(server).to_pylist():
            tag = json.loads(row["details"]).get("query_tag")
            if tag is not None:
                found[tag, row["action"], row["outcome"]] += 1
        (verdict,) = act(server, "audit.verify")
    outcomes = ("intent", "success")
    expected = {(tag, done[tag], outcome): 1 for tag in done for outcome in outcomes}
    assert dict(found) == expected, f"seed {SEED}"
    assert verdict["ok"], verdict
