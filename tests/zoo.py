"""One specimen of every kind of Arrow array, with what a table makes of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import inf, nan
from typing import Any

import pyarrow as pa

_MICROSECONDS_FIRST, _MICROSECONDS_LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
_UTC, _LOCAL = pa.timestamp("us", "UTC"), pa.timestamp("us")
_UUIDS = [uuid.UUID(int=0), None, uuid.UUID(int=2**128 - 1), uuid.UUID(int=2**77 + 5)]
_WORDS = ["plain", "", None, "zürich ☃ 𝄞 \u202e", "a\nb\t'c' \"d\" \\ % _\0", "x" * 300]
_BYTES = [b"plain", b"", None, b"\0\xff\xfe", bytes(range(256))]


@dataclass(frozen=True, slots=True)
class Specimen:
    """An array, and ``held``: the same values as a table gives them back, None where it refuses."""

    name: str
    array: pa.Array[Any]
    held: pa.Array[Any] | None

    @property
    def column(self) -> str:
        """The name as that of a column."""
        return "".join(char if char.isalnum() else "_" for char in self.name).strip("_")


def specimens() -> list[Specimen]:
    """Return all of them: each with a NULL where there can be one, and extremes."""
    return [*_numbers(), *_times(), *_texts(), *_nested(), *_encoded(), *_extensions(), *_refused()]


def _same(name: str, kind: Any, values: list[Any], held: Any = None) -> Specimen:
    """Make a specimen of Python values, which a table holds in the type ``held``."""
    return Specimen(name, pa.array(values, kind), pa.array(values, held or kind))


def _numbers() -> Iterator[Specimen]:
    yield _same("bool", pa.bool_(), [True, None, False])
    for bits, wider in ((8, pa.int16()), (16, pa.int32()), (32, pa.int64()), (64, None)):
        signed, unsigned = getattr(pa, f"int{bits}")(), getattr(pa, f"uint{bits}")()
        half = 2 ** (bits - 1)
        yield _same(str(signed), signed, [0, None, -half, half - 1])
        whole: list[Any] = [0, None, 2 * half - 1]
        if wider is not None:
            yield _same(str(unsigned), unsigned, whole, wider)
        else:
            decimals = [None if value is None else Decimal(value) for value in whole]
            held: Any = pa.array(decimals, pa.decimal128(20, 0))
            yield Specimen(str(unsigned), pa.array(whole, unsigned), held)
    yield _same("float16", pa.float16(), [0.5, None, inf, -inf, nan, 65504.0], pa.float32())
    yield _same("float32", pa.float32(), [1.5, None, inf, -0.0, nan, 3.4028234663852886e38])
    yield _same("float64", pa.float64(), [0.1, None, -inf, -0.0, nan, 5e-324])
    for make, precision, scale in (
        *((pa.decimal32, 9, 2), (pa.decimal64, 18, 6), (pa.decimal128, 38, 0)),
        *((pa.decimal128, 38, 38), (pa.decimal128, 1, 0), (pa.decimal256, 38, 10)),
    ):
        kind = make(precision, scale)
        largest = Decimal((0, (9,) * precision, -scale))
        values = [Decimal(0), None, largest, largest.copy_negate()]
        yield _same(str(kind), kind, values, pa.decimal128(precision, scale))
    hundreds = [Decimal(1200), None, Decimal("9" * 5 + "00")]
    yield _same("decimal128(5, -2)", pa.decimal128(5, -2), hundreds, pa.decimal128(7, 0))


def _times() -> Iterator[Specimen]:
    days = [date(2024, 2, 29), None, date(1, 1, 1), date(9999, 12, 31)]
    yield _same("date32", pa.date32(), days)
    yield _same("date64", pa.date64(), days, pa.date32())
    first, last = _MICROSECONDS_FIRST, _MICROSECONDS_LAST
    for unit, per_unit in (("s", 1_000_000), ("ms", 1_000), ("us", 1)):
        counts: list[Any] = [0, None, -1, first // per_unit, last // per_unit]
        for zone in (None, "UTC", "Europe/Berlin", "+05:30"):
            held = _UTC if zone else _LOCAL
            micros = [None if count is None else count * per_unit for count in counts]
            array: Any = pa.array(counts, pa.int64()).cast(pa.timestamp(unit, zone))
            expected: Any = pa.array(micros, pa.int64()).cast(held)
            yield Specimen(f"timestamp[{unit}, {zone or 'local'}]", array, expected)
    for zone in (None, "America/New_York"):
        nanos: Any = pa.array([0, None, -1000, 2**62 // 1000 * 1000]).cast(pa.timestamp("ns", zone))
        micro: Any = pa.array([0, None, -1, 2**62 // 1000]).cast(_UTC if zone else _LOCAL)
        yield Specimen(f"timestamp[ns, {zone or 'local'}]", nanos, micro)


def _texts() -> Iterator[Specimen]:
    for text in (pa.string(), pa.large_string(), pa.string_view()):
        yield _same(str(text), text, _WORDS, pa.string())
    for binary in (pa.binary(), pa.large_binary(), pa.binary_view()):
        yield _same(str(binary), binary, _BYTES, pa.binary())
    fixed = [b"\0\1\2", None, b"\xff\xff\xff"]
    yield _same("fixed_size_binary[3]", pa.binary(3), fixed, pa.binary())


def _nested() -> Iterator[Specimen]:
    lists: list[Any] = [[1, None, 3], None, [], [2**31 - 1]]
    plain = pa.list_(pa.int32())
    for kind in (plain, pa.large_list(pa.int32()), pa.list_view(pa.int32())):
        yield _same(str(kind), kind, lists, plain)
    yield _same("large_list_view", pa.large_list_view(pa.int32()), lists, plain)
    pairs = [[1, 2], None, [None, 4]]
    yield _same("fixed_size_list", pa.list_(pa.int32(), 2), pairs, plain)
    inner = pa.struct([pa.field("x", pa.int32()), pa.field("y", pa.string())])
    structs = [{"x": 1, "y": "a"}, None, {"x": None, "y": ""}, {"x": -1, "y": None}]
    yield _same("struct", inner, structs)
    narrow = pa.struct([pa.field("x", pa.uint32()), pa.field("y", pa.large_string())])
    plain_struct = pa.struct([pa.field("x", pa.int64()), pa.field("y", pa.string())])
    values = [{"x": 1, "y": "a"}, None, {"x": 2**32 - 1, "y": None}]
    yield _same("struct of others", narrow, values, plain_struct)
    maps: list[Any] = [[("a", 1), ("b", None)], None, []]
    yield _same("map", pa.map_(pa.string(), pa.int64()), maps)
    others = pa.map_(pa.string_view(), pa.uint16())
    yield _same("map of others", others, maps, pa.map_(pa.string(), pa.int32()))
    deep = pa.list_(pa.struct([pa.field("m", pa.map_(pa.string(), pa.list_(pa.float64())))]))
    yield _same("list of struct of map", deep, [[{"m": [("k", [1.5, None])]}, None], None, []])
    yield _same("list of struct of list", pa.list_(pa.struct([pa.field("l", plain)])), [[], None])


def _encoded() -> Iterator[Specimen]:
    words: Any = pa.array(["b", None, "a", "b"])
    for index in (*("int8", "int16", "int32", "int64"), *("uint8", "uint16", "uint32", "uint64")):
        kind = pa.dictionary(getattr(pa, index)(), pa.string())
        indices: Any = pa.array([1, None, 0, 1], getattr(pa, index)())
        array = pa.DictionaryArray.from_arrays(indices, pa.array(["a", "b"]))
        yield Specimen(f"dictionary<{index}, string>", array.cast(kind), words)
    for values, held in (
        (pa.array(["a", "b"], pa.large_string()), pa.string()),
        (pa.array(["a", "b"], pa.string_view()), pa.string()),
        (pa.array([7, -7], pa.int64()), pa.int64()),
        (pa.array([b"a", b"\xff"], pa.binary()), pa.binary()),
        (pa.array([Decimal("1.5"), Decimal("-2.5")], pa.decimal128(5, 2)), pa.decimal128(5, 2)),
        (pa.array([date(2024, 1, 1), None], pa.date32()), pa.date32()),
    ):
        made: Any = pa.DictionaryArray.from_arrays(pa.array([1, None, 0, 1], pa.int32()), values)
        decoded: Any = values.cast(held).take(pa.array([1, None, 0, 1]))
        yield Specimen(f"dictionary<int32, {values.type}>", made, decoded)
    small = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), pa.array(["a", "b"]))
    listed: Any = pa.ListArray.from_arrays(pa.array([0, 1, 3], pa.int32()), small)
    held_lists: Any = pa.array([["a"], ["b", None]], pa.list_(pa.string()))
    yield Specimen("list of dictionary", listed, held_lists)
    struct: Any = pa.StructArray.from_arrays([small], names=["d"])
    held_structs = pa.array([{"d": "a"}, {"d": "b"}, {"d": None}])
    yield Specimen("struct of dictionary", struct, held_structs)
    for ends in (pa.int16(), pa.int32(), pa.int64()):
        places: Any = pa.array([2, 3, 5], ends)
        runs: Any = pa.RunEndEncodedArray.from_arrays(places, pa.array(["a", None, "b"]))
        plain: Any = pa.array(["a", "a", None, "b", "b"])
        yield Specimen(f"run_end_encoded<{ends}>", runs, plain)


def _extensions() -> Iterator[Specimen]:
    stored: Any = pa.array([None if each is None else each.bytes for each in _UUIDS], pa.binary(16))
    texts: Any = pa.array([None if each is None else str(each) for each in _UUIDS])
    yield Specimen("uuid", pa.ExtensionArray.from_storage(pa.uuid(), stored), texts)
    notes: Any = pa.array(['{"a": [1, null]}', None, "1"])
    yield Specimen("json", pa.ExtensionArray.from_storage(pa.json_(), notes), notes)
    truths: Any = pa.array([1, 0, None, -5], pa.int8())
    truth: Any = pa.array([True, False, None, True])
    yield Specimen("bool8", pa.ExtensionArray.from_storage(pa.bool8(), truths), truth)
    kind = pa.fixed_shape_tensor(pa.int32(), [2])
    pairs: Any = pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2))
    tensors: Any = pa.ExtensionArray.from_storage(kind, pairs)
    yield Specimen("fixed_shape_tensor", tensors, pairs.cast(pa.list_(pa.int32())))
    opaque = pa.opaque(pa.binary(), "geometry", "somebody")
    blobs: Any = pa.array([b"\1", None])
    yield Specimen("opaque", pa.ExtensionArray.from_storage(opaque, blobs), blobs)


def _refused() -> Iterator[Specimen]:
    def refused(name: str, array: Any) -> Specimen:
        return Specimen(name, array, None)

    noon, hour = time(12), timedelta(hours=1)
    yield refused("null", pa.nulls(3))
    yield refused("list of null", pa.array([[None], None], pa.list_(pa.null())))
    yield refused("struct without fields", pa.array([{}, None], pa.struct([])))
    yield refused("time32[s]", pa.array([noon, None], pa.time32("s")))
    yield refused("time32[ms]", pa.array([noon, None], pa.time32("ms")))
    yield refused("time64[us]", pa.array([noon, None], pa.time64("us")))
    yield refused("time64[ns]", pa.array([noon, None], pa.time64("ns")))
    for unit in ("s", "ms", "us", "ns"):
        yield refused(f"duration[{unit}]", pa.array([hour, None], pa.duration(unit)))
    interval = pa.scalar((1, 2, 3), pa.month_day_nano_interval()).as_py()
    yield refused("month_day_nano", pa.array([interval, None], pa.month_day_nano_interval()))
    yield refused("decimal256(76, 0)", pa.array([Decimal(1), None], pa.decimal256(76, 0)))
    yield refused("decimal128(38, -1)", pa.array([Decimal(10), None], pa.decimal128(38, -1)))
    kinds: Any = pa.array([0, 1], pa.int8())
    children: Any = [pa.array([1, 2]), pa.array(["a", "b"])]
    yield refused("sparse_union", pa.UnionArray.from_sparse(kinds, children))
    places: Any = pa.array([0, 0], pa.int32())
    yield refused("dense_union", pa.UnionArray.from_dense(kinds, places, children))
    yield refused("list of time", pa.array([[noon]], pa.list_(pa.time64("us"))))
    yield refused("struct of duration", pa.array([{"d": hour}]))
    yield refused("dictionary of time", pa.array([noon], pa.time64("us")).dictionary_encode())


FINE_NANOSECONDS: pa.Array[Any] = pa.array([datetime(2024, 1, 1), None]).cast(pa.timestamp("ns"))  # noqa: DTZ001 - it has no zone
