"""The keys that hide rows, as they were at a moment: counted, and never told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from flight_server.engine.base import KeyFilter
from flight_server.service.hidden_keys import (
    KeyStores,
    check_names_people,
    checked_type,
    partition_of,
)
from flight_server.storage.key_sets import KeySets, KeyState
from policies.names import TableRef


@dataclass(frozen=True, slots=True)
class Tombstones:
    """How many keys hide rows, and how many hide some no more, because these are gone for good."""

    hiding: int
    compacted: int


class KeysAt:
    """Stands in for the keys of a moment, now for None; implements ``narrowing.Hidden``.

    It fits where they do, and names none. Every method raises Unavailable.
    """

    def __init__(self, stores: KeyStores, moment: datetime | None) -> None:
        self._stores = stores
        self._moment = moment

    def count(self, table: TableRef) -> Tombstones:
        """Return how many tombstones a table had."""
        state = self._state(self._stores.tombstones, partition_of(table))
        return Tombstones(state.count, sum(len(each.keys) for each in state.compactions))

    def agreed(self, purpose: str) -> int:
        """Return how many people had agreed to a purpose."""
        return self._state(self._stores.consents, purpose).count

    def tombstones(
        self,
        ref: TableRef,
        schema: pa.Schema,
        paths: frozenset[str],  # noqa: ARG002  which rows are gone is not asked here
    ) -> KeyFilter | None:
        """Return None, or raise InvalidRequest where tombstones do not fit a state of a table."""
        state = self._state(self._stores.tombstones, partition_of(ref))
        if state.count:
            checked_type(ref, state, schema)
        return None

    def key_column(self, ref: TableRef) -> str | None:
        """Return the column by which rows of a table are gone; None when there are none gone."""
        state = self._state(self._stores.tombstones, partition_of(ref))
        return state.key_column if state.count else None

    def consented(self, purpose: str, column: pa.Field[pa.DataType]) -> KeyFilter:
        """Return a filter without a key; raises InvalidRequest where it could not have any."""
        check_names_people(column)
        return KeyFilter(column.name, pa.array([], column.type), keeps=True, stamp=purpose)

    def _state(self, sets: KeySets, partition: str) -> KeyState:
        if self._moment is None:
            return sets.current(partition)
        return sets.as_of(partition, self._moment)
