"""One worker process as the gateway sees it: forked, spoken to, measured, killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from flight_server import errors
from flight_server.engine import wire
from flight_server.engine.template import Template

# Signals by which a process ends itself: its query asked for too much, and would again.
_OWN_FAULT = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL})
_COLLECT_SECONDS_MAX = 5.0
# A worker that has used up this share of the address space that it may add is replaced.
_ADDRESS_SHARE = 0.5


class Ended(StrEnum):
    """Why a worker is no more; ``query`` means that what it ran was too much for it."""

    AGE = "age"
    CANCEL = "cancel"
    CLOSE = "close"
    DIED = "died"
    FAULT = "fault"
    GROWTH = "growth"
    IDLE = "idle"
    QUERY = "query"
    START = "start"
    TIME = "time"


class WorkerProcess:
    """A running worker.

    ``configuration`` is what ``flight_server.worker`` is built from, as JSON values. The process is
    not ready until ``is_ready`` said so. It owns ``spill_directory``, which goes when the worker
    goes. Raises Unavailable when the template is not fit for use.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any],
        template: Template,
        *,
        slots: int,
        slot_bytes: int,
        spill_directory: Path,
    ) -> None:
        self.queries = 0
        self._address_bytes_max = int(configuration["memory_bytes_max"] * _ADDRESS_SHARE)
        self._idle = (0, 0)
        self.is_out_of_time = False
        # Why it was replaced; what nobody ended has died.
        self.ended_by = Ended.DIED
        self._spill = spill_directory
        ours, theirs = socket.socketpair()
        self.channel = wire.Channel(ours)
        returns_read, returns_write = os.pipe()
        memory = wire.Segment.create(slots=slots, slot_bytes=slot_bytes)
        try:
            segment = wire.Segment(memory, slots=slots, slot_bytes=slot_bytes)
            self.reader = wire.SlotReader(segment, returns_write)
            self._process = template.fork([theirs.fileno(), returns_read, memory])
        finally:
            theirs.close()
            os.close(returns_read)
            os.close(memory)
        frame = {
            **configuration,
            "slots": slots,
            "slot_bytes": slot_bytes,
            "spill_directory": str(spill_directory),
        }
        # One that died already is found out by ``is_ready``.
        with contextlib.suppress(wire.ChannelClosed):
            self.channel.send(wire.Kind.CONFIGURE, json.dumps(frame).encode())

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether the worker takes queries now; to be asked until it does.

        Raises Unavailable when it never will.
        """
        try:
            if not self.channel.poll(0):
                return False
            kind, _ = self.channel.receive()
        except wire.ChannelClosed:
            raise errors.Unavailable("a query worker did not start") from None
        if kind is not wire.Kind.READY:
            raise errors.Unavailable("a query worker did not start")
        self._idle = self._size()
        return True

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.is_alive()

    def has_grown(self, bytes_max: int) -> bool:
        """Whether it holds that much more than when it was idle, or half its address space is used.

        What its allocators have reserved they keep, and the next query may need more than is left.
        """
        (addresses, resident), (idle_addresses, idle) = self._size(), self._idle
        return resident - idle > bytes_max or addresses - idle_addresses > self._address_bytes_max

    def resident_bytes(self) -> int:
        """Return the resident memory of the process, 0 when it is gone."""
        return self._size()[1]

    def _size(self) -> tuple[int, int]:
        """Return the address space and the resident memory in bytes, zeros when it is gone."""
        try:
            fields = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()
        except OSError:
            return 0, 0
        page = os.sysconf("SC_PAGE_SIZE")
        return int(fields[0]) * page, int(fields[1]) * page

    def kill(self) -> None:
        """End the process at once; safe to call again."""
        self._process.kill()

    def died_of_its_query(self) -> bool:
        """Whether the process, found dead, ended by a fault of its own, not by another's hand."""
        code = self._process.wait(_COLLECT_SECONDS_MAX)
        # It ends in order only when its gateway did; otherwise memory failed it in Python.
        return code is not None and (code >= 0 or -code in _OWN_FAULT)

    def dispose(self) -> None:
        """Kill the process, wait until it is gone, and remove what it spilled.

        Whoever still reads from it finds the channel at its end; it is closed with the last of
        them.
        """
        self.kill()
        self._process.wait(_COLLECT_SECONDS_MAX)
        shutil.rmtree(self._spill, ignore_errors=True)
