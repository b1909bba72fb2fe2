"""Kills writers at random points and reads what they left with the Delta library."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from tests.faults.committing import ROWS
from tests.faults.forking import Writers, kill_one, writers_of
from tests.storage.writing import Written

KILLS = int(os.environ.get("LAKEFLIGHT_TEST_KILLS", "100"))
SEED = int(os.environ.get("LAKEFLIGHT_TEST_SEED", "1"))

DELETED = -(10**9)


@dataclass
class Journal:
    """What the writers said, and what the table must hold by it: n by id."""

    path: Path
    expected: dict[int, int] = field(default_factory=dict)
    done: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def read(self) -> list[tuple[str, str, list[int]]]:
        """Take in the new lines; return what was begun and not acknowledged."""
        text = self.path.read_text() if self.path.exists() else ""
        lines, self.done = text[self.done :].splitlines(), len(text)
        open_ones: dict[str, tuple[str, str, list[int]]] = {}
        for line in lines:
            mark, kind, *rest = line.split(" ")
            assert mark in ("begin", "end"), f"seed={SEED}: {line}"
            key, ids = rest[0], [int(each) for each in rest[1:]]
            if mark == "begin":
                open_ones[key] = (kind, key, ids)
            else:
                del open_ones[key]
                self.counts[kind] = self.counts.get(kind, 0) + 1
                self.apply(kind, ids)
        return list(open_ones.values())

    def apply(self, kind: str, ids: list[int]) -> None:
        for each in ids:
            if kind == "append":
                # The rewriter may already have changed a row whose append was not yet noted.
                self.expected[each] = self.expected.get(each, 0)
            elif kind == "update":
                self.expected[each] = self.expected.get(each, 0) + 1
            elif kind == "delete":
                self.expected[each] = DELETED

    def settle(self, open_ones: list[tuple[str, str, list[int]]], found: dict[int, int]) -> None:
        """Decide by what is found whether each unacknowledged change was made: whole, or not."""
        # A rewrite knows only rows that were committed, whether or not that was still noted.
        seen = set(self.expected)
        seen |= {each for kind, _, ids in open_ones if kind != "append" for each in ids}
        for kind, _, ids in sorted(open_ones):  # appends first
            if kind == "append":
                made = {True} if seen & set(ids) else {each in found for each in ids}
            elif kind == "update":
                made = {found.get(each) == self.expected[each] + 1 for each in ids}
            else:
                made = {each not in found for each in ids}
            assert len(made) <= 1, f"seed={SEED}: half of {kind} {ids}"
            if True in made:
                self.apply(kind, ids)

    def rows(self) -> dict[int, int]:
        return {key: n for key, n in self.expected.items() if n != DELETED}


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    with writers_of(
        "tests.faults.committing", tmp_path / "s" / "t", tmp_path / "journal"
    ) as process:
        yield process


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_acknowledged_change_is_lost_and_none_is_half_there(
    tmp_path: Path, writers: Writers
) -> None:
    table = Written(tmp_path / "s" / "t")
    table.create(schema=ROWS, configuration={"delta.checkpointInterval": "20"})
    journal = Journal(tmp_path / "journal")
    chance = random.Random(SEED)
    again: list[str] = []
    for number in range(KILLS):
        microseconds = int(chance.uniform(0, 150_000))
        kill_one(writers, number + 1, microseconds, *again)
        open_ones = journal.read()
        rows: Any = DeltaTable(str(table.path)).to_pyarrow_table()
        found = dict(zip(rows["id"].to_pylist(), rows["n"].to_pylist(), strict=True))
        assert len(found) == rows.num_rows, f"seed={SEED}: a row is there twice"
        journal.settle(open_ones, found)
        assert found == journal.rows(), f"seed={SEED} kill={number}"
        again = [
            " ".join([key, *map(str, ids)]) for kind, key, ids in open_ones if kind == "append"
        ]
    assert set(journal.counts) == {"append", "update", "delete", "join"}
    assert sum(journal.counts.values()) > KILLS
