"""Plain Parquet over the wire: types that Delta does not have, folders, and what is refused."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.wire.raw import RawClient, refused

# By column: the type in the file, a value, and the type on the wire where it is another one.
_COLUMNS: dict[str, tuple[pa.DataType, Any, pa.DataType | None]] = {
    "u8": (pa.uint8(), 255, None),
    "u64": (pa.uint64(), 2**64 - 1, None),
    "time_ms": (pa.time32("ms"), time(1, 2, 3, 4000), None),
    "time_us": (pa.time64("us"), time(23, 59, 59, 999999), None),
    "at_ms": (pa.timestamp("ms"), 1, None),
    "at_ns": (pa.timestamp("ns"), 1, None),
    "there": (pa.timestamp("us", "Europe/Berlin"), 1, None),
    "lasts": (pa.duration("us"), 1, None),
    "fixed": (pa.binary(3), b"abc", None),
    "wide": (pa.decimal256(60, 0), Decimal("9" * 50), None),
    "narrow": (pa.decimal32(5, 2), Decimal("1.50"), pa.decimal128(5, 2)),
    "half": (pa.float16(), 1.5, pa.float32()),
    "nothing": (pa.null(), None, None),
    "pair": (pa.list_(pa.int32(), 2), [1, 2], None),
    "day": (pa.date32(), date(2020, 1, 1), None),
}


@pytest.fixture(scope="module")
def folder(lakehouse: Path) -> Path:
    made = lakehouse / "parquet"
    made.mkdir()
    return made


def test_types_that_delta_does_not_have(raw: RawClient, folder: Path) -> None:
    written = pa.table({name: pa.array([v, None], k) for name, (k, v, _) in _COLUMNS.items()})
    pq.write_table(written, folder / "kinds.parquet")
    result = raw.fetch("SELECT * FROM parquet.kinds")
    kinds = [wire or stored for stored, _, wire in _COLUMNS.values()]
    assert [field.type for field in result.schema] == kinds
    assert result.to_pylist() == written.to_pylist()


def test_a_folder_in_partitions(raw: RawClient, folder: Path) -> None:
    for part, value in (("a=1/b=x%2Fy", 1), ("a=2/b=__HIVE_DEFAULT_PARTITION__", 2)):
        (folder / "hive" / part).mkdir(parents=True)
        pq.write_table(pa.table({"v": [value]}), folder / "hive" / part / "f.parquet")
    rows = raw.fetch("SELECT * FROM parquet.hive ORDER BY v").to_pylist()
    assert rows == [{"v": 1, "a": 1, "b": "x/y"}, {"v": 2, "a": 2, "b": None}]
    assert raw.fetch("SELECT v FROM parquet.hive WHERE b = 'x/y'").to_pydict() == {"v": [1]}
    assert raw.fetch("SELECT v FROM parquet.hive WHERE b IS NULL").to_pydict() == {"v": [2]}
    assert raw.fetch("SELECT v FROM parquet.hive WHERE a > 1").to_pydict() == {"v": [2]}


def test_files_that_lack_a_column_have_null_there(raw: RawClient, folder: Path) -> None:
    (folder / "several").mkdir()
    pq.write_table(pa.table({"v": [1], "w": ["a"]}), folder / "several" / "1.parquet")
    pq.write_table(pa.table({"w": ["b"], "x": [1.5]}), folder / "several" / "2.parquet")
    rows = raw.fetch("SELECT v, w, x FROM parquet.several ORDER BY w").to_pylist()
    assert rows == [{"v": 1, "w": "a", "x": None}, {"v": None, "w": "b", "x": 1.5}]


def test_a_file_without_rows(raw: RawClient, folder: Path) -> None:
    empty = pa.table({"v": pa.array([], pa.int64())})
    pq.write_table(empty, folder / "empty.parquet")
    assert raw.fetch("SELECT * FROM parquet.empty").equals(empty)


def test_names_that_differ_in_case_only_are_two_columns(raw: RawClient, folder: Path) -> None:
    pq.write_table(pa.table({"a": [1], "A": [2]}), folder / "cases.parquet")
    assert raw.fetch('SELECT a, "A" FROM parquet.cases').to_pylist() == [{"a": 1, "A": 2}]


def test_what_makes_no_table_is_refused(raw: RawClient, folder: Path) -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(twice, folder / "twice.parquet")
    assert refused(lambda: raw.fetch("SELECT * FROM parquet.twice")) == "unsupported"
    (folder / "clash").mkdir()
    pq.write_table(pa.table({"v": [1]}), folder / "clash" / "1.parquet")
    pq.write_table(pa.table({"v": ["x"]}), folder / "clash" / "2.parquet")
    assert refused(lambda: raw.fetch("SELECT * FROM parquet.clash")) == "unsupported"
    (folder / "torn.parquet").write_bytes(b"PAR1")
    assert refused(lambda: raw.fetch("SELECT * FROM parquet.torn")) == "table_damaged"
    listed = "SELECT count(*) AS n FROM information_schema.tables WHERE table_schema = 'parquet'"
    assert raw.fetch(listed).to_pylist()[0]["n"] >= 3
