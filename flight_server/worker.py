"""Builds a query worker and runs it: one query at a time, read-only, expendable.

``python -m flight_server.worker PARENT CONTROL``, with the gateway's process id and an inherited
socket, is the template (see ``engine.template``); each worker is forked from it, with a channel, a
pipe for returned slots, and shared memory. The first frame on the channel configures it.
It sees tables, policies and files, never users' secrets, and it ends when its gateway does.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from flight_server import footprint

if __name__ == "__main__":
    footprint.leave_out_unused_libraries()  # before Arrow is loaded

import pyarrow as pa

from flight_server import errors
from flight_server.clock import Clock, SystemClock
from flight_server.engine import forking, messages, wire
from flight_server.engine.account import Watch
from flight_server.engine.base import BatchLimits, Query
from flight_server.engine.local import LocalEngine
from flight_server.engine.output import body_bytes
from flight_server.engine.session import EngineOptions
from flight_server.engine.wire import Kind
from flight_server.engine.worker_log import LogBuffer
from flight_server.service.governed import governed_tables
from flight_server.service.sinks import TableSinks
from flight_server.storage.files import FileOptions
from policies.names import Principal, Role

# Deep expressions are planned by recursion; the main thread's 8 MiB end at about 8,000 terms.
_STACK_BYTES = 64 * 1024 * 1024
_POOL_SHARE = 0.6


# Made ahead: when it is needed, there may be no memory to make it.
_OUT_OF_MEMORY = messages.encode_error(
    errors.LimitExceeded("the query needs more memory than it may use; limit=memory_bytes_max")
)


class QueryWorker:
    """Answers the frames of one channel until it closes."""

    def __init__(
        self,
        channel: wire.Channel,
        writer: wire.SlotWriter,
        engine: LocalEngine,
        *,
        clock: Clock,
        log: LogBuffer,
    ) -> None:
        self._channel = channel
        self._writer = writer
        self._engine = engine
        self._clock = clock
        self._log = log
        self._watch = Watch(clock)
        self._answers = {
            Kind.DESCRIBE: self._describe,
            Kind.STREAM: self._stream,
            Kind.WRITE: self._write,
            Kind.CHECK: self._check,
        }

    def run(self) -> None:
        """Serve until the gateway is gone."""
        self._channel.send(Kind.READY)
        while True:
            kind, payload = self._channel.receive()
            if kind is Kind.CANCEL:
                continue  # it crossed the end of the query that it was meant for
            self._watch = Watch(self._clock)
            try:
                if (answer := self._answers.get(kind)) is not None:
                    answer(payload)
            except wire.ChannelClosed:
                raise
            except errors.LakeflightError as error:
                self._send_last(Kind.ERROR, messages.encode_error(error, self._watch.work()))
            except MemoryError:
                self._channel.send(Kind.ERROR, _OUT_OF_MEMORY)
            except BaseException:  # noqa: BLE001  a panic of the engine is no ordinary exception, and must not end us
                self._send_last(Kind.ERROR, messages.encode_fault(traceback.format_exc()))

    def _send_last(self, kind: Kind, payload: bytes) -> None:
        """Send the frame that ends a request, behind what was logged meanwhile."""
        self._channel.send_all([*self._logged(), (kind, payload)])

    def _logged(self) -> list[tuple[Kind, bytes]]:
        return [(Kind.LOG, payload) for payload in self._log.take()]

    def _end(self, *, are_repeatable: bool = False) -> tuple[Kind, bytes]:
        return Kind.END, messages.encode_end(self._watch.work(), are_repeatable=are_repeatable)

    def _describe(self, payload: bytes) -> None:
        description = self._engine.describe(
            messages.decode_query(payload), is_cancelled=self._is_cancelled
        )
        self._watch.planned()
        rows = description.batches
        if rows is not None and sum(map(body_bytes, rows)) > wire.INLINE_BYTES_MAX:
            rows = None
        self._channel.send_all(
            [
                (Kind.DESCRIPTION, messages.encode_description(description)),
                # Rows that are there already save the client's next call the way to a worker.
                *((Kind.INLINE, wire.write_inline(batch)) for batch in rows or ()),
                *self._logged(),
                self._end(are_repeatable=rows is not None),
            ]
        )

    def _stream(self, payload: bytes) -> None:
        query = messages.decode_query(payload)
        schema, batches = self._engine.stream(query, is_cancelled=self._is_cancelled)
        self._watch.planned()
        # Held back until there is more to send: one system call less for each small query.
        pending = [(Kind.SCHEMA, schema.serialize().to_pybytes())]
        with contextlib.closing(batches):
            for batch in batches:
                frame = self._frame(batch)
                if frame is None:
                    break
                pending.append(frame)
                if batches.are_at_hand and frame[0] is Kind.INLINE:
                    continue  # the rest costs no time, and then one system call sends it all
                sending = self._watch.now()
                self._channel.send_all(pending)
                self._watch.waited_since(sending)
                pending = []
        pending += self._logged()
        self._channel.send_all([*pending, self._end(are_repeatable=batches.are_repeatable)])

    def _write(self, payload: bytes) -> None:
        query, target = messages.decode_write(payload)
        written = self._engine.write(query, target, is_cancelled=self._is_cancelled)
        made = messages.encode_written(written)
        self._channel.send_all([(Kind.WRITTEN, made), *self._logged(), self._end()])

    def _check(self, payload: bytes) -> None:
        scan, checks = messages.decode_check(payload)
        rows = self._engine.count_refused(scan, checks, is_cancelled=self._is_cancelled)
        counted = messages.encode_count(rows)
        self._channel.send_all([(Kind.COUNT, counted), *self._logged(), self._end()])

    def _frame(self, batch: pa.RecordBatch) -> tuple[Kind, bytes] | None:
        """Return the frame of a batch; None when the query was cancelled before it had a slot."""
        if body_bytes(batch) <= wire.INLINE_BYTES_MAX:
            return (Kind.INLINE, wire.write_inline(batch))
        asked = self._watch.now()
        slot = self._writer.take(self._channel)
        self._watch.waited_since(asked)
        return None if slot is None else (Kind.BATCH, self._writer.write(slot, batch))

    def _is_cancelled(self) -> bool:
        if not self._channel.poll(0):
            return False
        kind, _ = self._channel.receive()
        return kind is Kind.CANCEL


def build_engine(configuration: dict[str, Any]) -> LocalEngine:
    """Build the engine of a worker from its configuration."""
    return LocalEngine(
        governed_tables(configuration["tables"]),
        BatchLimits(**configuration["batches"]),
        EngineOptions(
            target_partitions=configuration["target_partitions"],
            memory_pool_bytes_max=int(configuration["memory_bytes_max"] * _POOL_SHARE),
            spill_bytes_max=configuration["spill_bytes_max"],
            spill_directory=configuration["spill_directory"],
        ),
        sinks=TableSinks(
            SystemClock(), FileOptions(file_bytes_target=configuration["file_bytes_target"])
        ),
    )


def warm_up(engine: LocalEngine) -> None:
    """Run a query, so that threads and tables of functions exist before memory is measured."""
    principal = Principal(user_id="", username="", role=Role.PENDING)
    query = Query(sql="SELECT 1", principal=principal, bucket="primary", schema="public")
    _, batches = engine.stream(query, is_cancelled=lambda: False)
    for _ in batches:
        pass


def limit_memory(bytes_max: int) -> None:
    """Bound what this process may map beyond what it maps now.

    One allocation must not be able to take the machine.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + bytes_max
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(channel: wire.Channel, returns: int, memory: int) -> None:
    kind, payload = channel.receive()
    if kind is not Kind.CONFIGURE:
        return
    configuration = json.loads(payload)
    segment = wire.Segment(
        memory, slots=configuration["slots"], slot_bytes=configuration["slot_bytes"]
    )
    log = LogBuffer()
    log.install()
    engine = build_engine(configuration)
    warm_up(engine)
    limit_memory(configuration["memory_bytes_max"])
    with contextlib.suppress(wire.ChannelClosed):
        writer = wire.SlotWriter(segment, returns)
        QueryWorker(channel, writer, engine, clock=SystemClock(), log=log).run()


def work(descriptors: list[int]) -> None:
    """Run a worker on its descriptors (channel, returns, memory), in a process forked for it."""
    channel_fd, returns, memory = descriptors
    channel = wire.Channel(socket.socket(fileno=channel_fd))
    threading.stack_size(_STACK_BYTES)
    thread = threading.Thread(target=_serve, args=(channel, returns, memory), name="query")
    thread.start()
    thread.join()


def main() -> None:
    """Run the template, on the gateway and the socket named on the command line."""
    parent, control = map(int, sys.argv[1:])
    forking.end_with(parent)
    forking.Forker(socket.socket(fileno=control), work).run()


if __name__ == "__main__":
    main()
