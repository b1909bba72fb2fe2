"""Redactions of every value that a type has: what is left, and that nothing makes them fail."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from datafusion import SessionContext
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flight_server.engine.redaction import STARS, shown
from flight_server.engine.redaction_types import DATE_UNITS
from flight_server.engine.session import EngineOptions, open_session
from flight_server.errors import InvalidRequest
from policies.rules import ColumnPath, Redaction, RedactionKind

CTX = open_session(EngineOptions(target_partitions=1))
NULL = Redaction(RedactionKind.NULL)
SECRET = b"a secret"


def redacted(
    array: pa.Array[Any],
    *redactions: tuple[ColumnPath, Redaction],
    ctx: SessionContext = CTX,
    secret: bytes = SECRET,
) -> pa.Array[Any]:
    """A column as the redactions leave it; its type is checked."""
    field = pa.field("the col", array.type)
    batch = pa.RecordBatch.from_arrays([array], schema=pa.schema([field]))
    frame = ctx.read_batches([batch])
    made = frame.select(shown(frame, field, redactions, secret=secret)).to_arrow_table()
    assert made.schema.names == ["the col"]
    assert made.schema.types == [array.type]
    found: pa.Array[Any] = made.column(0).combine_chunks()
    return found


def values(
    found: Sequence[Any], kind: pa.DataType, redaction: Redaction, **options: Any
) -> list[Any]:
    array: Any = pa.array(found, kind)
    return redacted(array, ((), redaction), **options).to_pylist()


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.string(), pa.int64(), pa.bool_(), pa.list_(pa.string()), pa.decimal128(5, 2)),
        *(
            pa.struct([("a", pa.int8())]),
            pa.map_(pa.string(), pa.int8()),
            pa.timestamp("us", "UTC"),
        ),
    ],
)
def test_null_leaves_nothing_but_the_type(kind: Any) -> None:
    assert redacted(pa.nulls(2, kind), ((), NULL)).null_count == 2


@given(st.lists(st.none() | st.text(max_size=12)), st.integers(0, 4), st.integers(0, 4))
@example(["abcde", "abcdef", "éééééééééé", ""], 3, 2)
@settings(max_examples=60, deadline=None)
def test_masks_keep_ends_of_long_values_only(
    found: list[str | None], prefix: int, suffix: int
) -> None:
    mask = Redaction(RedactionKind.MASK, keep_prefix=prefix, keep_suffix=suffix)
    made = values(found, pa.string(), mask)
    for before, after in zip(found, made, strict=True):
        if before is None:
            assert after is None
        elif len(before) >= 2 * (prefix + suffix):
            assert after == before[:prefix] + STARS + before[len(before) - suffix :]
        else:
            assert after == STARS


def hashing(domain: str | None = "d") -> Redaction:
    return Redaction(RedactionKind.HASH, domain=domain)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (pa.string(), ["a", "b", "", "é", None, "a"]),
        (pa.binary(), [b"a", b"\xff", b"", b"\0", None, b"a"]),
        (pa.int64(), [0, 1, -1, 2**63 - 1, None, 0]),
        (pa.uint64(), [0, 1, 2, 2**64 - 1, None, 0]),
    ],
)
def test_pseudonyms_are_equal_for_equal_values_of_one_domain_and_key(
    kind: pa.DataType, found: list[Any]
) -> None:
    made = values(found, kind, hashing())
    assert made[0] == made[5]
    assert made[4] is None
    assert len(set(made)) == 5
    assert not set(made) & set(found) - {None}
    assert made == values(found, kind, hashing())
    others = (
        values(found, kind, hashing("e")),
        values(found, kind, hashing(None)),
        values(found, kind, hashing(), secret=b"another"),
    )
    for other in others:
        assert not (set(made) - {None}) & set(other)


def test_pseudonyms_have_the_size_of_128_bits_where_there_is_room() -> None:
    (text,) = values(["a"], pa.string(), hashing())
    assert len(text) == 32
    assert set(text) <= set("0123456789abcdef")
    (raw,) = values([b"a"], pa.binary(), hashing())
    assert len(raw) == 16


@given(st.lists(st.none() | st.dates()), st.sampled_from(DATE_UNITS))
@settings(max_examples=40, deadline=None)
def test_dates_are_rounded_down(found: list[date | None], unit: str) -> None:
    made = values(found, pa.date32(), Redaction(RedactionKind.GENERALISE, to=unit))
    for before, after in zip(found, made, strict=True):
        if before is None or before < date(1678, 1, 1) or before > date(9999, 12, 31):
            assert after is None
        else:
            assert after == _start(before, unit)


def _start(day: date, unit: str) -> date:
    return {
        "year": day.replace(month=1, day=1),
        "quarter": day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1),
        "month": day.replace(day=1),
        "week": day - timedelta(days=day.weekday()),
        "day": day,
    }[unit]


@pytest.mark.parametrize("zone", [None, "UTC", "+00:00"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_rounded_down_and_none_fails(unit: str, zone: str | None) -> None:
    kind: Any = pa.timestamp(unit, zone)
    extremes = pa.array([-(2**63), 2**63 - 1, -1, 0, None], pa.int64()).cast(kind)
    moment = datetime(2026, 5, 17, 13, 14, 15, tzinfo=UTC if zone else None)
    array: Any = pa.concat_arrays([extremes, pa.array([moment], kind)])
    for to, start in (
        ("hour", moment.replace(minute=0, second=0)),
        ("day", moment.replace(hour=0, minute=0, second=0)),
        ("week", moment.replace(day=11, hour=0, minute=0, second=0)),
        ("month", moment.replace(day=1, hour=0, minute=0, second=0)),
        ("quarter", moment.replace(month=4, day=1, hour=0, minute=0, second=0)),
        ("year", moment.replace(month=1, day=1, hour=0, minute=0, second=0)),
    ):
        made = redacted(array, ((), Redaction(RedactionKind.GENERALISE, to=to)))
        told = made.cast(pa.int64()).to_pylist()
        assert told[0] is told[1] is told[4] is None
        assert made.slice(5, 1).equals(pa.array([start], kind))


def test_dates_beyond_the_calendar_are_null() -> None:
    days = pa.array([-(2**31), 2**31 - 1], pa.int32()).cast(pa.date32())
    made = redacted(days, ((), Redaction(RedactionKind.GENERALISE, to="week")))
    assert made.null_count == 2


INTEGERS = st.sampled_from(
    [
        pa.int8(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.uint8(),
        pa.uint16(),
        pa.uint32(),
        pa.uint64(),
    ]
)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_integers_fall_into_buckets(data: st.DataObject) -> None:
    kind: Any = data.draw(INTEGERS)
    is_signed = pa.types.is_signed_integer(kind)
    least = -(2 ** (kind.bit_width - 1)) if is_signed else 0
    greatest = 2 ** (kind.bit_width - is_signed) - 1
    width = data.draw(st.integers(1, greatest))
    found = data.draw(st.lists(st.none() | st.integers(least, greatest), max_size=8))
    made = values(
        [*found, least, greatest], kind, Redaction(RedactionKind.GENERALISE, to=str(width))
    )
    lowest = -(-least // width) * width
    for before, after in zip([*found, least, greatest], made, strict=True):
        expected = None if before is None else max(before // width * width, lowest)
        assert after == expected


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_decimals_fall_into_buckets(data: st.DataObject) -> None:
    precision = data.draw(st.integers(1, 38))
    scale = data.draw(st.integers(0, precision))
    most = 10**precision - 1
    unscaled = data.draw(st.lists(st.integers(-most, most), max_size=8))
    width = data.draw(st.integers(1, min(most, 10 ** (37 + scale) - 1)))
    kind = pa.decimal128(precision, scale)
    numbers = [*unscaled, most, -most, 0]
    lowest = -(most // width) * width
    with localcontext(prec=100):
        found = [Decimal(number).scaleb(-scale) for number in numbers]
        to = format(Decimal(width).scaleb(-scale), "f")
        made = values(found, kind, Redaction(RedactionKind.GENERALISE, to=to))
        expected = [max(number // width * width, lowest) for number in numbers]
        assert [int(after.scaleb(scale)) for after in made] == expected


@given(st.lists(st.none() | st.floats()), st.sampled_from(["0.5", "10", "1000", "1e-3"]))
@example([-0.0, 0.0], "10")
@settings(max_examples=60, deadline=None)
def test_floats_fall_into_buckets(found: list[float | None], width: str) -> None:
    made = values(found, pa.float64(), Redaction(RedactionKind.GENERALISE, to=width))
    for before, after in zip(found, made, strict=True):
        if before is None:
            assert after is None
        elif not math.isfinite(before):
            assert math.isnan(after) if math.isnan(before) else after == before
        elif abs(before) < 1e6:
            bucket = math.floor(Fraction(before) / Fraction(width))
            assert abs(after / float(width) - bucket) <= 1.001
            assert after != 0 or math.copysign(1, after) == 1  # which of both zeros is told by it


@given(st.lists(st.none() | st.ip_addresses().map(str) | st.text(max_size=20), max_size=20))
@settings(max_examples=60, deadline=None)
def test_texts_that_are_addresses_become_networks(found: list[str | None]) -> None:
    network = Redaction(RedactionKind.GENERALISE, to="network")
    made = values(found, pa.string(), network)
    for before, after in zip(found, made, strict=True):
        try:
            address = ipaddress.ip_address(before or "")
        except ValueError:
            # Much looks like an address that is none; no more of it is shown than of one.
            assert after is None or len(after) <= 19
            continue
        if str(address) == before and not before.startswith("::"):
            bits = 24 if address.version == 4 else 48
            assert after == str(ipaddress.ip_network(f"{before}/{bits}", strict=False))


STRUCTS = pa.array(
    [{"a": "secret", "n": {"x": 7, "y": "seen"}}, None, {"a": None, "n": None}],
    pa.struct([("a", pa.string()), ("n", pa.struct([("x", pa.int64()), ("y", pa.string())]))]),
)


def test_fields_within_structs_are_redacted_and_the_rest_stays() -> None:
    made = redacted(
        STRUCTS,
        (("a",), Redaction(RedactionKind.MASK)),
        (("n", "x"), Redaction(RedactionKind.GENERALISE, to="5")),
    )
    assert made.to_pylist() == [
        {"a": STARS, "n": {"x": 5, "y": "seen"}},
        None,
        {"a": None, "n": None},
    ]


def test_a_network_within_a_struct() -> None:
    column = pa.array([{"ip": "10.1.2.3", "n'": 1}])
    network = Redaction(RedactionKind.GENERALISE, to="network")
    made = redacted(column, (("ip",), network))
    assert made.to_pylist() == [{"ip": "10.1.2.0/24", "n'": 1}]


def test_a_null_struct_hides_its_fields() -> None:
    """A NULL laid over a struct leaves what is in it for whoever asks for a field."""
    batch = pa.RecordBatch.from_arrays([STRUCTS], names=["s"])
    frame = CTX.read_batches([batch])
    bare = frame.parse_sql_expr("(CASE WHEN s['a'] <> 'secret' THEN s END)['a']")
    assert frame.select(bare.alias("a")).to_pydict()["a"][0] == "secret"
    field = pa.field("s", STRUCTS.type)
    hidden = frame.select(shown(frame, field, [((), NULL)], secret=b""))
    assert hidden.select(hidden.parse_sql_expr("s['a']").alias("a")).to_pydict() == {
        "a": [None] * 3
    }
    masked = frame.select(
        shown(frame, field, [(("a",), Redaction(RedactionKind.MASK))], secret=b"")
    )
    asked = "nullif(s, NULL)['a']"
    assert masked.select(masked.parse_sql_expr(asked).alias("a")).to_pydict()["a"] == [
        STARS,
        None,
        None,
    ]


def test_what_does_not_fit_raises() -> None:
    with pytest.raises(InvalidRequest, match="the col"):
        redacted(pa.array([1]), ((), Redaction(RedactionKind.MASK)))


def test_pseudonyms_have_no_name_that_a_query_can_use() -> None:
    redacted(pa.array([1]), ((), hashing()))
    for name in ("pseudonym", "rounded_down"):
        with pytest.raises(Exception, match="Invalid function"):
            CTX.sql(f"SELECT {name}('a')")
