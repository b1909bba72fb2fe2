"""The state of a set of keys against a dictionary, whatever its events and however they come."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from flight_server.storage.key_states import KEY_TYPE, NO_KEYS, KeyEvent, KeyState, fold

COLUMNS: list[pa.Field[Any]] = [
    pa.field("key_column", pa.string()),
    pa.field("key_type", pa.string()),
    pa.field("key", pa.string()),
    pa.field("event", pa.string()),
    pa.field("sequence", pa.int64()),
    pa.field("compaction", pa.int64()),
    pa.field("files", pa.list_(pa.string())),
]
SCHEMA = pa.schema(COLUMNS)
Said = tuple[str, KeyEvent]
EVENT = st.tuples(st.sampled_from("abcdefg"), st.sampled_from(list(KeyEvent)))
EVENTS = st.lists(EVENT, max_size=40)


def rows_of(said: list[Said], first: int) -> pa.Table:
    """Return events numbered from ``first`` on; each compacted one is a compaction of its own."""
    rows = [
        {
            "key_column": "id",
            "key_type": "string",
            "key": key,
            "event": event.value,
            "sequence": number,
            "compaction": number if event is KeyEvent.COMPACTED else None,
            "files": [f"file{number}"] if event is KeyEvent.COMPACTED else None,
        }
        for number, (key, event) in enumerate(said, first)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


@given(st.lists(EVENTS, max_size=5), st.randoms())
def test_the_state_is_that_of_the_last_events(parts: list[list[Said]], chance: Any) -> None:
    state: KeyState = NO_KEYS
    active: dict[str, int] = {}
    compacted: list[tuple[int, str]] = []
    number = 1
    for said in parts:
        rows = rows_of(said, number)
        order = list(range(rows.num_rows))
        chance.shuffle(order)
        state = fold(state, rows.take(pa.array(order, pa.int64())))
        for key, event in said:
            active.pop(key, None)
            if event in (KeyEvent.ADDED, KeyEvent.RESTORED):
                active[key] = number
            elif event is KeyEvent.COMPACTED:
                compacted.append((number, key))
            number += 1
    assert state.keys.to_pylist() == list(active)
    assert state.sequences.to_pylist() == list(active.values())
    assert state.stamp == number - 1
    assert [(each.number, *each.keys.to_pylist()) for each in state.compactions] == compacted
    assert all(each.files == {f"file{each.number}"} for each in state.compactions)
    asked = pa.array(["a", "x", "b"], KEY_TYPE)
    assert state.has(asked).to_pylist() == [key in active for key in ("a", "x", "b")]


def test_no_events_leave_a_state_as_it_is() -> None:
    assert fold(NO_KEYS, SCHEMA.empty_table()) is NO_KEYS
    assert (NO_KEYS.count, NO_KEYS.bytes) == (0, 0)
