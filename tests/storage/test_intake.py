from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest, LakeflightError, LimitExceeded
from flight_server.storage.fit import Fitter, table_schema
from flight_server.storage.intake import IntakeLimits, decoded_bytes, taken_in
from tests.storage.test_files import all_types


def batch_of(values: pa.Array[Any]) -> pa.RecordBatch:
    return pa.record_batch([values], names=["secret"])


def take(values: pa.Array[Any], **limits: int) -> list[pa.RecordBatch]:
    return list(taken_in([batch_of(values)], IntakeLimits(**limits)))


def test_sound_data_come_through_as_they_are() -> None:
    batches = all_types().to_batches()
    assert list(taken_in(batches, IntakeLimits())) == batches


def test_empty_batches_are_left_out() -> None:
    assert take(pa.array([], pa.int64())) == []


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("batch_rows_max", {"batch_rows_max": 99}),
        ("batch_bytes_max", {"batch_bytes_max": 799}),
        ("rows_max", {"rows_max": 199}),
        ("bytes_max", {"bytes_max": 1599}),
    ],
)
def test_every_bound_is_named(name: str, limits: dict[str, int]) -> None:
    batches = [batch_of(pa.array(range(100)))] * 2
    with pytest.raises(LimitExceeded, match=f"limit={name}={limits[name]}"):
        list(taken_in(batches, IntakeLimits(**limits)))
    more = {key: value + 1 for key, value in limits.items()}
    assert len(list(taken_in(batches, IntakeLimits(**more)))) == 2


def test_rows_without_bytes_are_counted_before_anything_else() -> None:
    with pytest.raises(LimitExceeded, match="batch_rows_max"):
        take(claim(pa.null(), 2**62, None))


def claim(kind: pa.DataType, length: int, *buffers: bytes | None, children: Any = ()) -> Any:
    """Return an array that says of itself what is not true."""
    made = [None if each is None else pa.py_buffer(each) for each in buffers]
    return pa.Array.from_buffers(kind, length, made, children=list(children))


def int32s(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little", signed=True) for value in values)


DAMAGED: dict[str, Any] = {
    "offsets beyond the data": lambda: claim(
        pa.string(), 2, None, int32s(0, 1, 100_000), b"topsecret"
    ),
    "offsets that go back": lambda: claim(pa.string(), 2, None, int32s(5, 1, 3), b"topsecret"),
    "text that is none": lambda: claim(pa.string(), 1, None, int32s(0, 2), b"\xff\xfe"),
    "indices beyond the dictionary": lambda: pa.DictionaryArray.from_arrays(
        pa.array([0, 7]), pa.array(["a"]), safe=False
    ),
    "lists beyond their elements": lambda: claim(
        pa.list_(pa.int64()), 1, None, int32s(0, 9), children=[pa.array([1])]
    ),
    "too few numbers": lambda: claim(pa.int64(), 100, None, b"12345678"),
    "more digits than said": lambda: claim(
        pa.decimal128(2, 0), 1, None, (10**9).to_bytes(16, "little")
    ),
    "runs that end too early": lambda: pa.RunEndEncodedArray.from_buffers(
        pa.run_end_encoded(pa.int32(), pa.int8()),
        9,
        [None],
        children=(pa.array([3], pa.int32()), pa.array([1], pa.int8())),
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_data_are_refused(case: str) -> None:
    try:
        values = DAMAGED[case]()
    except pa.ArrowInvalid:
        return  # Arrow itself refuses to make them
    with pytest.raises(InvalidRequest, match="damaged") as caught:
        take(values)
    assert "topsecret" not in caught.value.message


LARGE = "x" * 100_000
LIST_VIEWS: Any = pa.ListViewArray
SHARING: dict[str, pa.Array[Any]] = {
    "dictionary": pa.DictionaryArray.from_arrays(pa.array([0] * 1000), pa.array([LARGE])),
    "dictionary of lists": pa.DictionaryArray.from_arrays(
        pa.array([0] * 1000), pa.array([[LARGE]])
    ),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1000], pa.int32()), pa.array([LARGE])),
    "list views": LIST_VIEWS.from_arrays(
        pa.array([0] * 1000, pa.int32()),
        pa.array([10_000] * 1000, pa.int32()),
        pa.array(range(10_000)),
    ),
    "in a struct": pa.StructArray.from_arrays(
        [pa.DictionaryArray.from_arrays(pa.array([0] * 1000), pa.array([LARGE]))], names=["a"]
    ),
}


@pytest.mark.parametrize("case", SHARING)
def test_shared_values_are_decoded_in_pieces(case: str) -> None:
    values = SHARING[case]
    pieces = take(values, piece_bytes_max=2_000_000)
    assert len(pieces) > 20
    assert sum(piece.num_rows for piece in pieces) == 1000
    target = table_schema(pieces[0].schema)
    fitter = Fitter(pieces[0].schema, target, by_name=True, rounds=False)
    assert max(fitter.fit(piece).nbytes for piece in pieces) <= 2_000_000
    with pytest.raises(LimitExceeded, match="piece_bytes_max"):
        take(values, piece_bytes_max=50_000)


def test_views_of_one_value_are_counted_each() -> None:
    one = pa.array([LARGE], pa.string_view())
    view = one.buffers()[1].to_pybytes()  # type: ignore[union-attr]  # a view has this buffer
    many = pa.Array.from_buffers(
        pa.string_view(), 1000, [None, pa.py_buffer(view * 1000), one.buffers()[2]]
    )
    assert decoded_bytes(many) >= 1000 * len(LARGE)
    assert len(take(many, piece_bytes_max=2_000_000)) > 20


def test_nothing_in_lists_is_counted_too() -> None:
    values: Any = pa.ListArray.from_arrays(pa.array([0, 2**30], pa.int32()), pa.nulls(2**30))
    with pytest.raises(LimitExceeded, match="decoded_bytes_max"):
        take(values)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.text(max_size=50), max_size=50), st.data())
def test_no_estimate_is_below_what_decoding_takes(
    texts: list[str | None], data: st.DataObject
) -> None:
    plain = pa.array(texts, pa.string())
    start = data.draw(st.integers(0, len(texts)))
    for values in (plain.dictionary_encode(), plain.cast(pa.string_view())):
        piece: Any = values[start:]
        decoded = piece.cast(pa.string())
        assert decoded_bytes(piece) + 64 >= sum(len(str(t).encode()) for t in decoded if t.is_valid)


def test_mutated_streams_end_in_clean_errors() -> None:
    rows = all_types().append_column("word", pa.array(["a", "b", None]).dictionary_encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    whole = sink.getvalue().to_pybytes()
    chance = random.Random(7)
    for _ in range(1000):
        mutated = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        read_through(bytes(mutated))


def read_through(stream: bytes) -> None:
    """Take in, fit and look at whatever can be read of a stream."""
    try:
        reader = pa.ipc.open_stream(stream)
        schema = table_schema(reader.schema)
        fitter = Fitter(reader.schema, schema, by_name=True, rounds=False)
        for piece in taken_in(reader, IntakeLimits(batch_rows_max=1000)):
            fitter.fit(piece).validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError, LakeflightError):
        pass  # those of Arrow come from its reader, before the rows are ours
