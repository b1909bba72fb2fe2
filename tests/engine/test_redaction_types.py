"""Which redaction fits which type is known without the engine, and said by the column's name."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest

from flight_server.engine.redaction_types import check_redaction
from flight_server.errors import InvalidRequest
from policies.rules import Redaction, RedactionKind

STRUCT = pa.struct([("a", pa.string()), ("b", pa.struct([("c", pa.int32())]))])
HASH = Redaction(RedactionKind.HASH, domain="d")
MASK = Redaction(RedactionKind.MASK, keep_prefix=1)
NULL = Redaction(RedactionKind.NULL)


def to(unit: str | None) -> Redaction:
    return Redaction(RedactionKind.GENERALISE, to=unit)


@pytest.mark.parametrize(
    ("kind", "redaction"),
    [
        *((kind, NULL) for kind in (pa.bool_(), STRUCT, pa.list_(pa.int8()), pa.string())),
        *((kind, HASH) for kind in (pa.string(), pa.binary(), pa.int64(), pa.uint64())),
        (pa.string(), MASK),
        (pa.date32(), to("month")),
        (pa.timestamp("us", "UTC"), to("hour")),
        (pa.int8(), to("10")),
        (pa.float64(), to("0.5")),
        (pa.decimal128(10, 2), to("0.25")),
        (pa.string(), to("network")),
    ],
)
def test_it_fits(kind: pa.DataType, redaction: Redaction) -> None:
    check_redaction(kind, ("c",), redaction)


@pytest.mark.parametrize(
    ("kind", "redaction"),
    [
        *((kind, HASH) for kind in (pa.int32(), pa.bool_(), pa.float64(), pa.date32(), STRUCT)),
        *((kind, MASK) for kind in (pa.binary(), pa.int64(), STRUCT)),
        (pa.string(), Redaction(RedactionKind.MASK, keep_prefix=-1)),
        (pa.string(), Redaction(RedactionKind.MASK, keep_suffix=65)),
        *((pa.date32(), to(unit)) for unit in ("hour", "century", "", None)),
        (pa.timestamp("us"), to("minute")),
        *((pa.int8(), to(width)) for width in ("0", "-1", "128", "0.5", "nan", "inf", "x", None)),
        (pa.float64(), to("0")),
        (pa.decimal128(4, 2), to("0.001")),
        (pa.decimal128(4, 2), to("100")),
        (pa.string(), to("country")),
        *((kind, to("1")) for kind in (pa.bool_(), pa.binary(), STRUCT, pa.time64("us"))),
    ],
)
def test_it_does_not_fit(kind: pa.DataType, redaction: Redaction) -> None:
    with pytest.raises(InvalidRequest, match=r"\bthe_column\b"):
        check_redaction(kind, ("the_column",), redaction)


def test_paths_lead_through_structs_alone() -> None:
    check_redaction(STRUCT, ("s", "a"), MASK)
    check_redaction(STRUCT, ("s", "b", "c"), to("5"))
    for kind, path in (
        (STRUCT, ("s", "z")),
        (STRUCT, ("s", "a", "z")),
        (pa.list_(STRUCT), ("s", "a")),
        (pa.map_(pa.string(), STRUCT), ("s", "value")),
        (pa.string(), ("s", "a")),
    ):
        with pytest.raises(InvalidRequest, match=r"\bs\b"):
            check_redaction(kind, path, NULL)


def test_a_gateway_can_ask_it() -> None:
    code = "import sys, flight_server.engine.redaction_types; print('datafusion' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
