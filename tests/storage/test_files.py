from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from flight_server.errors import InvalidRequest, LimitExceeded, SchemaMismatch, Unavailable
from flight_server.storage.files import DataFile, FileOptions, remove_data_files
from tests.delta_log import schema as schema_of
from tests.storage.committing import (
    commit,
    leftovers,
    local_time,
    served_rows,
    write_all,
    write_files,
    writer,
)
from tests.storage.reading import same_rows

INNER: list[pa.Field[Any]] = [
    pa.field("x", pa.int64(), nullable=False),
    pa.field("y", pa.struct([pa.field("z", pa.string())])),
    pa.field("l", pa.list_(pa.field("element", pa.int32()))),
]
COLUMNS: list[pa.Field[Any]] = [
    pa.field("i8", pa.int8()),
    pa.field("i16", pa.int16()),
    pa.field("i32", pa.int32()),
    pa.field("i64", pa.int64(), nullable=False),
    pa.field("f32", pa.float32()),
    pa.field("f64", pa.float64()),
    pa.field("d9", pa.decimal128(9, 2)),
    pa.field("d18", pa.decimal128(18, 0)),
    pa.field("d38", pa.decimal128(38, 10)),
    pa.field("flag", pa.bool_()),
    pa.field("text", pa.string()),
    pa.field("bytes", pa.binary()),
    pa.field("day", pa.date32()),
    pa.field("at", pa.timestamp("us", "UTC")),
    pa.field("local", pa.timestamp("us")),
    pa.field("st", pa.struct(INNER)),
    pa.field("list", pa.list_(pa.field("element", pa.string()))),
    pa.field("map", pa.map_(pa.string(), pa.list_(pa.int64()))),
]
ALL_TYPES = pa.schema(COLUMNS)
ROWS: list[dict[str, Any]] = [
    {
        "i8": -128,
        "i16": -(2**15),
        "i32": -(2**31),
        "i64": -(2**63),
        "f32": 1.5,
        "f64": 1e308,
        "d9": Decimal("-9999999.99"),
        "d18": Decimal("-" + "9" * 18),
        "d38": Decimal("9" * 28 + "." + "9" * 10),
        "flag": True,
        "text": "é" * 50,
        "bytes": b"\x00\xff",
        "day": date(1, 1, 1),
        "at": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        "local": local_time(9999, 12, 31, 23, 59, 59, 999999),
        "st": {"x": 1, "y": {"z": None}, "l": [1, None]},
        "list": ["", None, "a"],
        "map": [("k", [1, 2]), ("l", None)],
    },
    {**dict.fromkeys(ALL_TYPES.names), "i64": 2**63 - 1, "text": ""},
    {**dict.fromkeys(ALL_TYPES.names), "i64": 0, "list": [], "map": [], "st": {"x": 5}},
]


def all_types() -> pa.Table:
    return pa.Table.from_pylist(ROWS, ALL_TYPES)


def numbers(count: int, *, groups: int = 1) -> pa.Table:
    return pa.table({"n": range(count), "g": [f"g{i % groups}" for i in range(count)]})


def stored(folder: Path, file: DataFile) -> pa.Table:
    return pq.ParquetFile(file.file_below(folder)).read()


def test_every_type_comes_back_equal_from_both_readers(tmp_path: Path) -> None:
    files = write_files(tmp_path, all_types())
    table = commit(tmp_path, ALL_TYPES, files)
    assert table.to_pyarrow_table().cast(ALL_TYPES).to_pylist() == all_types().to_pylist()
    assert same_rows(served_rows(tmp_path), all_types())
    assert [file.rows for file in files] == [3]


def test_a_small_write_is_one_file_without_a_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    made = writer(tmp_path, ALL_TYPES)
    for _ in range(100):
        for batch in all_types().to_batches():
            made.write(batch)
    assert threading.active_count() == before
    (file,) = made.finish()
    assert file.rows == 300
    assert file.size == file.file_below(tmp_path).stat().st_size
    assert file.path.startswith("part-00000-")
    assert file.path.endswith("-c000.snappy.parquet")
    assert len(leftovers(tmp_path)) == 1
    assert stored(tmp_path, file).num_rows == 300


def test_no_rows_are_no_file(tmp_path: Path) -> None:
    made = writer(tmp_path, ALL_TYPES)
    made.write(pa.RecordBatch.from_pylist([], ALL_TYPES))
    assert made.finish() == ()
    assert leftovers(tmp_path) == []


def test_a_description_of_a_file_survives_json(tmp_path: Path) -> None:
    files = write_files(tmp_path, numbers(10, groups=2), ("g",))
    sent = json.loads(json.dumps([file.to_json() for file in files]))
    assert tuple(map(DataFile.from_json, sent)) == files
    wrongs: list[Any] = [None, {}, [], {**sent[0], "size": "x"}]
    for wrong in wrongs:
        with pytest.raises(InvalidRequest):
            DataFile.from_json(wrong)


def test_a_long_stream_is_cut_into_row_groups_and_files(tmp_path: Path) -> None:
    options = FileOptions(row_group_rows_max=1000, file_bytes_target=20_000, writers_max=2)
    threads = threading.active_count()
    rows = numbers(25_500, groups=7)
    files = write_files(tmp_path, rows, options=options)
    assert threading.active_count() == threads
    assert sum(file.rows for file in files) == 25_500
    assert len(files) > 2
    for file in files:
        footer = pq.ParquetFile(file.file_below(tmp_path)).metadata
        assert all(footer.row_group(i).num_rows <= 1000 for i in range(footer.num_row_groups))
    commit(tmp_path, rows.schema, files)
    assert served_rows(tmp_path).sort_by("n").equals(rows)


def test_row_groups_are_bounded_by_bytes_too(tmp_path: Path) -> None:
    rows = pa.table({"t": ["x" * 1000 for _ in range(1000)]})
    options = FileOptions(row_group_bytes_max=100_000, writers_max=1)
    (file,) = write_files(tmp_path, rows, options=options)
    footer = pq.ParquetFile(file.file_below(tmp_path)).metadata
    assert footer.num_row_groups in range(10, 13)


AWKWARD_COLUMNS: list[pa.Field[Any]] = [pa.field("v", pa.int64()), pa.field("p p", pa.string())]


def test_awkward_partition_values_come_back(tmp_path: Path) -> None:
    values = ["a b/c%=:é", "", None, "x+y?#&", "\n\t\\\"'{}[]^`|<>~*", "..", "ü" * 300, "%2F", "\0"]
    schema = pa.schema(AWKWARD_COLUMNS)
    rows = pa.Table.from_pydict({"v": list(range(len(values))), "p p": values}, schema)
    files = write_files(tmp_path, rows, ("p p",))
    # An empty text is NULL by the protocol, so these two share a partition.
    assert len(files) == len(values) - 1
    table = commit(tmp_path, schema, files, ("p p",))
    expected = [{"v": i, "p p": value or None} for i, value in enumerate(values)]
    assert table.to_pyarrow_table().sort_by("v").to_pylist() == expected
    assert served_rows(tmp_path).sort_by("v").to_pylist() == expected


PARTITION_VALUES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int8(), [-128, 127]),
    (pa.int64(), [-(2**63), 2**63 - 1]),
    (pa.float64(), [1.5, 1e20, 1e-7, -1e300]),
    (pa.float32(), [0.5, -2.0]),
    (pa.decimal128(10, 3), [Decimal("1.500"), Decimal("0.001")]),
    (pa.decimal128(38, 0), [Decimal("9" * 38)]),
    (pa.bool_(), [True, False]),
    (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    (pa.timestamp("us", "UTC"), [datetime(2020, 1, 1, 1, 2, 3, 456, UTC)]),
    (pa.timestamp("us"), [local_time(1969, 1, 1, 1, 2, 3), local_time(2020, 1, 1, 0, 0, 0, 1)]),
]


@pytest.mark.parametrize(("kind", "values"), PARTITION_VALUES, ids=str)
def test_partitions_of_every_type(tmp_path: Path, kind: pa.DataType, values: list[Any]) -> None:
    schema = pa.schema([("v", pa.int64()), ("p", kind)])
    rows = pa.Table.from_pydict({"v": list(range(len(values) + 1)), "p": [*values, None]}, schema)
    table = commit(tmp_path, schema, write_files(tmp_path, rows, ("p",)), ("p",))
    assert table.to_pyarrow_table().sort_by("v").to_pylist() == rows.to_pylist()
    assert served_rows(tmp_path).sort_by("v").to_pylist() == rows.to_pylist()


def test_partitions_of_negative_decimals_are_served(tmp_path: Path) -> None:
    # The Delta library's own pyarrow reader trips over these, whoever wrote them.
    schema = schema_of(v=pa.int64(), p=pa.decimal128(10, 3))
    values = [Decimal("-0.001"), Decimal("-2.001"), Decimal("-5.000")]
    rows = pa.Table.from_pydict({"v": [0, 1, 2], "p": values}, schema)
    commit(tmp_path, schema, write_files(tmp_path, rows, ("p",)), ("p",))
    assert served_rows(tmp_path).sort_by("v").to_pylist() == rows.to_pylist()


def test_partitions_by_several_columns_in_any_order(tmp_path: Path) -> None:
    count = 2000
    rows = pa.table(
        {
            "a": [i * 7919 % 5 for i in range(count)],
            "n": range(count),
            "b": [None if i % 3 == 0 else str(i * 31 % 4) for i in range(count)],
        }
    )
    options = FileOptions(row_group_rows_max=100, open_files_max=4, buffer_bytes_max=10_000)
    files = write_files(tmp_path, rows, ("b", "a"), options)
    assert {tuple(file.partition_values) for file in files} == {("b", "a")}
    commit(tmp_path, rows.schema, files, ("b", "a"))
    assert served_rows(tmp_path).sort_by("n").to_pylist() == rows.to_pylist()
    for file in files:
        # In the order in which they came.
        order: list[Any] = stored(tmp_path, file)["n"].to_pylist()
        assert order == sorted(order)


def _open_files() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed by a thread that syncs
            yield str(descriptor.readlink())


def test_open_files_are_bounded(tmp_path: Path) -> None:
    options = FileOptions(row_group_rows_max=10, buffer_bytes_max=1, open_files_max=2)
    rows = numbers(400, groups=20)
    open_now: list[int] = []
    made = writer(tmp_path, rows.schema, ("g",), options)
    for batch in rows.to_batches(max_chunksize=10):
        made.write(batch)
        open_now.append(sum(name.startswith(str(tmp_path)) for name in _open_files()))
    files = made.finish()
    assert max(open_now) <= 2 + 2  # those that are being synced are open once more
    assert sum(file.rows for file in files) == 400


def test_too_many_partitions_are_refused(tmp_path: Path) -> None:
    made = writer(tmp_path, numbers(1).schema, ("n",), FileOptions(partitions_max=10))
    with pytest.raises(LimitExceeded, match="partitions_max"):
        write_all(made, numbers(11).to_batches())
    made.abandon()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (("nope",), "is not a column"),
        (("n", "n"), "twice"),
        (("n", "g"), "at least one"),
    ],
)
def test_a_partitioning_that_makes_no_sense(
    tmp_path: Path, columns: tuple[str, ...], text: str
) -> None:
    with pytest.raises(InvalidRequest, match=text):
        writer(tmp_path, numbers(1).schema, columns)


@pytest.mark.parametrize("name", ["bytes", "list", "map", "st"])
def test_no_partitions_by_bytes_or_nested_values(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        writer(tmp_path, ALL_TYPES, (name,))


def test_a_partition_of_a_time_without_spelling_is_refused(tmp_path: Path) -> None:
    schema = pa.schema([("p", pa.timestamp("us")), ("v", pa.int64())])
    rows = pa.Table.from_arrays(
        [pa.array([2**62], pa.timestamp("us")), pa.array([1])], schema=schema
    )
    with pytest.raises(SchemaMismatch, match='"p"'):
        write_files(tmp_path, rows, ("p",))


@pytest.mark.parametrize("partitioned", [True, False])
@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("count", [10, 10_000])
def test_nothing_is_left_when_a_write_is_abandoned(
    tmp_path: Path, *, partitioned: bool, finished: bool, count: int
) -> None:
    threads = threading.active_count()
    rows = numbers(count, groups=5)
    made = writer(
        tmp_path, rows.schema, ("g",) if partitioned else (), FileOptions(row_group_rows_max=500)
    )
    for batch in rows.to_batches():
        made.write(batch)
    if finished:
        assert made.finish()
    made.abandon()
    made.abandon()
    assert leftovers(tmp_path) == []
    assert threading.active_count() == threads


def test_an_ended_write_takes_nothing(tmp_path: Path) -> None:
    made = writer(tmp_path, numbers(1).schema)
    made.finish()
    with pytest.raises(RuntimeError):
        made.write(numbers(1).to_batches()[0])
    with pytest.raises(RuntimeError):
        made.finish()


def test_files_of_a_lost_commit_can_be_removed_by_their_description(tmp_path: Path) -> None:
    kept = write_files(tmp_path, numbers(2, groups=2), ("g",))
    files = write_files(tmp_path, numbers(4, groups=4), ("g",))
    remove_data_files(tmp_path, files)
    assert {p for p in leftovers(tmp_path) if p.is_file()} == {
        file.file_below(tmp_path) for file in kept
    }
    assert not (tmp_path / "g=g3").exists()


@pytest.mark.parametrize("count", [10, 10_000])
def test_a_folder_that_cannot_be_written_ends_in_one_error(tmp_path: Path, count: int) -> None:
    threads = threading.active_count()
    (tmp_path / "g=g0").write_text("a file where a folder should be")
    rows = numbers(count)
    made = writer(tmp_path, rows.schema, ("g",), FileOptions(row_group_rows_max=100))
    with pytest.raises(Unavailable) as caught:
        write_all(made, rows.to_batches(max_chunksize=1000) * 10)
    assert str(tmp_path) not in caught.value.message
    made.abandon()
    assert threading.active_count() == threads
    assert leftovers(tmp_path) == [tmp_path / "g=g0"]


def test_rows_hold_no_more_memory_than_their_own(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    schema = pa.schema([pa.field("t", pa.string())])
    made = writer(tmp_path, schema)
    for _ in range(50):
        large = pa.record_batch([pa.array(["x" * 100] * 10_000)], schema=schema)
        made.write(large[5000:5001])
        del large
    assert pa.total_allocated_bytes() - before < 2_000_000
    made.abandon()


def test_many_tiny_batches_are_joined(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    schema = numbers(1).schema
    made = writer(tmp_path, schema)
    one = numbers(1).to_batches()[0]
    for _ in range(5000):
        made.write(pa.record_batch(one.columns, schema=schema))
    assert pa.total_allocated_bytes() - before < 5_000_000
    (file,) = made.finish()
    assert file.rows == 5000


def test_files_name_no_library_and_keep_their_types_plain(tmp_path: Path) -> None:
    (file,) = write_files(tmp_path, all_types())
    parquet = pq.ParquetFile(file.file_below(tmp_path))
    assert parquet.metadata.metadata is None
    physical = {
        parquet.metadata.row_group(0).column(i).path_in_schema: parquet.metadata.row_group(0)
        .column(i)
        .physical_type
        for i in range(parquet.metadata.num_columns)
    }
    assert physical["d9"] == "INT32"
    assert physical["d18"] == "INT64"
    assert physical["at"] == physical["local"] == "INT64"
    assert physical["d38"] == "FIXED_LEN_BYTE_ARRAY"
    assert parquet.metadata.row_group(0).column(0).has_column_index


def test_the_delta_library_goes_on_with_such_a_table(tmp_path: Path) -> None:
    commit(tmp_path, numbers(1).schema, write_files(tmp_path, numbers(100)))
    table = DeltaTable(str(tmp_path))
    table.optimize.compact()
    table.delete("n >= 50")
    assert served_rows(tmp_path).num_rows == 50
