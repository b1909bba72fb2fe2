"""Parquet files and folders as read-only tables."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.engine.base import FileGroup, FileScan
from flight_server.errors import LakeflightError, NotFound, Unavailable, Unsupported
from flight_server.storage.parquet import ParquetTables
from flight_server.storage.snapshots import PARTITION_TUPLES_MAX, Snapshot
from tests import tables as zoo
from tests.storage.reading import rows_of, same_rows

NAME = "primary.s.t"


@pytest.fixture
def store() -> ParquetTables:
    return ParquetTables()


def write(path: Path, rows: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)


def read(snapshot: Snapshot) -> pa.Table:
    groups = tuple(FileGroup(each.partition, each.uris) for each in snapshot.file_sets)
    return rows_of(FileScan(snapshot.schema, snapshot.partition_columns, groups))


def test_a_file(tmp_path: Path, store: ParquetTables) -> None:
    write(tmp_path / "a b%20.parquet", zoo.numbers(0, 5))
    snapshot = store.open(tmp_path / "a b%20.parquet", name=NAME)
    assert snapshot.version is None
    assert same_rows(read(snapshot), zoo.numbers(0, 5))
    assert store.open(tmp_path / "a b%20.parquet", name=NAME) is snapshot


def test_types_are_plain(tmp_path: Path, store: ParquetTables) -> None:
    rows = pa.table(
        {
            "d": pa.array(["x", "y"]).dictionary_encode(),
            "l": pa.array(["x", None], pa.large_string()),
            "n": pa.array([[1], None], pa.large_list(pa.int32())),
        }
    )
    write(tmp_path / "t.parquet", rows)
    schema = store.open(tmp_path / "t.parquet", name=NAME).schema
    assert [str(kind) for kind in schema.types] == ["string", "string", "list<element: int32>"]
    assert schema.metadata is None


def test_a_folder_of_files_that_grew_columns(tmp_path: Path, store: ParquetTables) -> None:
    write(tmp_path / "t/1.parquet", pa.table({"id": pa.array([1], pa.int32())}))
    write(tmp_path / "t/2.parquet", pa.table({"id": pa.array([2**40]), "late": ["x"]}))
    snapshot = store.open(tmp_path / "t", name=NAME)
    expected = pa.table({"id": [1, 2**40], "late": [None, "x"]})
    assert same_rows(read(snapshot), expected)


def test_hive_partitions(tmp_path: Path, store: ParquetTables) -> None:
    for year, place in ((2024, "a%2Fb"), (2025, "ü"), (2025, zoo.HIVE_NULL)):
        write(tmp_path / f"t/year={year}/place={place}/f.parquet", pa.table({"id": [year]}))
    write(tmp_path / "t/_temporary/f.parquet", pa.table({"id": [0]}))
    (tmp_path / "t/.crc").write_text("x")
    snapshot = store.open(tmp_path / "t", name=NAME)
    assert snapshot.partition_columns == ("year", "place")
    expected = pa.table(
        {"id": [2024, 2025, 2025], "year": [2024, 2025, 2025], "place": ["a/b", "ü", None]}
    )
    assert snapshot.schema == expected.schema
    assert same_rows(read(snapshot), expected)


def test_partitions_that_are_not_all_integers_are_text(
    tmp_path: Path, store: ParquetTables
) -> None:
    for value in ("1", "2x", str(2**63)):
        write(tmp_path / f"t/k={value}/f.parquet", pa.table({"id": [1]}))
    assert store.open(tmp_path / "t", name=NAME).schema.field("k").type == pa.string()


def test_the_stamp_follows_the_files(tmp_path: Path, store: ParquetTables) -> None:
    write(tmp_path / "t/1.parquet", zoo.numbers(0, 1))
    before = store.open(tmp_path / "t", name=NAME)
    write(tmp_path / "t/2.parquet", zoo.numbers(1, 2))
    after = store.open(tmp_path / "t", name=NAME)
    assert before.stamp != after.stamp
    assert after.file_count == 2


def test_what_is_no_table(tmp_path: Path, store: ParquetTables) -> None:
    (tmp_path / "empty").mkdir()
    zoo.plain(tmp_path / "delta")
    cases: list[tuple[str, type[LakeflightError]]] = [
        ("empty", NotFound),
        ("delta", NotFound),  # its files are not a table of their own
        ("nowhere", Unavailable),
    ]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/x.parquet").write_bytes(b"PAR1 no")
    cases.append(("broken", Unavailable))
    write(tmp_path / "mixed/1.parquet", pa.table({"id": [1]}))
    write(tmp_path / "mixed/2.parquet", pa.table({"id": [[1]]}))
    cases.append(("mixed", Unsupported))
    write(tmp_path / "uneven/a=1/1.parquet", pa.table({"id": [1]}))
    write(tmp_path / "uneven/2.parquet", pa.table({"id": [1]}))
    cases.append(("uneven", Unsupported))
    for name, error in cases:
        with pytest.raises(error) as caught:
            store.open(tmp_path / name, name=NAME)
        assert str(tmp_path) not in caught.value.message


def test_too_many_partitions_are_refused(tmp_path: Path, store: ParquetTables) -> None:
    for i in range(PARTITION_TUPLES_MAX + 1):
        write(tmp_path / f"t/k={i}/f.parquet", pa.table({"id": [1]}))
    with pytest.raises(Unsupported, match="partition_tuples_max"):
        store.open(tmp_path / "t", name=NAME)
