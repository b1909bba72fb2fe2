"""What the events of a set of keys add up to, whole columns at a time.

The state of a key is its last event. Keys are text here: whoever knows the column that they are of
knows what the text means.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

KEY_TYPE = pa.string()
# Of an event, what the state of a set of keys depends on.
FOLDED_COLUMNS = ("key_column", "key_type", "key", "event", "sequence", "compaction", "files")


class KeyEvent(StrEnum):
    """What became of a key."""

    ADDED = "added"
    # It was compacted, and rows of it came back: like added, but for good.
    RESTORED = "restored"
    REMOVED = "removed"
    COMPACTED = "compacted"


@dataclass(frozen=True, slots=True, eq=False)
class KeyEvents:
    """The same event of several keys of one set, by one actor and for one reason.

    ``keys`` are text, none NULL. ``key_column`` is the column that they are of and ``key_type`` the
    name of its type, where the set has one. ``files`` are for a compaction: the names of the data
    files that may still hold its keys.
    """

    partition: str
    event: KeyEvent
    keys: pa.Array[Any]
    key_column: str | None = None
    key_type: str | None = None
    actor: str | None = None
    reason: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Compaction:
    """Keys whose rows were removed from a table for good, and the old files that still hold them.

    ``number`` tells compactions apart; ``keys`` are text, each once.
    """

    number: int
    files: frozenset[str]
    keys: pa.Array[Any]


@dataclass(frozen=True, slots=True, eq=False)
class KeyState:
    """The keys of one set at one moment.

    ``keys`` are those that were added and neither removed nor compacted since: text, each once, in
    the order in which they were added; ``sequences`` are the numbers of these events. ``stamp`` is
    the number of the last event, 0 before the first; it never repeats. ``key_column`` and
    ``key_type`` are those of the last event.
    """

    keys: pa.Array[Any]
    sequences: pa.Array[Any]
    stamp: int = 0
    key_column: str | None = None
    key_type: str | None = None
    compactions: tuple[Compaction, ...] = ()

    @property
    def count(self) -> int:
        """How many keys are active."""
        return len(self.keys)

    @property
    def bytes(self) -> int:
        """How much memory it takes, about."""
        files = sum(len(each.files) for each in self.compactions)
        held = sum(each.keys.nbytes for each in self.compactions)
        return self.keys.nbytes + self.sequences.nbytes + held + 100 * files

    def has(self, keys: pa.Array[Any]) -> pa.Array[Any]:
        """Return for each of some keys whether it is active."""
        if len(keys) < self.count:  # to look for few among many is faster the other way round
            return _is_in(keys, self.keys.filter(_is_in(self.keys, keys)))
        return _is_in(keys, self.keys)


_ADDING = pa.array([KeyEvent.ADDED.value, KeyEvent.RESTORED.value], pa.string())
NO_KEYS = KeyState(pa.array([], KEY_TYPE), pa.array([], pa.int64()))


def fold(before: KeyState, events: pa.Table) -> KeyState:
    """Return the state after further events, whose numbers are all greater than its stamp.

    ``events`` has the columns FOLDED_COLUMNS, in any order of rows.
    """
    if not events.num_rows:
        return before
    events = events.sort_by("sequence").combine_chunks()
    keys, sequences = _plain(events["key"]), _plain(events["sequence"])
    is_added: Any = pc.is_in(_plain(events["event"]), value_set=_ADDING)
    if not pc.all(is_added).as_py() or len(pc.unique(keys)) < len(keys):
        keys, sequences, is_added = _last(keys, sequences, is_added)
    kept, kept_sequences = before.keys, before.sequences
    if before.count:
        is_kept = pc.invert(_is_in(before.keys, keys))
        kept, kept_sequences = kept.filter(is_kept), kept_sequences.filter(is_kept)
    return KeyState(
        _joined(kept, keys.filter(is_added)),
        _joined(kept_sequences, sequences.filter(is_added)),
        stamp=events["sequence"][-1].as_py(),
        key_column=events["key_column"][-1].as_py(),
        key_type=events["key_type"][-1].as_py(),
        compactions=(*before.compactions, *_compactions(events)),
    )


def _last(keys: Any, sequences: Any, is_added: Any) -> tuple[Any, Any, Any]:
    """Return each key once, with the number of its last event and whether that added it."""
    # Both in one number, whose greatest is that of the last event.
    coded = pc.add(pc.multiply(sequences, 2), is_added.cast(pa.int64()))
    rows = pa.table({"key": keys, "coded": coded}).group_by("key", use_threads=False)
    last = rows.aggregate([("coded", "max")]).sort_by("coded_max")
    codes = _plain(last["coded_max"])
    numbers = pc.shift_right(codes, 1)
    return _plain(last["key"]), numbers, pc.bit_wise_and(codes, 1).cast(pa.bool_())


def _compactions(events: pa.Table) -> tuple[Compaction, ...]:
    """Return the compactions among events that are in their order.

    A compaction is known by the number of its first event, which alone names the files.
    """
    rows = events.filter(pc.equal(events["event"], pa.scalar(KeyEvent.COMPACTED.value)))
    if not rows.num_rows:
        return ()
    encoded: Any = pc.call_function("run_end_encode", [_plain(rows["compaction"])])
    ends = [0, *encoded.run_ends.to_pylist()]
    return tuple(
        Compaction(
            number=rows["compaction"][start].as_py(),
            files=frozenset(rows["files"][start].as_py() or ()),
            keys=_plain(rows["key"].slice(start, end - start)),
        )
        for start, end in pairwise(ends)
    )


def _plain(column: Any) -> Any:
    """Return a column in one piece that holds no memory of others."""
    return pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def _joined(first: Any, second: Any) -> Any:
    return pa.concat_arrays([first, second])


def _is_in(keys: Any, among: Any) -> pa.Array[Any]:
    found: pa.Array[Any] = pc.is_in(keys, value_set=among)
    return found
