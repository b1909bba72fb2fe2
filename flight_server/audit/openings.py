"""Which intents still wait for their outcome, kept so that a restart can say that none came."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from flight_server.audit.events import Event, Outcome
from flight_server.audit.heads import replace_file
from flight_server.errors import InvalidRequest

OPEN_FILE = "open.json"
# More than this are no calls under way: the oldest are given up, without a word at a restart.
INTENTS_MAX = 10_000


class Openings:
    """The intents without outcome, by request id. For the journal, which locks."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / OPEN_FILE
        self._intents: dict[str, Event] = {}

    def note(self, event: Event) -> None:
        """Take note of an event that is on record."""
        if event.outcome is not Outcome.INTENT:
            self._intents.pop(event.request_id, None)
            return
        self._intents[event.request_id] = event
        if len(self._intents) > INTENTS_MAX:
            del self._intents[next(iter(self._intents))]

    def replay(self, record: Mapping[str, Any]) -> None:
        """Take note of a record of the journal; what is no record of ours says nothing."""
        try:
            details = json.loads(record["details"])
            versions = json.loads(record["table_versions"])
            self.note(Event.from_json({**record, "details": details, "table_versions": versions}))
        except (InvalidRequest, KeyError, TypeError, ValueError):
            return

    def all(self) -> tuple[Event, ...]:
        """Return the intents of this moment, oldest first."""
        return tuple(self._intents.values())

    def interrupted(self, time: datetime) -> list[Event]:
        """Return what goes on record at a start of the intents that the last run left."""
        return [replace(event, timestamp=time, outcome=Outcome.INTERRUPTED) for event in self.all()]

    def load(self) -> int:
        """Take over what the last run kept; return the number of the record that it holds for."""
        try:
            kept = json.loads(self._path.read_bytes())
            events = [Event.from_json(each) for each in kept["intents"]]
            sequence = int(kept["sequence"])
        except (OSError, InvalidRequest, KeyError, TypeError, ValueError):
            return 0
        self._intents = {event.request_id: event for event in events}
        return sequence

    def keep(self, intents: Sequence[Event], sequence: int) -> None:
        """Put them down as those of the moment when ``sequence`` was on record. Raises OSError."""
        value = {"sequence": sequence, "intents": [event.to_json() for event in intents]}
        replace_file(self._path, json.dumps(value, default=str).encode())
