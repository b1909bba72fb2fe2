"""One file of the journal: lines of records behind a header, in space that was taken beforehand.

A segment is written full of zeros and synced before it is used. A record then changes neither the
size of the file nor where its blocks lie: it needs no free space, and syncing it is one write. The
first zero byte is the end of what was written, since no line holds one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from flight_server.audit.events import RECORD_BYTES_MAX
from flight_server.errors import Unavailable
from flight_server.storage.durable import sync_folder

SUFFIX = ".ndjson"
DAMAGED_PREFIX = "damaged-"
# No line is longer: a record, its hash and what is around it.
LINE_BYTES_MAX = RECORD_BYTES_MAX + 1024
_ZEROS = bytes(1024 * 1024)
_VERSION = 1


def unavailable() -> Unavailable:
    """Return the error of a log that cannot be written."""
    return Unavailable("the audit log cannot be written", code="audit_unavailable")


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a segment: which record is its first, and the hash of the one before."""

    number: int
    first_sequence: int
    prev_hash: str

    def line(self) -> bytes:
        """Return the line that says so."""
        value = {
            "journal": _VERSION,
            "segment": self.number,
            "first_sequence": self.first_sequence,
            "prev_hash": self.prev_hash,
        }
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self | None:
        """Return what a line says, or None when it is no header."""
        try:
            value = json.loads(line)
            if value["journal"] != _VERSION:
                return None
            return cls(int(value["segment"]), int(value["first_sequence"]), str(value["prev_hash"]))
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(slots=True, eq=False)
class Segment:
    """An open file of the journal. Not safe to share between threads: its journal locks.

    Lines lie from ``start`` to ``end``, both in bytes; those up to ``flushed`` are in the table.
    ``last_sequence`` is that of its last record that counts: others are in the next segment.
    """

    path: Path
    number: int
    descriptor: int
    size: int
    header: Header | None = None
    start: int = 0
    end: int = 0
    flushed: int = 0
    last_sequence: int = 0
    is_damaged: bool = False
    is_durable: bool = False  # its header is, at least

    @classmethod
    def create(cls, folder: Path, number: int, *, size: int) -> Self:
        """Make a file of zeros, with its space and its name on the disk. Raises OSError."""
        path = folder / f"{number:012d}{SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            left = size
            while left:
                left -= os.write(descriptor, _ZEROS[:left] if left < len(_ZEROS) else _ZEROS)
            os.fsync(descriptor)
            sync_folder(folder)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return cls(path, number, descriptor, size)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open one that is there, as far as it is whole. Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        segment = cls(path, number_of(path), descriptor, os.fstat(descriptor).st_size)
        first = segment.read(0, LINE_BYTES_MAX).partition(b"\n")
        segment.header = Header.parse(first[0]) if first[1] else None
        if segment.header is not None:
            segment.start = segment.end = segment.flushed = len(first[0]) + 1
            segment.last_sequence = segment.header.first_sequence - 1
        return segment

    @property
    def is_unused(self) -> bool:
        """Whether it never got a header, nor anything else where that belongs. Raises OSError."""
        return self.header is None and self.read(0, 1) in (b"", b"\0")

    @property
    def is_blank(self) -> bool:
        """Whether nothing at all was written to it. Raises OSError."""
        at = 0
        while at < self.size:
            piece = self.read(at, at + len(_ZEROS))
            if not piece or piece.count(0) != len(piece):
                return False
            at += len(piece)
        return True

    def begin(
        self, first_sequence: int, prev_hash: str, *, lines: Sequence[tuple[int, bytes]] = ()
    ) -> None:
        """Write the header, and before that, synced, the lines with which it begins.

        Raises OSError. Without its header a segment is none, whatever is in it.
        """
        self.header = Header(self.number, first_sequence, prev_hash)
        header = self.header.line()
        self.start = self.end = self.flushed = len(header)
        self.last_sequence = first_sequence - 1
        for sequence, line in lines:
            self.write(line, sequence)
        if lines:
            os.fdatasync(self.descriptor)
        _write(self.descriptor, header, 0)

    def has_room(self, count: int) -> bool:
        """Whether so many bytes still fit."""
        return self.end + count <= self.size

    def write(self, line: bytes, sequence: int) -> None:
        """Add a line; after an error, which is an OSError, it is as if it never was."""
        _write(self.descriptor, line, self.end)
        self.end += len(line)
        self.last_sequence = sequence

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to ``end``, fewer at the end of the file."""
        pieces: list[bytes] = []
        while start < end and (piece := os.pread(self.descriptor, end - start, start)):
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def chunks(self, start: int, end: int, *, bytes_max: int) -> Iterator[bytes]:
        """Give the lines from ``start`` to ``end`` in whole lines of about ``bytes_max``."""
        while start < end:
            piece = self.read(start, min(end, start + max(bytes_max, LINE_BYTES_MAX)))
            whole = piece.rfind(b"\n") + 1
            if not whole:
                return
            yield piece[:whole]
            start += whole

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Give each whole line behind the header, and the offset at which it ends."""
        at = self.start
        rest = b""
        while piece := self.read(at + len(rest), at + len(rest) + len(_ZEROS)):
            block = rest + piece
            written = block.find(b"\0")
            block = block if written < 0 else block[:written]
            *whole, rest = block.split(b"\n")
            for line in whole:
                at += len(line) + 1
                yield at, line + b"\n"
            if written >= 0 or len(rest) > LINE_BYTES_MAX:
                return

    def close(self) -> None:
        """Close it; safe to call again."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def remove(self) -> None:
        """Close it and take it off the disk; one that is damaged is kept under another name."""
        self.close()
        if self.is_damaged:
            self.path.replace(self.path.with_name(DAMAGED_PREFIX + self.path.name))
        else:
            self.path.unlink(missing_ok=True)


def segment_paths(folder: Path) -> list[Path]:
    """Return the segments of a journal, oldest first; none where there is no journal."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix == SUFFIX and path.stem.isdigit()]
    return sorted(found, key=number_of)


def number_of(path: Path) -> int:
    """Return the number in the name of a segment."""
    return int(path.stem)


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the columns of a line of the journal, or None when it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and type(value.get("sequence")) is int else None


def _write(descriptor: int, content: bytes, offset: int) -> None:
    """Write all of it; one call of the system as good as always."""
    written = os.pwrite(descriptor, content, offset)
    while written < len(content):
        more = os.pwrite(descriptor, content[written:], offset + written)
        if not more:
            raise OSError("the file takes no more")
        written += more


def limits(segments: Sequence[Segment]) -> list[int | None]:
    """Return for each segment the first record that does not count there, if there is one.

    It is the first that a later segment begins with: after a failure, one repeats what may not have
    reached the disk.
    """
    found: list[int | None] = []
    least: int | None = None
    for segment in reversed(segments):
        found.append(least)
        if segment.header is not None:
            first = segment.header.first_sequence
            least = first if least is None else min(least, first)
    return found[::-1]
