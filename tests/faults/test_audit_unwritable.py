"""What a server does when its audit log cannot be written: nothing, unless reads may go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import adbc_driver_flightsql.dbapi as flightsql
import pytest
from adbc_driver_manager import Error

from tests.faults.disks import mounted, no_space_left
from tests.lakehouse import build_lakehouse
from tests.rpc.failures import failure_in
from tests.servers import Server, running, wait_until

DISK_BYTES = 24 * 1024 * 1024
READ = "SELECT count(*) AS n FROM events"
CHANGE = "INSERT INTO events VALUES (9, 'x')"


@contextmanager
def with_a_small_disk(folder: Path, when_unwritable: str) -> Iterator[Server]:
    """Serve tables on a large disk, with the server's own state on a small one."""
    lake, state = folder / "lake", folder / "state"
    lake.mkdir()
    state.mkdir()
    build_lakehouse(lake)
    options = ("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "lakeflight-test")
    settings = {
        "LAKEFLIGHT_STORAGE__STATE": str(state),
        "LAKEFLIGHT_AUDIT__SEGMENT_BYTES_MAX": "65536",
        "LAKEFLIGHT_AUDIT__READS_WHEN_UNWRITABLE": when_unwritable,
    }
    with mounted(*options, at=state), running(lake, environment=settings) as server:
        yield server


def code_of(connection: flightsql.Connection, sql: str) -> str:
    """Run a statement and return how it ended."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            cursor.fetch_arrow_table()
    except Error as error:
        return failure_in(error).code
    return "ok"


def use_up(connection: flightsql.Connection, sql: str) -> str:
    """Repeat a statement until the space that was taken ahead is used up; return what it hears."""
    for _ in range(2000):
        code = code_of(connection, sql)
        if code != "ok":
            return code
    raise AssertionError("the journal never ran out of space")


@pytest.mark.slow
def test_without_room_for_records_everything_is_refused_until_there_is_room(
    tmp_path: Path,
) -> None:
    with with_a_small_disk(tmp_path, "refuse") as server, server.connect() as connection:
        with no_space_left(tmp_path / "state"):
            assert use_up(connection, READ) == "audit_unavailable"
            assert code_of(connection, READ) == "audit_unavailable"
            assert code_of(connection, CHANGE) == "audit_unavailable"
        wait_until(lambda: code_of(connection, READ) == "ok", what="records are taken again")
        assert code_of(connection, CHANGE) == "ok"
        assert server.fetch(READ).to_pylist() == [{"n": 4}]


@pytest.mark.slow
def test_reads_may_go_on_and_changes_never(tmp_path: Path) -> None:
    with with_a_small_disk(tmp_path, "allow") as server, server.connect() as connection:
        with no_space_left(tmp_path / "state"):
            assert use_up(connection, CHANGE) == "audit_unavailable"
            assert code_of(connection, READ) == "ok"
            before = len(list((tmp_path / "lake" / "events").glob("*.parquet")))
            assert code_of(connection, CHANGE) == "audit_unavailable"
            assert len(list((tmp_path / "lake" / "events").glob("*.parquet"))) == before
        wait_until(lambda: code_of(connection, CHANGE) == "ok", what="records are taken again")
