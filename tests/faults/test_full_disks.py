"""Storage that refuses to be written: one clean error each, and the table is as it was."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pytest
from adbc_driver_manager import Error

from tests.faults.disks import mounted, no_space_left
from tests.faults.lanes import KEY_OPTION
from tests.faults.writing import Watched
from tests.rpc.failures import Failure, failure_in
from tests.servers import Server, running

DISK_BYTES = 24 * 1024 * 1024
SMALL_ROWS = 1000
LARGE = "SELECT value AS id, md5(CAST(value AS VARCHAR)) AS text FROM generate_series(1, 3000000)"
STATEMENTS = {
    "insert": f"INSERT INTO s.t {LARGE}",
    "insert a row": "INSERT INTO s.t VALUES (0, 'x')",
    "update": "UPDATE s.t SET text = 'x' WHERE id = 1",
    "merge": "MERGE INTO s.t USING (VALUES (1)) n(id) ON t.id = n.id"
    " WHEN MATCHED THEN UPDATE SET text = 'x'",
    "delete": "DELETE FROM s.t WHERE id = 1",
    "truncate": "TRUNCATE TABLE s.t",
    "optimize": "OPTIMIZE s.t ZORDER BY (text)",
    "create": f"CREATE TABLE s.made AS {LARGE}",
    "create without rows": "CREATE TABLE s.made (id BIGINT)",
    "replace": f"CREATE OR REPLACE TABLE s.t AS {LARGE}",
    "add a column": "ALTER TABLE s.t ADD COLUMN more BIGINT",
    "schema": "CREATE SCHEMA other",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server over a disk of DISK_BYTES."""
    folder = tmp_path_factory.mktemp("disk")
    options = ("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "lakeflight-test")
    with mounted(*options, at=folder), running(folder) as server:
        make_table(server)
        yield server


def make_table(server: Server) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA s")
        cursor.execute(
            "CREATE TABLE s.t AS SELECT value AS id, CAST(value AS VARCHAR) AS text"
            f" FROM generate_series(1, {SMALL_ROWS})"
        )


@contextmanager
def signed_in(server: Server, *, full: bool) -> Iterator[flightsql.Connection]:
    """Connect, and then take all space away where the disk is to be full.

    A sign-in is kept on the disk, so that nobody new comes in when it is full.
    """
    filled = no_space_left(server.directory) if full else nullcontext()
    with server.connect() as connection, filled:
        yield connection


def refused(server: Server, sql: str, *, full: bool = False) -> Failure:
    with signed_in(server, full=full) as connection, connection.cursor() as cursor:
        with pytest.raises(Error) as caught:
            cursor.execute(sql)
        return failure_in(caught.value)


def refused_load(server: Server, *, rows: int, full: bool = False) -> Failure:
    values: Any = {
        "id": range(rows),
        "text": [f"{value * 7919 % 999983:x}" for value in range(rows)],
    }
    with signed_in(server, full=full) as connection, connection.cursor() as cursor:
        table = pa.Table.from_pydict(values)
        reader = table.to_reader(max_chunksize=50_000)
        with pytest.raises(Error) as caught:
            cursor.adbc_ingest("t", reader, mode="append", db_schema_name="s")
        return failure_in(caught.value)


def assert_refused(failure: Failure, table: Watched) -> None:
    """Fail unless the error is clean, and neither a file nor a folder was left."""
    assert failure.code == "unavailable"
    assert str(table.server.directory) not in failure.text
    assert table.new_files() == set()
    assert table.staged() == []
    table.assert_untouched()
    assert not (table.path.parent / "made").exists()
    rows = table.server.fetch("SELECT count(*) AS c, min(id) AS a, max(id) AS z FROM s.t")
    assert rows.to_pylist() == [{"c": SMALL_ROWS, "a": 1, "z": SMALL_ROWS}]


def assert_writable(table: Watched) -> None:
    with table.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO s.t VALUES (0, 'next')")
        assert cursor.rowcount == 1
        cursor.execute("DELETE FROM s.t WHERE id = 0")
        assert cursor.rowcount == 1
    assert "Traceback" not in table.server.errors(), table.server.errors()


@pytest.mark.parametrize("kind", ["insert", "create", "replace"])
def test_rows_that_do_not_fit_the_disk(small: Server, kind: str) -> None:
    table = Watched(small, "s", "t")
    assert_refused(refused(small, STATEMENTS[kind]), table)
    assert_writable(table)


def test_a_load_that_does_not_fit_the_disk(small: Server) -> None:
    table = Watched(small, "s", "t")
    assert_refused(refused_load(small, rows=6_000_000), table)
    assert_writable(table)


# The mark of a schema is an empty file, and that may find its place.
@pytest.mark.parametrize("kind", [kind for kind in STATEMENTS if kind != "schema"])
def test_a_disk_without_any_space(small: Server, kind: str) -> None:
    table = Watched(small, "s", "t")
    assert_refused(refused(small, STATEMENTS[kind], full=True), table)
    assert_writable(table)


def test_a_load_onto_a_disk_without_any_space(small: Server) -> None:
    table = Watched(small, "s", "t")
    assert_refused(refused_load(small, rows=10, full=True), table)
    assert_writable(table)


def test_nobody_new_comes_in_without_any_space(small: Server) -> None:
    with no_space_left(small.directory), pytest.raises(Error, match="Unavailable"):
        small.fetch("SELECT 1")
    assert small.fetch("SELECT 1 AS n").to_pylist() == [{"n": 1}]


def test_a_refused_write_is_made_when_it_is_repeated_with_its_key(small: Server) -> None:
    table = Watched(small, "s", "t")
    with small.connect() as connection, connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{KEY_OPTION: "after the space"})
        sql = "INSERT INTO s.t VALUES (0, 'once')"
        with no_space_left(small.directory), pytest.raises(flightsql.Error):
            cursor.execute(sql)
        table.assert_untouched()
        for _ in range(2):
            cursor.execute(sql)
            assert cursor.rowcount == 1
        assert small.fetch("SELECT * FROM s.t WHERE id = 0").num_rows == 1
    with small.connect() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM s.t WHERE id = 0")


def test_what_makes_space_works_without_space(small: Server) -> None:
    table = Watched(small, "s", "t")
    with small.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE s.other AS SELECT * FROM s.t")
        with no_space_left(small.directory):
            cursor.execute("VACUUM s.t RETAIN 0 HOURS")
            cursor.execute("DROP TABLE s.other")
    assert not (small.directory / "s" / "other").exists()
    table.assert_untouched()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write below a folder away from everybody."""
    if os.geteuid() == 0:
        with mounted("--bind", str(folder), at=folder):
            subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
            yield
        return
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    try:
        for each in folders:
            each.chmod(0o555)
        yield
    finally:
        for each in folders:
            each.chmod(0o755)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("read-only")) as server:
        make_table(server)
        yield server


@pytest.mark.parametrize("kind", [kind for kind in STATEMENTS if kind != "schema"])
def test_a_folder_that_became_read_only(plain: Server, kind: str) -> None:
    table = Watched(plain, "s", "t")
    with read_only(table.path.parent):
        assert_refused(refused(plain, STATEMENTS[kind]), table)
    assert_writable(table)


def test_a_load_into_a_folder_that_became_read_only(plain: Server) -> None:
    table = Watched(plain, "s", "t")
    with read_only(table.path.parent):
        assert_refused(refused_load(plain, rows=10), table)
        assert_refused(refused(plain, "DROP TABLE s.t"), table)
    assert_writable(table)


def test_files_that_may_not_be_that_large(plain: Server) -> None:
    """The one refusal of storage that needs no rights to be had; it comes in the middle."""
    table = Watched(plain, "s", "t")
    plain.fetch("SELECT 1 AS n")
    processes = [plain.process.pid, *plain.worker_pids()]
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in processes}
    try:
        for pid, (_, hard) in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4 * 1024 * 1024, hard))
        assert_refused(refused(plain, STATEMENTS["insert"]), table)
        assert_refused(refused_load(plain, rows=2_000_000), table)
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    assert_writable(table)
