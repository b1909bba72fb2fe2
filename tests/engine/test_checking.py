"""A sink that lets only such rows in that their writer would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flight_server.clock import SystemClock
from flight_server.engine.checking import CHECKED_ROWS, CheckedSink, checked
from flight_server.engine.session import EngineOptions, open_session
from flight_server.errors import InvalidRequest, PermissionDenied
from flight_server.service.sinks import TableSink, TableSinks

_FIELDS: list[pa.Field[Any]] = [pa.field("id", pa.int64()), pa.field("p", pa.int32())]
SCHEMA = pa.schema(_FIELDS)
CTX = open_session(EngineOptions())


def batch(*ids: float | None, p: float | None = 1.0) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {"id": pa.array(ids, pa.float64()), "p": pa.array([p] * len(ids), pa.float64())}
    )


def sink(folder: Path) -> TableSink:
    return TableSinks(SystemClock())(
        str(folder),
        batch(1).schema,
        schema=SCHEMA,
        partition_columns=("p",),
        in_order=False,
    )


def rows_in(files: tuple[object, ...]) -> int:
    return sum(file["rows"] for file in files)  # type: ignore[index]  # each is a JSON object


def test_without_checks_the_sink_is_the_same(tmp_path: Path) -> None:
    plain = sink(tmp_path)
    assert checked(CTX, plain, ()) is plain


def test_rows_that_pass_are_written(tmp_path: Path) -> None:
    into = checked(CTX, sink(tmp_path), ("id < 10 -- a comment", "p = 1"))
    into.write(batch(1, 2))
    into.write(batch(3))
    assert rows_in(into.finish()) == 3
    assert into.schema == SCHEMA


@pytest.mark.parametrize("wrong", [batch(10), batch(None), batch(1, p=None), batch(1, p=0.4)])
def test_one_row_that_does_not_pass_is_refused_by_the_end(
    tmp_path: Path, wrong: pa.RecordBatch
) -> None:
    into = checked(CTX, sink(tmp_path), ("id < 10", "p = 1"))
    into.write(batch(1, 2))
    into.write(wrong)
    with pytest.raises(PermissionDenied) as raised:
        into.finish()
    assert raised.value.code == "row_filter_check"
    into.abandon()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_rows_are_checked_as_they_will_be_stored(tmp_path: Path) -> None:
    into = CheckedSink(CTX, sink(tmp_path), ("p = 1",))
    into.write(batch(1, p=0.6))  # rounded to the type of the column
    assert rows_in(into.finish()) == 1


def test_many_rows_are_checked_before_the_end(tmp_path: Path) -> None:
    into = CheckedSink(CTX, sink(tmp_path), ("id < 10",))
    with pytest.raises(PermissionDenied):
        into.write(batch(*[10.0] * CHECKED_ROWS))
    into.abandon()


def test_conditions_that_do_not_fit_are_a_misfit(tmp_path: Path) -> None:
    into = CheckedSink(CTX, sink(tmp_path), ("colour = 'red'",))
    into.write(batch(1))
    with pytest.raises(InvalidRequest) as raised:
        into.finish()
    assert raised.value.code == "policy_misfit"
    into.abandon()
