"""Sums up the log of a table now and then, so that opening it reads few entries."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from flight_server.errors import LakeflightError
from flight_server.storage.creation import STAGING_PREFIX
from flight_server.storage.delta import delta_errors, open_delta
from flight_server.storage.durable import sync_file, sync_folder
from flight_server.storage.log import LOG_FOLDER

_LAST = "_last_checkpoint"

_log = logging.getLogger(__name__)


def make_checkpoint(
    root: Path, version: int, *, name: str, random_bytes: Callable[[int], bytes]
) -> bool:
    """Write the checkpoint of a version, durably; return whether it is there now.

    A failure costs time at the next opening and no more, so it is logged and not raised.
    """
    staging = root.parent / f"{STAGING_PREFIX}{random_bytes(8).hex()}"
    try:
        _make(root, staging, version, name)
    except (OSError, LakeflightError) as error:
        _log.warning("no checkpoint of %s at version %d: %s", name, version, error)
        return False
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return True


def _make(root: Path, staging: Path, version: int, name: str) -> None:
    """Let the library write beside the table, and sync the checkpoint before anything names it.

    The library writes checkpoint and ``_last_checkpoint`` at once and syncs neither: after a power
    cut the second may name a file that is empty, which makes the table unreadable.
    """
    log, copy = root / LOG_FOLDER, staging / LOG_FOLDER
    copy.mkdir(parents=True)
    with os.scandir(log) as entries:
        for entry in entries:
            if entry.is_file() and (entry.name[:1].isdigit() or entry.name == _LAST):
                os.link(entry.path, copy / entry.name)
    # The library writes into the file of that name; ours must not change with it.
    last = copy / _LAST
    content = last.read_bytes() if last.exists() else None
    last.unlink(missing_ok=True)
    if content is not None:
        last.write_bytes(content)
    table = open_delta(str(staging), version, name)
    with delta_errors(name):
        table.create_checkpoint()
    made = f"{version:020d}.checkpoint.parquet"
    sync_file(copy / made)
    sync_file(last)
    # A checkpoint that is there already says the same.
    if not (log / made).exists():
        os.link(copy / made, log / made)
    sync_folder(log)
    last.replace(log / _LAST)
    sync_folder(log)
