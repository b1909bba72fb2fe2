from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_server.engine.base import BatchLimits
from flight_server.engine.output import body_bytes, bounded, conform, plain_schema, plain_type
from flight_server.errors import Cancelled, InvalidRequest, LimitExceeded
from tests.engine.lake import never

TYPES = [
    (pa.string_view(), pa.string()),
    (pa.large_string(), pa.string()),
    (pa.binary_view(), pa.binary()),
    (pa.large_binary(), pa.binary()),
    (pa.float16(), pa.float32()),
    (pa.decimal32(5, 2), pa.decimal128(5, 2)),
    (pa.decimal64(12, 2), pa.decimal128(12, 2)),
    (pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
    (pa.run_end_encoded(pa.int32(), pa.string_view()), pa.string()),
    (pa.large_list(pa.string_view()), pa.list_(pa.string())),
    (pa.list_view(pa.int8()), pa.list_(pa.int8())),
    (pa.large_list_view(pa.int8()), pa.list_(pa.int8())),
    (pa.list_(pa.float16(), 2), pa.list_(pa.float32(), 2)),
    (pa.map_(pa.string_view(), pa.large_binary()), pa.map_(pa.string(), pa.binary())),
    (pa.struct([("a", pa.string_view())]), pa.struct([("a", pa.string())])),
    (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    (pa.decimal256(50, 2), pa.decimal256(50, 2)),
    (pa.null(), pa.null()),
]


@pytest.mark.parametrize(("kind", "plain"), TYPES)
def test_types_come_out_plain(kind: pa.DataType, plain: pa.DataType) -> None:
    assert plain_type(kind) == plain
    assert plain_type(plain) == plain


def test_metadata_goes_and_nullability_stays() -> None:
    inner = pa.field("i", pa.int8(), nullable=False, metadata={"k": "v"})
    field = pa.field("a", pa.struct([inner]), nullable=False, metadata={"k": "v"})
    plain = plain_schema(pa.schema([field], metadata={"k": "v"}))
    assert not plain.metadata
    assert not plain.field("a").metadata
    assert not plain.field("a").type.field("i").metadata
    assert not plain.field("a").nullable
    assert not plain.field("a").type.field("i").nullable


def test_a_nul_in_a_name_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        plain_schema(pa.schema([("a\0b", pa.int8())]))


def test_conform_casts_what_is_not_plain() -> None:
    batch = pa.record_batch({"a": pa.array(["x", None, "x"]).dictionary_encode()})
    schema = plain_schema(batch.schema)
    assert conform(batch, schema).to_pydict() == {"a": ["x", None, "x"]}


def _cut(batches: list[pa.RecordBatch], limits: BatchLimits) -> list[pa.RecordBatch]:
    return list(bounded(batches, limits, is_cancelled=never))


SIZES = st.lists(st.lists(st.integers(0, 3_000), max_size=40), max_size=12)


@settings(max_examples=60)
@given(SIZES)
def test_batches_keep_their_rows_and_stay_within_bounds(sizes: list[list[int]]) -> None:
    limits = BatchLimits(batch_bytes_target=8_192, batch_bytes_max=16_384)
    batches = [
        pa.record_batch(
            [
                pa.array(range(len(part)), pa.int64()),
                pa.array(["x" * size for size in part], pa.string()),
            ],
            names=["n", "s"],
        )
        for part in sizes
    ]
    sent = _cut(batches, limits)
    assert [row for batch in sent for row in batch.to_pylist()] == [
        row for batch in batches for row in batch.to_pylist()
    ]
    assert all(batch.num_rows and body_bytes(batch) <= 16_384 for batch in sent)


def test_even_rows_come_near_the_target() -> None:
    batch = pa.record_batch({"a": pa.array(range(1_000_000), pa.int64())})
    sizes = [body_bytes(sent) for sent in _cut([batch], BatchLimits())]
    assert len(sizes) == 4
    assert min(sizes) > 1_900_000


def test_a_slice_is_counted_and_sent_as_what_it_shows() -> None:
    whole = pa.record_batch({"s": ["y" * 1000] * 10_000})
    (sent,) = _cut([whole.slice(5_000, 3)], BatchLimits())
    assert body_bytes(sent) < 5_000


def test_one_row_too_large_names_the_setting() -> None:
    wide = pa.record_batch({"s": ["a", "x" * 4_000_000]})
    with pytest.raises(LimitExceeded, match="batch_bytes_max"):
        _cut([wide], BatchLimits())


def test_a_row_above_the_target_but_not_the_maximum_is_sent() -> None:
    wide = pa.record_batch({"s": ["x" * 3_000_000, "y" * 3_000_000]})
    assert [batch.num_rows for batch in _cut([wide], BatchLimits())] == [1, 1]


def test_the_whole_result_is_bounded() -> None:
    batch = pa.record_batch({"a": pa.array(range(100_000), pa.int64())})
    with pytest.raises(LimitExceeded, match="result_bytes_max limit=1000000"):
        _cut([batch] * 2, BatchLimits(result_bytes_max=1_000_000))


def test_small_batches_are_joined_but_the_first_leaves_at_once() -> None:
    taken = 0

    def small() -> Iterator[pa.RecordBatch]:
        nonlocal taken
        for _ in range(10_000):
            taken += 1
            yield pa.record_batch({"a": pa.array(range(100), pa.int64())})

    sent = bounded(small(), BatchLimits(), is_cancelled=never)
    assert next(sent).num_rows == 100
    assert taken == 1
    rest = [batch.num_rows for batch in sent]
    assert sum(rest) == 999_900
    assert len(rest) < 15


def test_cancel_is_asked_between_batches() -> None:
    batch = pa.record_batch({"a": pa.array(range(100_000), pa.int64())})
    answers = iter([False, True])
    sent = bounded([batch] * 3, BatchLimits(), is_cancelled=lambda: next(answers))
    next(sent)
    with pytest.raises(Cancelled):
        next(sent)
