from __future__ import annotations

import stat
import threading
from pathlib import Path

from flight_server.storage.durable import make_folder, write_once


def test_of_many_writers_exactly_one_writes(tmp_path: Path) -> None:
    path = tmp_path / "entry.json"
    barrier = threading.Barrier(8)
    won: list[int] = []

    def write(number: int) -> None:
        barrier.wait()
        if write_once(path, b"%d" % number * 1000):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert path.read_bytes() == b"%d" % won[0] * 1000
    assert [entry.name for entry in tmp_path.iterdir()] == ["entry.json"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    write_once(tmp_path / "secret", b"x", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_only_the_folder_itself_is_made_private(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b", mode=0o700)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) & 0o700 == 0o700
    make_folder(tmp_path / "a" / "b", mode=0o755)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
