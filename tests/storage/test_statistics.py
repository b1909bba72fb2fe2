from __future__ import annotations

import json
import tempfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_server.storage.files import FileOptions
from tests.storage.committing import commit, local_time, write_files
from tests.storage.test_files import all_types


def statistics_of(rows: pa.Table, options: FileOptions | None = None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        (file,) = write_files(Path(folder), rows, options=options)
    found: dict[str, Any] = json.loads(file.stats, parse_float=Decimal)
    return found


def column(values: list[Any], kind: pa.DataType) -> pa.Table:
    return pa.Table.from_arrays([pa.array(values, kind)], names=["c"])


def bounds_of(values: list[Any], kind: pa.DataType) -> tuple[Any, Any]:
    found = statistics_of(column(values, kind))
    return found["minValues"].get("c"), found["maxValues"].get("c")


def test_the_delta_library_reads_what_it_would_have_written(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    plain = all_types().drop_columns(["local", "at", "text", "bytes", "day", "d38"])
    table = commit(ours, plain.schema, write_files(ours, plain))
    write_deltalake(str(theirs), plain)
    left = pa.table(table.get_add_actions(flatten=True)).to_pylist()[0]
    right = pa.table(DeltaTable(str(theirs)).get_add_actions(flatten=True)).to_pylist()[0]
    described = {key for key in right if key.startswith(("min.", "max.", "null_count."))}
    # We leave out the bounds of booleans, which exclude nothing.
    described -= {"min.flag", "max.flag"}
    assert {key: left[key] for key in described} == {key: right[key] for key in described}
    assert left["num_records"] == right["num_records"] == 3


def test_long_decimals_stay_exact() -> None:
    value = Decimal("9" * 28 + "." + "9" * 10)
    assert bounds_of([value, None], pa.decimal128(38, 10)) == (value, value)


def test_nested_columns_are_described_by_their_leaves() -> None:
    found = statistics_of(all_types())
    assert found["numRecords"] == 3
    assert found["minValues"]["st"] == {"x": 1}
    assert found["maxValues"]["st"] == {"x": 5}
    assert found["nullCount"]["st"] == {"x": 1, "y": {"z": 3}}
    assert "list" not in found["nullCount"]
    assert found["nullCount"]["bytes"] == 2
    assert "bytes" not in found["minValues"]
    assert "flag" not in found["maxValues"]


def test_only_the_first_columns_are_described() -> None:
    few = statistics_of(all_types(), FileOptions(statistics_columns_max=2))
    assert list(few["nullCount"]) == ["i8", "i16"]
    none = statistics_of(all_types(), FileOptions(statistics_columns_max=0))
    assert none == {"numRecords": 3, "minValues": {}, "maxValues": {}, "nullCount": {}}
    wide = pa.table({f"c{i}": [i] for i in range(50)})
    assert len(statistics_of(wide)["nullCount"]) == 32
    every = FileOptions(statistics_columns_max=-1)
    assert len(statistics_of(wide, every)["nullCount"]) == 50
    named = FileOptions(statistics_columns=("st.y", "`i64`"))
    assert statistics_of(all_types(), named)["nullCount"] == {"i64": 0, "st": {"y": {"z": 3}}}


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_not_a_number_leaves_the_bounds_out(kind: pa.DataType) -> None:
    assert bounds_of([1.0, float("nan")], kind) == (None, None)
    assert bounds_of([1.0, float("inf")], kind) == (None, None)
    assert bounds_of([1.0, None], kind) == (1, 1)
    inner = pa.struct([pa.field("f", kind)])
    found = statistics_of(column([{"f": 1.0}, {"f": float("nan")}, None], inner))
    assert found["minValues"] == {}
    assert found["nullCount"] == {"c": {"f": 1}}


def test_bounds_hold_over_all_row_groups() -> None:
    rows = pa.table({"n": [5, 3, None, None, 9, 7]})
    found = statistics_of(rows, FileOptions(row_group_rows_max=2, writers_max=1))
    assert (found["minValues"], found["maxValues"]) == ({"n": 3}, {"n": 9})
    assert found["nullCount"] == {"n": 2}


def test_nulls_alone_have_no_bounds() -> None:
    assert bounds_of([None, None], pa.int64()) == (None, None)


def test_long_texts_are_cut_and_stay_bounds() -> None:
    assert bounds_of(["a" * 40], pa.string()) == ("a" * 32, "a" * 31 + "b")
    last = chr(0x10FFFF)
    assert bounds_of([last * 40], pa.string()) == (last * 32, None)
    assert bounds_of(["a" + last * 40], pa.string())[1] == "b"
    assert bounds_of(["a" * 31 + "\ud7ff" + "x"], pa.string())[1] == "a" * 31 + "\ue000"
    # Parquet leaves out the bounds of very long texts.
    assert bounds_of(["a" * 5000, "b"], pa.string()) == (None, None)


def test_times_are_rounded_outwards_to_milliseconds() -> None:
    moment = local_time(2020, 1, 2, 3, 4, 5, 678901)
    assert bounds_of([moment], pa.timestamp("us")) == (
        "2020-01-02T03:04:05.678",
        "2020-01-02T03:04:05.679",
    )
    assert bounds_of([moment.replace(tzinfo=UTC)], pa.timestamp("us", "UTC")) == (
        "2020-01-02T03:04:05.678Z",
        "2020-01-02T03:04:05.679Z",
    )


def test_days_beyond_the_calendar_have_no_bounds() -> None:
    assert bounds_of([2**31 - 1, 0], pa.date32()) == ("1970-01-01", None)
    assert bounds_of([-(2**62), 0], pa.timestamp("us")) == (None, "1970-01-01T00:00:00.000")


TEXTS = st.text(max_size=40) | st.text(alphabet="a\ud7ff\U0010ffff", min_size=28, max_size=36)
MOMENTS = st.datetimes()
KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float64(), st.floats()),
    (pa.float32(), st.floats(width=32)),
    (pa.decimal128(38, 5), st.decimals(-(10**30), 10**30, places=5)),
    (pa.decimal128(7, 2), st.decimals(-9999, 9999, places=2)),
    (pa.string(), TEXTS),
    (pa.date32(), st.dates()),
    (pa.timestamp("us"), MOMENTS),
]


def meant(token: Any, kind: pa.DataType) -> Any:
    if kind == pa.date32():
        return date.fromisoformat(token)
    if kind == pa.timestamp("us"):
        return datetime.fromisoformat(token)
    if pa.types.is_floating(kind):
        return float(token)
    return token.encode() if isinstance(token, str) else token


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(KINDS), st.integers(1, 4))
def test_all_values_lie_within_the_bounds(
    data: st.DataObject, kind: tuple[pa.DataType, st.SearchStrategy[Any]], group: int
) -> None:
    arrow, strategy = kind
    values = data.draw(st.lists(st.none() | strategy, min_size=1, max_size=12))
    rows = column(values, arrow)
    found = statistics_of(rows, FileOptions(row_group_rows_max=group, writers_max=1))
    stored = [value for value in rows["c"].to_pylist() if value is not None]
    assert found["nullCount"] == {"c": len(values) - len(stored)}
    comparable = [value.encode() if isinstance(value, str) else value for value in stored]
    least, greatest = found["minValues"].get("c"), found["maxValues"].get("c")
    if least is not None:
        assert all(meant(least, arrow) <= value for value in comparable)
    if greatest is not None:
        assert all(value <= meant(greatest, arrow) for value in comparable)
    if any(value != value for value in stored):
        assert least is None
        assert greatest is None
    elif stored and not pa.types.is_string(arrow) and not pa.types.is_floating(arrow):
        assert least is not None


def test_a_reader_of_the_log_finds_the_bounds(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "t": pa.array([datetime(2020, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")),
            "d": pa.array([date(2020, 1, 1) + timedelta(days=1)]),
            "l": pa.array([local_time(2020, 1, 1)], pa.timestamp("us")),
            "x": pa.array([Decimal("1.50")], pa.decimal128(5, 2)),
        }
    )
    table = commit(tmp_path, rows.schema, write_files(tmp_path, rows))
    found = pa.table(table.get_add_actions(flatten=True)).to_pylist()[0]
    assert found["min.t"] == found["max.t"] == datetime(2020, 1, 1, tzinfo=UTC)
    assert found["min.l"] == local_time(2020, 1, 1)
    assert found["max.d"] == date(2020, 1, 2)
    assert found["min.x"] == Decimal("1.50")
