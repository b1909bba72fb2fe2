"""Values of every type as JSON."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from flight_server.service.json_cells import rows_of


def test_values_of_every_type_have_a_spelling() -> None:
    moment = datetime(2026, 2, 1, 12, 30, 0, 5, UTC)
    columns: dict[str, pa.Array[Any]] = {
        "text": pa.array(["ü"]),
        "whole": pa.array([2**63 - 1], pa.int64()),
        "float": pa.array([1.5]),
        "endless": pa.array([float("inf")]),
        "none": pa.array([None], pa.int32()),
        "flag": pa.array([True]),
        "money": pa.array([Decimal("1.50")], pa.decimal128(38, 2)),
        "moment": pa.array([moment], pa.timestamp("us", "UTC")),
        "exact": pa.array([1], pa.timestamp("ns")),
        "day": pa.array([date(2026, 2, 1)]),
        "time": pa.array([time(1, 2, 3)], pa.time64("us")),
        "short": pa.array([1_001], pa.time64("ns")),
        "bytes": pa.array([b"\x00\xff"]),
        "list": pa.array([[1, None]]),
        "struct": pa.array([{"a": Decimal("0.1"), "b": [b"x"]}]),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
    }
    (row,) = rows_of(pa.record_batch(columns))
    assert json.loads(json.dumps(row, allow_nan=False)) == {
        "text": "ü",
        "whole": 2**63 - 1,
        "float": 1.5,
        "endless": "inf",
        "none": None,
        "flag": True,
        "money": "1.50",
        "moment": "2026-02-01T12:30:00.000005Z",
        "exact": "1970-01-01T00:00:00",
        "day": "2026-02-01",
        "time": "01:02:03",
        "short": "00:00:00.000001",
        "bytes": "AP8=",
        "list": [1, None],
        "struct": {"a": "0.1", "b": ["eA=="]},
        "map": [["k", 1]],
    }


def test_no_rows_are_none() -> None:
    assert list(rows_of(pa.record_batch({"x": pa.array([], pa.int64())}))) == []
