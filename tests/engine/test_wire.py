"""Frames, slots and codecs between gateway and worker."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server import errors
from flight_server.engine import wire
from flight_server.engine.wire import Kind

SLOT_BYTES = 64 * 1024


@dataclass
class Pair:
    """Both ends of everything between a gateway and its worker, in one process."""

    gateway: wire.Channel
    worker: wire.Channel
    reader: wire.SlotReader | None
    writer: wire.SlotWriter
    returns: int


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    returns_read, returns_write = os.pipe()
    memory = wire.Segment.create(slots=2, slot_bytes=SLOT_BYTES)
    segment = wire.Segment(memory, slots=2, slot_bytes=SLOT_BYTES)
    made = Pair(
        wire.Channel(ours),
        wire.Channel(theirs),
        wire.SlotReader(segment, returns_write),
        wire.SlotWriter(wire.Segment(memory, slots=2, slot_bytes=SLOT_BYTES), returns_read),
        returns_read,
    )
    os.close(memory)
    yield made
    made.gateway.close()
    made.worker.close()
    os.close(returns_read)


@given(st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=3000)), max_size=8))
def test_frames_arrive_in_order_and_whole(frames: list[tuple[Kind, bytes]]) -> None:
    ours, theirs = socket.socketpair()
    sender, receiver = wire.Channel(ours), wire.Channel(theirs)
    sender.send_all(frames)
    sender.close()
    assert [receiver.receive() for _ in frames] == frames
    with pytest.raises(wire.ChannelClosed):
        receiver.receive()


@given(st.binary(min_size=1, max_size=64))
def test_garbage_is_a_frame_or_the_end(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    receiver = wire.Channel(theirs)
    ours.sendall(data)
    ours.close()
    with pytest.raises(wire.ChannelClosed):  # noqa: PT012  which of the frames ends it is random
        while True:
            assert receiver.receive()[0] in Kind


def test_a_frame_has_a_largest_size(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FRAME_BYTES_MAX", 100)
    with pytest.raises(errors.LimitExceeded, match="frame_bytes_max"):
        pair.gateway.send(Kind.STREAM, b"x" * 101)
    assert not pair.worker.poll(0)


def test_a_batch_comes_through_a_slot_unchanged(pair: Pair) -> None:
    batch = pa.record_batch([pa.array([1, None, 3]), pa.array(["a", "", None])], names=["n", "s"])
    slot = pair.writer.take(pair.worker)
    assert slot is not None
    assert pair.reader is not None
    assert pair.reader.read(pair.writer.write(slot, batch), batch.schema).equals(batch)


def test_the_rows_of_any_plain_type_are_found_behind_their_schema(pair: Pair) -> None:
    rows = {
        "n": pa.array([1, None], pa.decimal128(38, 3)),
        "a longer name, é ☃": pa.array([[{"k": "v"}], None]),
        "m": pa.array([[("a", [1])], []], pa.map_(pa.string(), pa.list_(pa.int8()))),
        "t": pa.array([0, 1], pa.timestamp("us", "UTC")),
        "nothing": pa.nulls(2),
    }
    assert pair.reader is not None
    for width in range(1, len(rows) + 1):
        batch = pa.record_batch(dict(list(rows.items())[:width]))
        slot = pair.writer.take(pair.worker)
        assert slot is not None
        read = pair.reader.read(pair.writer.write(slot, batch), batch.schema)
        read.validate(full=True)
        assert read.equals(batch)
        del read


def test_a_slot_is_free_again_only_when_nobody_holds_its_batch(pair: Pair) -> None:
    assert pair.reader is not None
    batch = pa.record_batch([pa.array(range(1000), pa.int64())], names=["n"])
    held = []
    for _ in range(2):
        slot = pair.writer.take(pair.worker)
        assert slot is not None
        held.append(pair.reader.read(pair.writer.write(slot, batch), batch.schema))
    column = held.pop().column(0)  # the batch goes, its memory stays
    gc.collect()
    pair.gateway.send(Kind.CANCEL)
    assert pair.writer.take(pair.worker) is None  # a frame woke it, no slot did
    del column
    gc.collect()
    assert pair.writer.take(pair.worker) is not None
    assert held[0].equals(batch)


def test_a_discarded_batch_frees_its_slot(pair: Pair) -> None:
    assert pair.reader is not None
    batch = pa.record_batch({"n": [1]})
    for _ in range(10):
        slot = pair.writer.take(pair.worker)
        assert slot is not None
        pair.reader.discard(pair.writer.write(slot, batch))


def test_a_row_too_large_for_a_slot_is_refused_and_costs_no_slot(pair: Pair) -> None:
    batch = pa.record_batch({"s": ["x" * SLOT_BYTES]})
    for _ in range(5):
        slot = pair.writer.take(pair.worker)
        assert slot is not None
        with pytest.raises(errors.LimitExceeded, match="batch_bytes_max"):
            pair.writer.write(slot, batch)


def test_waiting_for_a_slot_ends_when_nobody_can_give_one_back(pair: Pair) -> None:
    assert pair.writer.take(pair.worker) is not None
    assert pair.writer.take(pair.worker) is not None
    pair.reader = None
    gc.collect()
    with pytest.raises(wire.ChannelClosed):
        pair.writer.take(pair.worker)


def test_a_batch_outlives_its_reader_and_its_worker(pair: Pair) -> None:
    assert pair.reader is not None
    batch = pa.record_batch({"s": ["still here"] * 100})
    slot = pair.writer.take(pair.worker)
    assert slot is not None
    read = pair.reader.read(pair.writer.write(slot, batch), batch.schema)
    pair.reader = None
    pair.worker.close()
    gc.collect()
    assert read.equals(batch)
