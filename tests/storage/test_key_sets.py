from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from flight_server import errors
from flight_server.clock import SystemClock
from flight_server.storage import key_sets
from flight_server.storage.key_sets import TOMBSTONES, KeyEvent, KeyEvents, KeySets
from flight_server.storage.key_states import KEY_TYPE
from tests.clocks import StandingClock

ORDERS = "primary/sales/orders"
ADDED, REMOVED, COMPACTED = KeyEvent.ADDED, KeyEvent.REMOVED, KeyEvent.COMPACTED


def opened(root: Path, clock: StandingClock | None = None) -> KeySets:
    return KeySets(root, TOMBSTONES, clock=clock or StandingClock(), random_bytes=os.urandom)


def events(
    keys: Iterable[str],
    event: KeyEvent = ADDED,
    *,
    partition: str = ORDERS,
    files: tuple[str, ...] = (),
) -> KeyEvents:
    column = pa.array(list(keys), KEY_TYPE)
    return KeyEvents(partition, event, column, "id", "string", "ann", "asked for", files)


def listed(column: pa.Array[Any]) -> list[Any]:
    return column.to_pylist()


def test_sets_that_do_not_exist_are_empty_and_make_nothing(tmp_path: Path) -> None:
    sets = opened(tmp_path / "system")
    state = sets.current(ORDERS)
    assert (state.count, state.stamp, state.key_column) == (0, 0, None)
    assert sets.partitions() == ()
    assert sets.add([]) == 0
    assert not (tmp_path / "system").exists()


def test_the_state_of_a_key_is_its_last_event(tmp_path: Path) -> None:
    sets, other = opened(tmp_path), opened(tmp_path)
    assert sets.add([events(["a", "b", "c"])]) == 3
    assert listed(other.current(ORDERS).keys) == ["a", "b", "c"]
    sets.add([events(["b"], REMOVED)])
    sets.add([events(["c", "d"])])
    sets.add([events(["b"])])
    for each in (sets, other, opened(tmp_path)):
        state = each.current(ORDERS)
        assert listed(state.keys) == ["a", "c", "d", "b"]
        assert listed(state.sequences) == [1, 5, 6, 7]
        assert (state.stamp, state.key_column) == (7, "id")


def test_sets_are_told_apart_and_one_commit_may_have_events_of_several(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    other = 'a%2Fb/=/"ü'
    sets.add([events(["a"]), events(["b"], partition=other), events(["a"], REMOVED)])
    assert listed(sets.current(ORDERS).keys) == []
    assert listed(sets.current(other).keys) == ["b"]
    assert sets.partitions() == tuple(sorted((ORDERS, other)))
    assert DeltaTable(tmp_path / "policy/tombstones").version() == 1


def test_the_stamp_changes_with_each_change_of_the_set_and_with_no_other(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    sets.add([events(["a"])])
    before = sets.current(ORDERS)
    sets.add([events(["z"], partition="other")])
    assert sets.current(ORDERS) is before
    sets.add([events(["a"], REMOVED)])
    sets.add([events(["a"])])
    after = sets.current(ORDERS)
    assert listed(after.keys) == listed(before.keys)
    assert after.stamp > before.stamp


def test_compacted_keys_stay_with_their_files_for_good(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    sets.add([events(["a", "b", "c"])])
    first, second = ("f1", "f2"), ("f3",)
    sets.add([events(["a", "b"], COMPACTED, files=first)])
    sets.add([events(["a"]), events(["c"], COMPACTED, files=second)])
    sets.add([events(["a"], REMOVED)])
    for each in (sets, opened(tmp_path)):
        state = each.current(ORDERS)
        assert state.count == 0
        assert [(set(c.files), listed(c.keys)) for c in state.compactions] == [
            (set(first), ["a", "b"]),
            (set(second), ["c"]),
        ]
        assert [c.number for c in state.compactions] == [4, 7]


def test_keys_that_came_back_are_active_again(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    sets.add([events(["a", "b"])])
    sets.add([events(["a", "b"], COMPACTED, files=("f",))])
    sets.add([events(["b"], KeyEvent.RESTORED)])
    state = opened(tmp_path).current(ORDERS)
    assert (listed(state.keys), state.key_column, state.key_type) == (["b"], "id", "string")
    assert listed(state.compactions[0].keys) == ["a", "b"]


def test_the_state_at_an_earlier_stamp_is_read_again(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    sets.add([events(["a", "b"])])
    stamp = sets.current(ORDERS).stamp
    sets.add([events(["a"], REMOVED)])
    assert listed(sets.up_to(ORDERS, stamp).keys) == ["a", "b"]
    assert sets.up_to(ORDERS, stamp + 1) is sets.current(ORDERS)


def test_the_state_of_a_moment_is_read_again(tmp_path: Path) -> None:
    clock = StandingClock()
    sets = opened(tmp_path, clock)
    moments: list[datetime] = []
    for each in (events(["a", "b"]), events(["a"], REMOVED), events(["c"])):
        sets.add([each])
        moments.append(clock.now())
        clock.advance(10)
    found = [listed(sets.as_of(ORDERS, moment).keys) for moment in moments]
    assert found == [["a", "b"], ["b"], ["b", "c"]]


def test_events_are_found_by_their_numbers(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    sets.add([events(["a", "b"])])
    sets.add([events(["c"])])
    rows = sets.events(ORDERS, pa.array([2, 3])).to_pylist()
    assert [(row["key"], row["actor"], row["reason"]) for row in rows] == [
        ("b", "ann", "asked for"),
        ("c", "ann", "asked for"),
    ]
    assert sets.events(ORDERS, pa.array([], pa.int64())).num_rows == 0


def test_small_files_are_joined_and_nothing_of_the_history_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sets, "SMALL_FILES_MAX", 5)
    sets, other = opened(tmp_path), opened(tmp_path)
    for i in range(14):
        sets.add([events([str(i)]), events([str(i)], partition="other")])
        assert other.current(ORDERS).count == i + 1
    sets.add([events(["3"], REMOVED)])
    table = DeltaTable(tmp_path / "policy/tombstones")
    assert len(table.file_uris()) < 16
    history = pa.table(table.to_pyarrow_table())
    rows = history.filter(pc.equal(history["table_name"], pa.scalar(ORDERS))).sort_by("sequence")
    assert rows["key"].to_pylist() == [*map(str, range(14)), "3"]
    assert listed(opened(tmp_path).current(ORDERS).keys) == [str(i) for i in range(14) if i != 3]
    assert listed(other.current(ORDERS).keys) == [str(i) for i in range(14) if i != 3]


def test_keys_are_not_in_the_log(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    sets.add([events(["very-secret-key"])])
    for entry in (tmp_path / "policy/tombstones/_delta_log").iterdir():
        assert b"very-secret" not in entry.read_bytes()


def test_writers_in_threads_lose_nothing(tmp_path: Path) -> None:
    several = [opened(tmp_path), opened(tmp_path)]

    def add(lane: int) -> None:
        for i in range(10):
            several[lane % 2].add([events([f"{lane}.{i}"])])

    threads = [threading.Thread(target=add, args=(lane,)) for lane in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = opened(tmp_path).current(ORDERS)
    assert sorted(listed(state.keys)) == sorted(f"{n}.{i}" for n in range(4) for i in range(10))
    assert listed(state.sequences) == list(range(1, 41))


def _add_in_another_process(root: Path, lane: int) -> None:
    sets = KeySets(root, TOMBSTONES, clock=SystemClock(), random_bytes=os.urandom)
    for _ in range(10):
        with sets.turn():
            count = sets.current(ORDERS).count
            sets.add([events([f"{count}"])])
            assert sets.current(ORDERS).count == count + 1, lane


def test_writers_in_processes_take_turns(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_add_in_another_process, args=(tmp_path, lane)) for lane in range(3)
    ]
    for worker in workers:
        worker.start()
    seen = opened(tmp_path)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert listed(seen.current(ORDERS).keys) == [str(i) for i in range(30)]


def test_a_table_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    sets.add([events(["a"])])
    assert sets.current(ORDERS).count == 1
    folder = tmp_path / "policy/tombstones"
    folder.rename(tmp_path / "elsewhere")
    fresh = opened(tmp_path)
    fresh.add([events(["b"]), events(["c"])])
    assert listed(sets.current(ORDERS).keys) == ["b", "c"]


def test_what_cannot_be_read_is_an_error_and_not_an_empty_set(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    sets.add([events(["a"])])
    (file,) = (tmp_path / "policy/tombstones").glob("*/*.parquet")
    file.write_bytes(b"no parquet")
    with pytest.raises(errors.Unavailable):
        opened(tmp_path).current(ORDERS)
    (tmp_path / "policy/tombstones/_delta_log" / f"{0:020d}.json").write_bytes(b"")
    with pytest.raises(errors.Unavailable):
        opened(tmp_path).current(ORDERS)


def test_too_much_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_sets, "SET_BYTES_MAX", 100)
    sets = opened(tmp_path)
    sets.add([events(["a"])])
    with pytest.raises(errors.LimitExceeded, match="set_bytes_max=100"):
        sets.add([events(["b" * 200])])
    assert sets.current(ORDERS).count == 1


def test_states_equal_those_of_a_dictionary(tmp_path: Path) -> None:
    chance = random.Random(7)
    sets = opened(tmp_path)
    expected: dict[str, None] = {}
    for _ in range(40):
        keys = sorted({str(chance.randrange(30)) for _ in range(chance.randint(1, 12))})
        event = chance.choice([ADDED, ADDED, REMOVED])
        for key in keys:
            expected.pop(key, None)
            if event is ADDED:
                expected[key] = None
        sets.add([events(keys, event)])
        if chance.random() < 0.5:
            assert listed(sets.current(ORDERS).keys) == list(expected)
    assert listed(opened(tmp_path).current(ORDERS).keys) == list(expected)


@pytest.mark.slow
def test_a_million_keys_stay_usable(tmp_path: Path) -> None:
    sets = opened(tmp_path)
    for part in range(4):
        keys = (f"CAND-{part * 250_000 + i:09d}" for i in range(250_000))
        sets.add([events(keys)])
    began = time.perf_counter()
    state = opened(tmp_path).current(ORDERS)
    seconds = time.perf_counter() - began
    assert state.count == 1_000_000
    assert state.bytes < 64_000_000
    assert seconds < 5
    began = time.perf_counter()
    sets.add([events(["one more"])])
    assert sets.current(ORDERS).count == 1_000_001
    assert time.perf_counter() - began < 2
