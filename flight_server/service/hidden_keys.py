"""The keys that hide rows of tables, and those of people who have agreed, as columns of a scan.

What a table has been cleared of stays hidden in its older states: a compacted key counts for every
state that has one of the data files that were there before. States are told by the names of their
files, so that it does not matter how an old one comes back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from flight_server.clock import Clock
from flight_server.engine.base import KeyFilter
from flight_server.errors import InvalidRequest
from flight_server.service.keys import is_key_type, typed, typed_if_possible
from flight_server.sql.names import quoted
from flight_server.storage.key_sets import CONSENTS, TOMBSTONES, KeyEvent, KeyEvents, KeySets
from flight_server.storage.key_states import KEY_TYPE, Compaction, KeyState
from flight_server.storage.recent import Recent
from policies.names import TableRef

# Rules speak of columns that a state of their table does not have.
MISFIT = "policy_misfit"
COLUMNS_MAX = 1024
COLUMN_BYTES_MAX = 512 * 1024 * 1024
_STATES_MAX = 4096


def partition_of(ref: TableRef) -> str:
    """Return the name of a table's set of keys: none of its parts holds a slash."""
    return f"{ref.bucket}/{ref.schema}/{ref.table}"


def names_of(paths: Iterable[str]) -> frozenset[str]:
    """Return the names of data files without their folders.

    Writers give each file a name that no other has. Where one does not, more counts as old than is.
    """
    return frozenset(path.rpartition("/")[2] for path in paths)


@dataclass(frozen=True, slots=True)
class KeyStores:
    """The sets of keys of a lakehouse: those that hide rows, and those of people who agreed."""

    tombstones: KeySets
    consents: KeySets

    @classmethod
    def open(
        cls, root: Path, clock: Clock, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> KeyStores:
        """Open them below the system folder, whether or not they are there yet."""
        return cls(
            KeySets(root, TOMBSTONES, clock=clock, random_bytes=random_bytes),
            KeySets(root, CONSENTS, clock=clock, random_bytes=random_bytes),
        )


class HiddenKeys:
    """Implements ``narrowing.Hidden`` over the stored keys; safe to use from many threads."""

    def __init__(self, stores: KeyStores) -> None:
        self._stores = stores
        self._columns: Recent[tuple[object, ...], pa.Array[Any]] = Recent(
            lambda column: column.nbytes, entries_max=COLUMNS_MAX, weight_max=COLUMN_BYTES_MAX
        )
        self._returned = Recent[tuple[str, int, frozenset[str]], tuple[Compaction, ...]](
            lambda _: 1, entries_max=_STATES_MAX, weight_max=_STATES_MAX
        )

    def tombstones(
        self, ref: TableRef, schema: pa.Schema, paths: frozenset[str]
    ) -> KeyFilter | None:
        """Return the rows of a table that are gone for everybody; None when there are none.

        ``paths`` are the data files of the state that is read. Raises InvalidRequest
        (``policy_misfit``) for a state without the key column, or with another type of it.
        """
        partition = partition_of(ref)
        state = self._stores.tombstones.current(partition)
        return self._hiding(ref, state, schema, paths)

    def purged(self, ref: TableRef, schema: pa.Schema, *, stamp: int) -> KeyFilter | None:
        """Return the rows that were hidden by what was active when the keys had that stamp."""
        state = self._stores.tombstones.up_to(partition_of(ref), stamp)
        return self._hiding(ref, state, schema, frozenset())

    def key_column(self, ref: TableRef) -> str | None:
        """Return the column by which rows of a table are gone; None when there are none gone."""
        state = self._stores.tombstones.current(partition_of(ref))
        return state.key_column if state.count or state.compactions else None

    def consented(self, purpose: str, column: pa.Field[pa.DataType]) -> KeyFilter:
        """Return the people who have agreed to a purpose, in the type of a column that names them.

        Raises InvalidRequest (``policy_misfit``) for a column that cannot name people.
        """
        kind = check_names_people(column)
        state = self._stores.consents.current(purpose)
        key = ("consents", purpose, state.stamp, str(kind))
        keys = self._columns.get(key)
        if keys is None:
            keys = self._columns.put(key, typed_if_possible(state.keys, kind))
        return KeyFilter(column.name, keys, keeps=True, stamp=f"{purpose}/{state.stamp}")

    def came_back(self, ref: TableRef, paths: Iterable[str]) -> bool:
        """Whether a state of these files has rows again that compactions had removed."""
        partition = partition_of(ref)
        state = self._stores.tombstones.current(partition)
        return bool(state.compactions and self._compactions(partition, state, frozenset(paths)))

    def settle(self, ref: TableRef, paths: Iterable[str], *, actor: str | None = None) -> None:
        """Hide what came back with these files until the next compaction, durably.

        To be called before a state of them becomes the newest one, or is written anew: files that
        are made of them are none of those that hold compacted keys. Raises as ``KeySets.add`` does.
        """
        if not self.came_back(ref, found := frozenset(paths)):
            return
        sets, partition = self._stores.tombstones, partition_of(ref)
        with sets.turn():
            state = sets.current(partition)
            old = self._compactions(partition, state, found)
            keys = _united(pa.array([], KEY_TYPE), old)
            keys = keys.filter(pc.invert(state.has(keys)))
            events = KeyEvents(
                partition,
                KeyEvent.RESTORED,
                keys,
                key_column=state.key_column,
                key_type=state.key_type,
                actor=actor,
                reason="an older state of the table came back",
            )
            sets.add([events])

    def _hiding(
        self, ref: TableRef, state: KeyState, schema: pa.Schema, paths: frozenset[str]
    ) -> KeyFilter | None:
        old: tuple[Compaction, ...] = ()
        if state.compactions:
            old = self._compactions(partition_of(ref), state, paths)
        if not (state.count or old):
            return None
        kind = checked_type(ref, state, schema)
        stamp = ",".join(map(str, (state.stamp, *(each.number for each in old))))
        key = ("tombstones", partition_of(ref), stamp, str(kind))
        keys = self._columns.get(key)
        if keys is None:
            try:
                keys = typed(_united(state.keys, old), kind)
            except ValueError:
                raise _another_type(ref, state) from None
            self._columns.put(key, keys)
        return KeyFilter(str(state.key_column), keys, keeps=False, stamp=stamp)

    def _compactions(
        self, partition: str, state: KeyState, paths: frozenset[str]
    ) -> tuple[Compaction, ...]:
        """Return the compactions whose old files are among these."""
        key = (partition, len(state.compactions), paths)
        found = self._returned.get(key)
        if found is None:
            names = names_of(paths)
            found = tuple(c for c in state.compactions if not c.files.isdisjoint(names))
            self._returned.put(key, found)
        return found


def check_names_people(column: pa.Field[pa.DataType]) -> Any:
    """Return the type of a column; InvalidRequest (``policy_misfit``) when it names no people."""
    kind: Any = column.type
    if not is_key_type(kind):
        raise _misfit(f"the column {quoted(column.name)} cannot name people")
    return kind


def _united(keys: pa.Array[Any], old: tuple[Compaction, ...]) -> pa.Array[Any]:
    if not old:
        return keys
    united: pa.Array[Any] = pc.unique(pa.concat_arrays([keys, *(each.keys for each in old)]))
    return united


def checked_type(ref: TableRef, state: KeyState, schema: pa.Schema) -> Any:
    """Return the type of the key column in a state of a table.

    Raises InvalidRequest (``policy_misfit``) when it has none, or one of another type.
    """
    place = schema.get_field_index(str(state.key_column))
    if place < 0:
        raise _misfit(f"{ref} has no column {quoted(str(state.key_column))} in this version")
    kind: Any = schema.field(place).type
    both_whole = pt.is_integer(kind) and str(state.key_type).lstrip("u").startswith("int")
    if str(kind) != state.key_type and not both_whole:
        raise _another_type(ref, state)
    return kind


def _another_type(ref: TableRef, state: KeyState) -> InvalidRequest:
    column = quoted(str(state.key_column))
    return _misfit(f"the column {column} of {ref} has another type in this version")


def _misfit(what: str) -> InvalidRequest:
    return InvalidRequest(f"{what}: what is to be hidden cannot be told", code=MISFIT)
