"""What crosses between gateway and worker: frames over a socket, batches in shared memory.

A frame is one byte of kind, four bytes of length (little endian) and a payload. Control payloads
are JSON; schemas are Arrow IPC. A batch does not travel in a frame: the worker writes it, as one
Arrow IPC message, into a slot of a memory segment that both processes map, and the frame only names
slot and length. The gateway reads it where it lies and gives the slot back, by one byte through a
pipe, when the last reader of its memory is gone. That is one copy for each batch where a socket
would make three, and it bounds what may be in flight: no free slot, no next batch.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import socket
import struct
import weakref
from enum import IntEnum

import pyarrow as pa

from flight_server import errors

FRAME_BYTES_MAX = 64 * 1024 * 1024
# Schema and metadata of a batch beside its body: about 110 bytes a column, so this carries some
# 15,000 columns.
SLOT_OVERHEAD_BYTES = 2 * 1024 * 1024
_HEAD = struct.Struct("<BI")
_BATCH = struct.Struct("<BII")
# What one wait for a frame takes at most: 50 ms, as the kernel's struct timeval.
MOMENT_SECONDS = 0.05
_A_MOMENT = struct.pack("@ll", 0, 50_000)
# Up to this size a batch travels inside its frame: cheaper than a slot and its way back.
INLINE_BYTES_MAX = 32 * 1024
# Given none, Arrow looks through the environment for some at each batch.
_AS_USUAL = pa.ipc.IpcWriteOptions()


class Kind(IntEnum):
    """What a frame says."""

    CONFIGURE = 1
    DESCRIBE = 2
    STREAM = 3
    CANCEL = 4
    WRITE = 5
    CHECK = 6
    READY = 10
    DESCRIPTION = 11
    SCHEMA = 12
    BATCH = 13
    INLINE = 14
    END = 15
    ERROR = 16
    WRITTEN = 17
    LOG = 18
    COUNT = 19


class ChannelClosed(Exception):
    """The other process is gone."""


class Channel:
    """Frames over one connected stream socket; each side is used by one thread at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._is_impatient = False
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        # Only when nobody can be polling it any more may the descriptor's number be used again.
        weakref.finalize(self, sock.close)

    def fileno(self) -> int:
        """Return the socket's descriptor, for polling."""
        return self._sock.fileno()

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send one frame; raises ChannelClosed when the other side is gone."""
        self.send_all([(kind, payload)])

    def send_all(self, frames: list[tuple[Kind, bytes]]) -> None:
        """Send several frames by one system call where they are small.

        Raises LimitExceeded, and sends nothing, when one is larger than a frame may be.
        """
        if any(len(payload) > FRAME_BYTES_MAX for _, payload in frames):
            raise errors.LimitExceeded(
                f"the statement or its schema is too large; frame_bytes_max={FRAME_BYTES_MAX}"
            )
        data = b"".join(_HEAD.pack(kind, len(payload)) + payload for kind, payload in frames)
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise ChannelClosed from error

    def poll(self, timeout_seconds: float) -> bool:
        """Whether a frame, or the end, can be read within the time."""
        if self._buffered():
            return True
        return bool(self._poller.poll(timeout_seconds * 1000))

    def wait(self) -> bool:
        """Whether a frame can be read now or soon: waits, by one system call, for a moment.

        Raises ChannelClosed at the end. After the first call no wait on this channel is longer.
        """
        if self._buffered():
            return True
        if not self._is_impatient:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _A_MOMENT)
            self._is_impatient = True
        with contextlib.suppress(BlockingIOError):
            self._read()
        return self._buffered()

    def has_frame(self) -> bool:
        """Whether a frame has been read off the socket already."""
        return self._buffered()

    def receive(self) -> tuple[Kind, bytes]:
        """Read one frame, waiting as long as it takes; raises ChannelClosed at the end."""
        while not self._buffered():
            with contextlib.suppress(BlockingIOError):
                self._read()
        number, length = _HEAD.unpack_from(self._buffer)
        payload = bytes(self._buffer[_HEAD.size : _HEAD.size + length])
        del self._buffer[: _HEAD.size + length]
        try:
            return Kind(number), payload
        except ValueError:
            raise ChannelClosed from None  # what speaks so is no worker any more

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _read(self) -> None:
        try:
            data = self._sock.recv(1 << 18)
        except BlockingIOError:
            raise
        except OSError as error:
            raise ChannelClosed from error
        if not data:
            raise ChannelClosed
        self._buffer += data

    def _buffered(self) -> bool:
        if len(self._buffer) < _HEAD.size:
            return False
        _, length = _HEAD.unpack_from(self._buffer)
        if length > FRAME_BYTES_MAX:
            raise ChannelClosed
        return bool(len(self._buffer) >= _HEAD.size + length)


class Segment:
    """The shared memory of one worker.

    ``slots`` slots of ``slot_bytes`` each, backed by an unnamed file.
    """

    def __init__(self, descriptor: int, *, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._map = mmap.mmap(descriptor, slots * slot_bytes)
        self._view = memoryview(self._map)

    @staticmethod
    def create(*, slots: int, slot_bytes: int) -> int:
        """Make the backing file and return its descriptor, which the caller owns."""
        descriptor = os.memfd_create("lakeflight-batches", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, slots * slot_bytes)
        return descriptor

    def slot(self, index: int) -> pa.Buffer:
        """Return one slot as a writable buffer."""
        start = index * self.slot_bytes
        return pa.py_buffer(self._view[start : start + self.slot_bytes])


class SlotWriter:
    """The worker's side: finds a free slot, writes a batch into it."""

    def __init__(self, segment: Segment, returns: int) -> None:
        self._slots = [segment.slot(index) for index in range(segment.slots)]
        self._free = list(range(segment.slots))
        self._returns = returns

    def take(self, channel: Channel) -> int | None:
        """Return a free slot, waiting for one.

        None when a frame came in meanwhile, which can only be a cancel. Raises ChannelClosed when
        nobody is left to give a slot back.
        """
        while not self._free:
            poller = select.poll()
            poller.register(self._returns, select.POLLIN)
            poller.register(channel.fileno(), select.POLLIN)
            ready = {descriptor for descriptor, _ in poller.poll()}
            if self._returns in ready:
                returned = os.read(self._returns, 4096)
                if not returned:
                    raise ChannelClosed
                self._free += returned
            elif channel.fileno() in ready:
                return None
        return self._free.pop()

    def write(self, slot: int, batch: pa.RecordBatch) -> bytes:
        """Write a batch into a slot; returns the payload of its frame: slot, start, end.

        The slot holds a whole IPC stream, schema included: measured, that costs less than any way
        to leave the schema out. Raises LimitExceeded when it does not fit, which takes a row of
        megabytes or tens of thousands of columns.
        """
        sink = pa.FixedSizeBufferWriter(self._slots[slot])
        writer = pa.ipc.new_stream(sink, batch.schema, options=_AS_USUAL)
        # Without dictionaries, which plain types have none of, the batch follows the schema.
        start = batch.schema.serialize().size
        try:
            writer.write_batch(batch)
        except (pa.ArrowException, OSError) as error:
            self._free.append(slot)
            raise errors.LimitExceeded(
                "one row of the result is larger than a message may be; limit=batch_bytes_max"
            ) from error
        return _BATCH.pack(slot, start, sink.tell())


def write_inline(batch: pa.RecordBatch) -> bytes:
    """Write a small batch as the payload of an INLINE frame: an IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_AS_USUAL) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def read_inline(payload: bytes) -> pa.RecordBatch:
    """Read what ``write_inline`` wrote."""
    return pa.ipc.open_stream(pa.py_buffer(payload)).read_next_batch()


class SlotReader:
    """The gateway's side.

    A batch is read where it lies, and its slot goes back when nobody holds its memory.
    """

    def __init__(self, segment: Segment, returns: int) -> None:
        self._addresses = [segment.slot(index).address for index in range(segment.slots)]
        self._segment = segment
        self._returns = returns

    def __del__(self) -> None:
        # The last lease of a slot holds this object, so the descriptor cannot be closed, and its
        # number reused, early.
        os.close(self._returns)

    def read(self, payload: bytes, schema: pa.Schema) -> pa.RecordBatch:
        """Read the batch that a BATCH frame names, without a copy.

        ``schema`` is the known one of the result; that in the slot is passed over.
        """
        slot, start, end = _BATCH.unpack(payload)
        lease = _Lease(self, slot)
        buffer = pa.foreign_buffer(self._addresses[slot] + start, end - start, base=lease)
        return pa.ipc.read_record_batch(pa.ipc.read_message(buffer), schema)

    def discard(self, payload: bytes) -> None:
        """Free the slot of a batch that nobody will read."""
        self.give_back(_BATCH.unpack(payload)[0])

    def give_back(self, slot: int) -> None:
        """Tell the worker that a slot is free."""
        # A worker that is gone needs no slot.
        with contextlib.suppress(OSError):
            os.write(self._returns, bytes([slot]))


class _Lease:
    """Keeps a slot taken for as long as any Arrow buffer points into it."""

    __slots__ = ("_reader", "_slot")

    def __init__(self, reader: SlotReader, slot: int) -> None:
        self._reader = reader
        self._slot = slot

    def __del__(self) -> None:
        self._reader.give_back(self._slot)
