from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flight_server import errors
from flight_server.storage.locations import Location, locate
from flight_server.storage.roots import LOCK_NAME, RootLock, clean
from tests.delta_log import numbers
from tests.storage.writing import NAME, Written


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return locate("primary", tmp_path)


def test_a_second_server_is_told_that_there_is_one(location: Location) -> None:
    lock = RootLock(location)
    assert lock.writable
    with pytest.raises(errors.InvalidRequest, match="primary") as caught:
        RootLock(location)
    assert caught.value.code == "invalid_settings"
    lock.close()
    lock.close()
    RootLock(location).close()


def test_the_lock_ends_with_its_process(location: Location) -> None:
    script = (
        "import sys\n"
        "from flight_server.storage.locations import locate\n"
        "from flight_server.storage.roots import RootLock\n"
        "lock = RootLock(locate('primary', sys.argv[1]))\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(location.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(errors.InvalidRequest):
            RootLock(location)
        process.kill()
        process.wait()
        RootLock(location).close()


def test_a_root_that_is_not_there_or_not_ours_is_read_only(tmp_path: Path) -> None:
    lock = RootLock(locate("primary", tmp_path / "missing"))
    assert not lock.writable
    assert clean(lock) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_root_without_permission_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert not RootLock(locate("primary", tmp_path)).writable
    tmp_path.chmod(0o700)


def test_left_overs_go_and_nothing_else_does(location: Location) -> None:
    root = location.root
    table = Written(root / "sales" / "orders").create(numbers(0, 2))
    table.creation.stage(root / "sales" / "begun", name=NAME)
    table.creation.stage(root / "top", name=NAME)
    (root / "_dropped-1" / "deep").mkdir(parents=True)
    (root / "_other").mkdir()
    (root / "_new-file").write_bytes(b"")
    (root / "link").symlink_to(root / "sales")
    lock = RootLock(location)
    assert clean(lock) == 3
    assert clean(lock) == 0
    lock.close()
    assert table.ids() == [0, 1]
    assert sorted(p.name for p in root.iterdir()) == sorted(
        [LOCK_NAME, "sales", "_other", "_new-file", "link"]
    )
