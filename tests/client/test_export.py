"""Exports: what is written reads back the same, whole or not at all."""

from __future__ import annotations

import datetime as dt
import io
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from flight_server.client.export import Format, Harmless, replacing, sink
from flight_server.errors import AlreadyExists, InvalidRequest

TABLE = pa.table(
    {
        "n": pa.array([1, None, 3], pa.int32()),
        "text": pa.array(["a,b", "", None]),
        "price": pa.array([Decimal("1.50"), None, Decimal("2.25")]),
        "at": pa.array(
            [dt.datetime(2026, 1, 1, tzinfo=dt.UTC), None, None], pa.timestamp("us", "UTC")
        ),
        "tags": pa.array([["x"], [], None]),
        "raw": pa.array([b"\xff", None, b""]),
    }
)


def written(form: Format, table: pa.Table = TABLE, *, seekable: bool = True) -> bytes:
    out = io.BytesIO()
    target = sink(form, out, schema=table.schema, seekable=seekable)
    for batch in table.to_batches(max_chunksize=2):
        target.write(batch)
    target.close()
    return out.getvalue()


def test_csv() -> None:
    assert written(Format.CSV).decode().splitlines() == [
        '"n","text","price","at","tags","raw"',
        '1,"a,b",1.50,2026-01-01 00:00:00.000000Z,"[""x""]","\\xff"',
        ',"",,,"[]",',
        '3,,2.25,,,"\\x"',
    ]


def test_json_lines() -> None:
    rows = [json.loads(line) for line in written(Format.JSON).splitlines()]
    assert rows[0] == {
        "n": 1,
        "text": "a,b",
        "price": "1.50",
        "at": "2026-01-01 00:00:00Z",
        "tags": ["x"],
        "raw": "\\xff",
    }
    assert rows[2]["text"] is None
    assert rows[1]["tags"] == []


def test_arrow_and_parquet_keep_everything() -> None:
    assert pa.ipc.open_file(written(Format.ARROW)).read_all() == TABLE
    assert pa.ipc.open_stream(written(Format.ARROW, seekable=False)).read_all() == TABLE
    assert pq.read_table(io.BytesIO(written(Format.PARQUET))) == TABLE


def test_small_batches_share_a_row_group() -> None:
    table = pa.table({"n": range(10_000)})
    assert pq.read_metadata(io.BytesIO(written(Format.PARQUET, table))).num_row_groups == 1


@pytest.mark.parametrize("form", list(Format))
def test_no_rows(form: Format) -> None:
    assert written(form, TABLE.slice(0, 0)) or form is Format.JSON


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    with replacing(target, force=False) as stream:
        stream.write(b"x")
        assert not target.exists()
    assert target.read_bytes() == b"x"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with replacing(tmp_path / "out.csv", force=False) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_bytes(b"old")
    with pytest.raises(AlreadyExists), replacing(target, force=False):
        pass
    with replacing(target, force=True) as stream:
        stream.write(b"new")
    assert target.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    with pytest.raises(AlreadyExists), replacing(target, force=False):
        target.write_bytes(b"somebody else's")
    assert target.read_bytes() == b"somebody else's"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest), replacing(tmp_path / "no" / "out.csv", force=False):
        pass


def test_text_for_a_terminal_is_harmless() -> None:
    out = io.BytesIO()
    stream = Harmless(out)
    for piece in (b"a\x1b[2J\n", "\u00e9".encode()[:1], "\u00e9".encode()[1:], b"\r\n"):
        stream.write(piece)
    assert out.getvalue().decode() == "a\\x1b[2J\n\u00e9\\r\n"
    table = pa.table({"a": ["\x1b]0;owned\x07"]})
    shown = io.BytesIO()
    target = sink(Format.CSV, Harmless(shown), schema=table.schema)  # type: ignore[arg-type]  # the part of a stream that sinks use
    for batch in table.to_batches():
        target.write(batch)
    target.close()
    assert b"\x1b" not in shown.getvalue()
