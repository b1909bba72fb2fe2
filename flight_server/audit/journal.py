"""The journal: where records go first, in the thread of their call, and stay until a flush.

A record is in the journal when one write of the system has returned, and then survives the end of
the process; it survives a power cut once a sync has covered it, and one sync covers all who wait.

After a write or a sync has failed nothing more goes to that file: the system may have dropped what
it could not write and would not say so again. A fresh segment is made that repeats the records
which no sync has covered, and as soon as it is on the disk the journal is open again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flight_server.audit.events import Event, Tip, encode, hash_of, line_of
from flight_server.audit.openings import Openings
from flight_server.audit.pending import Pending
from flight_server.audit.recovery import Recovered
from flight_server.audit.segments import Segment, unavailable
from flight_server.clock import Clock
from flight_server.errors import Unavailable

# How often a segment that could not be made is tried again, and how long a record waits for one.
RETRY_SECONDS = 0.25
ROOM_SECONDS_MAX = 5.0
_RUN_BYTES = 8
_HEADER_BYTES_MAX = 512

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Unsynced:
    """A line that no sync has covered, and where it lies."""

    sequence: int
    hash: str
    line: bytes
    segment: Segment
    offset: int


class Journal:
    """The segments of one log, the last of which is written. Safe to share between threads.

    ``recovered`` is what the runs before have left; the chain goes on behind ``tip``.
    """

    def __init__(
        self,
        folder: Path,
        recovered: Recovered,
        *,
        tip: Tip,
        segment_bytes_max: int,
        openings: Openings,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        on_full: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._segment_bytes_max = segment_bytes_max
        self._openings = openings
        self._clock = clock
        # Ids are unique by the run and the number: fresh chance for each would be a call of the
        # system, which lets other threads run first.
        self._run = random_bytes(_RUN_BYTES).hex()
        self._on_full = on_full
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)  # a sync has ended
        self._roomy = threading.Condition(self._lock)  # there is a next segment, or will be none
        self._wanted = threading.Condition(self._lock)  # the preparer has something to do
        self._segments = list(recovered.segments)
        self._current: Segment | None = None
        self._next = recovered.blank
        self._number = recovered.number
        self._tip = self._synced = tip
        self._unsynced: deque[_Unsynced] = deque()
        self._dirty: list[Segment] = []
        self._renewals = 0
        # When the oldest record came that is not in the table: those in hands, and those after.
        self._flushing_since: float | None = None
        self._since = (
            clock.monotonic() if any(each.flushed < each.end for each in self._segments) else None
        )
        self._is_syncing = False
        self._has_failed = False
        self._is_short = False  # no segment can be made ahead
        self._is_full = False  # and a record was refused for it
        self._is_closed = False
        self._preparer = threading.Thread(
            target=self._prepare_for_ever, name="audit-segments", daemon=True
        )

    @property
    def tip(self) -> Tip:
        """The last record that was appended."""
        return self._tip

    def start(self) -> None:
        """Begin a segment, if the disk lets us, and make others ahead from now on."""
        try:
            if self._next is None:
                self._next = self._make(self._segment_bytes_max)
            with self._lock:
                self._turn()
                self._sync()
        except (OSError, Unavailable) as error:
            _log.error("the audit log cannot be written: %s", error)
            self._is_short = self._is_full = True
        self._preparer.start()

    def append(self, event: Event, *, audit_id: str | None = None) -> Tip:
        """Write the record of an event; it survives the end of the process on return.

        Raises Unavailable (``audit_unavailable``), and then there is no such record.
        """
        with self._lock:
            while True:
                if self._has_failed or self._is_closed:
                    raise unavailable()
                before, segment = self._tip, self._current
                sequence = before.sequence + 1
                content = encode(
                    event,
                    sequence=sequence,
                    audit_id=audit_id or f"{self._run}{sequence:016x}",
                    prev_hash=before.hash,
                )
                digest = hash_of(content)
                line = line_of(content, digest)
                if segment is not None and segment.has_room(len(line)):
                    break
                self._turn_or_wait()
            offset = segment.end
            try:
                segment.write(line, sequence)
            except OSError as error:
                self._fail(error)
                raise unavailable() from None
            self._tip = tip = Tip(sequence, digest)
            self._unsynced.append(_Unsynced(sequence, digest, line, segment, offset))
            self._openings.note(event)
            if self._since is None:
                self._since = self._clock.monotonic()
        return tip

    def wait(self, sequence: int) -> None:
        """Return once a record would survive a power cut. Raises Unavailable."""
        with self._lock:
            while self._synced.sequence < sequence:
                if self._has_failed or self._is_closed:
                    raise unavailable()
                if self._is_syncing:
                    self._settled.wait()
                else:
                    self._sync()

    def pending(self) -> Pending:
        """Return what is not flushed yet, all of it synced. Raises Unavailable.

        Ends with ``release`` or ``put_back``; one at a time.
        """
        while True:
            with self._lock:
                stretches = tuple(
                    (each, each.flushed, each.end)
                    for each in self._segments
                    if each.flushed < each.end
                )
                found = Pending(
                    stretches, self._tip, self._openings.all(), self.since, self._renewals
                )
                self._flushing_since, self._since = found.since, None
            try:
                self.wait(found.tip.sequence)
            except Unavailable:
                self.put_back(found)
                raise
            if found.renewal == self._renewals:  # or some of it lies elsewhere by now
                return found
            self.put_back(found)

    def put_back(self, pending: Pending) -> None:
        """Take note that it could not be flushed."""
        with self._lock:
            self._since, self._flushing_since = pending.since, None

    def release(self, flushed: Pending) -> None:
        """Take note that it is in the table."""
        with self._lock:
            self._flushing_since = None
            for segment, _, end in flushed.stretches:
                segment.flushed = max(segment.flushed, end)
        self.sweep()

    def sweep(self) -> None:
        """Remove the segments that hold nothing but what is in the table.

        The journal always says, on the disk as well, where the chain goes on.
        """
        with self._lock:
            while self._is_syncing:  # perhaps one of them, for nothing
                self._settled.wait()
            durable = [each for each in self._segments if each.is_durable]
            done = [
                each
                for each in self._segments
                if durable and each.number < durable[-1].number and each.flushed >= each.end
            ]
            self._segments = [each for each in self._segments if each not in done]
            self._dirty = [each for each in self._dirty if each not in done]
        for each in done:
            try:
                each.remove()
            except OSError as error:  # it is looked at again at the next start
                _log.warning("a segment of the audit log stays on disk: %s", error)

    @property
    def since(self) -> float | None:
        """When the oldest record came that is not in the table, or None when all are."""
        return self._since if self._flushing_since is None else self._flushing_since

    def unflushed_bytes(self) -> int:
        """Return how many bytes of records are not in the table."""
        with self._lock:
            return sum(max(0, each.end - each.flushed) for each in self._segments)

    def is_available(self) -> bool:
        """Whether a record would be taken now, as far as is known."""
        with self._lock:
            return not (self._has_failed or self._is_closed or self._is_full)

    def close(self) -> None:
        """Sync what is there, as far as possible, and close the files."""
        with self._lock:
            while self._is_syncing:
                self._settled.wait()
            if self._dirty and not self._has_failed:
                self._sync()
            self._is_closed = True
            for each in (self._settled, self._roomy, self._wanted):
                each.notify_all()
        if self._preparer.ident is not None:
            self._preparer.join()
        for segment in (*self._segments, *([self._next] if self._next else ())):
            segment.close()

    def _sync(self) -> None:
        """Sync all that was appended; holds the lock before and after, not meanwhile."""
        self._is_syncing = True
        target, dirty = self._tip, tuple(self._dirty)
        self._lock.release()
        failure: OSError | None = None
        try:
            for segment in dirty:
                os.fdatasync(segment.descriptor)
        except OSError as error:
            failure = error
        finally:
            self._lock.acquire()
            self._is_syncing = False
            self._settled.notify_all()
        if failure is not None:
            self._fail(failure)
        elif not self._has_failed:
            self._synced = target
            for segment in dirty:
                segment.is_durable = True
            while self._unsynced and self._unsynced[0].sequence <= target.sequence:
                self._unsynced.popleft()
            self._dirty = [
                each
                for each in self._dirty
                if each is self._current or each.last_sequence > target.sequence
            ]

    def _fail(self, error: OSError) -> None:
        if not self._has_failed:
            _log.error("the audit log cannot be written: %s", error)
        self._has_failed = True
        for each in (self._settled, self._roomy, self._wanted):
            each.notify_all()

    def _turn_or_wait(self) -> None:
        """Go on in the next segment, or wait until there is one. Raises Unavailable."""
        if self._next is not None:
            self._turn()
        elif self._is_short or not self._roomy.wait(ROOM_SECONDS_MAX):
            self._is_full = True
            raise unavailable()

    def _turn(self) -> None:
        segment = self._next
        if segment is None:
            return
        self._next = None
        try:
            segment.begin(self._tip.sequence + 1, self._tip.hash)
        except OSError as error:
            self._fail(error)
            raise unavailable() from None
        finally:
            self._segments.append(segment)
            self._wanted.notify_all()
        had_one, self._current = self._current is not None, segment
        self._dirty.append(segment)
        if had_one:
            self._on_full()

    def _make(self, size: int) -> Segment:
        self._number += 1
        return Segment.create(self._folder, self._number, size=size)

    def _prepare_for_ever(self) -> None:
        while True:
            with self._lock:
                self._wanted.wait_for(
                    lambda: self._is_closed or self._has_failed or self._next is None
                )
                if self._is_closed:
                    return
                has_failed = self._has_failed
            try:
                if has_failed:
                    self._renew()
                else:
                    self._prepare()
            except OSError as error:
                self._come_short(error)

    def _prepare(self) -> None:
        segment = self._make(self._segment_bytes_max)
        with self._lock:
            self._next = segment
            if self._current is None and not self._has_failed:
                self._turn()
            if self._is_short:
                _log.warning("the audit log has space again")
            self._is_short = self._is_full = False
            self._roomy.notify_all()

    def _come_short(self, error: OSError) -> None:
        with self._lock:
            if not self._is_short:
                _log.error("the audit log runs out of space: %s", error)
            self._is_short = True
            self._roomy.notify_all()
            if not self._is_closed:
                self._wanted.wait(RETRY_SECONDS)

    def _renew(self) -> None:
        """Repeat what no sync has covered in a fresh segment, and go on there.

        Nothing is appended meanwhile. Raises OSError, and then it is still to be done.
        """
        with self._lock:
            while self._is_syncing:
                self._settled.wait()
            repeated, synced = tuple(self._unsynced), self._synced
            segment, self._next = self._next, None
        needed = sum(len(each.line) for each in repeated) + _HEADER_BYTES_MAX
        if segment is None or segment.size < needed:
            fresh = self._make(self._segment_bytes_max + needed)
            if segment is not None:
                segment.remove()
            segment = fresh
        try:
            lines = [(each.sequence, each.line) for each in repeated]
            segment.begin(synced.sequence + 1, synced.hash, lines=lines)
            os.fdatasync(segment.descriptor)
        except BaseException:
            segment.remove()
            raise
        self._go_on_in(segment, repeated)

    def _go_on_in(self, segment: Segment, repeated: Sequence[_Unsynced]) -> None:
        with self._lock:
            for each in reversed(repeated):
                each.segment.end = each.offset
                each.segment.last_sequence = each.sequence - 1
                each.segment.flushed = min(each.segment.flushed, each.offset)
            self._renewals += 1
            segment.is_durable = True
            self._segments.append(segment)
            self._current = segment
            self._dirty = [segment]
            self._unsynced.clear()
            self._synced = self._tip
            self._has_failed = self._is_short = self._is_full = False
            self._roomy.notify_all()
            self._settled.notify_all()
        _log.warning("the audit log can be written again")
