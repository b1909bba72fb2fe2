"""One worker process as the gateway sees it: started, spoken to, measured, killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flight_server import errors
from flight_server.engine import wire

# Signals by which a process ends itself: its query asked for too much, and would again.
_OWN_FAULT = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL})
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "TZ")


class WorkerProcess:
    """A running worker.

    ``configuration`` is what ``flight_server.worker`` is built from, as JSON values. The process is
    not ready until ``wait_until_ready`` returned. It gets no settings and no secrets from the
    environment.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any],
        environment: Mapping[str, str],
        *,
        slots: int,
        slot_bytes: int,
        spill_directory: Path | None,
    ) -> None:
        self._spill = Path(tempfile.mkdtemp(prefix="lakeflight-spill-", dir=spill_directory))
        ours, theirs = socket.socketpair()
        returns_read, returns_write = os.pipe()
        memory = wire.Segment.create(slots=slots, slot_bytes=slot_bytes)
        try:
            segment = wire.Segment(memory, slots=slots, slot_bytes=slot_bytes)
            passed = (theirs.fileno(), returns_read, memory)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flight_server.worker", str(os.getpid()), *map(str, passed)],
                pass_fds=passed,
                env={name: environment[name] for name in _PASSED_ON if name in environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,  # a Ctrl-C at the terminal is for the gateway, which drains first
            )
        finally:
            theirs.close()
            os.close(returns_read)
            os.close(memory)
        self.channel = wire.Channel(ours)
        self.reader = wire.SlotReader(segment, returns_write)
        self.queries = 0
        self.idle_bytes = 0
        self.channel.send(
            wire.Kind.CONFIGURE,
            json.dumps(
                {
                    **configuration,
                    "slots": slots,
                    "slot_bytes": slot_bytes,
                    "spill_directory": str(self._spill),
                }
            ).encode(),
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_until_ready(self, timeout_seconds: float) -> None:
        """Wait until the worker takes queries.

        Raises Unavailable when it does not come up in time.
        """
        try:
            if not self.channel.poll(timeout_seconds):
                raise errors.Unavailable("a query worker did not start in time")
            kind, _ = self.channel.receive()
        except wire.ChannelClosed:
            raise errors.Unavailable("a query worker did not start") from None
        if kind is not wire.Kind.READY:
            raise errors.Unavailable("a query worker did not start")
        self.idle_bytes = self.resident_bytes()

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def resident_bytes(self) -> int:
        """Return the resident memory of the process, 0 when it is gone."""
        try:
            fields = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()
        except OSError:
            return 0
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """End the process at once; safe to call again."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def died_of_its_query(self) -> bool:
        """Whether the process, found dead, ended by a fault of its own, not by another's hand."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return False
        return code < 0 and signal.Signals(-code) in _OWN_FAULT

    def dispose(self) -> None:
        """Kill the process, collect it, and remove what it spilled."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self.channel.close()
        shutil.rmtree(self._spill, ignore_errors=True)
