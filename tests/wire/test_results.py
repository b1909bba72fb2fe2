"""What results look like on the wire: sizes, types, schemas, and when they start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.lakehouse import write
from tests.servers import Server, running
from tests.wire.kinds import every_kind
from tests.wire.raw import RawClient, refused

_MIB = 1024 * 1024
_TARGET = 2 * _MIB
_MAX = 3_670_016
_ROWS = 600_000


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``wide.rows``: 600,000 rows of some 130 bytes, about 75 MiB in four files."""
    directory = tmp_path_factory.mktemp("big")
    part = _ROWS // 4
    for start in range(0, _ROWS, part):
        ids = range(start, start + part)
        rows = pa.table({"id": pa.array(ids, pa.int64()), "text": [f"{i:0>110}" for i in ids]})
        write(directory / "wide" / "rows", rows)
    return directory


@pytest.fixture(scope="module")
def own(big: Path) -> Iterator[Server]:
    """A server of our own beside the other one, whose results may have 8 MiB at most."""
    environment = {"LAKEFLIGHT_LIMITS__RESULT_BYTES_MAX": str(8 * _MIB)}
    with running(big, environment=environment, read_only=True) as server:
        yield server


@pytest.fixture(scope="module")
def unlimited(big: Path) -> Iterator[Server]:
    with running(big) as server:
        yield server


@pytest.fixture(scope="module")
def client(unlimited: Server) -> Iterator[RawClient]:
    with RawClient.connect(unlimited) as client:
        yield client


def _sizes(batches: list[pa.RecordBatch]) -> list[int]:
    return [pa.ipc.get_record_batch_size(batch) for batch in batches]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM wide.rows",
        "SELECT * FROM wide.rows ORDER BY id DESC",
        "SELECT id, text, text AS again, upper(text) AS up FROM wide.rows WHERE id < 150000",
        "SELECT id % 100 AS k, max(text) AS m, array_agg(id) AS ids FROM wide.rows GROUP BY 1",
    ],
)
def test_batches_have_about_two_mebibytes(client: RawClient, sql: str) -> None:
    sizes = _sizes(client.batches(sql))
    assert max(sizes) <= _MAX
    full = sum(size >= _TARGET // 2 for size in sizes)
    # The first one leaves early, the last one has what is left, and so has each file's.
    assert full >= len(sizes) - 10
    assert len(sizes) <= 1 + 2 * sum(sizes) / _TARGET + 10


def test_narrow_batches_are_joined(client: RawClient) -> None:
    batches = client.batches("SELECT CAST(id % 100 AS TINYINT) AS k FROM wide.rows")
    assert sum(batch.num_rows for batch in batches) == _ROWS
    assert len(batches) <= 8  # 0.6 MiB in all, and some 20 batches inside the engine


def test_few_rows_among_many_do_not_come_one_by_one(client: RawClient) -> None:
    batches = client.batches("SELECT id FROM wide.rows WHERE id % 1000 = 7")
    assert sum(batch.num_rows for batch in batches) == _ROWS // 1000
    assert len(batches) <= 4


def test_rows_of_a_megabyte_are_not_joined_beyond_the_limit(client: RawClient) -> None:
    sizes = _sizes(client.batches("SELECT id, repeat('x', 1200000) AS t FROM wide.rows LIMIT 9"))
    assert max(sizes) <= _MAX
    assert len(sizes) >= 3


def test_a_row_that_fits_no_batch_is_refused_by_name(client: RawClient) -> None:
    assert refused(lambda: client.fetch("SELECT repeat('x', 3900000) AS t")) == "limit_exceeded"
    assert client.fetch("SELECT length(repeat('x', 3900000)) AS n").to_pylist() == [{"n": 3900000}]
    assert client.fetch("SELECT repeat('x', 3600000) AS t").num_rows == 1


def test_a_column_of_few_values_does_not_grow_on_the_wire(client: RawClient) -> None:
    sql = "SELECT id, text FROM wide.rows WHERE id < 50 ORDER BY text LIMIT 10"
    assert sum(_sizes(client.batches(sql))) < 8_192


def test_an_empty_result_has_its_schema(client: RawClient) -> None:
    result = client.fetch("SELECT * FROM wide.rows WHERE id < 0")
    assert result.num_rows == 0
    assert result.schema.names == ["id", "text"]
    assert result.schema.types == [pa.int64(), pa.string()]


def test_rows_flow_while_the_scan_runs(own: Server) -> None:
    # The whole is above the limit on results: what arrives before the error arrived while the
    # query ran, and was not gathered first.
    with RawClient.connect(own) as client:
        (endpoint,) = client.info("SELECT * FROM wide.rows").endpoints
        reader = client.open(endpoint.ticket)
        arrived: list[int] = []
        assert refused(lambda: arrived.extend(chunk.data.num_rows for chunk in reader)) == (
            "limit_exceeded"
        )
        assert 0 < sum(arrived) < _ROWS


def test_who_reads_the_first_rows_only_leaves_nothing_running(own: Server) -> None:
    with RawClient.connect(own) as client:
        for _ in range(12):  # more often than there are workers
            (endpoint,) = client.info("SELECT * FROM wide.rows").endpoints
            reader = client.open(endpoint.ticket)
            assert reader.read_chunk().data.num_rows > 0
            reader.cancel()
        assert client.fetch("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def _kinds_within(kind: pa.DataType) -> Iterator[pa.DataType]:
    yield kind
    for i in range(kind.num_fields):
        yield from _kinds_within(kind.field(i).type)


_PLAIN = {
    *("bool", "int8", "int16", "int32", "int64", "float", "double", "string", "binary"),
    *("date32[day]", "timestamp[us, tz=UTC]", "timestamp[us]"),
}


def _is_plain(kind: pa.DataType) -> bool:
    return all(
        str(each) in _PLAIN
        or pa.types.is_decimal128(each)
        or pa.types.is_list(each)
        or pa.types.is_struct(each)
        or pa.types.is_map(each)
        for each in _kinds_within(kind)
    )


def test_only_plain_types_leave_whatever_the_files_hold(raw: RawClient, lakehouse: Path) -> None:
    odd = pa.table(
        {
            "view": pa.array(["a", None], pa.string_view()),
            "large": pa.array(["a", None], pa.large_string()),
            "binary_view": pa.array([b"a", None], pa.binary_view()),
            "large_binary": pa.array([b"a", None], pa.large_binary()),
            "dictionary": pa.array(["a", None]).dictionary_encode(),
            "large_list": pa.array([["a"], None], pa.large_list(pa.large_string())),
            "in_a_struct": pa.array([{"d": "a"}, None], pa.struct([("d", pa.large_string())])),
            "half": pa.array([1.5, None], pa.float16()),
            "small_decimal": pa.array([1, None], pa.decimal64(10, 2)),
        }
    )
    folder = lakehouse / "results"
    folder.mkdir(exist_ok=True)
    pq.write_table(odd, folder / "odd.parquet", store_schema=True)
    write(lakehouse / "results" / "every", every_kind())
    for source in ("results.odd", "results.every"):
        for sql in (
            f"SELECT * FROM {source}",
            f"SELECT DISTINCT * FROM (SELECT * FROM {source} LIMIT 1)",
        ):
            info = raw.info(sql)
            batches = raw.batches(sql)
            assert batches
            for schema in (info.schema, *(batch.schema for batch in batches)):
                assert all(_is_plain(field.type) for field in schema), schema
    rows = raw.fetch("SELECT * FROM results.odd")
    assert rows["view"].to_pylist() == ["a", None]
    assert rows["dictionary"].to_pylist() == ["a", None]
    assert rows["in_a_struct"].to_pylist() == [{"d": "a"}, None]


def test_no_metadata_of_files_or_logs_leaves(raw: RawClient, lakehouse: Path) -> None:
    secret = {b"path": b"/etc", b"note": b"secret"}
    field = pa.field("x", pa.int64(), metadata=secret)
    inner = pa.field("s", pa.struct([pa.field("y", pa.int64(), metadata=secret)]))
    schema = pa.schema([field, inner], metadata={b"pandas": b"secret"})
    rows = pa.Table.from_pylist([{"x": 1, "s": {"y": 2}}], schema=schema)
    (lakehouse / "results").mkdir(exist_ok=True)
    pq.write_table(rows, lakehouse / "results" / "noted.parquet")
    write(lakehouse / "results" / "noted_delta", rows)
    for name in ("noted", "noted_delta"):
        sql = f"SELECT *, x AS again FROM results.{name}"
        for schema in (raw.info(sql).schema, raw.schema(sql), raw.fetch(sql).schema):
            assert schema.metadata is None
            assert all(field.metadata is None for field in schema)
            assert schema.field("s").type.field(0).metadata is None


def test_nothing_but_the_rows_goes_along_with_them(raw: RawClient) -> None:
    info = raw.info("SELECT * FROM events")
    (endpoint,) = info.endpoints
    assert info.app_metadata == b""
    assert endpoint.app_metadata == b""
    assert all(chunk.app_metadata is None for chunk in raw.open(endpoint.ticket))
