from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from flight_server import errors
from flight_server.clock import Clock, SystemClock
from flight_server.storage.delta_actions import ActiveFile
from flight_server.storage.history import history
from flight_server.storage.upkeep import (
    files_before,
    is_overtaken,
    restoring,
    retention_hours,
    small_files,
    uris_of,
    vacuum,
)
from tests.delta_log import NUMBERS, numbers
from tests.storage.writing import ALICE, NAME, Written, data_file

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def table(tmp_path: Path) -> Written:
    return Written(tmp_path / "sales" / "orders").create(numbers(0, 3))


def restore(table: Written, version: int) -> None:
    head = table.commits.head(table.path, name=NAME)
    change = restoring(
        table.path, head, version=version, author=ALICE, idempotency_key=None, name=NAME
    )
    table.commits.commit(table.path, change, name=NAME)


def replace_all(table: Written, start: int, stop: int) -> None:
    file = data_file(table.path, numbers(start, stop))
    table.commit("WRITE", adds=(file,), removes_all=True, rows=stop - start)


def clean(
    table: Written, hours: float | None, *, dry_run: bool = False, clock: Clock | None = None
) -> tuple[str, ...]:
    return vacuum(
        table.path,
        table.commits,
        clock=clock or SystemClock(),
        retain_hours=hours,
        dry_run=dry_run,
        name=NAME,
    )


def test_an_older_state_comes_back_with_its_columns(table: Written) -> None:
    other = pa.schema([pa.field("id", pa.int64()), pa.field("x", pa.int8())])
    metadata = table.creation.metadata(other)
    file = data_file(table.path, pa.table({"id": [9], "x": [1]}, schema=other))
    table.commit("CREATE OR REPLACE TABLE", metadata=metadata, adds=(file,), removes_all=True)
    restore(table, 0)
    assert table.version() == 2
    assert table.ids() == [0, 1, 2]
    assert table.commits.head(table.path, name=NAME).schema.names == NUMBERS.names
    restore(table, 1)
    assert table.ids() == [9]
    assert history(table.path, name=NAME)["operation_parameters"][0].as_py() == '{"version": "1"}'


def test_what_is_gone_is_not_restored(table: Written) -> None:
    replace_all(table, 5, 6)
    clean(table, 0)
    for version in (0, 7):
        with pytest.raises(errors.NotFound) as caught:
            restore(table, version)
        assert caught.value.code == "version_not_found"
    assert table.ids() == [5]


def test_restoring_keeps_shared_files_and_takes_later_appends_out(table: Written) -> None:
    table.append(3, 4)
    table.append(4, 5)
    restore(table, 1)
    assert table.ids() == [0, 1, 2, 3]
    names = [name for action in table.entry(3) for name in action]
    assert sorted(names) == ["commitInfo", "remove"]


def test_vacuum_removes_what_no_version_within_the_retention_needs(table: Written) -> None:
    orphan = data_file(table.path, numbers(90, 91)).path
    old = data_file(table.path, numbers(91, 92)).path
    long_ago = (table.path / old).stat().st_mtime_ns - 200 * HOUR_NS
    os.utime(table.path / old, ns=(long_ago, long_ago))
    (first,) = set(table.data_files()) - {orphan, old}
    os.utime(table.path / first, ns=(long_ago, long_ago))
    replace_all(table, 5, 6)
    assert clean(table, None, dry_run=True) == (old,)
    assert (table.path / old).exists()
    assert clean(table, None) == (old,)
    assert table.ids(version=0) == [0, 1, 2]
    assert clean(table, 0) == tuple(sorted([orphan, first]))
    assert table.ids() == [5]
    assert len(table.data_files()) == 1
    assert clean(table, 0) == ()


def test_vacuum_sees_removals_before_a_checkpoint_and_of_other_writers(tmp_path: Path) -> None:
    table = Written(tmp_path / "s" / "t")
    table.create(numbers(0, 3), configuration={"delta.checkpointInterval": "2"})
    DeltaTable(str(table.path)).delete("id = 1")
    replace_all(table, 5, 6)
    assert list(table.path.glob("_delta_log/*.checkpoint.parquet"))
    for version in (0, 1, 2):
        (table.path / "_delta_log" / f"{version:020d}.json").unlink()
    table.append(6, 7)
    assert clean(table, 168) == ()
    assert len(clean(table, 0)) == 2
    assert table.ids() == [5, 6]


def test_vacuum_looks_into_partitions_and_leaves_hidden_names(tmp_path: Path) -> None:
    table = Written(tmp_path / "s" / "t").create(numbers(0, 1))
    partition = data_file(table.path, numbers(0, 1), partition={"_p": "x y"}).path
    for name in ("_other/file", ".hidden", "_delta_log/_x"):
        (table.path / name).parent.mkdir(exist_ok=True)
        (table.path / name).write_bytes(b"")
    assert clean(table, 0) == (partition,)


def test_vacuum_never_meets_a_writer(table: Written) -> None:
    with table.commits.writing(table.path):
        assert clean(table, 0, dry_run=True) == ()
    limits = type(table.commits._limits)(vacuuming_seconds_max=0.01)
    table.commits._limits = limits
    with table.commits.writing(table.path), pytest.raises(errors.LimitExceeded):
        clean(table, 0)


@pytest.mark.parametrize("hours", [-1.0, float("nan"), float("inf")])
def test_a_retention_is_a_time(table: Written, hours: float) -> None:
    with pytest.raises(errors.InvalidRequest):
        clean(table, hours)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("interval 1 week", 168),
        ("interval 2 days", 48),
        ("interval 1 day 12 hours", 36),
        ("interval 90 minutes", 1.5),
        ("nonsense", 168),
        ("", 168),
    ],
)
def test_the_retention_of_a_table_is_read(text: str, hours: float) -> None:
    assert retention_hours({"delta.deletedFileRetentionDuration": text}) == pytest.approx(hours)


def file_of(size: int, **partition: str) -> ActiveFile:
    return ActiveFile(f"{size}.parquet", size, partition, None, 0)


def test_small_files_are_joined_within_their_partition() -> None:
    files = [file_of(size) for size in (10, 20, 30, 80, 500)]
    assert small_files(files, target_bytes=100) == (tuple(files[:3]),)
    many = [file_of(40) for _ in range(7)]
    assert [len(group) for group in small_files(many, target_bytes=100)] == [3, 3]
    apart = [file_of(10, p="a"), file_of(10, p="b"), file_of(11, p="b")]
    assert small_files(apart, target_bytes=100) == ((apart[1], apart[2]),)
    assert small_files([], target_bytes=100) == ()


def test_files_are_known_by_uri(tmp_path: Path) -> None:
    file = ActiveFile("p=a%20b/x.parquet", 1, {}, None, 0)
    assert uris_of(tmp_path, [file]) == ((tmp_path / "p=a b" / "x.parquet").as_uri(),)


def test_a_foreign_write_with_a_key_of_its_own_is_no_key_of_ours(table: Written) -> None:
    from deltalake import Transaction  # noqa: PLC0415 - used here alone

    properties = CommitProperties(app_transactions=[Transaction("other", 5)])
    write_deltalake(str(table.path), numbers(3, 4), mode="append", commit_properties=properties)
    assert table.commits.known(table.path, "other", key="5", name=NAME) is None


def test_the_files_of_older_states_are_known(table: Written) -> None:
    replace_all(table, 3, 6)
    replace_all(table, 6, 9)
    paths = [
        DeltaTable(table.path, version=version).get_add_actions()["path"].to_pylist()
        for version in (0, 1, 2)
    ]
    every = sorted(path for found in paths for path in found)
    assert files_before(table.path, version=2, active=paths[2], name=NAME) == tuple(
        path for path in every if path not in paths[2]
    )
    assert set(files_before(table.path, version=1, active=(), name=NAME)) == {*paths[0], *paths[1]}
    (table.path / paths[0][0]).unlink()
    assert set(files_before(table.path, version=2, active=paths[2], name=NAME)) == set(paths[1])
    assert is_overtaken(table.path, 1)
    assert not is_overtaken(table.path, 2)


def test_files_before_a_checkpoint_are_known_without_the_entries(table: Written) -> None:
    replace_all(table, 3, 6)
    replace_all(table, 6, 9)
    replaced = DeltaTable(table.path, version=1).get_add_actions()["path"].to_pylist()
    DeltaTable(table.path, version=1).create_checkpoint()
    for version in (0, 1):
        (table.path / "_delta_log" / f"{version:020d}.json").unlink()
    newest = DeltaTable(table.path).get_add_actions()["path"].to_pylist()
    assert files_before(table.path, version=2, active=newest, name=NAME) == tuple(replaced)
    (table.path / "_delta_log" / f"{1:020d}.checkpoint.parquet").write_bytes(b"torn")
    with pytest.raises(errors.Unavailable):
        files_before(table.path, version=2, active=newest, name=NAME)
