"""Files that survive a power cut: written and synced before anybody is told that they exist."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path


def make_folder(folder: Path, *, mode: int = 0o755) -> None:
    """Make a folder and its missing parents, and sync the entries that name them.

    ``mode`` is that of the folder itself. Does nothing when it is there. Raises OSError.
    """
    target = folder
    missing: list[Path] = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=mode if each == target else 0o755, exist_ok=True)
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file durable, whoever wrote it. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_once(path: Path, content: bytes, *, mode: int = 0o644) -> bool:
    """Write a new file, complete and durable, or leave the one that is there.

    Returns whether this call wrote it: of several writers exactly one does, and nobody ever sees a
    part of the content. Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix="_", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        # A link fails when the name is taken, where a rename would replace the other's file.
        os.link(name, path)
    except FileExistsError:
        return False
    finally:
        Path(name).unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def remove_files(paths: Sequence[Path]) -> None:
    """Remove files that nobody refers to yet; missing ones are fine."""
    for path in paths:
        path.unlink(missing_ok=True)
