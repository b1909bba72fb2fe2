"""Keys that were acknowledged survive a power cut at any moment."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.clock import SystemClock
from flight_server.storage import key_sets
from flight_server.storage.durable import sync_folder
from flight_server.storage.key_sets import TOMBSTONES, KeyEvent, KeyEvents, KeySets
from flight_server.storage.key_states import KEY_TYPE
from tests.faults.power import Disk

PARTITION = "primary/sales/orders"


def opened(root: Path) -> KeySets:
    return KeySets(root, TOMBSTONES, clock=SystemClock(), random_bytes=os.urandom)


def test_no_acknowledged_key_is_lost_and_no_set_is_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sets, "SMALL_FILES_MAX", 3)
    disk = Disk(monkeypatch)
    root = tmp_path / "root"
    root.mkdir()
    sync_folder(root)
    acknowledged: list[int] = [0]
    copies = itertools.count()
    seen: set[int] = set()

    def cut() -> None:
        copy = disk.after_a_power_cut(root, tmp_path / f"copy{next(copies)}")
        keys = opened(copy).current(PARTITION).keys.to_pylist()
        # All of a call or nothing of it, and whatever was acknowledged.
        assert len(keys) in (acknowledged[0], acknowledged[0] + 10)
        assert keys == [str(key) for key in range(len(keys))]
        seen.add(len(keys))

    disk.at_sync = cut
    sets = opened(root)
    for step in range(6):
        keys = pa.array([str(key) for key in range(step * 10, step * 10 + 10)], KEY_TYPE)
        sets.add([KeyEvents(PARTITION, KeyEvent.ADDED, keys, "id", "int64", "ann", "why")])
        acknowledged[0] += 10
        cut()
    assert seen == {0, 10, 20, 30, 40, 50, 60}
