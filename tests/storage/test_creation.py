from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from flight_server import errors
from flight_server.clock import SystemClock
from flight_server.storage.changes import Change
from flight_server.storage.creation import Creation
from flight_server.storage.tables import DeltaTables
from tests.delta_log import numbers
from tests.storage.writing import ALICE, NAME, Written, data_file

NESTED: list[pa.Field[Any]] = [
    pa.field("id", pa.int64(), nullable=False, metadata={b"comment": b"the key, \xc3\xa4"}),
    pa.field("inner", pa.struct([pa.field("x", pa.date32(), nullable=False)])),
    pa.field("tags", pa.list_(pa.field("element", pa.string(), nullable=False))),
    pa.field("money", pa.decimal128(12, 2)),
    pa.field("at", pa.timestamp("us", tz="UTC")),
    pa.field("region", pa.string()),
]


@pytest.fixture
def table(tmp_path: Path) -> Written:
    return Written(tmp_path / "sales" / "orders")


def code_of(caught: pytest.ExceptionInfo[errors.LakeflightError]) -> str:
    return caught.value.code


def test_a_new_table_is_read_with_all_that_was_said_of_it(table: Written) -> None:
    schema = pa.schema(NESTED)
    staged = table.creation.stage(table.path, name=NAME)
    assert not table.path.exists()
    metadata = table.creation.metadata(schema, partition_columns=("region",), description="all")
    change = Change("CREATE TABLE", ALICE)
    done = table.creation.publish(staged, table.path, change=change, metadata=metadata, name=NAME)
    assert (done.version, done.rows) == (0, -1)
    assert not staged.exists()
    snapshot = DeltaTables(SystemClock()).newest(table.path, name=NAME)
    commented = schema.with_metadata({"comment": "all"})
    assert snapshot.schema.equals(commented, check_metadata=True)
    assert snapshot.partition_columns == ("region",)
    delta = DeltaTable(str(table.path))
    assert delta.metadata().description == "all"
    assert (delta.protocol().min_reader_version, delta.protocol().min_writer_version) == (1, 2)


def test_a_table_with_a_local_time_needs_the_feature(table: Written) -> None:
    table.create(schema=pa.schema([pa.field("at", pa.list_(pa.timestamp("us")))]))
    protocol = DeltaTable(str(table.path)).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (3, 7)
    assert protocol.reader_features == ["timestampNtz"]


def test_a_type_that_delta_lacks_is_refused_by_name(table: Written) -> None:
    with pytest.raises(errors.SchemaMismatch):
        table.creation.metadata(pa.schema([pa.field("t", pa.month_day_nano_interval())]))


@pytest.mark.parametrize("kind", ["delta", "folder", "parquet", "file"])
def test_a_name_that_is_taken_stays_what_it_was(table: Written, kind: str) -> None:
    staged = table.creation.stage(table.path, name=NAME)
    if kind == "delta":
        Written(table.path).create(numbers(0, 1))
    elif kind == "folder":
        table.path.mkdir()
        pq.write_table(numbers(0, 1), table.path / "a.parquet")
    elif kind == "parquet":
        pq.write_table(numbers(0, 1), table.path.with_name("orders.parquet"))
    else:
        table.path.write_bytes(b"x")
    before = sorted(table.path.parent.rglob("*"))
    metadata = table.creation.metadata(numbers(0, 0).schema)
    with pytest.raises(errors.AlreadyExists) as caught:
        table.creation.publish(
            staged, table.path, change=Change("CREATE", ALICE), metadata=metadata, name=NAME
        )
    assert str(table.path) not in str(caught.value)
    with pytest.raises(errors.AlreadyExists):
        table.creation.stage(table.path, name=NAME)
    table.creation.discard(staged)
    assert [p for p in before if staged not in (p, *p.parents)] == sorted(
        table.path.parent.rglob("*")
    )


def test_discarding_touches_nothing_but_staged_folders(table: Written) -> None:
    table.create(numbers(0, 1))
    table.creation.discard(table.path)
    assert table.ids() == [0]


@pytest.mark.parametrize("name", ["_new-1", ".x", "..", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    creation = Creation(SystemClock(), random_bytes=os.urandom)
    for path in (tmp_path / name, tmp_path / ".." / "x"):
        with pytest.raises(errors.InvalidRequest):
            creation.stage(path, name=NAME)
        with pytest.raises(errors.InvalidRequest):
            creation.drop(path, name=NAME)
    assert list(tmp_path.iterdir()) == []


def test_dropping_removes_everything_and_only_once(table: Written) -> None:
    table.create(numbers(0, 1))
    table.creation.drop(table.path, name=NAME)
    assert list(table.path.parent.iterdir()) == []
    with pytest.raises(errors.NotFound) as caught:
        table.creation.drop(table.path, name=NAME)
    assert code_of(caught) == "table_not_found"


def test_renaming_keeps_the_history_and_refuses_a_taken_name(table: Written) -> None:
    table.create(numbers(0, 1))
    table.append(1, 2)
    other = Written(table.path.with_name("other")).create(numbers(7, 8))

    def rename(target: Path) -> None:
        table.creation.rename(table.path, target, new_name="sales.other", name=NAME)

    with pytest.raises(errors.AlreadyExists):
        rename(other.path)
    with pytest.raises(errors.NotFound) as caught:
        rename(table.path.parents[1] / "missing" / "t")
    assert code_of(caught) == "schema_not_found"
    rename(table.path.with_name("third"))
    moved = Written(table.path.with_name("third"))
    assert (moved.ids(), moved.version()) == ([0, 1], 1)
    assert moved.append(2, 3).version == 2
    with pytest.raises(errors.NotFound) as caught:
        rename(table.path.with_name("fourth"))
    assert code_of(caught) == "table_not_found"


def test_a_schema_is_a_folder_with_a_mark(tmp_path: Path) -> None:
    creation = Creation(SystemClock(), random_bytes=os.urandom)
    creation.make_schema(tmp_path / "new", name="new")
    assert (tmp_path / "new" / "_schema").read_bytes() == b""
    with pytest.raises(errors.AlreadyExists):
        creation.make_schema(tmp_path / "new", name="new")
    table = Written(tmp_path / "new" / "t").create(numbers(0, 1))
    creation.drop_schema(tmp_path / "new", name="new")
    assert not table.path.exists()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(errors.NotFound) as caught:
        creation.drop_schema(tmp_path / "new", name="new")
    assert code_of(caught) == "schema_not_found"


def test_a_table_made_of_rows_has_them_in_version_0(table: Written) -> None:
    staged = table.creation.stage(table.path, name=NAME)
    rows = numbers(0, 5)
    change = Change(
        "CREATE TABLE AS SELECT",
        ALICE,
        adds=(data_file(staged, rows),),
        rows=5,
        idempotency_key="k",
    )
    metadata = table.creation.metadata(rows.schema)
    done = table.creation.publish(staged, table.path, change=change, metadata=metadata, name=NAME)
    assert (done.version, done.rows) == (0, 5)
    assert table.ids(version=0) == list(range(5))
    assert table.commits.known(table.path, "u-1", key="k", name=NAME) == 5
