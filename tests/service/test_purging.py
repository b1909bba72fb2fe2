"""A purge step by step, and what is seen when it ends after any of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flight_server import errors
from flight_server.clock import SystemClock
from flight_server.engine.base import Written
from flight_server.service.hidden_keys import HiddenKeys, KeyStores, partition_of
from flight_server.service.purging import Purging
from flight_server.service.writes import data_files
from flight_server.storage import upkeep
from flight_server.storage.changes import Author, Change
from flight_server.storage.commits import Commits
from flight_server.storage.files import DataFileWriter
from flight_server.storage.key_sets import KeyEvent, KeyEvents
from flight_server.storage.key_states import KEY_TYPE
from flight_server.storage.tables import DeltaTables
from policies.names import TableRef
from tests.lakehouse import write

T = TableRef("primary", "sales", "orders")
AUTHOR = Author("u", "ann", "r")


class Lake:
    """A table of the numbers 0 to 9 in two files, and its tombstones."""

    def __init__(self, root: Path) -> None:
        self.path = root / "orders"
        for start in (0, 5):
            write(self.path, pa.table({"id": pa.array(range(start, start + 5), pa.int64())}))
        self.stores = KeyStores.open(root / "system", SystemClock())
        self.hidden = HiddenKeys(self.stores)
        self.purging = Purging(self.stores, self.hidden)
        self.commits = Commits(SystemClock(), random_bytes=os.urandom)
        self.put(KeyEvent.ADDED, "1", "2")

    def put(self, event: KeyEvent, *keys: str) -> None:
        texts = pa.array(keys, KEY_TYPE)
        said = KeyEvents(partition_of(T), event, texts, "id", "int64", "ann", "why")
        self.stores.tombstones.add([said])

    def head(self) -> Any:
        return self.commits.head(self.path, name="t", with_files=True)

    def rewritten(self, head: Any) -> Written:
        """Write the files that hold 1 and 2 anew without them, uncommitted."""
        first = head.files[0]
        rows = pa.table({"id": pa.array([0, 3, 4], pa.int64())})
        writer = DataFileWriter(
            self.path, rows.schema, clock=SystemClock(), random_bytes=os.urandom
        )
        writer.write(rows.to_batches()[0])
        (new,) = writer.finish()
        return Written(head.schema, (new.to_json(),), upkeep.uris_of(self.path, [first]), deleted=2)

    def commit(self, head: Any, written: Written) -> int:
        change = Change(
            "OPTIMIZE",
            AUTHOR,
            adds=data_files(written),
            removes=written.removed,
            read_version=head.version,
        )
        committed = self.commits.commit(self.path, change, name="t").version
        assert committed is not None
        return committed

    def seen(self, version: int | None = None) -> list[Any]:
        """Return what a query of a version sees."""
        tables = DeltaTables(SystemClock())
        newest = tables.newest(self.path, name="t")
        at = newest if version is None else tables.at_version(self.path, version, name="t")
        rows: Any = pa.concat_tables([pa.parquet.read_table(path) for path in at.paths])["id"]
        found = self.hidden.tombstones(T, at.schema, at.paths)
        if found is not None:
            rows = rows.filter(pc.invert(pc.is_in(rows, value_set=found.keys)))
        return sorted(rows.to_pylist())


REST = [0, *range(3, 10)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.mark.parametrize("steps", range(4))
def test_nothing_is_seen_again_after_any_step(lake: Lake, steps: int) -> None:
    head = lake.head()
    assert lake.seen() == REST
    purge = lake.purging.of(T, head)
    assert purge is not None
    if steps > 0:
        written = lake.rewritten(head)
    if steps > 1:
        with lake.purging.finishing(purge):
            assert lake.commit(head, written) == head.version + 1
            if steps > 2:
                lake.purging.finish(purge, lake.path, head=head, written=written, actor="ann")
    for version in range(head.version, lake.head().version + 1):
        assert lake.seen(version) == REST
    state = lake.stores.tombstones.current(partition_of(T))
    assert state.count == (0 if steps > 2 else 2)


def test_what_was_committed_before_a_crash_is_finished_by_the_next_one(lake: Lake) -> None:
    head = lake.head()
    purge = lake.purging.of(T, head)
    assert purge is not None
    lake.commit(head, lake.rewritten(head))
    head = lake.head()
    purge = lake.purging.of(T, head)
    assert purge is not None
    with lake.purging.finishing(purge):
        nothing = Written(head.schema, ())
        lake.purging.finish(purge, lake.path, head=head, written=nothing, actor="ann")
    assert lake.stores.tombstones.current(partition_of(T)).count == 0
    for version in (1, 2):
        assert lake.seen(version) == REST
    write(lake.path, pa.table({"id": pa.array([1], pa.int64())}))
    assert lake.seen() == sorted([1, *REST])
    assert lake.seen(2) == REST


def test_a_tombstone_that_is_removed_meanwhile_keeps_its_rows(lake: Lake) -> None:
    purge = lake.purging.of(T, lake.head())
    assert purge is not None
    lake.put(KeyEvent.ADDED, "3")
    with lake.purging.finishing(purge):
        pass
    lake.put(KeyEvent.REMOVED, "2")
    with pytest.raises(errors.Conflict), lake.purging.finishing(purge):
        raise AssertionError("it must not begin")


def test_tables_that_keep_their_rows_and_temporary_ones_are_not_purged(lake: Lake) -> None:
    head = lake.head()
    assert lake.purging.of(TableRef("temp", "s", "t"), head) is None
    assert lake.purging.of(TableRef("primary", "sales", "other"), head) is None
