"""Data that Arrow validates in full and trips over all the same."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flight_server.errors import InvalidRequest
from flight_server.storage.soundness import plain_from_views, sound
from tests.zoo import specimens

_NUMBERS = pa.list_(pa.int32())
# The one offset of lists without elements, as IPC gives it: an empty buffer, and any number.
_OFFSETS = {"missing": pa.foreign_buffer(0, 0), "wild": pa.py_buffer(b"\xda\0\0\0")}


def _no_lists(offsets: pa.Buffer) -> pa.Array[Any]:
    children = [pa.array([], pa.int32())]
    return pa.Array.from_buffers(_NUMBERS, 0, [None, offsets], children=children)


def _no_maps(offsets: pa.Buffer) -> pa.Array[Any]:
    entry = pa.struct([pa.field("key", pa.int32(), nullable=False), pa.field("value", pa.int32())])
    kind: Any = pa.map_(pa.int32(), pa.int32())
    return pa.Array.from_buffers(kind, 0, [None, offsets], children=[pa.array([], entry)])


def _around(inner: pa.Array[Any]) -> pa.Array[Any]:
    """Two empty lists of what there is none of."""
    buffers = [None, pa.py_buffer(bytes(12))]
    return pa.Array.from_buffers(pa.list_(inner.type), 2, buffers, children=[inner])


@pytest.mark.parametrize("offsets", _OFFSETS.values(), ids=_OFFSETS.keys())
def test_lists_without_elements_may_lack_offsets(offsets: pa.Buffer) -> None:
    structs: Any = pa.StructArray.from_arrays([_no_lists(offsets)], names=["x"])
    columns = [_around(_no_lists(offsets)), _around(_no_maps(offsets)), _around(structs)]
    batch = sound(pa.RecordBatch.from_arrays(columns, names=["lists", "maps", "structs"]))
    found: Any = batch.columns
    lists, maps, deep = (column.flatten() for column in found)
    assert lists.flatten().to_pylist() == []
    assert pc.list_value_length(maps.cast(pa.list_(maps.type.field(0).type))).to_pylist() == []
    assert deep.field(0).flatten().to_pylist() == []
    assert batch.to_pylist() == [{"lists": [], "maps": [], "structs": []}] * 2


@pytest.mark.parametrize("offsets", _OFFSETS.values(), ids=_OFFSETS.keys())
def test_a_batch_without_rows_is_brought_into_order_too(offsets: pa.Buffer) -> None:
    batch = sound(pa.RecordBatch.from_arrays([_no_lists(offsets)], names=["lists"]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    column: Any = batch.column(0)
    assert column.flatten().to_pylist() == []


def test_dictionaries_of_empty_lists_are_refused() -> None:
    values = _no_lists(_OFFSETS["wild"])
    column = pa.DictionaryArray.from_arrays(pa.array([None], pa.int8()), values)
    with pytest.raises(InvalidRequest):
        sound(pa.RecordBatch.from_arrays([column], names=["d"]))


def test_sound_data_are_not_copied() -> None:
    full = [each for each in specimens() if each.name != "list of struct of list"]
    for each in full:
        batch = pa.RecordBatch.from_arrays([each.array], names=["kind"])
        assert sound(batch) is batch, each.name


def test_damaged_data_are_refused() -> None:
    broken: Any = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\x01\0\0\0"), pa.py_buffer(b"\xff")]
    )
    with pytest.raises(InvalidRequest, match="damaged"):
        sound(pa.RecordBatch.from_arrays([broken], names=["text"]))


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()], ids=str)
def test_the_view_of_a_null_is_not_followed(kind: Any) -> None:
    words = ["a text that is not inline", None, "short"]
    array: Any = pa.array(words).cast(pa.binary()).cast(kind)
    validity, views, *data = array.buffers()
    wild = views.to_pybytes()[:16] + b"\xff\x00\x00\x00" + b"\x7f" * 12 + views.to_pybytes()[32:]
    made: Any = pa.Array.from_buffers(kind, 3, [validity, pa.py_buffer(wild), *data])
    made.validate(full=True)
    plain = pa.string() if kind == pa.string_view() else pa.binary()
    assert plain_from_views(made).equals(pa.array(words).cast(plain))
    assert plain_from_views(made[1:]).equals(pa.array(words[1:]).cast(plain))
    assert plain_from_views(made[:0]).equals(pa.array([], plain))


def test_names_that_are_no_text_are_refused() -> None:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"qqqq": pa.array([1])})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data = sink.getvalue().to_pybytes().replace(b"qqqq", b"\xff\xfe\xff\xfe")
    with pytest.raises(InvalidRequest, match="UTF-8"):
        sound(pa.ipc.open_stream(data).read_next_batch())
