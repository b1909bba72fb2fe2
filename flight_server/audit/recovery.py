"""What the last run left of the journal: whole records, perhaps a torn one, perhaps damage.

The first zero byte ends a segment, and a line without its end is no record: nobody was told that it
was written. Lines before that which cannot be read are damage, by the disk or by somebody; they are
kept aside, and their numbers stay empty, so that a verification names them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flight_server.audit.events import Tip
from flight_server.audit.segments import (
    DAMAGED_PREFIX,
    LINE_BYTES_MAX,
    Segment,
    limits,
    number_of,
    parse_line,
    segment_paths,
    unavailable,
)

# So many damaged segments are kept for whoever looks into it.
DAMAGED_MAX = 16

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Recovered:
    """The segments that hold records, durable and oldest first, and the last of their records."""

    segments: list[Segment] = field(default_factory=list)
    blank: Segment | None = None
    tip: Tip = field(default_factory=Tip)
    number: int = 0


def recover(
    folder: Path, *, segment_bytes_max: int, visit: Callable[[dict[str, Any]], None]
) -> Recovered:
    """Open the journal in a folder, and show each of its records, in order, to ``visit``.

    Raises Unavailable (``audit_unavailable``) when the disk refuses.
    """
    try:
        return _recover(folder, segment_bytes_max, visit)
    except OSError as error:
        _log.error("the journal of the audit log cannot be read: %s", error)
        raise unavailable() from None


def _recover(
    folder: Path, segment_bytes_max: int, visit: Callable[[dict[str, Any]], None]
) -> Recovered:
    found = Recovered()
    paths = segment_paths(folder)
    found.number = max(map(number_of, paths), default=0)
    used: list[Segment] = []
    for path in paths:
        segment = Segment.open(path)
        if not segment.is_unused:
            used.append(segment)
        elif path == paths[-1] and segment.size >= segment_bytes_max and segment.is_blank:
            found.blank = segment
        else:
            segment.remove()
    for segment, limit in zip(used, limits(used), strict=True):
        _survey(segment, found, limit=limit, visit=visit)
        os.fdatasync(segment.descriptor)
        segment.is_durable = segment.header is not None
        found.segments.append(segment)
    _forget_old_damage(folder)
    return found


def _survey(
    segment: Segment,
    found: Recovered,
    *,
    limit: int | None,
    visit: Callable[[dict[str, Any]], None],
) -> None:
    """Find where a segment ends: at the first record that the next one repeats, at the latest."""
    for end, line in segment.lines():
        record = parse_line(line)
        if record is None:
            segment.is_damaged = True
        elif limit is not None and record["sequence"] >= limit:
            return
        else:
            visit(record)
            segment.last_sequence = max(segment.last_sequence, record["sequence"])
            if record["sequence"] > found.tip.sequence and isinstance(record.get("hash"), str):
                found.tip = Tip(record["sequence"], record["hash"])
        segment.end = end
    header = segment.header
    if header is not None and header.first_sequence > found.tip.sequence + 1:
        found.tip = Tip(header.first_sequence - 1, header.prev_hash)
    torn = segment.size - segment.end - _zeros_at_end(segment)
    if torn > 0:
        _log.warning("a torn end of the audit journal was cut off bytes=%d", torn)
        segment.is_damaged |= torn > LINE_BYTES_MAX  # more than the record that was on its way
    if segment.is_damaged:
        _log.error("a segment of the audit journal is damaged segment=%d", segment.number)


def _zeros_at_end(segment: Segment) -> int:
    at = segment.size
    while at > segment.end:
        start = max(segment.end, at - 1024 * 1024)
        piece = segment.read(start, at)
        kept = len(piece.rstrip(b"\0"))
        if kept:
            return segment.size - start - kept
        at = start
    return segment.size - segment.end


def _forget_old_damage(folder: Path) -> None:
    kept = sorted(folder.glob(f"{DAMAGED_PREFIX}*")) if folder.is_dir() else []
    for path in kept[:-DAMAGED_MAX]:
        path.unlink(missing_ok=True)
