"""Kills writers of an audit log at random points, and looks for every record they were sure of."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.audit.logs import opened, rows_of, verified
from tests.faults.forking import Writers, kill_one, writers_of

KILLS = int(os.environ.get("LAKEFLIGHT_TEST_KILLS", "15"))
SEED = int(os.environ.get("LAKEFLIGHT_TEST_SEED", "1"))


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    with writers_of("tests.audit.appending", tmp_path / "audit", tmp_path / "witnesses") as process:
        yield process


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_acknowledged_record_is_there_once(tmp_path: Path, writers: Writers) -> None:
    folder = tmp_path / "audit"
    chance = random.Random(SEED)
    for number in range(KILLS):
        microseconds = int(chance.uniform(0, 600_000))
        kill_one(writers, number + 1, microseconds)
        if number % 5 == 0:
            verdict = verified(folder)
            assert verdict.is_intact, f"seed={SEED} kill={number}: {verdict}"
    with opened(folder) as log:
        log.flush()
        verdict = log.verify()
        assert verdict.is_intact, f"seed={SEED}: {verdict}"
    rows = rows_of(folder)
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    check_witnesses((tmp_path / "witnesses").read_text(), rows)
    check_interruptions(rows)
    history = DeltaTable(str(folder / "audit_log")).history()
    kinds = Counter(entry["operation"] for entry in history)
    assert kinds["WRITE"] > KILLS // 3
    assert kinds["OPTIMIZE"] > KILLS // 100


def check_witnesses(text: str, rows: list[dict[str, object]]) -> None:
    found = Counter((row["request_id"], row["outcome"]) for row in rows)
    assert max(found.values()) == 1
    at = {(row["request_id"], row["outcome"]): row["sequence"] for row in rows}
    for line in text.splitlines():
        sequence, request_id, outcome = line.split(" ")
        assert (request_id, outcome) in at, f"seed={SEED}: {line} is lost"
        assert sequence in ("0", str(at[request_id, outcome])), f"seed={SEED}: {line}"


def check_interruptions(rows: list[dict[str, object]]) -> None:
    """Every intent has exactly one outcome, be it that none came."""
    intents = {row["request_id"] for row in rows if row["outcome"] == "intent"}
    outcomes = Counter(row["request_id"] for row in rows if row["outcome"] != "intent")
    assert max(outcomes.values()) == 1
    assert intents <= outcomes.keys()
