"""Server processes of a run: started, watched and ended by their id."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

_READY_SECONDS_MAX = 60.0
_END_SECONDS_MAX = 20.0
_SAMPLE_SECONDS = 0.02


class NotStarted(Exception):
    """A server did not get ready."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers: its process and its address."""

    pid: int
    uri: str


@contextlib.contextmanager
def running(command: Sequence[str], *, environment: Mapping[str, str]) -> Iterator[Server]:
    """Start a server, wait for its line ``ready URI``, and end it on leaving.

    Raises NotStarted, with the last line it wrote on stderr, when it does not get ready in time.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=os.environ | dict(environment)
        )
        assert process.stdout is not None
        try:
            uri = _wait_until_ready(process.stdout)
            if uri is None:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().splitlines()
                raise NotStarted(f"{command[0]} did not start: {said[-1] if said else 'silent'}")
            yield Server(process.pid, uri)
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def _wait_until_ready(stdout: IO[bytes]) -> str | None:
    """Return the address, or None when the process ended or stayed silent for too long."""
    received = b""
    while select.select([stdout], [], [], _READY_SECONDS_MAX)[0]:
        chunk = os.read(stdout.fileno(), 4096)
        received += chunk
        for line in received.decode(errors="replace").splitlines(keepends=True):
            if line.startswith("ready ") and line.endswith("\n"):
                return line.split()[1]
        if not chunk:
            break
    return None


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes held by a process and all its descendants.

    ``pss`` divides shared pages among those who map them, so it can be added up; the sum of
    ``rss`` counts them once for each.
    """

    pss: int
    rss: int

    def union(self, other: Memory) -> Memory:
        """Return the larger of both, figure by figure."""
        return Memory(max(self.pss, other.pss), max(self.rss, other.rss))


def memory_of(pid: int) -> Memory:
    """Add up ``/proc/PID/smaps_rollup`` over the process and its descendants that are there now."""
    pss = rss = 0
    for each in _tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name == "Pss":
                    pss += int(rest.split()[0]) * 1024
                elif name == "Rss":
                    rss += int(rest.split()[0]) * 1024
    return Memory(pss, rss)


def cpu_seconds_of(pid: int) -> float:
    """Return the processor time used so far by a process and its descendants, in steps of 10 ms.

    Other load on the machine changes it far less than the time on the clock.
    """
    ticks = 0
    for each in _tree(pid):
        with contextlib.suppress(OSError):
            # proc(5): after the name in brackets, utime to cstime are the fields 12 to 15.
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> list[int]:
    found = [pid]
    for each in found:  # grows while it is walked
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


class Peak:
    """Samples the memory of a process tree every 20 ms while the block runs; see ``most``."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.most = Memory(0, 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.most = self.most.union(memory_of(self._pid))
            if self._over.wait(_SAMPLE_SECONDS):
                return
