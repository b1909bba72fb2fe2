"""Rows from Arrow batches, and batches of parameters."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import adbc_driver_manager as adbc
import pyarrow as pa
import pytest

from flight_server.client.sqlalchemy.values import parameters_batch, rows


def made(**columns: Any) -> pa.RecordBatch:
    return pa.record_batch(list(columns.values()), names=list(columns))


def test_rows_are_plain_python() -> None:
    batch = made(
        number=pa.array([1, None]),
        exact=pa.array([Decimal("1.50"), None]),
        tags=pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    )
    assert rows(batch) == [(1, Decimal("1.50"), {"a": 1}), (None, None, None)]


def test_nanoseconds_are_cut_to_what_python_can_hold() -> None:
    moment = pa.array([1_700_000_000_123_456_789])
    batch = made(
        plain=moment.cast(pa.timestamp("ns")),
        zoned=moment.cast(pa.timestamp("ns", "UTC")),
        span=pa.array([1_999]).cast(pa.duration("ns")),
        clock=pa.array([1_999]).cast(pa.time64("ns")),
        listed=pa.array([[1_700_000_000_123_456_789]], pa.list_(pa.timestamp("ns"))),
        named=pa.array([{"t": 1_999}], pa.struct([("t", pa.timestamp("ns"))])),
    )
    expected = datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    unzoned = expected.replace(tzinfo=None)
    (row,) = rows(batch)
    assert row == (
        unzoned,
        expected,
        timedelta(microseconds=1),
        time(microsecond=1),
        [unzoned],
        {"t": datetime.fromtimestamp(1e-6, UTC).replace(tzinfo=None)},
    )


def test_parameters_have_the_type_of_all_their_values() -> None:
    batch = parameters_batch([(1, None, "a"), (None, None, "b"), (2.5, None, None)])
    assert batch.schema.names == ["0", "1", "2"]
    assert batch.schema.types == [pa.float64(), pa.null(), pa.string()]
    assert batch.num_rows == 3


def test_numbers_beside_exact_ones_are_exact() -> None:
    batch = parameters_batch([(Decimal("1.25"),), (0.5,), (3,), (None,)])
    assert batch.column(0).to_pylist() == [Decimal("1.25"), Decimal("0.5"), Decimal(3), None]


@pytest.mark.parametrize("values", [(1, "a"), (object(), None), (2**70, 1)])
def test_values_without_a_common_type_are_refused(values: tuple[object, object]) -> None:
    with pytest.raises(adbc.DataError, match="parameter 1"):
        parameters_batch([(value,) for value in values])
