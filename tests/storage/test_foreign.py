from __future__ import annotations

import os
from pathlib import Path

from deltalake import write_deltalake

from flight_server.clock import SystemClock
from flight_server.storage.foreign import remove_torn_entries, sync_foreign
from flight_server.storage.replay import advance, read_state
from tests.delta_log import numbers
from tests.storage.writing import NAME, Written


def test_only_what_others_wrote_needs_a_sync(tmp_path: Path) -> None:
    table = Written(tmp_path / "t").create(numbers(0, 1))
    table.append(1, 2)
    write_deltalake(str(table.path), numbers(2, 3), mode="append")
    state = read_state(str(table.path), NAME, with_files=False)
    assert (state.unsynced, state.names_synced) == ([2], False)
    sync_foreign(state, NAME, clock=SystemClock())
    assert (state.unsynced, state.names_synced) == ([], True)
    write_deltalake(str(table.path), numbers(3, 4), mode="append")
    table.append(4, 5)
    advance(state, NAME)
    assert (state.version, state.unsynced) == (4, [3])


def test_a_file_that_is_gone_by_now_is_no_hindrance(tmp_path: Path) -> None:
    table = Written(tmp_path / "t").create()
    write_deltalake(str(table.path), numbers(2, 3), mode="append")
    for name in table.data_files():
        (table.path / name).unlink()
    assert table.append(3, 4).version == 2


def test_entries_begun_long_ago_are_removed_and_nothing_else(tmp_path: Path) -> None:
    names = ["_abcd1234.tmp", "_new_5678.tmp", "00000000000000000000.json", "_last_checkpoint"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / "_fresh123.tmp").write_bytes(b"")
    remove_torn_entries(tmp_path, clock=SystemClock())
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(["_fresh123.tmp", *names[2:]])
    remove_torn_entries(tmp_path / "missing", clock=SystemClock())
