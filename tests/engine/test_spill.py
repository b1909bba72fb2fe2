"""The folder for spilling: it goes with its gateway, and after a crash with the next one."""

from __future__ import annotations

import os
from pathlib import Path

from flight_server.engine.spill import SpillFolder


def test_it_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = SpillFolder(tmp_path)
    (folder.for_worker() / "part").write_bytes(b"x")
    folder.close()
    folder.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_gateway_left_is_removed_and_a_living_ones_stays(tmp_path: Path) -> None:
    abandoned, living = SpillFolder(tmp_path), SpillFolder(tmp_path)
    (abandoned.for_worker() / "part").write_bytes(b"x")
    os.close(abandoned._lock)  # as the kernel does when the process ends
    third = SpillFolder(tmp_path)
    assert not abandoned.path.exists()
    assert living.path.exists()
    living.close()
    third.close()


def test_it_is_nobody_elses_to_read(tmp_path: Path) -> None:
    folder = SpillFolder(tmp_path)
    assert folder.path.stat().st_mode & 0o077 == 0
    folder.close()
