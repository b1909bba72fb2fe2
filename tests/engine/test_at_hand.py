"""Which results are so small that they come at once, or with their description."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.engine.base import BatchLimits
from flight_server.errors import LimitExceeded
from tests.engine.lake import Session, never, query, session


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", True),
        ("SELECT upper('a') AS a, now() AS b", True),
        ("SELECT * FROM (VALUES (1), (2)) AS t(a) WHERE a > 1 LIMIT 1", True),
        ("SELECT unnest([1, 2])", False),
        ("SELECT * FROM generate_series(1, 3)", False),
        ("SELECT x.a FROM (VALUES (1)) AS x(a), (VALUES (2)) AS y(b)", False),
        (
            "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT 2 FROM t) SELECT n FROM t LIMIT 9",
            False,
        ),
        ("SELECT 1 AS a UNION ALL SELECT 2", False),
        ("SELECT (SELECT count(*) FROM generate_series(1, 3))", False),
        ("SELECT 2 AS a WHERE EXISTS (SELECT * FROM generate_series(1, 3))", False),
    ],
)
def test_what_is_at_hand(sql: str, expected: bool, tmp_path: Path) -> None:
    engine = session(tmp_path).engine
    _, batches = engine.stream(query(sql), is_cancelled=never)
    assert batches.are_at_hand is expected
    assert sum(batch.num_rows for batch in batches) > 0


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT 40 + 2 AS a, 'x' || 'y' AS b", [{"a": 42, "b": "xy"}]),
        ("SELECT upper('a') AS a, NULL AS n", [{"a": "A", "n": None}]),
        ("SELECT 1 / 0", None),
        ("SELECT now()", None),
        ("SELECT random()", None),
        ("SELECT id FROM t", None),
        ("SELECT (SELECT max(id) FROM t)", None),
        ("SELECT * FROM (VALUES (1)) AS v(a)", None),
        ("EXPLAIN SELECT 1", None),
    ],
)
def test_a_description_brings_the_rows_that_planning_has_computed(
    lakeside: Session, sql: str, rows: list[dict[str, object]] | None
) -> None:
    description = lakeside.describe(sql)
    if rows is None:
        assert description.batches is None
    else:
        assert description.batches is not None
        assert pa.Table.from_batches(description.batches, description.schema).to_pylist() == rows


def test_limits_hold_for_rows_that_come_with_a_description(tmp_path: Path) -> None:
    small = session(tmp_path, limits=BatchLimits(result_bytes_max=1_000))
    assert small.describe("SELECT repeat('x', 10)").batches is not None
    assert small.describe("SELECT repeat('x', 10000)").batches is None
    with pytest.raises(LimitExceeded, match="result_bytes_max"):
        small.rows("SELECT repeat('x', 10000)")
