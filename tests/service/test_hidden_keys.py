from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flight_server import errors
from flight_server.engine.base import KeyFilter
from flight_server.service.hidden_keys import HiddenKeys, KeyStores, partition_of
from flight_server.storage.key_sets import KeyEvent, KeyEvents
from flight_server.storage.key_states import KEY_TYPE
from policies.names import TableRef
from tests.clocks import StandingClock

T = TableRef("primary", "sales", "orders")
OTHER = TableRef("primary", "sales", "other")
COLUMNS: list[pa.Field[Any]] = [pa.field("id", pa.int64()), pa.field("name", pa.string())]
SCHEMA = pa.schema(COLUMNS)
NEW = frozenset({"/lake/sales/orders/new.parquet"})
OLD = frozenset({"/lake/sales/orders/old.parquet", *NEW})


class Keys:
    """Stored keys, and what is hidden by them."""

    def __init__(self, root: Path) -> None:
        self.stores = KeyStores.open(root, StandingClock(), os.urandom)
        self.hidden = HiddenKeys(self.stores)

    def put(
        self,
        event: KeyEvent,
        keys: Sequence[str],
        *,
        files: tuple[str, ...] = (),
        kind: str = "int64",
    ) -> None:
        texts = pa.array(keys, KEY_TYPE)
        said = KeyEvents(partition_of(T), event, texts, "id", kind, "ann", "why", files)
        self.stores.tombstones.add([said])

    def of(
        self, schema: pa.Schema = SCHEMA, paths: frozenset[str] = NEW, ref: TableRef = T
    ) -> KeyFilter | None:
        return self.hidden.tombstones(ref, schema, paths)

    def values(self, paths: frozenset[str] = NEW) -> list[Any]:
        found = self.of(paths=paths)
        return [] if found is None else sorted(found.keys.to_pylist())


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def test_a_table_without_tombstones_has_no_filter(keys: Keys) -> None:
    assert keys.of() is None
    assert keys.hidden.key_column(T) is None
    keys.put(KeyEvent.ADDED, ["1"])
    keys.put(KeyEvent.REMOVED, ["1"])
    assert keys.of() is None
    assert keys.hidden.key_column(T) is None


def test_keys_come_in_the_type_of_their_column_and_are_made_once(keys: Keys) -> None:
    keys.put(KeyEvent.ADDED, ["1", "20"])
    found = keys.of()
    assert found is not None
    assert (found.column, found.keeps, found.keys.type) == ("id", False, pa.int64())
    assert found.keys.to_pylist() == [1, 20]
    again = keys.of()
    assert again is not None
    assert again.keys is found.keys
    assert keys.of(ref=OTHER) is None
    keys.put(KeyEvent.ADDED, ["3"])
    more = keys.of()
    assert more is not None
    assert more.stamp != found.stamp


@pytest.mark.parametrize(
    "column",
    [pa.field("id", pa.string()), pa.field("id", pa.float64()), pa.field("ID", pa.int64())],
)
def test_a_state_with_another_key_column_shows_nothing(keys: Keys, column: pa.Field[Any]) -> None:
    keys.put(KeyEvent.ADDED, ["1"])
    with pytest.raises(errors.InvalidRequest) as raised:
        keys.of(pa.schema([column]))
    assert raised.value.code == "policy_misfit"


def test_whole_numbers_of_another_width_are_the_same_keys(keys: Keys) -> None:
    keys.put(KeyEvent.ADDED, ["1"], kind="int32")
    assert keys.values() == [1]
    keys.put(KeyEvent.ADDED, ["300"], kind="int32")
    narrow: list[pa.Field[Any]] = [pa.field("id", pa.int8())]
    with pytest.raises(errors.InvalidRequest):  # the state cannot hold that key, so it is not known
        keys.of(pa.schema(narrow))


def test_compacted_keys_hide_rows_of_the_states_with_older_files(keys: Keys) -> None:
    keys.put(KeyEvent.ADDED, ["1", "2"])
    keys.put(KeyEvent.COMPACTED, ["1", "2"], files=("old.parquet",))
    assert keys.of() is None
    assert keys.values(OLD) == [1, 2]
    keys.put(KeyEvent.ADDED, ["3"])
    assert keys.values() == [3]
    assert keys.values(OLD) == [1, 2, 3]
    assert keys.hidden.key_column(T) == "id"
    stamps = {found.stamp for paths in (NEW, OLD) if (found := keys.of(paths=paths))}
    assert len(stamps) == 2


def test_what_comes_back_is_hidden_until_the_next_compaction(keys: Keys) -> None:
    keys.put(KeyEvent.ADDED, ["1", "2"])
    keys.put(KeyEvent.COMPACTED, ["1", "2"], files=("old.parquet",))
    keys.hidden.settle(T, NEW)
    assert keys.of() is None
    keys.hidden.settle(T, OLD)
    assert keys.values() == [1, 2]
    state = keys.stores.tombstones.current(partition_of(T))
    keys.hidden.settle(T, OLD)
    assert keys.stores.tombstones.current(partition_of(T)) is state


def test_rows_are_purged_by_the_keys_of_one_moment(keys: Keys) -> None:
    keys.put(KeyEvent.ADDED, ["1"])
    stamp = keys.stores.tombstones.current(partition_of(T)).stamp
    keys.put(KeyEvent.ADDED, ["2"])
    found = keys.hidden.purged(T, SCHEMA, stamp=stamp)
    assert found is not None
    assert found.keys.to_pylist() == [1]


def test_people_who_agreed_are_found_in_the_type_of_a_column(keys: Keys) -> None:
    texts = pa.array(["7", "ann", "07"], KEY_TYPE)
    keys.stores.consents.add([KeyEvents("research", KeyEvent.ADDED, texts)])
    by_number = keys.hidden.consented("research", pa.field("who", pa.int64()))
    by_name = keys.hidden.consented("research", pa.field("who", pa.string()))
    assert (by_number.keys.to_pylist(), by_number.keeps) == ([7], True)
    assert by_name.keys.to_pylist() == ["7", "ann", "07"]
    assert len(keys.hidden.consented("analytics", pa.field("who", pa.string())).keys) == 0
    with pytest.raises(errors.InvalidRequest) as raised:
        keys.hidden.consented("research", pa.field("who", pa.list_(pa.string())))
    assert raised.value.code == "policy_misfit"


def test_keys_that_cannot_be_read_hide_everything(keys: Keys, tmp_path: Path) -> None:
    keys.put(KeyEvent.ADDED, ["1"])
    for file in (tmp_path / "policy/tombstones").glob("*/*.parquet"):
        file.unlink()
    with pytest.raises(errors.Unavailable):
        Keys(tmp_path).of()
