"""The audit log: one chain of records, in the journal at once and in the audit table soon after."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flight_server.audit.events import Event, Tip, time_text
from flight_server.audit.flushing import Flushing
from flight_server.audit.heads import HeadFiles, SignedHead, SigningKey
from flight_server.audit.journal import Journal
from flight_server.audit.openings import Openings
from flight_server.audit.recovery import recover
from flight_server.audit.segments import unavailable
from flight_server.audit.spool import SPOOL_FOLDER, spool, waiting
from flight_server.audit.syncing import SoonSynced
from flight_server.audit.table import AuditTable
from flight_server.audit.verification import JOURNAL_FOLDER, Material, Verdict, check
from flight_server.clock import Clock
from flight_server.errors import LakeflightError, Unavailable
from flight_server.storage.commits import Commits
from flight_server.storage.durable import make_folder

__all__ = ["AuditLog", "Lag", "LogOptions", "audit_folder", "spool", "verify_folder"]

LOCK_FILE = "lock"
# How often the spool is looked at, and what nobody waits for is synced.
TICK_SECONDS = 1.0
# After a flush has failed, the next one is tried so much later.
RETRY_SECONDS = 5.0

_log = logging.getLogger(__name__)


def audit_folder(state_path: Path) -> Path:
    """Return where the audit log lies below the folder of the server's state."""
    return state_path / "audit"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How large a segment of the journal is, and how soon its records are in the table."""

    flush_seconds_max: float = 5.0
    segment_bytes_max: int = 4 * 1024 * 1024
    compact_files_min: int = 64


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the table is behind: records, seconds since the oldest of them, journal bytes."""

    records: int
    seconds: float
    bytes: int


class AuditLog:
    """The log in one folder, for its only writer. Safe to share between threads, once started.

    ``random_bytes`` makes ids and, once, the key.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        commits: Commits | None = None,
        options: LogOptions | None = None,
    ) -> None:
        self.folder = folder
        self._clock = clock
        self._random_bytes = random_bytes
        self._options = options or LogOptions()
        self._table = AuditTable(
            folder,
            commits=commits or Commits(clock, random_bytes=random_bytes),
            clock=clock,
            random_bytes=random_bytes,
        )
        self._flush_lock = threading.Lock()
        self._due = threading.Event()
        self._is_full = False
        self._thread = threading.Thread(target=self._run, name="audit-flush", daemon=True)
        self._soon = SoonSynced(self._sync)
        self._lock_descriptor = -1
        self._is_closing = False
        self._retry_at = 0.0
        self._journal: Journal
        self._flushing: Flushing

    def start(self) -> None:
        """Take the log over from the last run; what that run left open is said to be interrupted.

        Works with a disk that is full, too. Raises Unavailable (``audit_unavailable``) when another
        process has the log, or when it cannot be read.
        """
        self._lock()
        try:
            self._table.forget_staged()
            self._take_over()
        except BaseException:
            os.close(self._lock_descriptor)
            raise
        flushing = self._flushing
        try:
            flushing.take_spool()
            for event in flushing.openings.interrupted(self._clock.now()):
                self._journal.append(event)
            flushing.heads.keep(self.head())
            self._table.make()  # so that it can be read before there is anything in it
        except (OSError, Unavailable) as error:
            _log.error("the audit log starts without being writable: %s", error)
        self._thread.start()
        self._soon.start()

    def append(self, event: Event) -> int:
        """Put an event on record and return its number; it survives the end of the process.

        Raises Unavailable (``audit_unavailable``), and then there is no such record.
        """
        return self._journal.append(event).sequence

    def wait(self, sequence: int) -> None:
        """Return once a record would survive a power cut. Raises Unavailable."""
        self._journal.wait(sequence)

    def sync_soon(self) -> None:
        """Have what was appended survive a power cut soon, without waiting for it."""
        self._soon.ask()

    def flush(self) -> None:
        """Bring all that was appended so far into the table. Raises Unavailable."""
        target = self._journal.tip.sequence
        with self._flush_lock:
            if self._flushing.flushed < target:
                self._flushing.flush()

    def head(self) -> SignedHead:
        """Return the signed end of the log, for an auditor to keep. Raises Unavailable."""
        tip = self._journal.tip
        self._journal.wait(tip.sequence)
        return self._flushing.key.sign(tip.sequence, tip.hash, self._clock.now())

    def verify(self, head: SignedHead | None = None) -> Verdict:
        """Check every record there is, and that the log still holds what a head was signed for.

        Takes about as long as reading the log does. Raises Unavailable when that is impossible.
        """
        flushing = self._flushing
        with self._flush_lock:
            tip = self._journal.tip
            material = Material.collect(
                self.folder, self._table, heads=flushing.heads, key=flushing.key, tip=tip
            )
        return check(material, head)

    def lag(self) -> Lag:
        """Return how far the table is behind the log."""
        since = self._journal.since
        return Lag(
            records=max(0, self._journal.tip.sequence - self._flushing.flushed),
            seconds=0.0 if since is None else max(0.0, self._clock.monotonic() - since),
            bytes=self._journal.unflushed_bytes(),
        )

    def is_available(self) -> bool:
        """Whether a record would be taken now, as far as is known."""
        return self._journal.is_available()

    def compact(self) -> None:
        """Join small files of the table and remove what is old, now. Raises Unavailable."""
        with self._flush_lock:
            self._flushing.tidy_up()

    def close(self) -> None:
        """Flush what can be flushed, and leave the log to another process."""
        self._is_closing = True
        self._soon.close()
        self._due.set()
        self._thread.join()
        with suppress(LakeflightError):
            self.flush()
        self._journal.close()
        os.close(self._lock_descriptor)

    def _sync(self) -> None:
        with suppress(Unavailable):
            self._journal.wait(self._journal.tip.sequence)

    def _lock(self) -> None:
        try:
            make_folder(self.folder, mode=0o700)
            for name in (JOURNAL_FOLDER, SPOOL_FOLDER):
                make_folder(self.folder / name, mode=0o700)
            self._lock_descriptor = os.open(
                self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            _log.error("the folder of the audit log cannot be used: %s", error)
            raise unavailable() from None
        try:
            fcntl.flock(self._lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_descriptor)
            raise Unavailable(
                "another process writes this audit log", code="audit_unavailable"
            ) from None

    def _take_over(self) -> None:
        """Find where the chain ends, by the journal, the table and the newest head."""
        key = SigningKey.load(self.folder, random_bytes=self._random_bytes)
        heads, openings = HeadFiles(self.folder), Openings(self.folder)
        spooled = waiting(self.folder)
        ids = frozenset(each.audit_id for each in spooled)
        seen: set[str] = set()
        known = openings.load()

        def visit(record: dict[str, Any]) -> None:
            if record["sequence"] > known:
                openings.replay(record)
            if record.get("audit_id") in ids:
                seen.add(record["audit_id"])

        found = recover(
            self.folder / JOURNAL_FOLDER,
            segment_bytes_max=self._options.segment_bytes_max,
            visit=visit,
        )
        if ids:
            days = {time_text(each.event.timestamp)[:10] for each in spooled}
            seen |= self._table.ids(ids, days)
        flushed = max((span.last for span in self._table.spans()), default=0)
        for segment in found.segments:
            if segment.last_sequence <= flushed:
                segment.flushed = segment.end
        self._journal = Journal(
            self.folder / JOURNAL_FOLDER,
            found,
            tip=self._end(found.tip, flushed, heads.newest()),
            segment_bytes_max=self._options.segment_bytes_max,
            openings=openings,
            clock=self._clock,
            random_bytes=self._random_bytes,
            on_full=self._on_full,
        )
        self._flushing = Flushing(
            folder=self.folder,
            table=self._table,
            heads=heads,
            key=key,
            openings=openings,
            journal=self._journal,
            clock=self._clock,
            compact_files_min=self._options.compact_files_min,
            seen=seen,
            flushed=flushed,
        )
        self._journal.start()
        self._journal.sweep()

    def _end(self, tip: Tip, flushed: int, newest: SignedHead | None) -> Tip:
        """Return what the chain goes on from: no number is ever given twice."""
        if newest is not None and newest.sequence > max(tip.sequence, flushed):
            _log.error("the audit log ends too early; a verification will say what is gone")
            return Tip(newest.sequence, newest.hash)
        if flushed <= tip.sequence:
            return tip
        if newest is not None and newest.sequence == flushed:
            return Tip(flushed, newest.hash)
        digest = self._table.hash_of_last()
        if digest is None:
            _log.error("the end of the audit table cannot be read")
            raise unavailable()
        return Tip(flushed, digest)

    def _on_full(self) -> None:
        self._is_full = True
        self._due.set()

    def _run(self) -> None:
        while not self._is_closing:
            self._due.wait(min(TICK_SECONDS, self._options.flush_seconds_max / 4))
            self._due.clear()
            try:
                with self._flush_lock:
                    self._tick()
            except (LakeflightError, OSError):
                self._retry_at = self._clock.monotonic() + RETRY_SECONDS
            except Exception:  # noqa: BLE001  the log must outlive whatever it is
                _log.exception("the audit log has trouble, and goes on")
                self._retry_at = self._clock.monotonic() + RETRY_SECONDS

    def _tick(self) -> None:
        """Do what is due; what fails is tried again later."""
        self._flushing.take_spool()
        self._journal.wait(self._journal.tip.sequence)
        now, since = self._clock.monotonic(), self._journal.since
        if since is None or now < self._retry_at:
            return
        due = since + self._options.flush_seconds_max - TICK_SECONDS
        if self._is_full or now >= due:
            self._is_full = False
            self._flushing.flush()
            self._flushing.tidy_up_when_due()


def verify_folder(
    folder: Path,
    *,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
    head: SignedHead | None = None,
) -> Verdict:
    """Verify the log in a folder from outside of its server, which may be running or not.

    What the server has appended and not yet synced may be left out. Raises Unavailable.
    """
    commits = Commits(clock, random_bytes=random_bytes)
    table = AuditTable(folder, commits=commits, clock=clock, random_bytes=random_bytes)
    key = SigningKey.load(folder)
    return check(Material.collect(folder, table, heads=HeadFiles(folder), key=key), head)
