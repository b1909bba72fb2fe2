"""What leaves says what its rows say: no byte of a hidden row, wherever Arrow may keep one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.engine.scrub import clean, scrubbed
from flight_server.errors import Unsupported

HIDDEN = b"HIDDEN"
TEXT = HIDDEN.decode()
# As a number: its bytes are found as the text's are.
NUMBER = int.from_bytes(b"HIDDENHI", "little")


def sent(array: pa.Array[Any]) -> bytes:
    """The bytes of a message with this column."""
    batch = pa.record_batch([array], names=["c"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def under_nulls(values: pa.Array[Any], valid: list[bool]) -> pa.Array[Any]:
    """The same buffers, with a NULL laid over those values that are not valid."""
    bits = pa.array(valid, pa.bool_()).buffers()[1]
    kept = [bits, *values.buffers()[1:]]
    if pa.types.is_nested(values.type):
        children: Any = values
        inner = (
            [children.field(number) for number in range(values.type.num_fields)]
            if pa.types.is_struct(values.type)
            else [children.values]
        )
        own = [bits, values.buffers()[1]] if pa.types.is_list(values.type) else [bits]
        return pa.Array.from_buffers(values.type, len(values), own, children=inner)
    return pa.Array.from_buffers(values.type, len(values), kept)


ONE_SHOWN = [True, *([False] * 9)]
WHOLE: dict[str, pa.Array[Any]] = {
    "text": pa.array(["seen", *[TEXT] * 9]),
    "bytes": pa.array([b"seen", *[HIDDEN] * 9]),
    "int64": pa.array([1, *[NUMBER] * 9]),
    "time": pa.array([1, *[NUMBER] * 9]).cast(pa.timestamp("us")),
    "decimal": pa.array([1, *[NUMBER] * 9]).cast(pa.decimal128(30, 0)),
    "fixed": pa.array([b"seen..", *[HIDDEN] * 9], pa.binary(6)),
    "struct": pa.array([{"a": "seen", "b": 1}, *[{"a": TEXT, "b": NUMBER}] * 9]),
    "list": pa.array([["seen"], *[[TEXT, TEXT]] * 9]),
    "list of structs": pa.array([[{"a": "seen"}], *[[{"a": TEXT}]] * 9]),
    "struct of lists": pa.array([{"a": ["seen"]}, *[{"a": [TEXT]}] * 9]),
    "fixed list": pa.array([["s", "t"], *[[TEXT, TEXT]] * 9], pa.list_(pa.string(), 2)),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_the_library_alone_sends_what_lies_under_a_null(kind: str) -> None:
    assert HIDDEN in sent(under_nulls(WHOLE[kind], ONE_SHOWN))


@pytest.mark.parametrize("kind", WHOLE)
def test_nothing_under_a_null_is_sent(kind: str) -> None:
    before = under_nulls(WHOLE[kind], ONE_SHOWN)
    after = clean(before)
    after.validate(full=True)
    assert after.to_pylist() == before.to_pylist()
    assert after.type == before.type
    assert HIDDEN not in sent(after)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize(("start", "count"), [(0, 1), (9, 1), (0, 0)])
def test_nothing_beside_a_slice_is_sent(kind: str, start: int, count: int) -> None:
    around = pa.concat_arrays([WHOLE[kind], WHOLE[kind].take(pa.array(list(range(9, -1, -1))))])
    before = around.slice(0 if start == 0 else 19, count)
    after = clean(before)
    after.validate(full=True)
    assert after.to_pylist() == before.to_pylist()
    assert HIDDEN not in sent(after)


def test_the_end_of_a_short_slice_is_not_padded_with_what_follows() -> None:
    """A message pads to 8 bytes, and takes them from the buffer where it has them."""
    values = pa.array(list(b"1HIDDEN"), pa.uint8())
    assert HIDDEN in sent(values.slice(0, 1))
    assert HIDDEN not in sent(clean(values.slice(0, 1)))


@pytest.mark.parametrize("kind", [pa.bool_(), pa.int8()])
def test_no_bit_of_what_follows_is_sent(kind: pa.DataType) -> None:
    values: Any = pa.array([False, None, *[True] * 6], pa.bool_()).cast(kind)
    for part in (values.slice(0, 2), values.slice(0, 1)):
        bare = pa.array(part.to_pylist(), kind)
        assert sent(clean(part)) == sent(bare)


def test_dictionaries_and_views_are_sent_as_plain_values() -> None:
    dictionary = pa.array([TEXT, "seen"]).dictionary_encode().slice(1)
    view = pa.array([TEXT * 9, "seen" * 9], pa.string_view()).slice(1)
    for before in (dictionary, view):
        assert HIDDEN in sent(before)
        after = clean(before)
        assert after.type == pa.string()
        assert HIDDEN not in sent(after)


def test_maps_keep_nothing_under_a_null() -> None:
    kind = pa.map_(pa.string(), pa.string())
    before = pa.array([[("a", TEXT)], [("b", "seen")], [("c", TEXT)]], kind)
    bits = pa.array([False, True, False]).buffers()[1]
    children: Any = before
    entries = pa.StructArray.from_arrays(
        [children.keys, children.items], fields=[kind.key_field, kind.item_field]
    )
    hiding = pa.Array.from_buffers(kind, 3, [bits, before.buffers()[1]], children=[entries])
    assert HIDDEN in sent(hiding)
    after = clean(hiding)
    after.validate(full=True)
    assert after.to_pylist() == [None, [("b", "seen")], None]
    assert HIDDEN not in sent(after)
    part = clean(before.slice(1, 1))
    assert part.to_pylist() == [[("b", "seen")]]
    assert HIDDEN not in sent(part)


def test_what_holds_nothing_else_is_passed_on_as_it_is() -> None:
    batch = pa.record_batch(
        [pa.array(range(16_000)), pa.array([str(n) for n in range(16_000)])], names=["i", "s"]
    )
    assert scrubbed(batch) is batch


def test_a_type_that_nothing_is_known_of_is_refused() -> None:
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    with pytest.raises(Unsupported):
        clean(union)


KINDS = st.sampled_from(
    [
        (pa.int8(), st.integers(-128, 127)),
        (pa.uint64(), st.integers(0, 2**64 - 1)),
        (pa.float32(), st.floats(width=32, allow_nan=False)),
        (pa.bool_(), st.booleans()),
        (pa.string(), st.text(max_size=5)),
        (pa.binary(), st.binary(max_size=5)),
        (pa.date32(), st.integers(-10_000, 10_000)),
        (pa.time32("s"), st.integers(0, 86_399)),
        (pa.duration("us"), st.integers(-(2**62), 2**62)),
        (pa.decimal128(10, 2), st.decimals(-9999, 9999, places=2)),
        (pa.binary(3), st.binary(min_size=3, max_size=3)),
        (pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=3), max_size=3)),
        (pa.list_(pa.int8(), 2), st.lists(st.integers(-9, 9), min_size=2, max_size=2)),
        (
            pa.struct([("a", pa.string()), ("b", pa.list_(pa.bool_()))]),
            st.fixed_dictionaries(
                {"a": st.none() | st.text(max_size=3), "b": st.none() | st.lists(st.booleans())}
            ),
        ),
        (
            pa.map_(pa.string(), pa.int16()),
            st.dictionaries(st.text(max_size=2), st.integers(-9, 9)).map(lambda d: [*d.items()]),
        ),
        (pa.month_day_nano_interval(), st.tuples(st.integers(0, 9), st.just(1), st.just(2))),
        (pa.null(), st.none()),
    ]
)


@given(st.data())
def test_values_stay_and_bytes_are_those_of_an_array_of_them(
    data: st.DataObject,
) -> None:
    kind: Any
    kind, values = data.draw(KINDS)
    found: list[Any] = data.draw(st.lists(st.none() | values, max_size=20))
    array = pa.array(found, kind)
    start = data.draw(st.integers(0, len(found)))
    part = array.slice(start, data.draw(st.integers(0, len(found) - start)))
    after = clean(part)
    after.validate(full=True)
    assert after.equals(part)
    # Built anew from its values it would be sent in these very bytes.
    assert sent(after) == sent(clean(pa.array(part.to_pylist(), kind)))
    assert pc.is_null(after).equals(pc.is_null(part))
