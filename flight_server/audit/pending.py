"""What is to be brought from the journal into the table."""

from __future__ import annotations

from dataclasses import dataclass

from flight_server.audit.events import Event, Tip
from flight_server.audit.segments import Segment


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """What is to be flushed, and what was so at that moment.

    ``stretches`` are parts of segments, from byte to byte, which end with the record ``tip``;
    ``intents`` those that had no outcome then; ``since`` is when the oldest of the records came,
    by the monotonic clock. ``renewal`` counts how often the journal went on in a fresh segment.
    """

    stretches: tuple[tuple[Segment, int, int], ...]
    tip: Tip
    intents: tuple[Event, ...]
    since: float | None
    renewal: int
