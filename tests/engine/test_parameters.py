"""Values bound to placeholders: types, counts, rows, and that they never become text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.engine.base import Query
from flight_server.engine.session import EngineOptions
from flight_server.errors import InvalidRequest, LimitExceeded
from tests.engine.changing import bound, stream_of
from tests.engine.lake import Session, never, query, session


def ask(lakeside: Session, asked: Query) -> list[tuple[object, ...]]:
    described = lakeside.engine.describe(asked, is_cancelled=never)
    schema, batches = lakeside.engine.stream(
        replace(asked, pins=described.pins), is_cancelled=never
    )
    assert schema == described.schema
    rows = pa.Table.from_batches(list(batches), schema)
    return [tuple(row.values()) for row in rows.to_pylist()]


@pytest.mark.parametrize(
    ("sql", "types"),
    [
        ("SELECT * FROM t WHERE id = $1 AND name LIKE $2", [pa.int64(), pa.string()]),
        ("SELECT * FROM t WHERE id IN ($1, $2) LIMIT $3", [pa.int64()] * 3),
        ("SELECT id FROM t ORDER BY id OFFSET $1", [pa.int64()]),
        ("SELECT $1", [pa.string()]),
        ("SELECT CAST($1 AS DATE), CAST($2 AS DECIMAL(9, 2))", [pa.date32(), pa.decimal128(9, 2)]),
        ("SELECT abs($1), coalesce(name, $2) FROM t", [pa.float64(), pa.string()]),
        ("SELECT id FROM t WHERE id IN (SELECT id FROM u WHERE id > $1)", [pa.int64()]),
        ("SELECT sum(id + $1) OVER (PARTITION BY id + $2) FROM t", [pa.int64()] * 2),
        ("SELECT 1 FROM t JOIN u ON t.id = u.id + $1 GROUP BY t.id + $2", [pa.int64()] * 2),
        ("SELECT id FROM t UNION ALL SELECT $1", [pa.int64()]),
    ],
)
def test_types_are_those_of_the_plan(lakeside: Session, sql: str, types: list[pa.DataType]) -> None:
    declared = lakeside.describe(sql).parameters
    assert declared.names == [str(i) for i in range(1, len(types) + 1)]
    assert declared.types == types


def test_a_query_runs_once_for_each_row(lakeside: Session) -> None:
    asked = bound("SELECT id, name FROM t@v0 WHERE id = $1", a=[3, 7])
    assert ask(lakeside, asked) == [(3, "n3"), (7, "n7")]


def test_no_rows_bound_give_no_rows(lakeside: Session) -> None:
    asked = bound("SELECT id FROM t WHERE id = $1", a=pa.array([], pa.int64()))
    assert ask(lakeside, asked) == []


def test_a_stream_without_columns_binds_nothing(lakeside: Session) -> None:
    assert ask(lakeside, replace(query("SELECT 1"), parameters=stream_of(pa.table({})))) == [(1,)]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_text_stays_a_value(text: str) -> None:
    assert ask(_alone(), bound("SELECT $1 AS x", a=[text])) == [(text,)]


_ALONE: list[Session] = []


def _alone() -> Session:
    """One engine without tables for all examples of a property."""
    if not _ALONE:
        _ALONE.append(session(Path("/nonexistent")))
    return _ALONE[0]


@pytest.mark.parametrize(
    "value",
    [
        pa.scalar(None, pa.null()),
        pa.scalar(True),
        pa.scalar(-(2**63)),
        pa.scalar(2**64 - 1, pa.uint64()),
        pa.scalar(1.5),
        pa.scalar(b"\x00\xff"),
        pa.scalar(Decimal("1.25")),
        pa.scalar(3, pa.date32()),
        pa.scalar(3, pa.timestamp("us", "UTC")),
        pa.scalar([1, None], pa.list_(pa.int32())),
        pa.scalar({"a": 1}),
    ],
    ids=lambda value: str(value.type),
)
def test_values_of_every_type_arrive(lakeside: Session, value: pa.Scalar[Any]) -> None:
    asked = bound("SELECT $1 AS x", a=pa.array([value.as_py()], value.type))
    assert ask(lakeside, asked) == [(value.as_py(),)]


def test_views_and_dictionaries_arrive_as_plain_values(lakeside: Session) -> None:
    texts = pa.array(["n1"]).dictionary_encode()
    assert ask(lakeside, bound("SELECT id FROM t@v0 WHERE name = $1", a=texts)) == [(1,)]
    views = pa.array(["n2"], pa.string_view())
    assert ask(lakeside, bound("SELECT id FROM t@v0 WHERE name = $1", a=views)) == [(2,)]


def test_text_is_read_as_the_number_that_is_wanted(lakeside: Session) -> None:
    assert ask(lakeside, bound("SELECT name FROM t@v0 WHERE id = $1", a=["4"])) == [("n4",)]


def test_a_fraction_equals_no_whole_number(lakeside: Session) -> None:
    assert ask(lakeside, bound("SELECT id FROM t@v0 WHERE id = $1", a=[1.5])) == []
    assert ask(lakeside, bound("SELECT id FROM t@v0 WHERE id = $1", a=[2.0])) == [(2,)]


@pytest.mark.parametrize(
    ("sql", "columns", "said"),
    [
        ("SELECT id FROM t WHERE id = $1", {"a": [1], "b": [2]}, "1 parameters.* for 2"),
        ("SELECT id FROM t WHERE id = $1 + $2", {"a": [1]}, "2 parameters.* for 1"),
        ("SELECT 1", {"a": [1]}, "0 parameters.* for 1"),
        (
            "SELECT id FROM t WHERE id = $1",
            {"a": pa.array([2**63], pa.uint64())},
            "parameter 1 is out of the range",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    lakeside: Session, sql: str, columns: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        lakeside.engine.stream(bound(sql, **columns), is_cancelled=never)


def test_unbound_parameters_are_named_as_such(lakeside: Session) -> None:
    with pytest.raises(InvalidRequest, match="no values were bound"):
        lakeside.rows("SELECT id FROM t WHERE id = $1")


def test_bytes_that_are_no_stream_are_refused(lakeside: Session) -> None:
    asked = replace(query("SELECT $1"), parameters=b"\xff\xff\xff\xff\x10")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        lakeside.engine.stream(asked, is_cancelled=never)


def test_rows_and_bytes_of_values_are_bounded(lakeside: Session) -> None:
    tight = session(
        lakeside.lake.folder, options=EngineOptions(parameter_rows_max=2, parameters_bytes_max=900)
    )
    with pytest.raises(LimitExceeded, match="parameter_rows_max=2"):
        tight.engine.stream(bound("SELECT $1", a=[1, 2, 3]), is_cancelled=never)
    with pytest.raises(LimitExceeded, match="parameters_bytes_max=900"):
        tight.engine.stream(bound("SELECT $1", a=["x" * 900]), is_cancelled=never)


def test_values_of_one_call_are_not_those_of_the_next(lakeside: Session) -> None:
    sql = "SELECT name FROM t@v0 WHERE id = $1"
    found = [ask(lakeside, bound(sql, a=[i])) for i in (1, 2, 1)]
    assert found == [
        [("n1",)],
        [("n2",)],
        [("n1",)],
    ]


def test_what_cannot_be_planned_open_is_planned_as_text(lakeside: Session) -> None:
    described = lakeside.describe("SELECT $1 || $2 AS both")
    assert described.parameters.types == [pa.string(), pa.string()]
    asked = bound("SELECT $1 || $2 AS both", a=["x"], b=["y"])
    assert ask(lakeside, asked) == [("xy",)]
    with pytest.raises(InvalidRequest, match="nowhere"):
        lakeside.describe("SELECT nowhere FROM t WHERE id = $1")
