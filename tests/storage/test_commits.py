from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from flight_server import errors
from flight_server.storage import commits as commits_module
from flight_server.storage import durable
from flight_server.storage.changes import Author, Change
from flight_server.storage.commits import CommitLimits, Commits
from flight_server.storage.delta_actions import schema_text
from tests.delta_log import NUMBERS, DeltaFolder, numbers, schema
from tests.storage.writing import ALICE, NAME, Written, data_file


@pytest.fixture
def table(tmp_path: Path) -> Written:
    return Written(tmp_path / "sales" / "orders").create(numbers(0, 3))


def foreign_append(table: Written, start: int, stop: int) -> None:
    patient = CommitProperties(max_commit_retries=10_000)
    write_deltalake(str(table.path), numbers(start, stop), mode="append", commit_properties=patient)


def run_all(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_append_is_a_version_that_the_delta_library_reads(table: Written) -> None:
    done = table.append(3, 5)
    assert (done.version, done.rows, done.repeated) == (1, 2, False)
    assert table.ids() == [0, 1, 2, 3, 4]
    assert table.ids(version=0) == [0, 1, 2]
    head = table.commits.head(table.path, name=NAME, with_files=True)
    assert head.version == 1
    assert head.files is not None
    assert [file.rows for file in head.files] == [3, 2]


def test_the_history_names_author_and_request_and_no_values(table: Written) -> None:
    table.append(3, 4, parameters={"mode": "Append"})
    info = table.entry(1)[0]["commitInfo"]
    assert info["operation"] == "WRITE"
    assert (info["userId"], info["userName"], info["requestId"]) == ("u-1", "alice", "r-1")
    assert info["isBlindAppend"] is True
    newest = DeltaTable(str(table.path)).history(1)[0]
    assert newest["operationParameters"] == {"mode": "Append"}


def test_rows_are_exact_when_many_append_at_once(table: Written) -> None:
    def work(number: int) -> None:
        for i in range(15):
            start = 1000 * number + i
            assert table.append(start, start + 1).rows == 1

    run_all([threading.Thread(target=work, args=(n,)) for n in range(1, 9)])
    expected = [0, 1, 2, *(1000 * n + i for n in range(1, 9) for i in range(15))]
    assert table.ids() == sorted(expected)


def test_appends_that_wait_together_become_one_version(table: Written) -> None:
    barrier = threading.Barrier(20)
    files = [data_file(table.path, numbers(n, n + 1)) for n in range(10, 30)]
    versions: list[int | None] = []

    def work(number: int) -> None:
        barrier.wait()
        author = Author("u", "bob", f"r-{number}")
        versions.append(table.commit(adds=(files[number],), rows=1, author=author).version)

    run_all([threading.Thread(target=work, args=(n,)) for n in range(20)])
    assert len(set(versions)) < 20
    assert table.ids() == [0, 1, 2, *range(10, 30)]
    infos = [table.entry(v)[0]["commitInfo"] for v in range(1, table.version() + 1)]
    requests = [w["requestId"] for info in infos for w in info.get("writes", [info])]
    assert sorted(requests) == sorted(f"r-{n}" for n in range(20))


def test_one_bad_change_does_not_fail_the_others_of_its_group(table: Written) -> None:
    barrier = threading.Barrier(12)
    other = pa.schema([pa.field("id", pa.string())])
    refused: list[int] = []

    def work(number: int) -> None:
        file = data_file(table.path, numbers(number, number + 1))
        barrier.wait()
        try:
            table.commit(adds=(file,), schema=other if number % 3 == 0 else NUMBERS, rows=1)
        except errors.Conflict:
            refused.append(number)

    run_all([threading.Thread(target=work, args=(n,)) for n in range(12, 24)])
    assert sorted(refused) == [12, 15, 18, 21]
    assert table.ids() == [0, 1, 2, *(n for n in range(12, 24) if n % 3)]


def test_a_check_gives_up_its_own_change_and_no_other_of_its_group(table: Written) -> None:
    barrier = threading.Barrier(12)
    refused: list[int] = []

    def work(number: int) -> None:
        def check() -> None:
            if number % 3 == 0:
                raise errors.PermissionDenied("withdrawn")

        file = data_file(table.path, numbers(number, number + 1))
        change = Change("WRITE", ALICE, adds=(file,), schema=NUMBERS, rows=1)
        barrier.wait()
        try:
            table.commits.commit(table.path, change, name=NAME, check=check)
        except errors.PermissionDenied:
            refused.append(number)

    run_all([threading.Thread(target=work, args=(n,)) for n in range(12, 24)])
    assert sorted(refused) == [12, 15, 18, 21]
    assert table.ids() == [0, 1, 2, *(n for n in range(12, 24) if n % 3)]


def test_a_repeat_with_the_same_key_writes_nothing(table: Written) -> None:
    first = table.append(3, 5, idempotency_key="k")
    again = table.append(3, 5, idempotency_key="k")
    assert (first.repeated, again.repeated, again.version) == (False, True, None)
    assert again.rows == 2
    assert table.version() == 1
    assert table.commits.known(table.path, "u-1", key="k", name=NAME) == 2
    assert table.commits.known(table.path, "u-2", key="k", name=NAME) is None
    assert "k" not in {action.get("txn", {}).get("appId") for action in table.entry(1)}


@pytest.mark.parametrize("rows", [-1, 0, 7])
def test_a_key_is_known_to_the_next_server_too(table: Written, rows: int) -> None:
    table.commit(rows=rows, adds=(), idempotency_key="k")
    DeltaTable(str(table.path)).create_checkpoint()
    table.append(5, 6)
    fresh = Written(table.path)
    assert fresh.commits.known(table.path, "u-1", key="k", name=NAME) == rows
    assert fresh.commit(idempotency_key="k", rows=99).rows == rows


def test_the_same_key_at_once_writes_once(table: Written) -> None:
    barrier = threading.Barrier(8)
    outcomes: list[bool] = []

    def work() -> None:
        file = data_file(table.path, numbers(9, 10))
        barrier.wait()
        outcomes.append(table.commit(adds=(file,), rows=1, idempotency_key="k").repeated)

    run_all([threading.Thread(target=work) for _ in range(8)])
    assert sorted(outcomes) == [False] + [True] * 7
    assert table.ids() == [0, 1, 2, 9]


def test_keys_hold_between_two_processes_that_do_not_know_each_other(table: Written) -> None:
    other = Written(table.path)
    other.append(3, 4)
    assert table.append(3, 5, idempotency_key="k").repeated is False
    assert other.append(3, 5, idempotency_key="k").repeated is True
    assert table.ids() == [0, 1, 2, 3, 3, 4]


def test_no_key_is_known_of_a_table_that_is_not_there(tmp_path: Path) -> None:
    table = Written(tmp_path / "s" / "t")
    assert table.commits.known(table.path, "u", key="k", name=NAME) is None
    with pytest.raises(errors.NotFound) as caught:
        table.commit()
    assert caught.value.code == "table_not_found"
    assert str(tmp_path) not in str(caught.value)


def removable(table: Written) -> tuple[int, tuple[str, ...]]:
    head = table.commits.head(table.path, name=NAME, with_files=True)
    return head.version, tuple(file.path for file in head.files or ())


def test_a_rewrite_goes_on_behind_appends(table: Written) -> None:
    read, old = removable(table)
    table.append(3, 4)
    foreign_append(table, 4, 5)
    new = data_file(table.path, numbers(1, 3))
    table.commit("DELETE", adds=(new,), removes=old, read_version=read, rows=1)
    assert table.ids() == [1, 2, 3, 4]


def test_files_may_be_named_by_uri(table: Written) -> None:
    read, (old,) = removable(table)
    table.commit("DELETE", removes=((table.path / old).as_uri(),), read_version=read)
    assert table.ids() == []


def test_of_two_rewrites_of_the_same_state_one_wins(table: Written) -> None:
    read, old = removable(table)
    new = data_file(table.path, numbers(1, 3))
    table.commit("UPDATE", adds=(new,), removes=old, read_version=read)
    late = data_file(table.path, numbers(0, 2))
    with pytest.raises(errors.Conflict) as caught:
        table.commit("UPDATE", adds=(late,), removes=old, read_version=read)
    assert caught.value.retryable
    assert table.ids() == [1, 2]


def test_a_foreign_delete_conflicts_with_a_rewrite_and_not_with_an_append(table: Written) -> None:
    table.append(3, 6)
    read, old = removable(table)
    DeltaTable(str(table.path)).delete("id = 4")
    with pytest.raises(errors.Conflict):
        table.commit("UPDATE", removes=old[:1], read_version=read)
    table.append(7, 8)
    assert table.ids() == [0, 1, 2, 3, 5, 7]


def test_joining_files_conflicts_with_what_took_them_and_nothing_else(table: Written) -> None:
    table.append(3, 5)
    read, old = removable(table)
    joined = data_file(table.path, numbers(0, 3))
    table.commit("DELETE", removes=old[1:], read_version=read)
    change: dict[str, Any] = {"data_change": False, "read_version": read, "adds": (joined,)}
    with pytest.raises(errors.Conflict):
        table.commit("OPTIMIZE", removes=old, **change)
    table.commit("OPTIMIZE", removes=old[:1], **change)
    assert table.ids() == [0, 1, 2]
    assert all(
        next(iter(action.values())).get("dataChange") is False for action in table.entry(3)[1:]
    )


def test_an_overwrite_takes_what_is_there_unless_it_read_the_table(table: Written) -> None:
    read, _ = removable(table)
    table.append(3, 4)
    with pytest.raises(errors.Conflict):
        table.commit("WRITE", removes_all=True, read_version=read)
    table.commit("WRITE", removes_all=True, adds=(data_file(table.path, numbers(8, 9)),))
    assert table.ids() == [8]
    table.commit("TRUNCATE", removes_all=True)
    assert table.ids() == []


def with_column(table: Written, column: pa.Field[Any]) -> Any:
    head = table.commits.head(table.path, name=NAME)
    wider = pa.schema([*head.schema, column])
    text = schema_text(wider, before=head.metadata.schema_text)
    return dataclasses.replace(head.metadata, schema_text=text)


def test_rows_fitted_before_a_nullable_column_came_still_fit(table: Written) -> None:
    table.commit("ADD COLUMNS", metadata=with_column(table, pa.field("extra", pa.int32())))
    table.append(3, 4, schema=NUMBERS)
    assert DeltaTable(str(table.path)).to_pyarrow_table()["extra"].to_pylist() == [None] * 4
    assert table.commits.head(table.path, name=NAME).schema.names == ["id", "name", "extra"]


def test_a_timestamp_without_zone_asks_for_its_feature(table: Written) -> None:
    local = pa.field("at", pa.timestamp("us"), metadata={b"comment": b"local"})
    table.commit("ADD COLUMNS", metadata=with_column(table, local))
    protocol = DeltaTable(str(table.path)).protocol()
    assert protocol.min_writer_version == 7
    assert "timestampNtz" in (protocol.writer_features or [])
    assert table.commits.head(table.path, name=NAME).schema.field("at").metadata == {
        b"comment": b"local"
    }
    table.append(3, 4)


def test_a_change_made_for_another_table_or_other_columns_conflicts(table: Written) -> None:
    with pytest.raises(errors.Conflict, match="replaced"):
        table.append(3, 4, table_id="another")
    with pytest.raises(errors.Conflict, match="column=name"):
        table.append(3, 4, schema=pa.schema([NUMBERS.field(0), pa.field("name", pa.int64())]))
    file = data_file(table.path, numbers(0, 1), partition={"p": "x"})
    with pytest.raises(errors.Conflict, match="partitioned"):
        table.commit(adds=(file,))
    table.commit("ADD COLUMNS", metadata=with_column(table, pa.field("n", pa.int8(), False)))
    with pytest.raises(errors.Conflict, match="column=n"):
        table.append(3, 4, schema=NUMBERS)
    assert table.version() == 1


def test_a_replacement_changes_identity_columns_and_rows_at_once(table: Written) -> None:
    other = schema(id=pa.int64(), at=pa.date32())
    metadata = table.creation.metadata(other, description="new")
    rows = pa.table({"id": [7], "at": pa.array([None], pa.date32())}, schema=other)
    file = data_file(table.path, rows)
    before = table.commits.head(table.path, name=NAME).table_id
    table.commit("CREATE OR REPLACE TABLE", metadata=metadata, adds=(file,), removes_all=True)
    assert table.ids() == [7]
    assert table.commits.head(table.path, name=NAME).schema.names == ["id", "at"]
    with pytest.raises(errors.Conflict):
        table.append(3, 4, table_id=before)


def test_a_table_dropped_and_made_again_is_another_one(table: Written) -> None:
    table.append(3, 4)
    table.creation.drop(table.path, name=NAME)
    with pytest.raises(errors.NotFound):
        table.commit()
    table.create(numbers(7, 8))
    assert table.append(9, 10).version == 1
    assert table.ids() == [7, 9]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\0\0\0\0", b'{"add":', b"[]\n"])
def test_a_torn_last_entry_is_refused_and_nothing_is_built_on_it(
    table: Written, content: bytes
) -> None:
    table.append(3, 4)
    log = table.path / "_delta_log"
    (log / f"{2:020d}.json").write_bytes(content)
    for each in (table, Written(table.path)):
        with pytest.raises(errors.Unavailable) as caught:
            each.append(4, 5)
        assert caught.value.code == "table_damaged"
        assert str(table.path) not in str(caught.value)
    assert not (log / f"{3:020d}.json").exists()


def test_checkpoints_come_at_the_interval_of_the_table_and_are_read(tmp_path: Path) -> None:
    table = Written(tmp_path / "s" / "t")
    table.create(numbers(0, 1), configuration={"delta.checkpointInterval": "5"})
    for n in range(1, 13):
        table.append(n, n + 1)
    log = table.path / "_delta_log"
    assert [p.name for p in sorted(log.glob("*.checkpoint.parquet"))] == [
        f"{n:020d}.checkpoint.parquet" for n in (5, 10)
    ]
    assert json.loads((log / "_last_checkpoint").read_text())["version"] == 10
    for version in range(10):
        (log / f"{version:020d}.json").unlink()
    fresh = Written(table.path)
    assert len(fresh.commits.head(table.path, name=NAME, with_files=True).files or ()) == 13
    fresh.commit("TRUNCATE", removes_all=True)
    assert table.ids() == []
    assert [p.name for p in table.path.parent.iterdir()] == ["t"]


def test_an_unreadable_checkpoint_is_no_hindrance_while_the_entries_are_there(
    tmp_path: Path,
) -> None:
    table = Written(tmp_path / "s" / "t")
    table.create(numbers(0, 1), configuration={"delta.checkpointInterval": "2"})
    for n in range(1, 6):
        table.append(n, n + 1)
    (table.path / "_delta_log" / f"{4:020d}.checkpoint.parquet").write_bytes(b"")
    fresh = Written(table.path)
    assert len(fresh.commits.head(table.path, name=NAME, with_files=True).files or ()) == 6


def test_giving_up_after_lost_races_says_so(
    table: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = CommitLimits(attempts_max=3)
    commits = Commits(table.clock, random_bytes=lambda n: b"x" * n, limits=limits)
    real = durable.write_once
    lost = 0

    def too_late(path: Path, content: bytes) -> bool:
        nonlocal lost
        lost += 1
        foreign_append(table, 100 * lost, 100 * lost + 1)
        return real(path, content)

    monkeypatch.setattr(commits_module, "write_once", too_late)
    file = data_file(table.path, numbers(7, 8))
    with pytest.raises(errors.Conflict, match="commit_attempts_max=3"):
        commits.commit(table.path, Change("WRITE", ALICE, adds=(file,)), name=NAME)
    assert table.ids() == [0, 1, 2, 100, 200, 300]


def test_a_sync_that_fails_after_the_entry_is_there_leaves_the_outcome_open(
    table: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = durable.write_once

    def unsynced(path: Path, content: bytes) -> bool:
        real(path, content)
        raise OSError(5, "an error of the disk")

    with monkeypatch.context() as patch:
        patch.setattr(commits_module, "write_once", unsynced)
        with pytest.raises(errors.Unavailable) as caught:
            table.append(3, 4, idempotency_key="k")
    assert caught.value.code == "commit_unknown"
    assert table.append(3, 4, idempotency_key="k").repeated is True
    assert table.ids() == [0, 1, 2, 3]


def test_appends_beside_foreign_ones_lose_nothing(table: Written) -> None:
    def foreign() -> None:
        for n in range(20):
            foreign_append(table, 1000 + n, 1001 + n)

    def ours() -> None:
        for n in range(60):
            table.append(2000 + n, 2001 + n)

    run_all([threading.Thread(target=foreign), threading.Thread(target=ours)])
    assert table.ids() == [0, 1, 2, *range(1000, 1020), *range(2000, 2060)]


def test_files_with_awkward_names_are_found_by_uri(tmp_path: Path) -> None:
    folder = DeltaFolder(tmp_path / "s" / "t", NUMBERS)
    folder.create(folder.add(numbers(0, 2), "a b%.parquet"))
    table = Written(folder.path)
    read, (old,) = removable(table)
    assert "%20" in old
    table.commit("DELETE", removes=((folder.path / "a b%.parquet").as_uri(),), read_version=read)
    assert table.ids() == []
