"""What a server's processes use, read from the kernel."""

from __future__ import annotations

import os
import select
from pathlib import Path

from tests.servers import Server, children, wait_until

_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used so far; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def has_ended(pid: int) -> bool:
    """Whether a process is gone, and collected by its parent."""
    return not Path(f"/proc/{pid}").exists()


def works_no_more(pid: int) -> bool:
    """Whether a process is gone, or waits only for whoever inherited it to collect it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


def family(server: Server) -> list[int]:
    """The processes below a server: the template and the workers."""
    return children(server.process.pid) + server.worker_pids()


def zombies_of(server: Server) -> list[int]:
    """The workers of a server that ended and were not collected."""
    return [
        pid
        for pid in server.worker_pids()
        if Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        == "Z"
    ]


def busy_worker(server: Server) -> int:
    """Wait until a worker computes, and return its process id."""
    before = {pid: processor_seconds(pid) for pid in server.worker_pids()}
    found: list[int] = []

    def one_is_busy() -> bool:
        found[:] = [
            pid
            for pid in server.worker_pids()
            if processor_seconds(pid) - before.get(pid, 0.0) > 0.15
        ]
        return bool(found)

    wait_until(one_is_busy, what="a busy worker")
    return found[0]


def cores_used(pids: list[int], *, seconds: float) -> float:
    """How many cores some processes use, measured over this time."""
    before = {pid: processor_seconds(pid) for pid in pids}
    select.select([], [], [], seconds)
    used = sum(max(processor_seconds(pid) - before[pid], 0.0) for pid in pids)
    return used / seconds


def is_idle(server: Server) -> bool:
    """Whether gateway and workers use less than a tenth of a core, measured over a second."""
    pids = [server.process.pid, *server.worker_pids()]
    return cores_used(pids, seconds=1.0) < 0.1 and set(server.worker_pids()) == set(pids[1:])
