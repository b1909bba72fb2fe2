"""The files of a table for who may change it: exactly its state, and plain files only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from flight_server.engine.base import FileScan, Pin, ProviderScan
from flight_server.errors import NotFound, PermissionDenied, Unsupported
from flight_server.storage.snapshots import PARTITION_TUPLES_MAX
from policies.names import Privilege, TableRef
from policies.rules import Effect, Grant
from tests import tables as zoo
from tests.service.opened import ADMIN, BOB, Lakehouse

_RESOURCE = ("primary", "s", "t")


def grant(privilege: Privilege, effect: Effect = Effect.ALLOW) -> Grant:
    return Grant(privilege, _RESOURCE, user="bob", effect=effect)


def pin_of(lake: Lakehouse) -> Pin:
    return lake.tables.pin(TableRef(*_RESOURCE), ADMIN, as_of=None)


def test_files_are_those_of_the_pinned_state(tmp_path: Path) -> None:
    zoo.plain(tmp_path / "s/t")
    lake = Lakehouse({"primary": tmp_path})
    opened = lake.open("s", "t")
    write_deltalake(
        tmp_path / "s/t", pq.read_table(next((tmp_path / "s/t").glob("*.parquet"))), mode="append"
    )
    assert lake.tables.files(opened.pin, ADMIN) == opened.scan
    assert lake.tables.files(pin_of(lake), ADMIN) != opened.scan


@pytest.mark.parametrize(
    ("granted", "error"),
    [
        ([], NotFound),
        ([grant(Privilege.WRITE)], NotFound),
        ([grant(Privilege.READ)], PermissionDenied),
        (
            [grant(Privilege.READ), grant(Privilege.WRITE), grant(Privilege.WRITE, Effect.DENY)],
            PermissionDenied,
        ),
        ([grant(Privilege.READ), grant(Privilege.WRITE)], None),
        ([grant(Privilege.READ), grant(Privilege.MAINTAIN)], None),
        ([grant(Privilege.MAINTAIN)], None),
    ],
)
def test_who_changes_rows_must_read_and_write(
    tmp_path: Path, granted: list[Grant], error: type[Exception] | None
) -> None:
    zoo.plain(tmp_path / "s/t")
    lake = Lakehouse({"primary": tmp_path})
    lake.book = replace(lake.book, grants=tuple(granted))
    if error is None:
        assert lake.tables.files(pin_of(lake), BOB).groups
    else:
        with pytest.raises(error):
            lake.tables.files(pin_of(lake), BOB)


@pytest.mark.parametrize("make", [zoo.with_column_mapping, zoo.with_deletion_vector])
def test_files_that_do_not_hold_the_rows_as_they_are_are_refused(
    make: object, tmp_path: Path
) -> None:
    assert callable(make)
    make(tmp_path / "s/t")
    lake = Lakehouse({"primary": tmp_path})
    with pytest.raises(Unsupported, match="cannot be changed here"):
        lake.tables.files(pin_of(lake), ADMIN)


def test_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(zoo.numbers(0, 5), tmp_path / "one.parquet")
    lake = Lakehouse({"primary": tmp_path})
    ref = TableRef("primary", "public", "one")
    with pytest.raises(Unsupported, match="no Delta table"):
        lake.tables.files(lake.tables.pin(ref, ADMIN, as_of=None), ADMIN)


def test_any_number_of_partitions_gives_files(tmp_path: Path) -> None:
    count = PARTITION_TUPLES_MAX + 1
    rows = pa.table({"p": list(range(count)), "x": list(range(count))})
    write_deltalake(tmp_path / "s/t", rows, partition_by=["p"])
    lake = Lakehouse({"primary": tmp_path})
    assert isinstance(lake.open("s", "t").scan, ProviderScan)
    scan = lake.tables.files(pin_of(lake), ADMIN)
    assert isinstance(scan, FileScan)
    assert len(scan.groups) == count
