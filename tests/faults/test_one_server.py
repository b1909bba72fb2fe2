"""One server writes a folder: a second one is turned away, and a dead one is out of the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lakehouse import build_lakehouse
from tests.servers import Server, running, wait_until

COUNT = "SELECT count(*) AS n FROM events"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_lakehouse(tmp_path)
    return tmp_path


def test_a_second_server_is_turned_away_unless_it_only_reads(folder: Path) -> None:
    with running(folder) as server:
        with pytest.raises(AssertionError, match="another server has the bucket primary"):
            running(folder).__enter__()
        with (
            running(folder, read_only=True) as beside,
            running(folder, read_only=True) as another,
        ):
            assert another.fetch(COUNT).to_pylist() == [{"n": 3}]
            assert beside.fetch(COUNT).to_pylist() == [{"n": 3}]
            _insert(server, 4)
            assert beside.fetch(COUNT).to_pylist() == [{"n": 4}]
        _insert(server, 5)
    with running(folder) as server:
        assert server.fetch(COUNT).to_pylist() == [{"n": 5}]


def test_a_killed_server_has_left_its_folder_to_the_next(folder: Path) -> None:
    with running(folder, environment={"LAKEFLIGHT_WORKERS__COUNT_MIN": "2"}) as server:
        wait_until(lambda: len(server.worker_pids()) >= 2, what="two workers")
        _insert(server, 4)
        mine = server.process.pid
        template = _parent(server.worker_pids()[0])
        locks = list(folder.rglob(".lakeflight.lock"))
        assert len(locks) == 2  # of the tables, and of the server's own
        assert sorted(path for path in _open_files(mine) if path in locks) == sorted(locks)
        # Who inherits a lock keeps it when its owner dies.
        for pid in (template, *server.worker_pids()):
            assert not set(_open_files(pid)) & set(locks)
        server.process.kill()
        server.process.wait()
        with running(folder) as following:
            _insert(following, 5)
            assert following.fetch(COUNT).to_pylist() == [{"n": 5}]


def _insert(server: Server, number: int) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO events VALUES (?, 'x')", (number,))
        assert cursor.rowcount == 1


def _parent(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def _open_files(pid: int) -> Iterator[Path]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            yield descriptor.readlink()
