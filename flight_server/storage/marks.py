"""A mark that changes with any of the server's own tables, seen by every process at once.

Eight bytes in a mapped file: whoever commits a version writes new ones there, whoever reads a table
compares them with those that they saw last. That costs no system call, and so never lets
other threads run first.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_BYTES = 8
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


class ChangeMark:
    """The mark of one root folder; safe to use from many threads and processes.

    The file is made by the first change. A file that cannot be used is no error: readers then have
    to ask the disk.
    """

    def __init__(self, path: Path, *, random_bytes: Callable[[int], bytes]) -> None:
        self._path = path
        self._random_bytes = random_bytes
        self._mapped: mmap.mmap | None = None

    def value(self) -> bytes | None:
        """Return the mark as it is now; None when there is none to be read."""
        mapped = self._mapped
        if mapped is None:
            mapped = self._mapped = self._open(os.O_RDONLY, mmap.PROT_READ)
        return None if mapped is None else mapped[:_BYTES]

    def change(self) -> None:
        """Write another mark, after the change itself; failing that, readers notice later."""
        with suppress(OSError):
            mapped = self._open(os.O_RDWR, _READ_WRITE)
            if mapped is None:
                self._create()
                mapped = self._open(os.O_RDWR, _READ_WRITE)
            if mapped is not None:
                # In one piece, and never the mark of before but for bad luck once in 2**64.
                mapped[:_BYTES] = self._random_bytes(_BYTES)
                mapped.close()

    def _create(self) -> None:
        """Make the file whole: writing into a hole of a mapped file kills on a full disk."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < _BYTES:
                os.pwrite(descriptor, bytes(_BYTES), 0)
        finally:
            os.close(descriptor)

    def _open(self, flags: int, protection: int) -> mmap.mmap | None:
        try:
            descriptor = os.open(self._path, flags | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return mmap.mmap(descriptor, _BYTES, prot=protection)
        except (OSError, ValueError):  # somebody emptied it
            return None
        finally:
            os.close(descriptor)
