"""Rows that were hidden and are removed for good: from the newest state, and for all older ones."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from flight_server.clock import SystemClock
from flight_server.storage.key_sets import TOMBSTONES, KeySets
from tests.lakehouse import orders_table, write
from tests.servers import Server, running
from tests.wire.raw import RawClient, refused
from tests.wire.test_tombstones import column, hide, ids, new_user, unhide

_numbers = itertools.count()
PASSWORD = "quite another horse"
ALL = list(range(1, 31))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compaction")


@pytest.fixture(scope="module")
def own(folder: Path) -> Iterator[Server]:
    write(folder / "sales" / "first", orders_table(1))
    with running(folder, environment={"LAKEFLIGHT_WORKERS__COUNT_MAX": "4"}) as server:
        yield server


@pytest.fixture(scope="module")
def admin(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        yield client


def table(folder: Path, **options: Any) -> str:
    """Make a table of orders 1 to 30 in three versions; return its name."""
    name = f"orders{next(_numbers)}"
    for start in (0, 10, 20):
        write(folder / "sales" / name, orders_table(30).slice(start, 10), **options)
    return f"sales.{name}"


def state(folder: Path, name: str) -> Any:
    """Return what is stored of a table's tombstones."""
    sets = KeySets(folder / ".lakeflight", TOMBSTONES, clock=SystemClock(), random_bytes=os.urandom)
    return sets.current("primary/" + name.replace(".", "/"))


def without(*gone: int) -> list[int]:
    return [each for each in ALL if each not in gone]


def at(name: str, version: int) -> str:
    return f"{name} VERSION AS OF {version}"


def test_rows_are_removed_and_their_tombstones_with_them(admin: RawClient, folder: Path) -> None:
    name = table(folder)
    hide(admin, name, 1, 2, 25, 99)
    (dry,) = admin.call("table.compact", table=name, dry_run=True)
    assert (dry["rows_removed"], dry["tombstones_cleared"], dry["version"]) == (3, 4, None)
    assert ids(admin, name.replace(".", ".__raw__")) == ALL
    (done,) = admin.call("table.compact", table=name)
    assert (done["rows_removed"], done["tombstones_cleared"], done["version"]) == (3, 4, 3)
    assert ids(admin, name) == without(1, 2, 25)
    assert ids(admin, name.replace(".", ".__raw__")) == without(1, 2, 25)
    (page,) = admin.call("tombstone.list", table=name)
    assert (page["count"], page["tombstones"]) == (0, [])
    stored: Any = DeltaTable(folder / name.replace(".", "/")).to_pyarrow_table()["order_id"]
    assert sorted(stored.to_pylist()) == without(1, 2, 25)
    (again,) = admin.call("table.compact", table=name)
    assert (again["file_count"], again["tombstones_cleared"], again["version"]) == (0, 0, None)


def test_older_versions_hide_them_for_good(admin: RawClient, folder: Path) -> None:
    name = table(folder)
    hide(admin, name, 5, 15)
    admin.fetch(f"OPTIMIZE {name}")
    assert unhide(admin, name, 5) == ["refused"]
    assert ids(admin, at(name, 2)) == without(5, 15)
    assert ids(admin, at(name, 1)) == [each for each in without(5, 15) if each <= 20]
    assert ids(admin, at(name, 0)) == [each for each in without(5, 15) if each <= 10]
    assert ids(admin, at(name.replace(".", ".__raw__"), 2)) == ALL


def test_a_row_that_is_inserted_later_is_seen(admin: RawClient, folder: Path) -> None:
    name = table(folder)
    hide(admin, name, 5)
    admin.call("table.compact", table=name)
    admin.fetch(f"INSERT INTO {name} (order_id) VALUES (5)")
    assert ids(admin, name) == ALL
    assert ids(admin, at(name, 3)) == without(5)
    assert ids(admin, at(name, 2)) == without(5)
    assert hide(admin, name, 5) == ["added"]
    assert unhide(admin, name, 5) == ["removed"]
    assert ids(admin, name) == ALL
    assert ids(admin, at(name, 2)) == without(5)


def test_states_from_before_an_update_hide_them_as_well(admin: RawClient, folder: Path) -> None:
    """The files that the compaction replaces are not those of the first version."""
    name = table(folder)
    admin.fetch(f"UPDATE {name} SET note = 'changed'")
    hide(admin, name, 5)
    admin.fetch(f"UPDATE {name} SET note = 'changed again'")
    admin.call("table.compact", table=name)
    for version in (2, 3, 4, 5):
        assert ids(admin, at(name, version)) == without(5), version
    assert ids(admin, at(name, 0)) == list(range(1, 5)) + list(range(6, 11))


@pytest.mark.parametrize("by_whom", ["server", "another tool"])
def test_a_restored_state_hides_them_whatever_becomes_of_it(
    admin: RawClient, folder: Path, by_whom: str
) -> None:
    name = table(folder)
    hide(admin, name, 5, 25)
    admin.call("table.compact", table=name)
    if by_whom == "server":
        admin.call("table.restore", table=name, version=2)
    else:
        DeltaTable(folder / name.replace(".", "/")).restore(2)
    assert ids(admin, name) == without(5, 25)
    admin.fetch(f"UPDATE {name} SET note = 'written anew'")
    assert ids(admin, name) == without(5, 25)
    assert unhide(admin, name, 5) == ["refused"]
    assert ids(admin, name.replace(".", ".__raw__")) == ALL
    (done,) = admin.call("table.compact", table=name)
    assert (done["rows_removed"], done["tombstones_cleared"]) == (2, 2)
    newest = DeltaTable(folder / name.replace(".", "/")).version()
    assert ids(admin, name.replace(".", ".__raw__")) == without(5, 25)
    for version in range(2, newest + 1):
        assert ids(admin, at(name, version)) == without(5, 25), version


def test_large_files_and_partitions_are_written_anew_only_where_they_must(
    admin: RawClient, folder: Path
) -> None:
    name = table(folder, partition_by=("ordered_on",))
    path = folder / name.replace(".", "/")
    before = set(DeltaTable(path).file_uris())
    hide(admin, name, 5)
    (done,) = admin.call("table.compact", table=name, target_file_bytes=1024)
    assert done["rows_removed"] == 1
    after = set(DeltaTable(path).file_uris())
    assert len(before - after) == done["file_count"] == 1
    assert ids(admin, name) == without(5)


def test_a_z_order_removes_them_too(admin: RawClient, folder: Path) -> None:
    name = table(folder)
    hide(admin, name, 1, 30)
    (done,) = admin.call("table.z_order", table=name, columns=["customer", "order_id"])
    assert (done["rows_removed"], done["tombstones_cleared"]) == (2, 2)
    assert ids(admin, name.replace(".", ".__raw__")) == without(1, 30)


def test_rows_without_key_stay(admin: RawClient, folder: Path) -> None:
    rows = pa.table({"n": [1, 2, 3], "key": pa.array(["a", None, "b"])})
    write(folder / "sales" / "nulls", rows)
    hide(admin, "sales.nulls", "a", column="key")
    admin.call("table.compact", table="sales.nulls")
    assert column(admin, "SELECT n FROM sales.nulls") == [2, 3]


def test_a_table_that_keeps_all_its_rows_keeps_its_tombstones(
    admin: RawClient, folder: Path
) -> None:
    name = table(folder)
    path = folder / name.replace(".", "/")
    DeltaTable(path).alter.set_table_properties({"delta.appendOnly": "true"})
    hide(admin, name, 5)
    (done,) = admin.call("table.compact", table=name)
    assert (done["file_count"], done["rows_removed"], done["tombstones_cleared"]) == (3, 0, 0)
    assert ids(admin, name) == without(5)
    assert unhide(admin, name, 5) == ["removed"]
    assert ids(admin, name) == ALL


def test_who_maintains_a_table_may_remove_what_others_hid(
    admin: RawClient, own: Server, folder: Path
) -> None:
    name = table(folder)
    hide(admin, name, 5)
    user = new_user(admin)
    for privilege in ("read", "maintain"):
        admin.call("grant.add", privilege=privilege, resource=f"primary.{name}", to={"user": user})
    with RawClient.connect(own, user, PASSWORD) as client:
        assert refused(lambda: unhide(client, name, 5)) == "permission_denied"
        (done,) = client.call("table.compact", table=name)
        assert done["tombstones_cleared"] == 1
        assert ids(client, name) == without(5)


def test_who_maintains_a_table_need_not_read_it(
    admin: RawClient, own: Server, folder: Path
) -> None:
    name = table(folder)
    hide(admin, name, 5)
    user = new_user(admin)
    admin.call("grant.add", privilege="maintain", resource=f"primary.{name}", to={"user": user})
    with RawClient.connect(own, user, PASSWORD) as client:
        (dry,) = client.call("table.compact", table=name, dry_run=True)
        client.fetch(f"OPTIMIZE {name}")
        client.fetch(f"VACUUM {name} RETAIN 0 HOURS")
        assert dry["rows_removed"] == 1
        assert refused(lambda: client.fetch(f"OPTIMIZE {name} ZORDER BY (nowhere)")) == (
            "permission_denied"
        )
        for sql in (f"SELECT * FROM {name}", f"DELETE FROM {name}"):
            assert refused(lambda: client.fetch(sql)) == "bucket_not_found"  # noqa: B023
    assert ids(admin, name) == without(5)
    assert refused(lambda: ids(admin, at(name, 2))) == "version_not_found"


def test_vacuum_removes_their_last_traces_and_nothing_comes_back(
    admin: RawClient, folder: Path
) -> None:
    name = table(folder)
    hide(admin, name, 5)
    admin.call("table.compact", table=name)
    admin.call("table.vacuum", table=name, retention_hours=0)
    assert ids(admin, name) == without(5)
    assert refused(lambda: ids(admin, at(name, 2))) == "version_not_found"


def test_rows_that_come_in_meanwhile_are_not_lost_and_do_not_hide_for_ever(
    admin: RawClient, own: Server, folder: Path
) -> None:
    name = table(folder)
    hide(admin, name, *range(1, 6))
    stops = threading.Event()
    added: list[int] = []
    failures: list[BaseException] = []

    def append() -> None:
        try:
            with own.connect() as connection, connection.cursor() as cursor:
                for number in itertools.count(1000):
                    if stops.is_set():
                        return
                    cursor.execute(f"INSERT INTO {name} (order_id) VALUES ({number})")
                    cursor.fetch_arrow_table()
                    added.append(number)
        except BaseException as error:  # noqa: BLE001  the test looks at it
            failures.append(error)

    thread = threading.Thread(target=append)
    thread.start()
    try:
        for _ in range(3):
            admin.call("table.compact", table=name)
    finally:
        stops.set()
        thread.join(60)
    assert not failures
    (done,) = admin.call("table.compact", table=name)
    assert state(folder, name).count == 0
    assert [compaction.keys.to_pylist() for compaction in state(folder, name).compactions] == [
        ["1", "2", "3", "4", "5"]
    ]
    assert done["tombstones_cleared"] in (0, 5)
    assert ids(admin, name) == [*without(1, 2, 3, 4, 5), *added]
    assert ids(admin, name.replace(".", ".__raw__")) == [*without(1, 2, 3, 4, 5), *added]
