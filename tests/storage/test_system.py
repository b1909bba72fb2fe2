from __future__ import annotations

import fcntl
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from flight_server import errors
from flight_server.clock import SystemClock
from flight_server.storage import system
from flight_server.storage.system import Change, Row, Rows, SystemTable
from flight_server.storage.system_tables import TableSpec
from tests.clocks import StandingClock

COLUMNS: list[pa.Field[Any]] = [
    pa.field("name", pa.string(), nullable=False),
    pa.field("count", pa.int64(), nullable=False),
    pa.field("tags", pa.list_(pa.string())),
    pa.field("at", pa.timestamp("us", tz="UTC")),
]
SPEC = TableSpec(name="test/counters", key="name", schema=pa.schema(COLUMNS))


def open_table(root: Path, spec: TableSpec = SPEC) -> SystemTable:
    return SystemTable(root, spec, clock=StandingClock(), random_bytes=os.urandom)


def put(table: SystemTable, name: str, count: int) -> None:
    row = {"name": name, "count": count, "tags": ["x", None], "at": StandingClock().now()}
    table.change(lambda rows: [row])


def log_folder(root: Path) -> Path:
    return root / SPEC.name / "_delta_log"


def test_a_table_that_does_not_exist_is_empty_and_makes_nothing(tmp_path: Path) -> None:
    snapshot = open_table(tmp_path / "system").snapshot()
    assert (snapshot.version, dict(snapshot.rows)) == (-1, {})
    assert not (tmp_path / "system").exists()


def test_rows_are_added_and_replaced_by_key(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    put(table, "a", 1)
    put(table, "b", 2)
    put(table, "a", 3)
    other = open_table(tmp_path).snapshot()
    assert other.version == 2
    assert {name: row["count"] for name, row in other.rows.items()} == {"a": 3, "b": 2}
    assert other.rows["a"]["tags"] == ["x", None]
    assert other.rows["a"]["at"] == StandingClock().now()
    assert table.snapshot().rows == other.rows
    assert set(table.snapshot().files) == set(other.files)


def test_it_is_an_ordinary_delta_table_without_values_in_its_log(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    put(table, "a-name-to-forget", 1)
    put(table, "b", 2)
    delta = DeltaTable(str(tmp_path / SPEC.name))
    assert delta.to_pyarrow_table().schema.equals(SPEC.schema)
    assert delta.to_pyarrow_table().num_rows == 2
    entries = b"".join(path.read_bytes() for path in log_folder(tmp_path).iterdir())
    assert b"a-name-to-forget" not in entries


def test_a_column_of_a_later_version_is_added_by_the_next_write(tmp_path: Path) -> None:
    put(open_table(tmp_path), "a", 1)
    before = DeltaTable(str(tmp_path / SPEC.name)).metadata()
    note = pa.field("note", pa.string(), nullable=False)
    wider = TableSpec(name=SPEC.name, key=SPEC.key, schema=pa.schema([*COLUMNS, note]))
    assert open_table(tmp_path, wider).snapshot().rows["a"]["note"] is None
    table = open_table(tmp_path, wider)
    for name, text in (("b", "first"), ("c", "second")):
        row = {"name": name, "count": 2, "tags": None, "at": None, "note": text}
        table.change(lambda rows, row=row: [row])  # type: ignore[misc]  # a default binds the row
    rows = open_table(tmp_path, wider).snapshot().rows
    assert [rows[name]["note"] for name in "abc"] == [None, "first", "second"]
    delta = DeltaTable(str(tmp_path / SPEC.name))
    assert delta.to_pyarrow_table().schema.names == wider.schema.names
    assert delta.metadata().id == before.id
    assert delta.metadata().created_time == before.created_time
    entries = [path.read_text() for path in sorted(log_folder(tmp_path).glob("*.json"))]
    assert ["metaData" in entry for entry in entries] == [True, True, False]


def test_what_the_delta_library_writes_is_seen(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    put(table, "a", 1)
    foreign = pa.Table.from_pylist(
        [{"name": "z", "count": 9, "tags": [], "at": StandingClock().now()}], SPEC.schema
    )
    write_deltalake(str(tmp_path / SPEC.name), foreign, mode="append")
    assert table.snapshot().rows["z"]["count"] == 9
    put(table, "z", 10)
    assert DeltaTable(str(tmp_path / SPEC.name)).to_pyarrow_table().num_rows == 2


def test_no_rows_means_no_commit_and_an_error_in_the_edit_changes_nothing(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    put(table, "a", 1)
    assert table.change(lambda rows: []).version == 0

    def refuse(rows: Rows) -> Sequence[Row]:
        raise errors.AlreadyExists("taken")

    with pytest.raises(errors.AlreadyExists):
        table.change(refuse)
    assert open_table(tmp_path).snapshot().version == 0


def remove(table: SystemTable, *names: str) -> int:
    return table.change(lambda rows: Change(remove=frozenset(names))).version


def stored(root: Path) -> dict[str, int]:
    rows = DeltaTable(str(root / SPEC.name)).to_pyarrow_table().to_pylist()
    assert len(rows) == len({row["name"] for row in rows})
    return {row["name"]: row["count"] for row in rows}


def test_rows_are_removed_by_key(tmp_path: Path) -> None:
    table, other = open_table(tmp_path), open_table(tmp_path)
    for name in "abc":
        put(table, name, 1)
    assert len(other.snapshot().rows) == 3
    remove(table, "b", "never there")
    assert set(table.snapshot().rows) == set(other.snapshot().rows) == {"a", "c"}
    assert stored(tmp_path) == {"a": 1, "c": 1}
    put(table, "b", 2)
    assert stored(tmp_path) == {"a": 1, "b": 2, "c": 1}


def test_the_last_row_can_be_removed_and_come_back(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    put(table, "a", 1)
    remove(table, "a")
    assert not table.snapshot().files
    assert not open_table(tmp_path).snapshot().rows
    assert stored(tmp_path) == {}
    put(table, "a", 2)
    assert stored(tmp_path) == {"a": 2}


def test_a_change_removes_before_it_puts(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    put(table, "a", 1)
    put(table, "b", 1)
    row = {**table.snapshot().rows["a"], "count": 5}
    table.change(lambda rows: Change(put=[row], remove=frozenset({"a", "b"})))
    assert stored(tmp_path) == {"a": 5}
    assert {name: row["count"] for name, row in table.snapshot().rows.items()} == {"a": 5}


def test_removing_what_is_not_there_commits_nothing(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    assert remove(table, "a") == -1
    put(table, "a", 1)
    assert remove(table, "b") == 0


def increment(root: Path, times: int) -> None:
    table = open_table(root)
    for _ in range(times):
        table.change(lambda rows: [{**rows["a"], "count": rows["a"]["count"] + 1}])


def test_no_increment_is_lost_between_threads_with_their_own_copies(tmp_path: Path) -> None:
    put(open_table(tmp_path), "a", 0)
    threads = [threading.Thread(target=increment, args=(tmp_path, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert open_table(tmp_path).snapshot().rows["a"]["count"] == 40


def _increment_and_exit(root: Path) -> None:
    increment(root, 5)
    os._exit(0)


@pytest.mark.slow
def test_no_increment_is_lost_between_processes(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    put(table, "a", 0)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_increment_and_exit, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    increment(tmp_path, 5)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert table.snapshot().rows["a"]["count"] == 15


def _come_and_go(root: Path, prefix: str) -> None:
    table = open_table(root)
    for number in range(6):
        put(table, f"{prefix}{number}", number)
        if number % 2:
            remove(table, f"{prefix}{number}")
    os._exit(0)


@pytest.mark.slow
def test_removals_and_additions_of_two_processes_lose_nothing(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    put(table, "kept", 1)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_come_and_go, args=(tmp_path, each)) for each in "xy"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    left = {"kept", *(f"{prefix}{number}" for prefix in "xy" for number in (0, 2, 4))}
    assert set(table.snapshot().rows) == left == set(stored(tmp_path))


def test_lost_races_end_in_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, faster = open_table(tmp_path), open_table(tmp_path)
    put(table, "a", 0)
    files_before = len(list((tmp_path / SPEC.name).glob("*.parquet")))
    # The lock would make this test wait for itself.
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)
    tries = 0

    def edit(rows: Rows) -> Sequence[Row]:
        nonlocal tries
        tries += 1
        put(faster, "b", tries)
        return [{**rows["a"], "count": 99}]

    with pytest.raises(errors.Conflict):
        table.change(edit)
    assert tries == system.WRITE_ATTEMPTS_MAX
    assert table.snapshot().rows["a"]["count"] == 0
    assert len(list((tmp_path / SPEC.name).glob("*.parquet"))) == files_before + tries


def test_appends_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "FILES_MAX", 5)
    monkeypatch.setattr(system, "CHECKPOINT_VERSIONS", 4)
    table = open_table(tmp_path)
    for number in range(12):
        put(table, f"n{number}", number)
        assert len(table.snapshot().files) <= 5
    assert (log_folder(tmp_path) / "_last_checkpoint").exists()
    assert len(open_table(tmp_path).snapshot().rows) == 12


def test_a_column_added_later_is_null_in_older_rows(tmp_path: Path) -> None:
    put(open_table(tmp_path), "a", 1)
    wider = TableSpec(SPEC.name, SPEC.key, SPEC.schema.append(pa.field("note", pa.string())))
    assert open_table(tmp_path, wider).snapshot().rows["a"]["note"] is None


@pytest.mark.parametrize("damage", ["empty newest entry", "torn entry", "missing data file"])
def test_a_damaged_table_is_unavailable_and_never_empty(tmp_path: Path, damage: str) -> None:
    table = open_table(tmp_path)
    put(table, "a", 1)
    put(table, "b", 1)
    newest = max(log_folder(tmp_path).glob("*.json"))
    if damage == "empty newest entry":
        newest.write_bytes(b"")
    elif damage == "torn entry":
        newest.write_bytes(newest.read_bytes()[:50])
    else:
        for path in (tmp_path / SPEC.name).glob("*.parquet"):
            path.unlink()
    with pytest.raises(errors.Unavailable) as caught:
        open_table(tmp_path).snapshot()
    assert str(tmp_path) not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "system").write_text("a file in the way")
    with pytest.raises(errors.Unavailable):
        put(open_table(tmp_path / "system"), "a", 1)


def test_a_table_upgraded_by_another_tool_is_read_but_not_written(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    put(table, "a", 1)
    delta = DeltaTable(str(tmp_path / SPEC.name))
    delta.alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
    assert delta.protocol().min_writer_version > 2
    assert table.snapshot().rows["a"]["count"] == 1
    with pytest.raises(errors.Unsupported):
        put(table, "a", 2)


def test_a_removed_table_is_noticed(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    put(table, "a", 1)
    (tmp_path / SPEC.name).rename(tmp_path / "elsewhere")
    assert not table.snapshot().rows


def test_a_table_removed_between_two_looks_is_noticed_a_second_later(tmp_path: Path) -> None:
    clock = StandingClock()
    table = SystemTable(tmp_path, SPEC, clock=clock, random_bytes=os.urandom)
    put(table, "a", 1)
    assert table.snapshot().rows
    (tmp_path / SPEC.name).rename(tmp_path / "elsewhere")
    clock.advance(1.0)
    assert not table.snapshot().rows


def test_a_table_that_can_no_longer_be_read_is_refused_every_time(tmp_path: Path) -> None:
    clock = StandingClock()
    table = SystemTable(tmp_path, SPEC, clock=clock, random_bytes=os.urandom)
    put(table, "a", 1)
    put(table, "a", 2)
    clock.advance(1.0)
    first, second = sorted(log_folder(tmp_path).glob("*.json"))
    first.write_text("not an entry")
    second.unlink()
    for _ in range(3):
        with pytest.raises(errors.Unavailable):
            table.snapshot()


def test_asking_for_the_newest_state_is_cheap(tmp_path: Path) -> None:
    table = SystemTable(tmp_path, SPEC, clock=SystemClock(), random_bytes=os.urandom)
    put(table, "a", 1)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(1000):
            table.snapshot()
        best = min(best, (time.perf_counter() - start) / 1000)
    # About 2 microseconds; the bound leaves room for a slow disk cache.
    assert best < 20e-6


def test_everything_is_synced_before_the_acknowledgement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = open_table(tmp_path)
    put(table, "a", 1)
    synced: list[str] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    put(table, "b", 2)
    data, data_folder, entry, entry_folder = synced
    assert data.endswith(".tmp")
    assert data_folder == "counters"
    assert entry.endswith(".tmp")
    assert entry_folder == "_delta_log"
