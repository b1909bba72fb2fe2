"""Keeps the memory of the server's processes small; to be called first in a process of its own."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Neither is a dependency. Arrow loads both when they happen to be installed, for conversions that a
# server never makes: 43 MB in a worker, 11 MB in the gateway.
_UNUSED = frozenset({"numpy", "pandas"})
# mallopt(3). Smaller than the memory of one password hash, larger than any block on the way of a
# result.
_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK_BYTES = 8 * 1024 * 1024


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


def return_large_blocks() -> None:
    """Have the C library give large blocks back to the system as soon as they are freed.

    Left alone, glibc keeps blocks up to the largest one that was ever freed, so that the first
    hashed password makes the process larger for good.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
    except AttributeError:
        return  # another C library, which does not do so
