"""Delta tables of every make, at every version: read right, or refused in our own words."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from flight_server.engine.base import FileGroup, FileScan, ProviderScan, RowScan, Scan
from flight_server.errors import (
    LakeflightError,
    NotFound,
    Unavailable,
    Unsupported,
)
from flight_server.storage.delta import scan_provider, scan_rows
from flight_server.storage.snapshots import PARTITION_TUPLES_MAX, Reading, Snapshot
from flight_server.storage.tables import DeltaTables, SnapshotLimits
from tests import tables as zoo
from tests.service.opened import FixedClock
from tests.storage.reading import rows_of, same_rows

NAME = "primary.s.t"


@pytest.fixture
def store() -> DeltaTables:
    return DeltaTables(FixedClock())


def scan_of(path: Path, snapshot: Snapshot) -> Scan:
    if snapshot.reading is Reading.NATIVE:
        groups = tuple(FileGroup(each.partition, each.uris) for each in snapshot.file_sets)
        return FileScan(snapshot.schema, snapshot.partition_columns, groups)
    if snapshot.reading is Reading.PROVIDER:
        return ProviderScan(snapshot.schema, scan_provider(str(path), snapshot, NAME))
    assert snapshot.reading is Reading.ROWS
    return RowScan(scan_rows(str(path), snapshot, NAME))


RIGHT: dict[str, tuple[Callable[[Path], pa.Table], Reading]] = {
    "plain": (zoo.plain, Reading.NATIVE),
    "awkward text partitions": (zoo.partitioned_by_awkward_text, Reading.NATIVE),
    "partitions of every type": (zoo.partitioned_by_type, Reading.NATIVE),
    "evolved": (zoo.evolved, Reading.NATIVE),
    "widened": (zoo.widened, Reading.NATIVE),
    "without statistics": (zoo.without_statistics, Reading.NATIVE),
    "time without zone": (zoo.with_timestamp_ntz, Reading.NATIVE),
    "times of 96 bits": (zoo.with_int96, Reading.NATIVE),
    "checkpoint in parts": (zoo.with_multipart_checkpoint, Reading.NATIVE),
    "checkpoint v2": (zoo.with_v2_checkpoint, Reading.NATIVE),
    "vacuum protocol": (
        lambda path: zoo.with_unknown_feature(path, "vacuumProtocolCheck"),
        Reading.NATIVE,
    ),
    "vectors on but unused": (
        lambda path: zoo.with_deletion_vector(path, deleted=()),
        Reading.NATIVE,
    ),
    "vector in the log": (zoo.with_deletion_vector, Reading.ROWS),
    "vector in a file": (zoo.with_relative_deletion_vector, Reading.ROWS),
    "mapped by name": (zoo.with_column_mapping, Reading.PROVIDER),
    "mapped by id": (lambda path: zoo.with_column_mapping(path, mode="id"), Reading.PROVIDER),
    "mapped and nested": (zoo.with_nested_column_mapping, Reading.PROVIDER),
    "mapped with a vector": (
        lambda path: zoo.with_column_mapping(path, deleted=(0, 9)),
        Reading.ROWS,
    ),
    "mapped partition": (
        lambda path: zoo.with_column_mapping(path, partitioned=True),
        Reading.PROVIDER,
    ),
    "many partitions": (
        lambda path: zoo.with_many_partitions(path, count=PARTITION_TUPLES_MAX + 1),
        Reading.PROVIDER,
    ),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_reads_tables_of_other_writers_right(kind: str, tmp_path: Path, store: DeltaTables) -> None:
    make, reading = RIGHT[kind]
    expected = make(tmp_path / "t")
    snapshot = store.newest(tmp_path / "t", name=NAME)
    assert snapshot.reading is reading
    assert same_rows(rows_of(scan_of(tmp_path / "t", snapshot)), expected)
    assert snapshot.schema.names == expected.schema.names


def test_refuses_large_tables_under_deletion_vectors(
    tmp_path: Path, store: DeltaTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flight_server.storage.delta.DELETION_VECTOR_TABLE_BYTES_MAX", 1000)
    zoo.with_deletion_vector(tmp_path / "t")
    snapshot = store.newest(tmp_path / "t", name=NAME)
    assert snapshot.reading is Reading.REFUSED
    assert "deletion_vector_table_bytes_max=1000" in snapshot.refusal


def test_refuses_features_that_nobody_knows(tmp_path: Path, store: DeltaTables) -> None:
    zoo.with_unknown_feature(tmp_path / "t")
    with pytest.raises(Unsupported):
        store.newest(tmp_path / "t", name=NAME)


def test_refuses_catalog_managed_tables(tmp_path: Path, store: DeltaTables) -> None:
    zoo.with_unknown_feature(tmp_path / "t", "catalogManaged")
    with pytest.raises(Unsupported):
        store.newest(tmp_path / "t", name=NAME)


def test_refuses_a_variant_column_and_still_shows_the_table(
    tmp_path: Path, store: DeltaTables
) -> None:
    folder = zoo.DeltaFolder(tmp_path / "t", zoo.NUMBERS, reader_features=["variantType"])
    metadata = folder.metadata()
    schema = json.loads(metadata["metaData"]["schemaString"])
    schema["fields"][1]["type"] = "variant"
    metadata["metaData"]["schemaString"] = json.dumps(schema)
    folder.log.mkdir(parents=True)
    folder.commit(folder.protocol(), metadata, folder.add(zoo.numbers(0, 1), "f.parquet"))
    snapshot = store.newest(tmp_path / "t", name=NAME)
    assert snapshot.reading is Reading.REFUSED
    assert "variant" in snapshot.refusal


def test_refuses_an_empty_partition_text_where_only_the_library_reads(
    tmp_path: Path, store: DeltaTables
) -> None:
    schema = zoo.schema(id=pa.int64(), p=pa.string())
    folder = zoo.DeltaFolder(tmp_path / "t", schema, partition_by=["p"])
    adds = []
    for i in range(PARTITION_TUPLES_MAX + 1):
        add = folder.add(pa.table({"id": [i]}), f"{i}.parquet")
        add["add"]["partitionValues"] = {"p": str(i) if i else ""}
        adds.append(add)
    folder.create(*adds)
    assert store.newest(tmp_path / "t", name=NAME).reading is Reading.REFUSED


@pytest.mark.parametrize(
    "logged", ["file:///etc/x.parquet", "/etc/x.parquet", "../x.parquet", "a%2F..%2F..%2Fx.parquet"]
)
def test_never_follows_a_log_out_of_its_folder(
    logged: str, tmp_path: Path, store: DeltaTables
) -> None:
    folder = zoo.DeltaFolder(tmp_path / "t", zoo.NUMBERS)
    add = folder.add(zoo.numbers(0, 1), "f.parquet")
    add["add"]["path"] = logged
    folder.create(add)
    with pytest.raises(Unsupported) as caught:
        store.newest(tmp_path / "t", name=NAME)
    assert "x.parquet" not in caught.value.message


def test_a_null_in_a_partition_column_without_nulls_is_damage(
    tmp_path: Path, store: DeltaTables
) -> None:
    schema = zoo.schema(id=pa.int64()).append(pa.field("p", pa.string(), nullable=False))
    folder = zoo.DeltaFolder(tmp_path / "t", schema, partition_by=["p"])
    folder.create(folder.add(pa.table({"id": [1]}), "f.parquet", partition={"p": ""}))
    with pytest.raises(Unavailable):
        store.newest(tmp_path / "t", name=NAME)


def test_keeps_comments_and_nullability(tmp_path: Path, store: DeltaTables) -> None:
    column = pa.field("id", pa.int64(), nullable=False, metadata={"comment": "key", "x": "y"})
    folder = zoo.DeltaFolder(tmp_path / "t", pa.schema([column])).create()
    field = store.newest(folder.path, name=NAME).schema.field("id")
    assert (field.nullable, field.metadata) == (False, {b"comment": b"key"})


def test_sees_each_commit_at_once_and_old_versions_for_ever(
    tmp_path: Path, store: DeltaTables
) -> None:
    folder = zoo.DeltaFolder(tmp_path / "t", zoo.NUMBERS)
    folder.create(folder.add(zoo.numbers(0, 1), "f0.parquet"))
    for version in range(4):
        snapshot = store.newest(folder.path, name=NAME)
        assert (snapshot.version, snapshot.file_count) == (version, version + 1)
        assert store.newest(folder.path, name=NAME) is snapshot
        folder.commit(folder.add(zoo.numbers(0, 1), f"f{version + 1}.parquet"))
    for fresh in (store, DeltaTables(FixedClock())):
        for version in range(5):
            old = fresh.at_version(folder.path, version, name=NAME)
            assert (old.version, old.file_count) == (version, version + 1)


def test_a_pin_survives_later_commits(tmp_path: Path, store: DeltaTables) -> None:
    folder = zoo.DeltaFolder(tmp_path / "t", zoo.NUMBERS)
    folder.create(folder.add(zoo.numbers(0, 1), "f0.parquet"))
    stamp = store.newest(folder.path, name=NAME).stamp
    folder.commit(folder.add(zoo.numbers(1, 2), "f1.parquet"))
    store.newest(folder.path, name=NAME)
    for each in (store, DeltaTables(FixedClock())):
        assert each.pinned(folder.path, 0, stamp=stamp, name=NAME).file_count == 1


def test_a_pin_never_reads_the_table_that_took_the_name(tmp_path: Path, store: DeltaTables) -> None:
    zoo.plain(tmp_path / "t")
    before = store.newest(tmp_path / "t", name=NAME)
    shutil.rmtree(tmp_path / "t")
    zoo.plain(tmp_path / "t")
    after = store.newest(tmp_path / "t", name=NAME)
    assert (before.version, before.table_id) == (after.version, after.table_id)
    assert before.stamp != after.stamp
    with pytest.raises(NotFound) as caught:
        store.pinned(tmp_path / "t", 1, stamp=before.stamp, name=NAME)
    assert caught.value.code == "version_not_found"


@pytest.mark.parametrize("version", [-1, 2, 10**8, 2**63 - 1, 2**63, 10**30])
def test_versions_that_never_were(version: int, tmp_path: Path, store: DeltaTables) -> None:
    zoo.plain(tmp_path / "t")
    with pytest.raises(NotFound) as caught:
        store.at_version(tmp_path / "t", version, name=NAME)
    assert caught.value.code == "version_not_found"


def test_versions_that_are_no_longer_in_the_log(tmp_path: Path, store: DeltaTables) -> None:
    zoo.with_multipart_checkpoint(tmp_path / "t")
    assert store.at_version(tmp_path / "t", 1, name=NAME).version == 1
    with pytest.raises(NotFound) as caught:
        store.at_version(tmp_path / "t", 0, name=NAME)
    assert caught.value.code == "version_not_found"


def test_versions_whose_files_were_vacuumed(tmp_path: Path, store: DeltaTables) -> None:
    folder = zoo.DeltaFolder(tmp_path / "t", zoo.NUMBERS)
    folder.create(folder.add(zoo.numbers(0, 1), "old.parquet"))
    remove = {"remove": {"path": "old.parquet", "deletionTimestamp": 1, "dataChange": True}}
    folder.commit(remove, folder.add(zoo.numbers(0, 1), "new.parquet"))
    remembered = store.at_version(folder.path, 0, name=NAME)
    (folder.path / "old.parquet").unlink()
    assert store.newest(folder.path, name=NAME).version == 1
    with pytest.raises(NotFound) as caught:
        store.at_version(folder.path, 0, name=NAME)
    assert caught.value.code == "version_not_found"
    with pytest.raises(NotFound) as caught:
        store.pinned(folder.path, 0, stamp=remembered.stamp, name=NAME)
    assert caught.value.code == "version_not_found"


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _blank(path: Path) -> None:
    path.write_bytes(b"\n\n")


def _nuls(path: Path) -> None:
    path.write_bytes(b"\0" * 100)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _gone_before(path: Path) -> None:
    path.with_name(f"{1:020d}.json").unlink()


def _data_gone(path: Path) -> None:
    (path.parent.parent / "f1.parquet").unlink()


@pytest.mark.parametrize("harm", [_empty, _blank, _nuls, _cut, _gone_before, _data_gone])
@pytest.mark.parametrize("is_known", [False, True], ids=["cold", "warm"])
def test_damage_is_one_clean_error_and_never_fewer_rows(
    harm: Callable[[Path], None], is_known: bool, tmp_path: Path, store: DeltaTables
) -> None:
    folder = zoo.DeltaFolder(tmp_path / "t", zoo.NUMBERS)
    folder.create(folder.add(zoo.numbers(0, 1), "f0.parquet"))
    folder.commit(folder.add(zoo.numbers(1, 2), "f1.parquet"))
    if is_known and harm not in (_gone_before, _data_gone):
        store.newest(folder.path, name=NAME)
    folder.commit(folder.add(zoo.numbers(2, 3), "f2.parquet"))
    whole = folder.commit_path(2).read_bytes()
    harm(folder.commit_path(2))
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            store.newest(folder.path, name=NAME)
        assert caught.value.code == "table_damaged"
        assert str(tmp_path) not in caught.value.message
    if harm in (_empty, _blank, _nuls, _cut):
        assert store.at_version(folder.path, 1, name=NAME).version == 1
        folder.commit_path(2).write_bytes(whole)
        assert store.newest(folder.path, name=NAME).version == 2


def test_a_log_without_commits_or_with_nonsense(tmp_path: Path, store: DeltaTables) -> None:
    log = tmp_path / "t" / "_delta_log"
    log.mkdir(parents=True)
    for name, content in ((None, ""), (f"{0:020d}.json", '{"commitInfo":{}}\n')):
        if name:
            (log / name).write_text(content)
        with pytest.raises(LakeflightError) as caught:
            store.newest(tmp_path / "t", name=NAME)
        assert caught.value.code == "table_damaged"


def test_a_checkpoint_and_log_cleanup_by_another_writer(tmp_path: Path, store: DeltaTables) -> None:
    folder = zoo.DeltaFolder(tmp_path / "t", zoo.NUMBERS).create()
    store.newest(folder.path, name=NAME)
    for i in range(3):
        folder.commit(folder.add(zoo.numbers(i, i + 1), f"f{i}.parquet"))
    DeltaTable(str(folder.path)).create_checkpoint()
    for version in range(3):
        folder.commit_path(version).unlink()
    assert store.newest(folder.path, name=NAME).file_count == 3


def test_the_memory_is_bounded(tmp_path: Path) -> None:
    store = DeltaTables(FixedClock(), SnapshotLimits(snapshots_max=2, snapshot_files_max=100))
    for i in range(4):
        zoo.plain(tmp_path / f"t{i}")
        store.newest(tmp_path / f"t{i}", name=NAME)
    assert len(store._heads) == 2


def test_many_threads_see_whole_states_while_commits_go_on(
    tmp_path: Path, store: DeltaTables
) -> None:
    folder = zoo.DeltaFolder(tmp_path / "t", zoo.NUMBERS)
    folder.create(folder.add(zoo.numbers(0, 1), "f0.parquet"))
    wrong: list[object] = []
    is_over = threading.Event()

    def read() -> None:
        last = 0
        while not is_over.is_set():
            try:
                snapshot = store.newest(folder.path, name=NAME)
            except LakeflightError as error:  # a commit half written here by the test's plain write
                if error.code != "table_damaged":
                    wrong.append(error)
                continue
            version = snapshot.version or 0
            if version < last or snapshot.file_count != version + 1:
                wrong.append((last, version, snapshot.file_count))
            last = version

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(1, 30):
        folder.commit(folder.add(zoo.numbers(0, 1), f"f{i}.parquet"))
    is_over.set()
    for thread in threads:
        thread.join()
    assert not wrong
