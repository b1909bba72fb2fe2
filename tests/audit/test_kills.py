"""Kills writers of an audit log at random points, and looks for every record they were sure of."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.audit.logs import opened, rows_of, verified

KILLS = int(os.environ.get("LAKEFLIGHT_TEST_KILLS", "15"))
SEED = int(os.environ.get("LAKEFLIGHT_TEST_SEED", "1"))


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.audit.appending"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "audit"), str(tmp_path / "witnesses")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_acknowledged_record_is_there_once(
    tmp_path: Path, writers: subprocess.Popen[str]
) -> None:
    folder = tmp_path / "audit"
    chance = random.Random(SEED)
    assert writers.stdin is not None
    assert writers.stdout is not None
    for number in range(KILLS):
        microseconds = int(chance.uniform(0, 600_000))
        writers.stdin.write(f"{number + 1};{microseconds}\n")
        writers.stdin.flush()
        assert writers.stdout.readline() == "done\n"
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
