"""Arrow's types as SQLAlchemy's, and the names of types in SQL."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from flight_server.client.sqlalchemy import DOUBLE, MAP, STRUCT, TINYINT, LakeflightDialect
from flight_server.client.sqlalchemy.types import from_arrow

DIALECT = LakeflightDialect()
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arrow", "sql"),
    [
        (pa.bool_(), "BOOLEAN"),
        (pa.int8(), "TINYINT"),
        (pa.int16(), "SMALLINT"),
        (pa.int32(), "INTEGER"),
        (pa.int64(), "BIGINT"),
        (pa.uint8(), "SMALLINT"),
        (pa.uint32(), "BIGINT"),
        (pa.uint64(), "DECIMAL(20, 0)"),
        (pa.float32(), "REAL"),
        (pa.float64(), "DOUBLE"),
        (pa.decimal128(12, 2), "DECIMAL(12, 2)"),
        (pa.string(), "VARCHAR"),
        (pa.large_string(), "VARCHAR"),
        (pa.dictionary(pa.int32(), pa.string()), "VARCHAR"),
        (pa.binary(), "BYTEA"),
        (pa.binary(16), "BYTEA"),
        (pa.date32(), "DATE"),
        (pa.timestamp("us"), "TIMESTAMP"),
        (pa.timestamp("us", "UTC"), "TIMESTAMP WITH TIME ZONE"),
        (pa.time64("us"), "TIME"),
        (pa.list_(pa.int64()), "BIGINT[]"),
        (pa.list_(pa.list_(pa.string())), "VARCHAR[][]"),
        (pa.map_(pa.string(), pa.int32()), "MAP<VARCHAR, INTEGER>"),
        (pa.struct([("a", pa.int64()), ("B", pa.date32())]), 'STRUCT(a BIGINT, "B" DATE)'),
    ],
    ids=str,
)
def test_arrow_types_have_names_in_sql(arrow: pa.DataType, sql: str) -> None:
    assert from_arrow(arrow).compile(dialect=DIALECT) == sql


def test_what_has_no_type_is_the_null_type() -> None:
    assert isinstance(from_arrow(pa.null()), sa.types.NullType)


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        (sa.String(50), "VARCHAR"),
        (sa.Text(), "VARCHAR"),
        (sa.Unicode(5), "VARCHAR"),
        (sa.JSON(), "VARCHAR"),
        (sa.Uuid(), "VARCHAR"),
        (sa.Enum("a", "b", name="e"), "VARCHAR"),
        (sa.LargeBinary(), "BYTEA"),
        (sa.Float(), "DOUBLE"),
        (sa.Float(24), "REAL"),
        (sa.Double(), "DOUBLE"),
        (DOUBLE(), "DOUBLE"),
        (TINYINT(), "TINYINT"),
        (sa.Numeric(10, 2), "DECIMAL(10, 2)"),
        (sa.Numeric(), "DECIMAL(38, 10)"),
        (sa.DateTime(), "TIMESTAMP"),
        (sa.DateTime(timezone=True), "TIMESTAMP WITH TIME ZONE"),
        (sa.ARRAY(sa.Integer), "INTEGER[]"),
        (STRUCT({"a": sa.Integer()}), "STRUCT(a INTEGER)"),
        (MAP(sa.String, sa.Integer), "MAP<VARCHAR, INTEGER>"),
    ],
    ids=repr,
)
def test_types_have_names_in_sql(kind: Any, sql: str) -> None:
    assert kind.compile(dialect=DIALECT) == sql


@pytest.mark.parametrize(
    ("value", "kind", "sql"),
    [
        (date(2026, 1, 31), sa.Date(), "DATE '2026-01-31'"),
        (NOON.replace(tzinfo=None), sa.DateTime(), "TIMESTAMP '2026-01-31 12:00:00'"),
        (
            NOON,
            sa.DateTime(timezone=True),
            "TIMESTAMP WITH TIME ZONE '2026-01-31 12:00:00+00:00'",
        ),
        (
            NOON.replace(year=1, tzinfo=None),
            sa.DateTime(),
            "arrow_cast('0001-01-31 12:00:00', 'Timestamp(Microsecond, None)')",
        ),
        (Decimal("-1.50"), sa.Numeric(10, 4), "CAST('-1.50' AS DECIMAL(3, 2))"),
        (Decimal("0.001"), sa.Numeric(), "CAST('0.001' AS DECIMAL(3, 3))"),
        (Decimal("1E+3"), sa.Numeric(), "CAST('1000' AS DECIMAL(4, 0))"),
        (0.5, sa.Float(), "0.5"),
        (b"\x00\xff", sa.LargeBinary(), "X'00ff'"),
        ("it's", sa.String(), "'it''s'"),
        (True, sa.Boolean(), "true"),
    ],
)
def test_literals(value: object, kind: Any, sql: str) -> None:
    made = sa.literal(value, kind).compile(dialect=DIALECT, compile_kwargs={"literal_binds": True})
    assert str(made) == sql
