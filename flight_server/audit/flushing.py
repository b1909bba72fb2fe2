"""What happens behind the calls: the spool is taken in, the journal brought into the table."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from flight_server.audit.columns import after, parse
from flight_server.audit.heads import HeadFiles, SigningKey
from flight_server.audit.journal import Journal
from flight_server.audit.openings import Openings
from flight_server.audit.pending import Pending
from flight_server.audit.segments import Segment, unavailable
from flight_server.audit.spool import Spooled, forget, waiting
from flight_server.audit.table import AuditTable, is_unknown
from flight_server.clock import Clock
from flight_server.errors import LakeflightError

# The journal is read in pieces of this size, and one commit takes about so many bytes at most.
CHUNK_BYTES = 4 * 1024 * 1024
COMMIT_BYTES_MAX = 64 * 1024 * 1024

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Flushing:
    """Brings records where they belong. For one thread at a time; its log locks.

    ``flushed`` is the number of the last record in the table; ``seen`` are the ids of spooled
    events that are on record, though their files may still be there.
    """

    folder: Path
    table: AuditTable
    heads: HeadFiles
    key: SigningKey
    openings: Openings
    journal: Journal
    clock: Clock
    compact_files_min: int
    seen: set[str]
    flushed: int = 0
    flushes: int = 0
    tidied_on: date | None = None

    def flush(self) -> None:
        """Bring all that is in the journal now into the table. Raises Unavailable."""
        pending = self.journal.pending()
        try:
            for part in _parts(pending):
                self._commit(part)
            self.flushed = pending.tip.sequence
            self.openings.keep(pending.intents, pending.tip.sequence)
            self.seal(pending)
        except (LakeflightError, OSError) as error:
            self.journal.put_back(pending)
            _log.warning("the audit table cannot be written for now: %s", error)
            if isinstance(error, LakeflightError) and is_unknown(error):
                self.look_again()
            raise unavailable() from None
        except BaseException:
            self.journal.put_back(pending)
            raise
        self.journal.release(pending)
        self.flushes += 1

    def look_again(self) -> None:
        """Ask the table itself for its last record. Raises Unavailable."""
        self.flushed = max((span.last for span in self.table.spans()), default=0)

    def seal(self, pending: Pending) -> None:
        """Sign where the log ends, and keep it beside the log. Raises OSError."""
        tip = pending.tip
        self.heads.keep(self.key.sign(tip.sequence, tip.hash, self.clock.now()))

    def take_spool(self) -> None:
        """Put the events of other processes on record, in order. Raises Unavailable, OSError."""
        spooled = waiting(self.folder)
        if not spooled:
            return
        last = 0
        taken: list[Spooled] = []
        try:
            for each in spooled:
                if each.audit_id not in self.seen:
                    last = self.journal.append(each.event, audit_id=each.audit_id).sequence
                    self.seen.add(each.audit_id)
                taken.append(each)
        finally:
            if taken:
                self.journal.wait(last)
                forget(self.folder, taken)
                self.seen.difference_update(each.audit_id for each in taken)

    def tidy_up_when_due(self) -> None:
        """Join files once there are many of them, and remove what is old once a day."""
        if self.flushes >= self.compact_files_min or self.tidied_on != self.clock.now().date():
            self.tidy_up()

    def tidy_up(self) -> None:
        """Join small files and remove what nobody needs any more. Raises Unavailable."""
        self.flushes = 0
        self.table.compact(self.compact_files_min)
        today = self.clock.now().date()
        if self.tidied_on != today:
            self.table.tidy()
            self.tidied_on = today

    def _commit(self, part: tuple[tuple[Segment, int, int], ...]) -> None:
        rows = _Rows(part, self.flushed)
        self.table.append(rows)
        self.flushed = max(self.flushed, rows.last)


class _Rows:
    """The rows of stretches of the journal that are not in the table yet."""

    def __init__(self, part: tuple[tuple[Segment, int, int], ...], flushed: int) -> None:
        self._part, self._flushed = part, flushed
        self.last = flushed

    def __iter__(self) -> Iterator[pa.Table]:
        for segment, start, end in self._part:
            for lines in segment.chunks(start, end, bytes_max=CHUNK_BYTES):
                rows = after(parse(lines), self._flushed)
                if rows.num_rows:
                    numbers: Any = rows["sequence"]
                    self.last = max(self.last, numbers[-1].as_py())
                    yield rows


def _parts(pending: Pending) -> Iterator[tuple[tuple[Segment, int, int], ...]]:
    """Cut what is pending into what one commit takes."""
    part: list[tuple[Segment, int, int]] = []
    size = 0
    for stretch in pending.stretches:
        part.append(stretch)
        size += stretch[2] - stretch[1]
        if size >= COMMIT_BYTES_MAX:
            yield tuple(part)
            part, size = [], 0
    if part:
        yield tuple(part)
