"""What a run ran on, so that its figures can be read."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("lakeflight", "pyarrow", "datafusion", "deltalake", "adbc-driver-flightsql")


def describe() -> dict[str, object]:
    """Return processor, cores, memory, load, system and versions as plain data."""
    return {
        "processor": _first("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": list(os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "versions": {"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
    }


def _first(path: str, key: str) -> str:
    """Return the value of the first line ``key : value``, or the architecture without one."""
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return platform.machine()
