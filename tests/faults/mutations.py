"""Damages messages by chance: streams of Arrow data, and bytes of any other kind.

Everything comes from the ``Random`` that is handed in, so that a seed and a number replay a case.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pyarrow as pa

from tests.zoo import specimens

# What counts, lengths and offsets are changed to: the edges of their types, and sizes that nobody
# has.
_NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 8, 9, 16, 63, 64, 65, 255, 256, 65_535, 65_536, 2**20, 2**24),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**61, 2**62, 2**63 - 1, -(2**31), -(2**63)),
)
_DAMAGES_MAX = 3


@dataclass(frozen=True, slots=True)
class Message:
    """One IPC message as Flight carries it."""

    header: bytes
    body: bytes


def encoded(table: pa.Table, *, rows: int, compression: Any = None) -> list[Message]:
    """Return a table as IPC messages, some rows in each batch."""
    sink = pa.BufferOutputStream()
    options: Any = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    messages: list[Message] = []
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return messages
        body = message.body
        messages.append(
            Message(message.metadata.to_pybytes(), b"" if body is None else body.to_pybytes())
        )


def streams() -> list[list[Message]]:
    """Return a stream for each kind of array, and some with several columns or compressed bodies.

    What tables refuse is among them, since Arrow decodes it before anybody can refuse it.
    """
    found = []
    for each in specimens():
        array = pa.concat_arrays([each.array] * 3)
        table = pa.table({"kind": array, "n": pa.array(range(len(array)))})
        found.append(encoded(table, rows=max(1, len(each.array))))
    held = [each for each in specimens() if each.held is not None]
    for start in range(0, len(held), 8):
        several = {each.column: each.array.slice(0, 2) for each in held[start : start + 8]}
        found.append(encoded(pa.table(several), rows=1))
    words = pa.table({"text": ["some words"] * 400, "n": range(400), "d": [1.5] * 400})
    found += [encoded(words, rows=200, compression=name) for name in ("zstd", "lz4")]
    return found


def damaged_stream(source: Sequence[Message], random: Random) -> list[Message]:
    """Return a stream with one to three damages in its messages or their order."""
    messages = list(source)
    for _ in range(random.randint(1, _DAMAGES_MAX)):
        if not messages:
            return messages
        # The schema comes first, and what damages it is mostly refused before anything else.
        place = random.randrange(len(messages))
        if place == 0 and random.random() < 0.7:
            place = random.randrange(len(messages))
        if random.random() < 0.08:
            random.choice(_ORDER)(messages, place, random)
        elif random.random() < 0.5 or not messages[place].body:
            # Anything but another number is mostly refused as no flatbuffer at all.
            damage = damaged if random.random() < 0.2 else _number
            header = damage(messages[place].header, random)
            messages[place] = replace(messages[place], header=header)
        else:
            messages[place] = replace(messages[place], body=damaged(messages[place].body, random))
    return messages


def without_known_crash(stream: Sequence[Message]) -> list[Message]:
    """Leave out messages without a header that follow a dictionary.

    Arrow 26 opens the message after a dictionary without looking whether it has a header
    (``TransportIpcMessageReader::ReadNextMessage`` of its transport_server.cc), before any code of
    ours can. Nothing in Python can look first.
    """
    kept: list[Message] = []
    for message in stream:
        if message.header or not kept or not _is_dictionary(kept[-1]):
            kept.append(message)
    return kept


def _is_dictionary(message: Message) -> bool:
    """Whether Arrow may read a message as a dictionary; true as well for what cannot be read."""
    try:
        framed = struct.pack("<ii", -1, len(message.header)) + message.header + message.body
        return bool(pa.ipc.read_message(framed).type == "dictionary")
    except (pa.ArrowException, OSError):
        return True


def damaged(data: bytes, random: Random) -> bytes:
    """Return bytes with one damage: a number, some bits, or a piece missing, doubled or new."""
    return random.choices(_BYTES, _WEIGHTS)[0](data, random)


def _number(data: bytes, random: Random) -> bytes:
    """Put another number where one may be: they lie at multiples of their size."""
    form = random.choice(("<b", "<h", "<i", "<i", "<i", "<q", "<q", "<q"))
    size = struct.calcsize(form)
    if len(data) < size:
        return data
    place = random.randrange(len(data) // size) * size
    if random.random() < 0.3:
        old: int = struct.unpack_from(form, data, place)[0]
        new = random.choice((old + 1, old - 1, 2 * old, -old, old + 8, old - 8))
    else:
        new = random.choice(_NUMBERS)
    bits = 8 * size
    new = (new + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
    return data[:place] + struct.pack(form, new) + data[place + size :]


def _bits(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _byte(data: bytes, random: Random) -> bytes:
    if not data:
        return data
    place = random.randrange(len(data))
    return data[:place] + random.randbytes(1) + data[place + 1 :]


def _missing(data: bytes, random: Random) -> bytes:
    start, end = _piece(data, random)
    return data[:start] + data[end:]


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _doubled(data: bytes, random: Random) -> bytes:
    start, end = _piece(data, random)
    return data[:end] + data[start:]


def _new(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data) + 1)
    return data[:place] + random.randbytes(random.randint(1, 16)) + data[place:]


def _moved(data: bytes, random: Random) -> bytes:
    """Write one piece over another."""
    start, end = _piece(data, random)
    place = random.randrange(len(data) + 1)
    return (data[:place] + data[start:end] + data[place + end - start :])[: len(data)]


def _piece(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.randint(1, 32))


_BYTES: Sequence[Callable[[bytes, Random], bytes]] = (
    *(_number, _bits, _byte, _missing, _cut, _doubled, _new, _moved),
)
_WEIGHTS = (8, 4, 2, 1, 1, 1, 1, 2)


def _repeat(messages: list[Message], place: int, random: Random) -> None:
    messages.insert(random.randrange(len(messages) + 1), messages[place])


def _drop(messages: list[Message], place: int, _random: Random) -> None:
    del messages[place]


def _swap(messages: list[Message], place: int, random: Random) -> None:
    other = random.randrange(len(messages))
    messages[place], messages[other] = messages[other], messages[place]


def _mix(messages: list[Message], place: int, random: Random) -> None:
    """Give a message the body of another."""
    messages[place] = replace(messages[place], body=random.choice(messages).body)


_ORDER = (_repeat, _drop, _swap, _mix)
