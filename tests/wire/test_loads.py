"""Loads into tables that are there, in every mode, and at the edges of size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from deltalake import DeltaTable

from tests.lakehouse import build_lakehouse
from tests.servers import Server, running, wait_until
from tests.wire.loading import ingest, load
from tests.wire.raw import RawClient
from tests.wire.untouched import failure, nothing_written

MEMORY_BYTES_MAX = 1024 * 1024 * 1024


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("loads")
    build_lakehouse(directory)
    with running(directory) as server:
        yield server


@pytest.fixture(scope="module")
def client(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        yield client


def _column(kind: pa.DataType, *values: object) -> pa.Table:
    return pa.table({"v": pa.array(values, kind)})


_NOON = datetime(2024, 5, 6, 12)  # noqa: DTZ001  it has none
_STRUCT = pa.struct([pa.field("x", pa.int32(), nullable=False), pa.field("y", pa.string())])
# The column of a table, what fits it, and what does not.
NARROWER: dict[str, tuple[str, pa.Table, pa.Table]] = {
    "whole number": ("INT", _column(pa.int64(), -(2**31), None), _column(pa.int64(), 2**31)),
    "tiny": ("TINYINT", _column(pa.uint64(), 127, None), _column(pa.uint8(), 128)),
    "unsigned": ("BIGINT", _column(pa.uint64(), 2**63 - 1), _column(pa.uint64(), 2**63)),
    "float of int": ("DOUBLE", _column(pa.int64(), 2**53), _column(pa.int64(), 2**53 + 1)),
    "float": ("REAL", _column(pa.float64(), 0.5, None), _column(pa.float64(), 0.1)),
    "int of float": ("BIGINT", _column(pa.float64(), 3.0), _column(pa.float64(), 3.5)),
    "decimal": (
        "DECIMAL(5, 2)",
        _column(pa.decimal128(20, 4), Decimal("1.5000")),
        _column(pa.decimal128(20, 4), Decimal("1.5050")),
    ),
    "decimal of int": ("DECIMAL(5, 2)", _column(pa.int32(), 999), _column(pa.int32(), 1000)),
    "wide decimal": (
        "DECIMAL(38, 0)",
        _column(pa.decimal256(60, 0), Decimal("9" * 38)),
        _column(pa.decimal256(60, 0), Decimal("1" + "0" * 38)),
    ),
    "text": ("VARCHAR", _column(pa.large_string(), "a", None), _column(pa.int64(), 1)),
    "time": (
        "TIMESTAMP_NTZ",
        pa.table({"v": pa.array([1000, None]).cast(pa.timestamp("ns"))}),
        pa.table({"v": pa.array([1001]).cast(pa.timestamp("ns"))}),
    ),
    "late time": (
        "TIMESTAMP WITH TIME ZONE",
        _column(pa.timestamp("s", "Asia/Tokyo"), datetime(9999, 12, 31, tzinfo=UTC)),
        pa.table({"v": pa.array([2**62]).cast(pa.timestamp("s", "UTC"))}),
    ),
    "date": (
        "DATE",
        _column(pa.date64(), _NOON.date()),
        _column(pa.timestamp("us"), _NOON),
    ),
    "bool": ("BOOLEAN", _column(pa.bool_(), True, None), _column(pa.int8(), 1)),
    "list": (
        "ARRAY<INT>",
        _column(pa.large_list(pa.int64()), [1, None], None),
        _column(pa.list_(pa.int64()), [1], [2**31]),
    ),
    "struct": (
        "STRUCT<x: INT NOT NULL, y: VARCHAR>",
        pa.table({"v": pa.array([{"y": "a", "x": 1}, None])}),
        _column(pa.struct([pa.field("y", pa.string()), pa.field("x", pa.int32())]), {"y": "a"}),
    ),
    "not null": ("INT NOT NULL", _column(pa.int32(), 1), _column(pa.int32(), 1, None)),
}


@pytest.mark.parametrize(("kind", "fits", "misfits"), NARROWER.values(), ids=NARROWER.keys())
def test_values_are_checked_where_a_table_has_another_type(
    own: Server, client: RawClient, kind: str, fits: pa.Table, misfits: pa.Table
) -> None:
    client.fetch(f"CREATE OR REPLACE TABLE sales.narrow (v {kind})")
    target = ingest("narrow", mode="append")
    assert load(client, target, fits) == fits.num_rows
    after = pa.concat_tables([fits, misfits]) if fits.schema == misfits.schema else misfits
    with nothing_written(own.directory):
        failed = failure(lambda: load(client, target, after))
    assert failed.code == "schema_mismatch"
    assert '"v' in failed.message
    found = client.fetch("SELECT * FROM sales.narrow")
    assert [_exact(row["v"]) for row in found.to_pylist()] == [
        _exact(row["v"]) for row in fits.to_pylist()
    ]


def _exact(value: Any) -> Any:
    """Times as they are on one clock, and numbers as numbers of any kind."""
    return value.astimezone(UTC) if getattr(value, "tzinfo", None) else value


def test_the_columns_are_paired_by_name(own: Server, client: RawClient) -> None:
    client.fetch('CREATE TABLE sales.named (a INT NOT NULL, b VARCHAR, "C" INT)')
    target = ingest("named", mode="append")
    load(client, target, pa.table({"c": [1], "a": [2]}))
    expected = [{"a": 2, "b": None, "C": 1}]
    assert client.fetch("SELECT * FROM sales.named").to_pylist() == expected
    one, text = pa.array([1]), pa.array(["x"])
    wrong = {
        '"a"': pa.table({"b": text}),
        '"z"': pa.table({"a": one, "z": one}),
        '"A"': pa.Table.from_arrays([one, one], names=["a", "A"]),
        '"b"': pa.table({"a": one, "b": one}),
        '"C"': pa.table({"a": one, "C": text}),
    }
    for column, data in wrong.items():
        with nothing_written(own.directory):
            failed = failure(lambda data=data: load(client, target, data))  # type: ignore[misc]
        assert failed.code == "schema_mismatch"
        assert column in failed.message


def test_each_mode_asks_whether_the_table_is_there(own: Server, client: RawClient) -> None:
    data = pa.table({"a": [1, 2]})

    def rows(name: str) -> int:
        return client.fetch(f"SELECT * FROM sales.{name}").num_rows

    for mode, (first, second) in {"create": (2, "table_exists"), "replace": (2, 2)}.items():
        assert load(client, ingest(f"mode_{mode}", mode=mode), data) == first
        again = ingest(f"mode_{mode}", mode=mode)
        if isinstance(second, str):
            with nothing_written(own.directory):
                assert failure(lambda again=again: load(client, again, data)).code == second  # type: ignore[misc]
        else:
            assert load(client, again, data) == second
        assert rows(f"mode_{mode}") == 2
    with nothing_written(own.directory):
        missing = ingest("mode_append", mode="append")
        assert failure(lambda: load(client, missing, data)).code == "table_not_found"
    for expected in (2, 4):
        assert load(client, ingest("mode_both", mode="create_append"), data) == 2
        assert rows("mode_both") == expected


def test_a_replaced_table_has_the_columns_of_the_data(client: RawClient) -> None:
    load(client, ingest("changed"), pa.table({"a": [1]}))
    load(client, ingest("changed", mode="replace"), pa.table({"b": ["x"]}))
    assert client.fetch("SELECT * FROM sales.changed").to_pylist() == [{"b": "x"}]
    before = client.fetch("SELECT * FROM sales.changed VERSION AS OF 0").to_pylist()
    assert before == [{"a": 1}]


def test_catalog_and_schema_are_those_of_the_command_or_the_session(
    own: Server, client: RawClient
) -> None:
    data = pa.table({"a": [1]})
    load(client, ingest("placed", schema="sales", catalog="primary"), data)
    assert (own.directory / "sales" / "placed").is_dir()
    load(client, ingest("placed", schema=None), data)
    assert (own.directory / "public" / "placed").is_dir()
    for place in ({"catalog": "nowhere"}, {"schema": "nowhere"}):
        with nothing_written(own.directory):
            failed = failure(lambda place=place: load(client, ingest("placed", **place), data))  # type: ignore[misc]
        assert failed.code in {"bucket_not_found", "schema_not_found"}, failed


def test_a_path_appends(own: Server, client: RawClient) -> None:
    path = fl.FlightDescriptor.for_path("primary", "sales", "empty")
    orders = client.fetch("SELECT * FROM sales.orders WHERE order_id <= 7")
    assert load(client, path, orders) == 7
    assert client.fetch("SELECT * FROM sales.empty").num_rows == 7
    for parts in (("sales", "empty"), ("primary", "sales", "none"), ("primary", "..", "empty"), ()):
        wrong = fl.FlightDescriptor.for_path(*parts)
        with nothing_written(own.directory):
            code = failure(lambda wrong=wrong: load(client, wrong, orders)).code  # type: ignore[misc]
        assert code in {"invalid_request", "table_not_found", "bucket_not_found"}


def test_temporary_tables_belong_to_one_session(own: Server) -> None:
    data = pa.table({"a": [1, 2]})
    with (
        own.connect() as first,
        own.connect() as second,
        first.cursor() as mine,
        second.cursor() as other,
    ):
        mine.adbc_ingest("passing", data, mode="create", temporary=True)
        other.adbc_ingest("passing", data.slice(0, 1), mode="create", temporary=True)
        mine.execute("SELECT count(*) FROM passing")
        assert mine.fetchall() == [(2,)]
        other.execute("SELECT count(*) FROM passing")
        assert other.fetchall() == [(1,)]
        assert (
            failure(lambda: mine.adbc_ingest("passing", data, mode="create", temporary=True)).code
            == "table_exists"
        )
        assert mine.adbc_ingest("passing", data, mode="append", temporary=True) == 2
        mine.adbc_ingest("passing", data, mode="replace", temporary=True)
        mine.execute("SELECT count(*) FROM passing")
        assert mine.fetchall() == [(2,)]
    with own.connect() as third, third.cursor() as cursor:
        assert failure(lambda: cursor.execute("SELECT * FROM passing")).code == "table_not_found"
    folders = own.directory.rglob("passing")
    wait_until(lambda: not list(folders), what="the end of the temporary tables")


def test_batches_without_rows_are_nothing(client: RawClient) -> None:
    batch = pa.record_batch({"a": pa.array([1, 2])})
    assert load(client, ingest("gaps"), [batch[:0], batch, batch[:0], batch[:0], batch]) == 4
    assert client.fetch("SELECT sum(a) AS s FROM sales.gaps").to_pylist() == [{"s": 6}]
    version = client.fetch("SELECT count(*) AS n FROM sales.gaps").to_pylist()
    assert load(client, ingest("gaps", mode="append"), [batch[:0]]) == 0
    assert client.fetch("SELECT count(*) AS n FROM sales.gaps").to_pylist() == version


def test_a_thousand_columns(client: RawClient) -> None:
    wide = pa.table({f"c{i}": pa.array([i, None], pa.int32()) for i in range(1_000)})
    assert load(client, ingest("wide"), wide) == 2
    assert client.fetch("SELECT * FROM sales.wide").equals(wide)


def test_two_thousand_tiny_batches_become_one_file(own: Server, client: RawClient) -> None:
    batch = _batch({"a": [1], "b": ["x"]})
    assert load(client, ingest("tiny"), [batch] * 2_000) == 2_000
    table = DeltaTable(own.directory / "sales" / "tiny")
    assert len(table.file_uris()) == 1
    assert table.version() == 0
    assert client.fetch("SELECT sum(a) AS s FROM sales.tiny").to_pylist() == [{"s": 2_000}]


def test_a_partitioned_table_gets_its_partitions(own: Server, client: RawClient) -> None:
    client.fetch(
        "CREATE TABLE sales.parts (id INT, zone VARCHAR, on_day DATE) PARTITIONED BY (zone, on_day)"
    )
    zones = ["a/b=c%20", None, "", "ü", "a/b=c%20"]
    data = pa.table(
        {
            "zone": zones,
            "id": range(5),
            "on_day": pa.array([0, 1, None, 3, 0], pa.date32()),
        }
    )
    assert load(client, ingest("parts", mode="append"), data) == 5
    found = client.fetch("SELECT id, zone, on_day FROM sales.parts ORDER BY id").to_pylist()
    # Delta does not tell an empty text from NULL in a partition column.
    kept = [{**row, "zone": row["zone"] or None} for row in data.to_pylist()]
    assert found == [{key: row[key] for key in ("id", "zone", "on_day")} for row in kept]
    assert len(DeltaTable(own.directory / "sales" / "parts").file_uris()) == 4


def test_a_long_stream_takes_bounded_memory(own: Server, client: RawClient) -> None:
    rows = 1_000_000
    texts = [f"{number:09d}" for number in range(rows)]
    batch = _batch({"a": range(rows), "b": [0.5] * rows, "c": texts})
    small = batch[: rows // 8]
    pieces = (small for _ in range(64))  # about 230 MB
    assert load(client, ingest("long"), pieces) == 8 * rows
    peak = _memory_peak_bytes(own.process.pid)
    assert peak < MEMORY_BYTES_MAX
    assert client.fetch("SELECT count(*) AS n FROM sales.long").to_pylist() == [{"n": 8 * rows}]


def _memory_peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kib) * 1024


def _batch(columns: dict[str, Any]) -> pa.RecordBatch:
    return pa.table(columns).to_batches()[0]
