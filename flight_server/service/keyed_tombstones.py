"""Rows that are hidden from everybody by their keys, until somebody lets them be seen again.

A table has one key column, which the first tombstone decides. What is added counts for every query
that begins after the answer. A compaction removes the rows for good, and nobody brings them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flight_server.engine.base import JSON
from flight_server.errors import InvalidRequest, LimitExceeded
from flight_server.service.hidden_keys import partition_of
from flight_server.service.json_rows import field_named
from flight_server.service.keys import Refused, check_key_column, read_keys, shown_keys
from flight_server.sql.names import quoted
from flight_server.storage.key_sets import KeyEvent, KeyEvents, KeySets, KeyState
from flight_server.storage.key_states import KEY_TYPE
from policies.names import TableRef

VALUES_MAX = 100_000
KEYS_MAX = 10_000_000
TEXT_CHARACTERS_MAX = 1_000
# Tombstones of a table are of one column.
KEY_COLUMN = "tombstone_key_column"


class Status(StrEnum):
    """What became of one value."""

    ADDED = "added"
    ALREADY = "already"
    REMOVED = "removed"
    ABSENT = "absent"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one value, and why it was refused."""

    value: JSON
    status: Status
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A key whose rows are hidden; ``is_final`` when its rows were removed for good before."""

    value: JSON
    actor: str | None
    reason: str | None
    added_at: datetime
    is_final: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some tombstones of a table in the order in which they were added, and how many there are.

    ``tombstones`` is None for those who may only know how many; ``next_after`` is the number of the
    last one when there are more.
    """

    table: TableRef
    key_column: str | None
    count: int
    tombstones: tuple[Tombstone, ...] | None = None
    next_after: int | None = None


@dataclass(frozen=True, slots=True)
class Hiding:
    """A table of which rows are to be hidden, and its columns."""

    ref: TableRef
    schema: pa.Schema


class KeyedTombstones:
    """Tombstones of tables that were found, for those who may; safe to use from many threads."""

    def __init__(self, sets: KeySets) -> None:
        self._sets = sets

    def state(self, ref: TableRef) -> KeyState:
        """Return the tombstones of a table as they are now."""
        return self._sets.current(partition_of(ref))

    def add(
        self, table: Hiding, column: str, values: Sequence[Any], *, actor: str | None, reason: str
    ) -> list[Outcome]:
        """Hide the rows that have one of some keys, durably; return what became of each value.

        Raises InvalidRequest for a column that is none or can be no key, or is another one than
        that of the tombstones there are (``tombstone_key_column``), and for a reason that says
        nothing; LimitExceeded; Unavailable.
        """
        _check_count(values)
        _check_words(reason, actor)
        field = field_named(column, table.schema)
        check_key_column(field)
        read = read_keys(values, field.type)
        partition = partition_of(table.ref)
        with self._sets.turn():
            state = self._sets.current(partition)
            _check_column(state, field)
            there = _among(state, read)
            new = dict.fromkeys(
                text for text in read if isinstance(text, str) and text not in there
            )
            if state.count + len(new) > KEYS_MAX:
                raise LimitExceeded(f"a table has at most keys_max={KEYS_MAX} tombstones")
            events = KeyEvents(
                partition,
                KeyEvent.ADDED,
                pa.array(list(new), KEY_TYPE),
                key_column=field.name,
                key_type=str(field.type),
                actor=actor,
                reason=reason,
            )
            self._sets.add([events])
        return _outcomes(values, read, new, done=Status.ADDED, otherwise=Status.ALREADY)

    def remove(
        self, table: Hiding, values: Sequence[Any], *, actor: str | None, reason: str | None
    ) -> list[Outcome]:
        """Let the rows that have one of some keys be seen again; return what became of each value.

        Those whose rows a compaction has removed are refused. Raises InvalidRequest; LimitExceeded;
        Unavailable.
        """
        _check_count(values)
        _check_words(reason, actor)
        partition = partition_of(table.ref)
        with self._sets.turn():
            state = self._sets.current(partition)
            kind = _kind(state, table.schema)
            read = read_keys(values, kind)
            final = self._final(state, partition, read)
            there = _among(state, read)
            gone = dict.fromkeys(
                text
                for text in read
                if isinstance(text, str) and text in there and text not in final
            )
            events = KeyEvents(
                partition,
                KeyEvent.REMOVED,
                pa.array(list(gone), KEY_TYPE),
                key_column=state.key_column,
                key_type=state.key_type,
                actor=actor,
                reason=reason,
            )
            self._sets.add([events])
        refused = Refused("its rows were removed by a compaction")
        read = [refused if text in final else text for text in read]
        return _outcomes(values, read, gone, done=Status.REMOVED, otherwise=Status.ABSENT)

    def page(self, table: Hiding, *, after: int, limit: int) -> Page:
        """Return tombstones whose numbers are greater than that, with their reasons."""
        partition = partition_of(table.ref)
        state = self._sets.current(partition)
        is_before: Any = pc.less_equal(state.sequences, pa.scalar(after))
        place = int(pc.sum(is_before).as_py() or 0)
        sequences = state.sequences.slice(place, limit)
        rows = self._sets.events(partition, sequences).to_pylist()
        values = shown_keys([row["key"] for row in rows], _kind(state, table.schema))
        found = tuple(
            Tombstone(
                value,
                row["actor"],
                row["reason"],
                row["at"],
                is_final=row["event"] == KeyEvent.RESTORED,
            )
            for value, row in zip(values, rows, strict=True)
        )
        is_last = place + limit >= state.count
        next_after = None if is_last else int(sequences[-1].as_py())
        return Page(table.ref, state.key_column, state.count, found, next_after)

    def _final(
        self, state: KeyState, partition: str, read: Sequence[str | Refused]
    ) -> frozenset[str]:
        """Return those keys whose rows were removed for good, and are not there by another add."""
        texts = pa.array([text for text in read if isinstance(text, str)], KEY_TYPE)
        compacted: set[str] = set()
        for each in state.compactions:
            compacted.update(_texts(texts.filter(pc.is_in(texts, value_set=each.keys))))
        if not compacted:
            return frozenset()
        active = pc.is_in(state.keys, value_set=pa.array(sorted(compacted), KEY_TYPE))
        rows = self._sets.events(partition, state.sequences.filter(active)).to_pylist()
        removable = {row["key"] for row in rows if row["event"] == KeyEvent.ADDED}
        return frozenset(compacted - removable)


def _check_count(values: Sequence[Any]) -> None:
    if len(values) > VALUES_MAX:
        raise LimitExceeded(f"too many values for one call; values_max={VALUES_MAX}")


def _check_words(*texts: str | None) -> None:
    for text in texts:
        if text is not None and not (text.strip() and len(text) <= TEXT_CHARACTERS_MAX):
            raise InvalidRequest(
                f"reason and actor are texts of 1 to {TEXT_CHARACTERS_MAX} characters"
            )


def _check_column(state: KeyState, field: pa.Field[Any]) -> None:
    """Raise InvalidRequest unless tombstones of this column go with those that there are."""
    if not (state.count or state.compactions) or state.key_column is None:
        return
    if state.key_column != field.name:
        what = "tombstones" if state.count else "compacted tombstones, which older versions need,"
        raise InvalidRequest(
            f"this table has {what} of the column {quoted(state.key_column)}, and one key column",
            code=KEY_COLUMN,
        )
    if state.key_type != str(field.type):
        raise InvalidRequest(
            f"this table has tombstones of another type of the column {quoted(field.name)}",
            code=KEY_COLUMN,
        )


def _kind(state: KeyState, schema: pa.Schema) -> Any:
    """Return the type of the keys, or text where the table has no such column any more."""
    place = schema.get_field_index(state.key_column or "")
    kind = KEY_TYPE if place < 0 else schema.field(place).type
    return kind if str(kind) == state.key_type else KEY_TYPE


def _among(state: KeyState, read: Sequence[str | Refused]) -> frozenset[str]:
    """Return those keys that are active."""
    texts = pa.array([text for text in read if isinstance(text, str)], KEY_TYPE)
    return frozenset(_texts(texts.filter(state.has(texts))))


def _texts(keys: pa.Array[Any]) -> list[str]:
    return [str(key) for key in keys.to_pylist()]


def _outcomes(
    values: Sequence[Any],
    read: Sequence[str | Refused],
    changed: Iterable[str],
    *,
    done: Status,
    otherwise: Status,
) -> list[Outcome]:
    """Return what became of each value, of which only the first of several equal ones did it."""
    left = set(changed)
    found: list[Outcome] = []
    for value, text in zip(values, read, strict=True):
        if isinstance(text, Refused):
            found.append(Outcome(value, Status.REFUSED, text.message))
        elif text in left:
            left.discard(text)
            found.append(Outcome(value, done))
        else:
            found.append(Outcome(value, otherwise))
    return found
