"""The key of all hashes that stand for hidden values: a file that no SQL reads.

Whoever has it can find out which value a hash stands for, by trying values. So it is made at
random, readable for the server's own user alone, and never leaves but into the memory of those who
hash. There is one at a time: a new one takes the place of the old one, which nobody needs any more.
"""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flight_server.errors import Unavailable
from flight_server.storage.durable import make_folder, sync_folder, write_once

HASH_KEY_FILE = "hash.key"
HASH_KEY_BYTES = 32
_FILE_BYTES_MAX = 1024

# What tells one file from another that took its place.
_Mark = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    mark: _Mark
    key: bytes = field(repr=False)


class HashKey:
    """The key that is kept in a folder; safe to use from many threads and processes.

    A key that another process has put there is used from the next look on.
    """

    def __init__(self, folder: Path, *, random_bytes: Callable[[int], bytes]) -> None:
        self._folder = folder
        self._path = folder / HASH_KEY_FILE
        self._random_bytes = random_bytes
        self._read: _Read | None = None
        self._making = threading.Lock()

    def current(self) -> bytes:
        """Return the key, made if there has never been one; asks the disk whether it is the same.

        Raises Unavailable when it cannot be read or made, and when others may read it.
        """
        try:
            mark = self._mark()
            if mark is None:
                self._make()
                mark = self._mark()
            read = self._read
            if read is None or read.mark != mark:
                read = self._read = self._load()
        except OSError:
            raise _unusable("cannot be read or made") from None
        return read.key

    def rotate(self) -> None:
        """Put another key in the place of this one, durable. Raises Unavailable."""
        try:
            make_folder(self._folder, mode=0o700)
            descriptor, name = tempfile.mkstemp(dir=self._folder, prefix="_", suffix=".tmp")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(self._new())
                    file.flush()
                    os.fchmod(file.fileno(), 0o600)
                    os.fsync(file.fileno())
                Path(name).rename(self._path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            sync_folder(self._folder)
        except OSError:
            raise _unusable("cannot be written") from None

    def _mark(self) -> _Mark | None:
        """Return what tells the file from another one; None when there is none."""
        try:
            status = os.stat(self._path)  # noqa: PTH116  asked for each query that hashes
        except FileNotFoundError:
            return None
        return _mark_of(status)

    def _make(self) -> None:
        with self._making:
            if self._read is not None:
                # With another key, nothing would be as it was: somebody has to say so.
                raise _unusable("is gone")
            make_folder(self._folder, mode=0o700)
            write_once(self._path, self._new(), mode=0o600)

    def _load(self) -> _Read:
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_FILE_BYTES_MAX)
        # Of a file that is somebody else's, such as that of another server, the group is ours.
        unwanted = 0o077 if status.st_uid == os.geteuid() else 0o007
        if stat.S_IMODE(status.st_mode) & unwanted:
            raise _unusable("is open to others; chmod 600 it")
        try:
            key = bytes.fromhex(content.decode("ascii").strip())
        except ValueError:
            raise _unusable("is damaged") from None
        if len(key) != HASH_KEY_BYTES:
            raise _unusable("is damaged")
        return _Read(_mark_of(status), key)

    def _new(self) -> bytes:
        return self._random_bytes(HASH_KEY_BYTES).hex().encode() + b"\n"


def no_key() -> bytes:
    """Stand in for a key where there is no folder for one; raises Unavailable."""
    raise Unavailable("this server has no key for hashes: it has no folder of its own")


def _mark_of(status: os.stat_result) -> _Mark:
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _unusable(why: str) -> Unavailable:
    return Unavailable(f"the key of the hashes {why} file={HASH_KEY_FILE}")
