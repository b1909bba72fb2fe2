"""What a power cut would leave on the disk: only what was synced, and under synced names."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest


class Disk:
    """Watches every sync of this process and can rebuild a folder from nothing but those.

    ``at_sync`` is called after each one.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, tuple[int, bool]]] = {}
        self._real = os.fsync
        self.at_sync: Callable[[], None] = lambda: None
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, descriptor: int) -> None:
        self._real(descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(descriptor) as entries:
                self._names[status.st_ino] = {
                    entry.name: (entry.inode(), entry.is_dir()) for entry in entries
                }
        else:
            self._contents[status.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()
        self.at_sync()

    def after_a_power_cut(self, folder: Path, copy: Path) -> Path:
        """Make a copy of a folder as it would be found again; the folder itself is there."""
        self._rebuild(folder.stat().st_ino, copy)
        return copy

    def _rebuild(self, inode: int, copy: Path) -> None:
        copy.mkdir(parents=True)
        for name, (child, is_folder) in self._names.get(inode, {}).items():
            if is_folder:
                self._rebuild(child, copy / name)
            else:
                # A file whose name was synced and whose content was not is found empty.
                (copy / name).write_bytes(self._contents.get(child, b""))
