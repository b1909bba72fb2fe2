"""Removes the rows for good that tombstones hide, along with an OPTIMIZE.

First the table is committed without the rows, then the tombstones are compacted: they hide what
they hid in every state that has one of the older files, and nothing else. A crash between the two
leaves them as they were, for the next OPTIMIZE. What comes in while it works is left to the next
one as well: only a table of which each file is known to have none of the rows is done with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow.compute as pc

from flight_server.engine.base import TEMPORARY_BUCKET, Written
from flight_server.errors import Conflict
from flight_server.service.hidden_keys import HiddenKeys, KeyStores, names_of, partition_of
from flight_server.storage.files import DataFile
from flight_server.storage.heads import Head, keeps_rows
from flight_server.storage.key_sets import KeyEvent, KeyEvents, KeyState
from flight_server.storage.upkeep import files_before
from policies.names import TableRef

_REASON = "removed by a compaction"


@dataclass(frozen=True, slots=True)
class Purge:
    """The tombstones of a table whose rows are to go; ``state`` is theirs when that was begun."""

    ref: TableRef
    state: KeyState

    @property
    def stamp(self) -> int:
        """What tells this state of the tombstones from others."""
        return self.state.stamp


class Purging:
    """Begins and ends purges; safe to share between threads."""

    def __init__(self, stores: KeyStores, hidden: HiddenKeys) -> None:
        self._sets = stores.tombstones
        self._hidden = hidden

    def of(self, ref: TableRef, head: Head) -> Purge | None:
        """Return what is to be purged of a table; None when there is nothing, or it keeps all."""
        if ref.bucket == TEMPORARY_BUCKET or keeps_rows(head.metadata):
            return None
        state = self._sets.current(partition_of(ref))
        return Purge(ref, state) if state.count else None

    def settle(self, ref: TableRef, paths: frozenset[str], *, actor: str) -> None:
        """Hide what comes back with old files; see ``HiddenKeys.settle``."""
        if ref.bucket != TEMPORARY_BUCKET:
            self._hidden.settle(ref, paths, actor=actor)

    @contextmanager
    def finishing(self, purge: Purge) -> Iterator[None]:
        """Keep all tombstones as they are, from before a commit until they are compacted.

        Raises Conflict when one was removed since the purge was begun: its rows stay.
        """
        with self._sets.turn():
            now = self._sets.current(partition_of(purge.ref))
            is_there = pc.all(now.has(purge.state.keys)).as_py()
            if now.stamp != purge.stamp and is_there is False:
                raise Conflict(f"tombstones of {purge.ref} were removed meanwhile")
            yield

    def finish(self, purge: Purge, path: Path, *, head: Head, written: Written, actor: str) -> None:
        """Compact the tombstones of a purge; ``head`` was replaced by what was written.

        The version after it holds no file but those of the head and the new ones; all were asked.
        Within ``finishing``. Raises Unavailable: then the tombstones are as before.
        """
        committed = bool(written.files or written.removed)
        removed = names_of(map(unquote, written.removed))
        active = {
            file.key for file in head.files or () if file.key.rpartition("/")[2] not in removed
        }
        active.update(unquote(DataFile.from_json(each).path) for each in written.files)
        older = files_before(
            path, version=head.version + committed, active=active, name=str(purge.ref)
        )
        events = KeyEvents(
            partition_of(purge.ref),
            KeyEvent.COMPACTED,
            purge.state.keys,
            key_column=purge.state.key_column,
            key_type=purge.state.key_type,
            actor=actor,
            reason=_REASON,
            files=tuple(sorted(names_of(older))),
        )
        self._sets.add([events])
