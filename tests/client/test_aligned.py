"""Tables of text: each column as wide as its widest cell, whatever the script."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flight_server.client.aligned import CELL_WIDTH_MAX, aligned, expanded, page


def lines(table: pa.Table) -> list[str]:
    return [line.plain for line in aligned(page(table.schema, table.to_batches()))]


def test_a_table() -> None:
    table = pa.table({"name": ["Ada", None, "東京"], "years": [3, 20, None]})
    assert lines(table) == [
        "name │ years",
        "─────┼──────",
        "Ada  │     3",
        "NULL │    20",
        "東京 │  NULL",
    ]


def test_null_is_told_from_its_text() -> None:
    table = pa.table({"a": ["NULL", None]})
    styles = [
        [str(span.style) for span in line.spans if span.style]
        for line in aligned(page(table.schema, table.to_batches()))
    ]
    assert styles[2:] == [[], ["dim"]]


def test_rows_as_blocks() -> None:
    table = pa.table({"id": [1, 2], "name": ["x", None]})
    shown = [line.plain for line in expanded(page(table.schema, table.to_batches()), first=7)]
    assert shown == [
        "─[ row 7 ]",
        "id   │ 1",
        "name │ x",
        "─[ row 8 ]",
        "id   │ 2",
        "name │ NULL",
    ]


def test_no_rows_and_no_columns() -> None:
    assert lines(pa.table({"a": pa.array([], pa.int64())})) == ["a", "─"]
    empty = pa.table({})
    assert [line.strip() for line in lines(empty)] == ["", ""]


def test_names_are_data_too() -> None:
    assert lines(pa.table({"a\x1b]0;x\x07": [1]}))[0] == "a\\x1b]0;x\\x07"


@given(
    st.lists(
        st.fixed_dictionaries(
            {"a": st.none() | st.text(max_size=200), "b": st.none() | st.integers(0, 10**12)}
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_line_is_as_wide_as_the_rule(rows: list[dict[str, object]]) -> None:
    fields: list[pa.Field[Any]] = [pa.field("a", pa.string()), pa.field("b", pa.int64())]
    schema = pa.schema(fields)
    valid = [
        {**row, "a": row["a"].encode("utf-8", "replace").decode()}
        if isinstance(row["a"], str)
        else row
        for row in rows
    ]
    shown = lines(pa.Table.from_pylist(valid, schema))
    assert len(shown) == len(rows) + 2
    assert {cell_len(line) for line in shown} == {cell_len(shown[1])}
    assert cell_len(shown[1]) <= CELL_WIDTH_MAX + 3 + 13
    assert all("\n" not in line and "\x1b" not in line for line in shown)
