from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest, SchemaMismatch
from flight_server.protocol.sql_types import sql_type_name
from flight_server.sql.column_types import TYPE_DEPTH_MAX, arrow_type

FLAT = st.one_of(
    st.sampled_from(
        [
            pa.bool_(),
            pa.int8(),
            pa.int16(),
            pa.int32(),
            pa.int64(),
            pa.float32(),
            pa.float64(),
            pa.string(),
            pa.binary(),
            pa.date32(),
            pa.timestamp("us"),
            pa.timestamp("us", "UTC"),
        ]
    ),
    st.integers(1, 38).flatmap(
        lambda digits: st.integers(0, digits).map(lambda scale: pa.decimal128(digits, scale))
    ),
)


@given(FLAT)
def test_the_name_that_is_shown_for_a_type_is_read_as_that_type(kind: pa.DataType) -> None:
    assert arrow_type(sql_type_name(kind)) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("int", pa.int32()),
        ("INT8", pa.int64()),
        ("double precision", pa.float64()),
        ("FLOAT", pa.float32()),
        ("FLOAT(53)", pa.float64()),
        ("numeric", pa.decimal128(38, 10)),
        ("DECIMAL(12)", pa.decimal128(12, 0)),
        ("Decimal ( 12 , 2 )", pa.decimal128(12, 2)),
        ("VARCHAR(20)", pa.string()),
        ("character varying(20)", pa.string()),
        ("nvarchar(max)", pa.string()),
        ("STRING", pa.string()),
        ("uuid", pa.string()),
        ("BYTEA", pa.binary()),
        ("TIMESTAMP", pa.timestamp("us")),
        ("TIMESTAMP(3)", pa.timestamp("us")),
        ("timestamp without time zone", pa.timestamp("us")),
        ("TIMESTAMP_NTZ", pa.timestamp("us")),
        ("timestamptz", pa.timestamp("us", "UTC")),
        ("TIMESTAMP(6) WITH TIME ZONE", pa.timestamp("us", "UTC")),
        ("INT[]", pa.list_(pa.int32())),
        ("ARRAY<ARRAY<INT>>", pa.list_(pa.list_(pa.int32()))),
        ("INT[][]", pa.list_(pa.list_(pa.int32()))),
        ("MAP<STRING, DECIMAL(4,2)>", pa.map_(pa.string(), pa.decimal128(4, 2))),
        ("map(varchar, int)", pa.map_(pa.string(), pa.int32())),
        (
            "STRUCT<a: INT NOT NULL, `B c`: STRING COMMENT 'x'>",
            pa.struct([pa.field("a", pa.int32(), nullable=False), pa.field("B c", pa.string())]),
        ),
        (
            "STRUCT(a INT, b TEXT[])[]",
            pa.list_(pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])),
        ),
    ],
)
def test_types_of_many_dialects(text: str, kind: pa.DataType) -> None:
    assert arrow_type(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "TIME",
        "INTERVAL",
        "BIGINT UNSIGNED",
        "TINYINT UNSIGNED",
        "UBIGINT",
        "HUGEINT",
        "TIMESTAMP(9)",
        "TIMESTAMP_NS",
        "DECIMAL(39, 2)",
        "DECIMAL(4, 5)",
        "INT[3]",
        "SERIAL",
    ],
)
def test_what_a_table_cannot_hold_says_what_to_use(text: str) -> None:
    with pytest.raises(SchemaMismatch, match="cannot hold"):
        arrow_type(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "integr",
        "INT INT",
        "ARRAY",
        "ARRAY<INT",
        "MAP<INT>",
        "STRUCT<>",
        "STRUCT<a INT, a INT>",
        "DECIMAL(x)",
        "DECIMAL(1,2,3)",
        "'INT'",
        "1",
        "ARRAY<" * 99 + "INT" + ">" * 99,
        "INT" + "[]" * 99,
    ],
)
def test_what_is_no_type(text: str) -> None:
    with pytest.raises(InvalidRequest):
        arrow_type(text)


def test_nesting_has_a_limit() -> None:
    deep = TYPE_DEPTH_MAX - 1
    assert arrow_type("ARRAY<" * deep + "INT" + ">" * deep).num_fields == 1


@given(
    st.lists(
        st.sampled_from(
            [
                "INT",
                "VARCHAR",
                "ARRAY",
                "MAP",
                "STRUCT",
                "DECIMAL",
                "(",
                ")",
                "<",
                ">",
                "[",
                "]",
                ",",
                ":",
                "a",
                "'x'",
                "3",
                "NOT",
                "NULL",
            ]
        ),
        max_size=12,
    ).map(" ".join)
)
def test_any_text_is_a_type_or_refused(text: str) -> None:
    try:
        arrow_type(text)
    except InvalidRequest:
        return
