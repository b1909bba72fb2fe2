"""Small counters in a file that is mapped into memory: about a microsecond each, and never lost.

What is counted is in the page cache at once and so outlives the process, however it ends; it is
written to the disk within a second or two, which is what a power cut may take. The file holds no
names, only keyed hashes of them, so that nobody can read who was counted, or choose two names that
get in each other's way.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import mmap
import os
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from flight_server.clock import Clock
from flight_server.storage.durable import make_folder, sync_folder

SYNC_SECONDS = 1.0
# No counter matters for longer. What claims to is damage, or a clock that was wrong.
LIFE_MILLISECONDS_MAX = 32 * 86_400_000
# A name is found in one of so many places, or is not there.
PROBES = 16
_HEADER_BYTES = 4096
# Magic, version, words of a slot, slots, which key; a checksum follows.
_HEADER = struct.Struct("<8sIII16s")
_MAGIC, _VERSION = b"LFCOUNTS", 1
_KEY_WORDS = 2  # the hash of the name; the first is 0 in a free slot
_UNTIL = 2  # when the slot is over, in milliseconds since 1970
_VALUES = 3
_REMEMBERED_MAX = 10_000
_REMEMBERED_CHARACTERS_MAX = 64

_log = logging.getLogger(__name__)

# Given the values of a name, which are all 0 for one that is not counted: what to set, as pairs of
# index and value of 64 bits, and until when the values matter, in milliseconds since 1970. None
# leaves everything as it is.
Change = tuple[tuple[tuple[int, int], ...], int]
Rule = Callable[[Sequence[int]], Change | None]


class Counters:
    """A table of names, each with ``width`` numbers; safe to use from many threads.

    It holds about ``slots`` names. When it is full, those that matter no longer make room, then
    those that matter for the shortest time, and ``evicted`` counts the latter. ``path`` is the
    file, None for a table in memory that ends with the process. Raises BlockingIOError when another
    process has the file, OSError when it cannot be written.
    """

    def __init__(
        self, path: Path | None, *, key: bytes, width: int, slots: int, clock: Clock
    ) -> None:
        self.evicted = 0
        self._key = key
        self._width = width
        self._slots = slots
        self._slot_words = _VALUES + width
        self._clock = clock
        self._lock = threading.Lock()
        self._zeros = [0] * width
        # Where names were found last, with the hash that must still be there.
        self._remembered: dict[str, tuple[int, int, int]] = {}
        self._is_changed = False
        self._descriptor: int | None = None
        size = _HEADER_BYTES + self._slot_words * 8 * slots
        if path is None:
            self._map = mmap.mmap(-1, size)
        else:
            self._descriptor = self._open(path, size)
            self._map = mmap.mmap(self._descriptor, size)
        self._words = memoryview(self._map)[_HEADER_BYTES:].cast("Q")
        self._stopped = threading.Event()
        self._syncing = threading.Thread(target=self._sync, name="counters", daemon=True)
        if self._descriptor is not None:
            self._syncing.start()

    def now(self) -> int:
        """Return the time in milliseconds since 1970, as rules need it."""
        return int(self._clock.now().timestamp() * 1000)

    def change(self, name: str, rule: Rule, *, now: int) -> None:
        """Let a rule look at the values of a name and change them, all at once.

        The rule must be quick; an error of it changes nothing.
        """
        words = self._words
        with self._lock:
            found = self._remembered.get(name)
            if found is None or (words[found[0]], words[found[0] + 1]) != found[1:]:
                found = self._find(name)
            base, first, second = found
            values = self._zeros
            is_live = base >= 0 and now < words[base + _UNTIL] <= now + LIFE_MILLISECONDS_MAX
            if is_live:
                values = words[base + _VALUES : base + self._slot_words].tolist()
            change = rule(values)
            if change is None:
                return
            changed, until = change
            if is_live:
                words[base + _UNTIL] = max(until, words[base + _UNTIL])
                for index, value in changed:
                    words[base + _VALUES + index] = value
            else:
                base = base if base >= 0 else self._make_room(first, now)
                self._put(base, (first, second), changed, until)
                self._remember(name, (base, first, second))
            self._is_changed = True

    def close(self) -> None:
        """Write everything to the disk and let go of the file; nothing is counted after this."""
        self._stopped.set()
        if self._descriptor is None:
            return
        if self._syncing.is_alive():
            self._syncing.join()
        with self._lock:
            self._words.release()
            self._map.close()
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _find(self, name: str) -> tuple[int, int, int]:
        """Return where a name is, -1 for nowhere, and its hash in two parts."""
        digest = hashlib.blake2b(
            name.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key
        ).digest()
        first = int.from_bytes(digest[:8], "little") | 1
        second = int.from_bytes(digest[8:], "little")
        words = self._words
        for base in self._places(first):
            if words[base] == first and words[base + 1] == second:
                self._remember(name, (base, first, second))
                return base, first, second
        return -1, first, second

    def _places(self, first: int) -> list[int]:
        start = (first >> 1) % self._slots
        return [
            (start + step) % self._slots * self._slot_words
            for step in range(min(PROBES, self._slots))
        ]

    def _remember(self, name: str, found: tuple[int, int, int]) -> None:
        if len(name) > _REMEMBERED_CHARACTERS_MAX:
            return
        if len(self._remembered) >= _REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[name] = found

    def _make_room(self, first: int, now: int) -> int:
        """Return the place for a new name: a free one, else the one that is over first."""
        words = self._words
        places = self._places(first)
        for base in places:
            if not words[base] or not now < words[base + _UNTIL] <= now + LIFE_MILLISECONDS_MAX:
                return base
        self.evicted += 1
        return min(places, key=lambda base: words[base + _UNTIL])

    def _put(
        self, base: int, hashed: tuple[int, int], changed: Sequence[tuple[int, int]], until: int
    ) -> None:
        """Fill a slot. Killed at any step, this leaves a free slot or the whole of it."""
        words = self._words
        words[base] = 0
        for index in range(self._width):
            words[base + _VALUES + index] = 0
        for index, value in changed:
            words[base + _VALUES + index] = value
        words[base + _UNTIL] = until
        words[base + 1] = hashed[1]
        words[base] = hashed[0]

    def _header(self) -> bytes:
        which = hashlib.blake2b(b"", digest_size=16, key=self._key, person=b"which key").digest()
        header = _HEADER.pack(_MAGIC, _VERSION, self._slot_words, self._slots, which)
        return header + struct.pack("<I", zlib.crc32(header))

    def _open(self, path: Path, size: int) -> int:
        """Open the file and lock it; start it anew unless it is one of ours and whole."""
        make_folder(path.parent, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _lock(descriptor)
            header = self._header()
            found = os.pread(descriptor, len(header), 0)
            if found == header and os.fstat(descriptor).st_size == size:
                # A copy of the file may have holes, and a full disk would end the process at one.
                os.posix_fallocate(descriptor, 0, size)
                return descriptor
            if found:
                _log.warning("the counters in %s are damaged or of another key: anew", path.name)
            os.ftruncate(descriptor, 0)
            _write_all(descriptor, bytes(size))
            os.fsync(descriptor)
            os.pwrite(descriptor, header, 0)
            os.fsync(descriptor)
            sync_folder(path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _sync(self) -> None:
        """Write what has changed to the disk, once a second and at the end."""
        is_failing = False
        is_last = False
        while not is_last:
            is_last = self._stopped.wait(SYNC_SECONDS)
            if not self._is_changed or self._descriptor is None:
                continue
            self._is_changed = False
            try:
                # Not by the map's own flush, which would keep the interpreter for as long.
                os.fdatasync(self._descriptor)
            except OSError as error:
                self._is_changed = True
                if not is_failing:
                    _log.warning("the counters cannot be synced: %s", error.strerror)
                is_failing = True
            else:
                is_failing = False


def open_counters(path: Path, *, key: bytes, width: int, slots: int, clock: Clock) -> Counters:
    """Return the counters in a file; in memory, with a warning, where the file cannot be had.

    Counting goes on there as well, but starts anew with the process.
    """
    try:
        return Counters(path, key=key, width=width, slots=slots, clock=clock)
    except BlockingIOError:
        reason = "another server has them; give each its own storage.state"
    except OSError as error:
        reason = error.strerror or "they cannot be written"
    _log.warning("the counters in %s are kept in memory only: %s", path.name, reason)
    return Counters(None, key=key, width=width, slots=slots, clock=clock)


def _lock(descriptor: int) -> None:
    """Lock the file; BlockingIOError when another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network file systems have no such locks.
        if error.errno not in {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK}:
            raise


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
