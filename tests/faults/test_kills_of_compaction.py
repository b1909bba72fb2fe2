"""Kills the server while it removes hidden rows for good: they are never seen again.

``LAKEFLIGHT_TEST_KILLS`` and ``LAKEFLIGHT_TEST_SEED`` choose how often, and which moments.
"""

from __future__ import annotations

import os
import random
import select
import threading
from collections import Counter
from pathlib import Path

import pyarrow.flight as fl
import pytest
from deltalake import DeltaTable

from tests.lakehouse import orders_table, write
from tests.servers import running
from tests.wire.raw import RawClient
from tests.wire.test_tombstones import hide, ids

KILLS = int(os.environ.get("LAKEFLIGHT_TEST_KILLS", "6"))
SEED = int(os.environ.get("LAKEFLIGHT_TEST_SEED", "1"))
SECONDS_MAX = 0.25
NAME = "sales.orders"
ROWS, FILE_ROWS = 3_000, 1_000


@pytest.mark.slow
def test_hidden_rows_are_hidden_whenever_the_server_is_killed(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    path = tmp_path / "sales" / "orders"
    for start in range(0, ROWS, FILE_ROWS):
        write(path, orders_table(ROWS).slice(start, FILE_ROWS))
    gone: set[int] = set()
    ended: Counter[str] = Counter()
    for number in range(KILLS):
        keys = sorted(chance.sample(range(1, ROWS + 1), 50))
        with running(tmp_path) as server, RawClient.connect(server) as admin:
            check(admin, path, gone, number)
            hide(admin, NAME, *keys)
            gone.update(keys)
            before = DeltaTable(path).version()
            outcome: list[str] = []
            thread = threading.Thread(target=compact, args=(admin, outcome))
            thread.start()
            select.select([], [], [], chance.random() * SECONDS_MAX)
            server.process.kill()
            thread.join(30)
            committed = DeltaTable(path).version() > before
            ended[f"{outcome[0]}, {'committed' if committed else 'not committed'}"] += 1
    with running(tmp_path) as server, RawClient.connect(server) as admin:
        check(admin, path, gone, KILLS)
        admin.call("table.compact", table=NAME)
        assert admin.call("tombstone.list", table=NAME)[0]["count"] == 0
        check(admin, path, gone, KILLS)
        assert ids(admin, "sales.__raw__orders") == seen(gone)
        back = min(gone)
        admin.fetch(f"INSERT INTO {NAME} (order_id) VALUES ({back})")
        assert ids(admin, NAME) == seen(gone - {back})
    print(f"seed={SEED} kills={KILLS}", dict(ended))


def compact(admin: RawClient, outcome: list[str]) -> None:
    try:
        admin.call("table.compact", table=NAME)
        outcome.append("answered")
    except fl.FlightError:
        outcome.append("cut off")


def seen(gone: set[int]) -> list[int]:
    return [each for each in range(1, ROWS + 1) if each not in gone]


def check(admin: RawClient, path: Path, gone: set[int], number: int) -> None:
    """Check that the newest and the older states show all rows but those that are gone."""
    assert ids(admin, NAME) == seen(gone), f"seed={SEED} kill={number}"
    for version in range(ROWS // FILE_ROWS - 1, DeltaTable(path).version() + 1):
        found = ids(admin, f"{NAME} VERSION AS OF {version}")
        assert found == seen(gone), f"seed={SEED} kill={number} version={version}"
