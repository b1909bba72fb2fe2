from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flight_server import errors
from flight_server.service import keyed_tombstones
from flight_server.service.hidden_keys import KeyStores, partition_of
from flight_server.service.keyed_tombstones import Hiding, KeyedTombstones, Outcome, Status
from flight_server.storage.key_sets import KeyEvent, KeyEvents, KeySets
from flight_server.storage.key_states import KEY_TYPE
from policies.names import TableRef
from tests.clocks import StandingClock

T = TableRef("primary", "sales", "orders")
COLUMNS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()),
    pa.field("name", pa.string()),
    pa.field("many", pa.list_(pa.int64())),
]
TABLE = Hiding(T, pa.schema(COLUMNS))


@pytest.fixture
def sets(tmp_path: Path) -> KeySets:
    return KeyStores.open(tmp_path, StandingClock(), os.urandom).tombstones


@pytest.fixture
def tombstones(sets: KeySets) -> KeyedTombstones:
    return KeyedTombstones(sets)


def add(tombstones: KeyedTombstones, *values: Any, column: str = "id") -> list[Status]:
    return statuses(tombstones.add(TABLE, column, values, actor="ann", reason="why"))


def remove(tombstones: KeyedTombstones, *values: Any, table: Hiding = TABLE) -> list[Status]:
    return statuses(tombstones.remove(table, values, actor="ann", reason=None))


def statuses(outcomes: list[Outcome]) -> list[Status]:
    return [each.status for each in outcomes]


def compact(sets: KeySets, *keys: str, event: KeyEvent = KeyEvent.COMPACTED) -> None:
    texts = pa.array(keys, KEY_TYPE)
    sets.add([KeyEvents(partition_of(T), event, texts, "id", "int64", files=("old",))])


def test_each_value_is_answered_in_its_place(tombstones: KeyedTombstones) -> None:
    assert add(tombstones, 1, None, "1", 2, 1.5) == [
        *(Status.ADDED, Status.REFUSED, Status.ALREADY, Status.ADDED, Status.REFUSED),
    ]
    assert remove(tombstones, 3, 2, 2, "x", "1") == [
        *(Status.ABSENT, Status.REMOVED, Status.ABSENT, Status.REFUSED, Status.REMOVED),
    ]
    assert tombstones.state(T).count == 0
    assert add(tombstones) == remove(tombstones) == []


def test_pages_have_all_of_them_in_their_order(tombstones: KeyedTombstones) -> None:
    add(tombstones, *range(25))
    remove(tombstones, 3, 11)
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = tombstones.page(TABLE, after=after, limit=10)
        found += [each.value for each in page.tombstones or ()]
        assert (page.count, page.key_column) == (23, "id")
        after = page.next_after
    assert found == [each for each in range(25) if each not in (3, 11)]


def test_the_first_one_decides_the_column_and_its_type(tombstones: KeyedTombstones) -> None:
    add(tombstones, 1, column="ID")
    for table, column in ((TABLE, "name"), (Hiding(T, pa.schema([("id", pa.string())])), "id")):
        with pytest.raises(errors.InvalidRequest) as raised:
            tombstones.add(table, column, ["1"], actor=None, reason="why")
        assert raised.value.code == "tombstone_key_column"
    remove(tombstones, 1)
    assert add(tombstones, "a", column="name") == [Status.ADDED]


def test_what_was_compacted_stays_gone(tombstones: KeyedTombstones, sets: KeySets) -> None:
    add(tombstones, 1, 2)
    compact(sets, "1", "2")
    assert remove(tombstones, 1, 3) == [Status.REFUSED, Status.ABSENT]
    compact(sets, "1", event=KeyEvent.RESTORED)
    assert remove(tombstones, 1) == [Status.REFUSED]
    (restored,) = tombstones.page(TABLE, after=0, limit=10).tombstones or ()
    assert restored.is_final
    assert add(tombstones, 2) == [Status.ADDED]
    assert remove(tombstones, 2) == [Status.REMOVED]
    assert remove(tombstones, 2) == [Status.REFUSED]
    compact(sets, "1")
    assert tombstones.state(T).count == 0
    with pytest.raises(errors.InvalidRequest, match="older versions"):
        add(tombstones, "a", column="name")


def test_tombstones_are_removed_where_the_column_is_gone(tombstones: KeyedTombstones) -> None:
    add(tombstones, 1)
    changed = Hiding(T, pa.schema([("other", pa.int64())]))
    (shown,) = tombstones.page(changed, after=0, limit=1).tombstones or ()
    assert shown.value == "1"
    assert remove(tombstones, "1", table=changed) == [Status.REMOVED]


@pytest.mark.parametrize(
    ("column", "reason", "error"),
    [
        ("none", "why", errors.SchemaMismatch),
        ("many", "why", errors.InvalidRequest),
        ("id", "", errors.InvalidRequest),
        ("id", " \n", errors.InvalidRequest),
        ("id", "x" * 1001, errors.InvalidRequest),
    ],
)
def test_what_makes_no_sense_is_refused(
    tombstones: KeyedTombstones, column: str, reason: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        tombstones.add(TABLE, column, [1], actor=None, reason=reason)


def test_limits_are_named(tombstones: KeyedTombstones, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_tombstones, "VALUES_MAX", 3)
    monkeypatch.setattr(keyed_tombstones, "KEYS_MAX", 4)
    with pytest.raises(errors.LimitExceeded, match="values_max=3"):
        add(tombstones, *range(4))
    with pytest.raises(errors.LimitExceeded, match="values_max=3"):
        remove(tombstones, *range(4))
    add(tombstones, 1, 2, 3)
    with pytest.raises(errors.LimitExceeded, match="keys_max=4"):
        add(tombstones, 4, 5)
    assert add(tombstones, 3, 4) == [Status.ALREADY, Status.ADDED]
