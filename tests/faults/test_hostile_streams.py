"""Streams that claim what they do not have, made on purpose: refused at once."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flight_server.protocol import commands
from tests.faults.mutations import Message, encoded
from tests.rpc.plain import Caller, Ending, descriptor, flight_data
from tests.servers import Server, running

_ROWS = 1234
_GROWTH_BYTES_MAX = 256 * 1024 * 1024
# What the allocator of Arrow may have set aside before the bound was set.
_ARENA_BYTES = 1024 * 1024 * 1024
_COMMAND = commands.StatementIngest(
    commands.TableDefinitionOptions(commands.TableNotExist.CREATE), "hostile"
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("hostile")) as server:
        yield server


@pytest.fixture(scope="module")
def caller(own: Server) -> Iterator[Caller]:
    caller = Caller.connect(own)
    yield caller
    caller.close()


def _send(caller: Caller, messages: Sequence[Message]) -> Ending:
    target = descriptor(commands.encode_command(_COMMAND))
    sent = [flight_data(b"", each.header, each.body) for each in messages]
    return caller.call("DoPut", [flight_data(target) + sent[0], *sent[1:]])


def _plain() -> list[Message]:
    return encoded(pa.table({"n": pa.nulls(_ROWS, pa.int64())}), rows=_ROWS)


def _rows(rows: int) -> Callable[[], list[Message]]:
    """Claim a number of rows: of the batch and of its column."""

    def make() -> list[Message]:
        schema, batch = _plain()
        header = batch.header.replace(struct.pack("<q", _ROWS), struct.pack("<q", rows))
        assert header != batch.header
        return [schema, replace(batch, header=header)]

    return make


def _unpacked(size: int, codec: str) -> Callable[[], list[Message]]:
    """Claim how large a compressed buffer will be."""

    def make() -> list[Message]:
        table = pa.table({"n": pa.array(range(_ROWS))})
        schema, batch = encoded(table, rows=_ROWS, compression=codec)
        return [schema, replace(batch, body=struct.pack("<q", size) + batch.body[8:])]

    return make


def _one_value_many_times() -> list[Message]:
    """Let many rows mean one large text."""
    texts = pa.array(["x" * 8 * 1024 * 1024])
    indices = pa.array([0] * 100_000, pa.int32())
    table = pa.table({"n": pa.DictionaryArray.from_arrays(indices, texts)})
    return encoded(table, rows=100_000)


def _one_run() -> list[Message]:
    texts = pa.array(["x" * 8 * 1024 * 1024])
    runs: Any = pa.RunEndEncodedArray.from_arrays(pa.array([100_000], pa.int32()), texts)
    return encoded(pa.table({"n": runs}), rows=100_000)


_HUGE = (2**31, 2**40, 2**62, 2**63 - 1, -1)
HOSTILE: dict[str, Callable[[], list[Message]]] = {
    **{f"{rows} rows": _rows(rows) for rows in _HUGE},
    **{f"{size} bytes of {c}": _unpacked(size, c) for size in _HUGE for c in ("zstd", "lz4")},
    "one value many times": _one_value_many_times,
    "one run": _one_run,
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_claimed_is_not_believed(
    own: Server, caller: Caller, make: Callable[[], list[Message]]
) -> None:
    messages = make()
    before = _peak_bytes(own)
    ending = _send(caller, messages)
    assert ending.code in {"invalid_request", "limit_exceeded", "schema_mismatch"}, ending
    assert _peak_bytes(own) < before + _GROWTH_BYTES_MAX
    assert not (own.directory / "public" / "hostile").exists()
    assert own.process.poll() is None


def test_what_unpacks_to_more_than_the_memory_is_refused(tmp_path: Path) -> None:
    rows = 16 * 1024 * 1024
    zeros = pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(bytes(8 * rows))])
    table = pa.table({f"n{number}": zeros for number in range(24)})  # 3 GiB
    messages = encoded(table, rows=rows, compression="zstd")
    assert sum(len(each.body) for each in messages) < 1024 * 1024
    environment = {"LAKEFLIGHT_SERVER__MEMORY_BYTES_MAX": "256MiB"}
    with running(tmp_path, environment=environment) as server:
        caller = Caller.connect(server)
        before = _peak_bytes(server)
        for _ in range(3):
            ending = _send(caller, messages)
            assert ending.code == "limit_exceeded"
            assert "memory_bytes_max" in ending.message
        assert _peak_bytes(server) < before + _ARENA_BYTES + _GROWTH_BYTES_MAX
        assert server.fetch("SELECT 1 AS n").to_pylist() == [{"n": 1}]
        caller.close()


def test_many_rows_of_nothing_are_cut_into_pieces(own: Server, caller: Caller) -> None:
    schema, batch = encoded(pa.table({"n": pa.nulls(1_000_000, pa.bool_())}), rows=1_000_000)
    assert _send(caller, [schema, batch]).status == "OK"
    own.fetch("DROP TABLE hostile")


def _peak_bytes(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
