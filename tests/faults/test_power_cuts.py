"""Cuts the power after every sync of a series of writes: what was acknowledged is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.delta_log import numbers
from tests.faults.power import Disk
from tests.storage.writing import NAME, Written, data_file


class Cuts:
    """A bucket's folder whose power is cut after every sync, and what must be there then."""

    def __init__(self, disk: Disk, folder: Path, copies: Path) -> None:
        self._disk, self._folder, self._copies = disk, folder, copies
        self.acknowledged: list[int] | None = None
        self.allowed: list[list[int]] = []
        self.count = 0
        disk.at_sync = self.cut

    def cut(self) -> None:
        self.count += 1
        copy = self._disk.after_a_power_cut(self._folder, self._copies / str(self.count))
        table = copy / "sales" / "orders"
        if not (table / "_delta_log").is_dir():
            assert self.acknowledged is None
            return
        rows: Any = DeltaTable(str(table)).to_pyarrow_table()
        found = sorted(rows["id"].to_pylist())
        assert found == self.acknowledged or found in self.allowed

    def step(self, after: list[int], work: Callable[[], object], *also: list[int]) -> None:
        self.allowed = [after, *also]
        work()
        self.acknowledged, self.allowed = after, []
        self.cut()


@pytest.fixture
def cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cuts:
    folder = tmp_path / "bucket"
    folder.mkdir()
    return Cuts(Disk(monkeypatch), folder, tmp_path / "copies")


def test_whatever_was_acknowledged_survives_a_power_cut_at_any_point(
    cuts: Cuts, tmp_path: Path
) -> None:
    table = Written(tmp_path / "bucket" / "sales" / "orders")
    configuration = {"delta.checkpointInterval": "3"}
    cuts.step([0, 1], lambda: table.create(numbers(0, 2), configuration=configuration))
    cuts.step([0, 1, 2], lambda: table.append(2, 3))

    def update() -> None:
        head = table.commits.head(table.path, name=NAME, with_files=True)
        new = data_file(table.path, numbers(5, 7))
        removes = tuple(file.path for file in head.files or ())
        table.commit("UPDATE", adds=(new,), removes=removes, read_version=head.version)

    cuts.step([5, 6], update)
    cuts.step([5, 6, 7], lambda: table.append(7, 8))  # and the checkpoint of version 3
    cuts.step([5, 6, 7, 8], lambda: table.append(8, 9))
    assert (table.path / "_delta_log" / "_last_checkpoint").exists()
    assert cuts.count > 20


def test_what_others_left_unsynced_does_not_tear_a_hole_into_the_log(
    cuts: Cuts, tmp_path: Path
) -> None:
    table = Written(tmp_path / "bucket" / "sales" / "orders")
    cuts.step([0, 1], lambda: table.create(numbers(0, 2)))
    write_deltalake(str(table.path), numbers(2, 3), mode="append")
    write_deltalake(str(table.path), numbers(3, 4), mode="append")
    cuts.step([0, 1, 2, 3, 4], lambda: table.append(4, 5), [0, 1, 2], [0, 1, 2, 3])
    write_deltalake(str(table.path), numbers(5, 6), mode="append")
    fresh = Written(table.path)
    cuts.step([0, 1, 2, 3, 4, 5, 6], lambda: fresh.append(6, 7), [0, 1, 2, 3, 4, 5])


def test_a_table_is_there_whole_or_not_at_all(cuts: Cuts, tmp_path: Path) -> None:
    path = tmp_path / "bucket" / "sales" / "orders"
    empty = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    cuts.step([], lambda: Written(path).create(schema=empty))
