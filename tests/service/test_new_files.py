"""Files that a gateway wrote itself, as an engine scans them before any log names them."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flight_server.clock import SystemClock
from flight_server.engine.base import BatchLimits, FileScan
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.errors import InvalidRequest, PermissionDenied
from flight_server.service.new_files import check_rows, scan_of
from flight_server.storage.files import DataFileWriter
from tests.engine.lake import Lake, never

VALUES: dict[str, tuple[pa.DataType, Any, str]] = {
    "text": (pa.string(), "a/b=c d%", "p = 'a/b=c d%'"),
    "number": (pa.int32(), -7, "p = -7"),
    "flag": (pa.bool_(), True, "p"),
    "day": (pa.date32(), dt.date(2026, 2, 1), "p = DATE '2026-02-01'"),
    "money": (pa.decimal128(12, 2), Decimal("1.50"), "p = 1.5"),
    "float": (pa.float64(), 0.1, "p = 0.1"),
    "moment": (
        pa.timestamp("us", tz="UTC"),
        dt.datetime(2026, 2, 1, 12, 30, 0, 5, tzinfo=dt.UTC),
        "p = TIMESTAMP '2026-02-01T12:30:00.000005Z'",
    ),
    "wall": (
        pa.timestamp("us"),
        dt.datetime(2026, 2, 1, 12, 30),  # noqa: DTZ001  a time without a zone on purpose
        "p = TIMESTAMP '2026-02-01 12:30:00'",
    ),
}


def written(folder: Path, rows: pa.Table, *columns: str) -> FileScan:
    numbers = itertools.count()
    writer = DataFileWriter(
        folder,
        rows.schema,
        partition_columns=columns,
        clock=SystemClock(),
        random_bytes=lambda length: next(numbers).to_bytes(length, "big"),
    )
    for batch in rows.to_batches():
        writer.write(batch)
    return scan_of(folder, rows.schema, columns, writer.finish())


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    return LocalEngine(lake, BatchLimits(), EngineOptions(target_partitions=2))


@pytest.mark.parametrize("kind", VALUES)
def test_partition_values_are_what_was_written(
    tmp_path: Path, engine: LocalEngine, kind: str
) -> None:
    arrow_type, value, condition = VALUES[kind]
    rows = pa.table({"id": [1, 2, 3], "p": pa.array([value, None, value], arrow_type)})
    scan = written(tmp_path / "a table", rows, "p")
    assert engine.count_refused(scan, (condition,), is_cancelled=never) == 1
    assert engine.count_refused(scan, ("p IS NULL",), is_cancelled=never) == 2
    assert engine.count_refused(scan, ("id > 0", "p IS NULL"), is_cancelled=never) == 2


def test_files_of_many_partitions_are_counted_a_part_at_a_time(
    tmp_path: Path, engine: LocalEngine
) -> None:
    scan = written(tmp_path, pa.table({"id": range(300), "p": range(300)}), "p")
    assert len(scan.groups) == 300
    assert engine.count_refused(scan, ("p % 3 = 0",), is_cancelled=never) == 200


def test_rows_that_do_not_pass_are_told_by_their_number(
    tmp_path: Path, engine: LocalEngine
) -> None:
    scan = written(tmp_path, pa.table({"id": [1, 2, None], "word": ["SECRET", "b", None]}))
    check_rows(engine, scan, (), is_cancelled=never)
    check_rows(engine, scan, ("id < 9 OR word IS NULL",), is_cancelled=never)
    with pytest.raises(PermissionDenied, match=r"^2 rows would not pass") as raised:
        check_rows(engine, scan, ("id = 1",), is_cancelled=never)
    assert raised.value.code == "row_filter_check"
    with pytest.raises(InvalidRequest) as misfit:
        check_rows(engine, scan, ("colour = 'red'",), is_cancelled=never)
    assert misfit.value.code == "policy_misfit"
    with pytest.raises(InvalidRequest) as failed:
        check_rows(engine, scan, ("CAST(word AS INT) = 1",), is_cancelled=never)
    assert "SECRET" not in failed.value.message
