"""Events of processes that are not the server: each a synced file that the server takes over."""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flight_server.audit.events import Event
from flight_server.errors import InvalidRequest, Unavailable
from flight_server.storage.durable import make_folder, sync_folder, write_once

SPOOL_FOLDER = "spool"
# What the server cannot read is kept, under a name with this end.
BAD_SUFFIX = ".bad"
_SUFFIX = ".json"
_ID_BYTES = 16

_turns = itertools.count()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Spooled:
    """An event that waits in a file; ``audit_id`` is the id that it has and will have."""

    path: Path
    audit_id: str
    event: Event


def spool(folder: Path, event: Event, *, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
    """Hand an event to the server that runs, or to the next one; it is on the disk on return.

    ``folder`` is that of the audit log, ``<state>/audit``. Raises Unavailable
    (``audit_unavailable``), and then nothing was written.
    """
    # By the time of the event, and by turns where the clock stands still.
    microseconds = int(event.timestamp.timestamp() * 1_000_000)
    identity = random_bytes(_ID_BYTES).hex()
    name = f"{microseconds:020d}-{next(_turns):08d}-{identity}{_SUFFIX}"
    content = json.dumps(event.to_json(), default=str).encode()
    try:
        make_folder(folder, mode=0o700)
        make_folder(folder / SPOOL_FOLDER, mode=0o700)
        write_once(folder / SPOOL_FOLDER / name, content, mode=0o600)
    except OSError:
        raise Unavailable("the audit log cannot be written", code="audit_unavailable") from None


def waiting(folder: Path) -> list[Spooled]:
    """Return the events that wait, in the order of their times.

    ``folder`` is that of the audit log. What is no event is put aside. Raises OSError.
    """
    place = folder / SPOOL_FOLDER
    try:
        names = sorted(name for name in os.listdir(place) if name.endswith(_SUFFIX))  # noqa: PTH208  asked every second: a scan of names is all it takes
    except FileNotFoundError:
        return []
    found: list[Spooled] = []
    for name in names:
        if name.startswith("_"):
            continue
        path = place / name
        try:
            event = Event.from_json(json.loads(path.read_bytes()))
        except (ValueError, InvalidRequest):
            _log.error("a file in the spool of the audit log is no event: %s", name)
            path.replace(path.with_name(name + BAD_SUFFIX))
            continue
        found.append(Spooled(path, name.removesuffix(_SUFFIX).rpartition("-")[2], event))
    return found


def forget(folder: Path, spooled: Sequence[Spooled]) -> None:
    """Remove events that are on record, durably. Raises OSError."""
    for each in spooled:
        each.path.unlink(missing_ok=True)
    sync_folder(folder / SPOOL_FOLDER)
