"""Keeps the memory of the server's processes small; to be called first in a process of its own."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

# Neither is a dependency. Arrow loads both when they happen to be installed, for conversions that a
# server never makes: 43 MB in a worker, 11 MB in the gateway.
_UNUSED = frozenset({"numpy", "pandas"})
# mallopt(3). Smaller than the memory of one password hash, larger than any block on the way of a
# result.
_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK_BYTES = 8 * 1024 * 1024
_DATA_BYTES_MIN = 4 * 1024 * 1024 * 1024


class _Absent(MetaPathFinder):
    """Finds first what is not to be found."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _UNUSED:
            raise ModuleNotFoundError(f"{fullname} is left out", name=fullname)
        return None


def leave_out_unused_libraries() -> None:
    """Have libraries that look for numpy and pandas not find them; those loaded already stay."""
    sys.meta_path.insert(0, _Absent())


def bound_data(bytes_max: int | None) -> None:
    """Bound what this process may allocate beyond what it has; the system refuses more.

    Arrow unpacks messages before anybody can look at them, and a few kilobytes may claim to be
    gigabytes: such an allocation then fails alone, instead of everything. None is three quarters of
    the machine's memory, and 4 GiB at least.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    allowed = bytes_max or max(_DATA_BYTES_MIN, machine * 3 // 4)
    status = Path("/proc/self/status")
    if not status.exists():
        return  # another system, which counts otherwise
    (held_kib,) = re.findall(r"^VmData:\s+(\d+) kB", status.read_text("ascii"), re.MULTILINE)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = int(held_kib) * 1024 + allowed
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def return_large_blocks() -> None:
    """Have the C library give large blocks back to the system as soon as they are freed.

    Left alone, glibc keeps blocks up to the largest one that was ever freed, so that the first
    hashed password makes the process larger for good.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
    except AttributeError:
        return  # another C library, which does not do so
