"""Recomputes the whole chain from what lies on disk, and names the first record that is wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from flight_server.audit.events import GENESIS_HASH, Tip, canonical, hash_of
from flight_server.audit.heads import HeadFiles, SignedHead, SigningKey
from flight_server.audit.reading import Row, journal_end, journal_rows, table_rows
from flight_server.audit.segments import Segment, segment_paths
from flight_server.audit.table import AuditTable, Span
from flight_server.errors import Unavailable

JOURNAL_FOLDER = "journal"
_OPEN_ATTEMPTS_MAX = 10

_log = logging.getLogger(__name__)


class Fault(StrEnum):
    """What is wrong with a log.

    ``edited``: the record does not have the hash that it claims, or not the one that the record
    after it was made with. ``swapped``: it stands in another one's place. ``missing``: there is no
    record of that number, but there are later ones. ``out_of_order``: it is there, elsewhere than
    where it was put. ``repeated``: it is there more than once. ``rewritten``: the chain is whole,
    and not the one that a head was signed for. ``truncated``: the last records are gone.
    ``foreign_head``: the head was not signed with the key of this log. ``head_missing``: the log's
    own head is gone. ``journal_behind``: the journal ends before the table does, as an older copy
    of it would. ``unreadable``: a file is gone or damaged.
    """

    EDITED = "edited"
    SWAPPED = "swapped"
    MISSING = "missing"
    OUT_OF_ORDER = "out_of_order"
    REPEATED = "repeated"
    REWRITTEN = "rewritten"
    TRUNCATED = "truncated"
    FOREIGN_HEAD = "foreign_head"
    HEAD_MISSING = "head_missing"
    JOURNAL_BEHIND = "journal_behind"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    """The first fault, and the record that it shows at.

    ``sequence`` and ``audit_id`` are None where no record can be named, as for one that is gone.
    ``trusted_sequence`` is the last record that a signed head confirms: nothing up to it was
    changed, and when a chain was rewritten, the change lies behind it.
    """

    fault: Fault
    sequence: int | None
    audit_id: str | None
    message: str
    trusted_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification has found: ``records`` that are right, the last hash, the first fault."""

    records: int
    hash: str
    finding: Finding | None = None

    @property
    def is_intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.finding is None

    def to_json(self) -> dict[str, Any]:
        """Return this as plain JSON."""
        found = self.finding
        return {
            "is_intact": self.is_intact,
            "records": self.records,
            "hash": self.hash,
            "fault": None if found is None else str(found.fault),
            "sequence": None if found is None else found.sequence,
            "audit_id": None if found is None else found.audit_id,
            "trusted_sequence": None if found is None else found.trusted_sequence,
            "message": "every record is as it was written" if found is None else found.message,
        }


@dataclass(slots=True, eq=False)
class Material:
    """What a verification reads, as of one moment: open files and lists, no records yet.

    ``tip`` is the end that a running log knows of, or None.
    """

    root: Path
    spans: tuple[Span, ...]
    segments: tuple[Segment, ...]
    heads: tuple[SignedHead, ...]
    newest: SignedHead | None
    key: SigningKey
    tip: Tip | None = None
    is_table_readable: bool = True

    @classmethod
    def collect(
        cls,
        folder: Path,
        table: AuditTable,
        *,
        heads: HeadFiles,
        key: SigningKey,
        tip: Tip | None = None,
    ) -> Self:
        """Collect it; nobody may remove segments meanwhile. Raises Unavailable."""
        newest = heads.newest()
        older = tuple(heads.older())
        segments = _opened(folder / JOURNAL_FOLDER)
        used = tuple(each for each in segments if not each.is_unused)
        for each in segments:
            if each not in used:
                each.close()
        spans: tuple[Span, ...] = ()
        is_readable = True
        try:
            spans = table.spans()
        except Unavailable as error:
            _log.error("the audit table cannot be read: %s", error)
            is_readable = False
        return cls(
            root=table.path,
            spans=spans,
            segments=used,
            heads=older,
            newest=newest,
            key=key,
            tip=tip,
            is_table_readable=is_readable,
        )

    @property
    def table_end(self) -> int:
        """The number of the last record of the table, by its log."""
        return max((span.last for span in self.spans), default=0)

    def rows(self) -> Iterator[Row]:
        """Give all records: those of the table, then those that are in the journal only."""
        yield from table_rows(self.root, self.spans)
        until = None if self.tip is None else self.tip.sequence
        yield from journal_rows(self.segments, behind=self.table_end, until=until)

    def close(self) -> None:
        """Close the files."""
        for segment in self.segments:
            segment.close()


def _opened(folder: Path) -> list[Segment]:
    """Open the journal, also while a server in another process removes what it has flushed."""
    for _ in range(_OPEN_ATTEMPTS_MAX):
        opened: list[Segment] = []
        try:
            for path in segment_paths(folder):
                opened.append(Segment.open(path))  # noqa: PERF401  those before a failure are closed
        except OSError:
            for segment in opened:
                segment.close()
        else:
            return opened
    raise Unavailable("the journal of the audit log cannot be read")


def check(material: Material, head: SignedHead | None = None) -> Verdict:
    """Check all records against each other and against the signed heads, and close the files."""
    try:
        return _Checking(material, head).run()
    finally:
        material.close()


@dataclass(slots=True)
class _Checking:
    """One walk along the chain: what was checked so far, and what is still to be met."""

    material: Material
    head: SignedHead | None
    last: int = 0
    digest: str = GENESIS_HASH
    audit_id: str | None = None
    trusted: int = 0
    anchors: list[SignedHead] = field(default_factory=list)

    def run(self) -> Verdict:
        finding = self._foreign() or self._walk() or self._end()
        return Verdict(self.last, self.digest, finding)

    def _found(
        self, fault: Fault, message: str, *, sequence: int | None, audit_id: Any = None
    ) -> Finding:
        named = audit_id if isinstance(audit_id, str) else None
        return Finding(fault, sequence, named, message, self.trusted)

    def _foreign(self) -> Finding | None:
        """Check who signed the heads, and line them up."""
        key_id = self.material.key.key_id
        handed = () if self.head is None else (self.head,)
        newest = () if self.material.newest is None else (self.material.newest,)
        for head in (*handed, *newest):
            if head.key_id != key_id or not head.is_genuine():
                return self._found(
                    Fault.FOREIGN_HEAD,
                    "the head that was handed in is not signed by this log"
                    if head is self.head
                    else "the log's own head is not signed by this log",
                    sequence=head.sequence,
                )
        # Of the older ones, those with another signature tell nothing; they are no evidence.
        older = [each for each in self.material.heads if each.key_id == key_id]
        genuine = [each for each in older if each.is_genuine()]
        self.anchors = sorted(
            (*genuine, *newest, *handed), key=lambda each: each.sequence, reverse=True
        )
        return None

    def _walk(self) -> Finding | None:
        if not self.material.is_table_readable:
            return self._found(
                Fault.UNREADABLE, "the log of the audit table cannot be read", sequence=None
            )
        rows = self.material.rows()
        try:
            for row in rows:
                finding = self._check(row) or self._meet()
                if finding is not None:
                    return finding
        except Unavailable as error:
            return self._found(Fault.UNREADABLE, error.message, sequence=self.last + 1)
        return None

    def _check(self, row: Row) -> Finding | None:
        number, record, claimed = row
        if number != self.last + 1:
            return self._misplaced(number, record)
        digest = hash_of(canonical(record))
        if digest != claimed:
            return self._altered(number, record, claimed)
        if record["prev_hash"] != self.digest:
            return self._unlinked(number, record, claimed)
        self.last, self.digest, self.audit_id = number, digest, record["audit_id"]
        return None

    def _meet(self) -> Finding | None:
        """Compare the record just checked with the heads that were signed for it."""
        while self.anchors and self.anchors[-1].sequence <= self.last:
            anchor = self.anchors.pop()
            if anchor.sequence == self.last and anchor.hash != self.digest:
                return self._found(
                    Fault.REWRITTEN,
                    f"the signed head of record {self.last} is of another log: a record from"
                    f" {self.trusted + 1} to {self.last} was changed and later hashes made anew",
                    sequence=self.last,
                    audit_id=self.audit_id,
                )
            if anchor.sequence == self.last:
                self.trusted = self.last
        return None

    def _misplaced(self, number: int, record: dict[str, Any]) -> Finding:
        wanted = self.last + 1
        if 0 < number <= self.last:
            return self._found(
                Fault.REPEATED,
                f"record {number} is there again",
                sequence=number,
                audit_id=record["audit_id"],
            )
        elsewhere = self._search(lambda each: each[0] == wanted)
        if elsewhere is not None:
            return self._found(
                Fault.OUT_OF_ORDER,
                f"record {wanted} is not where it was written",
                sequence=wanted,
                audit_id=elsewhere[1]["audit_id"],
            )
        return self._found(Fault.MISSING, f"record {wanted} is gone", sequence=wanted)

    def _altered(self, number: int, record: dict[str, Any], claimed: Any) -> Finding:
        """Say what became of a record that does not have its hash: it may be another one's."""
        audit_id, before = record.get("audit_id"), record.get("prev_hash")
        follows = self._search(lambda each: each[2] == before)
        if follows is not None and "sequence" in record:
            belongs = follows[0] + 1
            if hash_of(canonical({**record, "sequence": belongs})) == claimed:
                return self._found(
                    Fault.SWAPPED,
                    f"in the place of record {number} stands record {belongs}",
                    sequence=number,
                    audit_id=audit_id,
                )
        return self._found(
            Fault.EDITED,
            f"record {number} was changed: it does not have the hash that it claims",
            sequence=number,
            audit_id=audit_id,
        )

    def _unlinked(self, number: int, record: dict[str, Any], claimed: Any) -> Finding:
        """Say which of two records was changed that do not fit, though each has its own hash."""
        following = self._search(lambda each: each[0] == number + 1)
        if following is not None:
            is_confirmed = following[1].get("prev_hash") == claimed
        else:
            is_confirmed = any(
                each.sequence == number and each.hash == claimed for each in self.anchors
            )
        if is_confirmed and self.last > self.trusted:
            return self._found(
                Fault.EDITED,
                f"record {self.last} was changed, and its hash made anew: record {number} was"
                " written behind another one",
                sequence=self.last,
                audit_id=self.audit_id,
            )
        return self._found(
            Fault.EDITED,
            f"record {number} was changed, and its hash made anew: it does not follow the record"
            " before it",
            sequence=number,
            audit_id=record.get("audit_id"),
        )

    def _end(self) -> Finding | None:
        """Check that nothing is missing behind the last record, and that the rest is in place."""
        known = [each.sequence for each in self.anchors]
        tip = self.material.tip
        if tip is not None:
            known.append(tip.sequence)
        if known and max(known) > self.last:
            return self._found(
                Fault.TRUNCATED,
                f"records {self.last + 1} to {max(known)} are gone",
                sequence=self.last + 1,
            )
        if tip is not None and tip.sequence == self.last and tip.hash != self.digest:
            return self._found(
                Fault.REWRITTEN,
                f"a record from {self.trusted + 1} to {self.last} was changed, and the hashes"
                " behind it made anew",
                sequence=self.last,
                audit_id=self.audit_id,
            )
        if self.last and self.material.newest is None:
            return self._found(Fault.HEAD_MISSING, "the log's own head is gone", sequence=None)
        end = journal_end(self.material.segments)
        if end < self.material.table_end:
            return self._found(
                Fault.JOURNAL_BEHIND,
                f"the journal ends with record {end}, and the table with record"
                f" {self.material.table_end}",
                sequence=end + 1,
            )
        return None

    def _search(self, is_wanted: Callable[[Row], bool]) -> Row | None:
        """Look for a record wherever it is; only once something is wrong."""
        rows = self.material.rows()
        try:
            return next((each for each in rows if is_wanted(each)), None)
        except Unavailable:
            return None
