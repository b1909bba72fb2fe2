"""What other programs left in a table's log: made durable before we build on it."""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from urllib.parse import unquote

from flight_server.clock import Clock
from flight_server.storage.durable import sync_file, sync_folder
from flight_server.storage.log import commit_path
from flight_server.storage.replay import LogState, read_entry

# The kernel writes dirty pages back after 30 seconds; older data files need no sync of ours.
WRITTEN_BACK_SECONDS = 600.0
# The temporary names of ``durable.write_once``.
_TORN = re.compile(r"_[a-z0-9_]{8}\.tmp")

_log = logging.getLogger(__name__)


def sync_foreign(state: LogState, name: str, *, clock: Clock) -> None:
    """Sync the entries of a state that this process did not write, and their newest files.

    Other writers sync nothing: a power cut could take one of their entries and leave ours behind
    it, and a log with a gap is unreadable. Raises OSError.
    """
    if state.names_synced:
        return
    folders: set[Path] = set()
    for version in state.unsynced:
        path = Path(commit_path(state.folder, version))
        age = clock.now().timestamp() - path.stat().st_mtime
        sync_file(path)
        if age < WRITTEN_BACK_SECONDS:
            folders |= _sync_data(state, version, name)
    if state.base >= 0:
        for checkpoint in Path(state.folder).glob(f"{state.base:020d}.checkpoint*.parquet"):
            sync_file(checkpoint)
    for folder in folders:
        sync_folder(folder)
    sync_folder(Path(state.folder))
    state.unsynced.clear()
    state.names_synced = True


def _sync_data(state: LogState, version: int, name: str) -> set[Path]:
    """Sync the data files that an entry added; return the folders that name them."""
    folders: set[Path] = set()
    root = Path(state.root)
    for action in read_entry(state.folder, version, name):
        added = action.get("add")
        if added is None:
            continue
        path = root / unquote(str(added["path"]))
        if ".." in path.parts or not path.is_relative_to(root):
            continue
        # A file that is gone was taken out again, or is missed by whoever reads the table.
        with contextlib.suppress(FileNotFoundError):
            sync_file(path)
            between = [path.parent, *path.parent.parents]
            folders.update(folder for folder in between if folder.is_relative_to(root))
    return folders


def remove_torn_entries(folder: Path, *, clock: Clock) -> None:
    """Remove entries that were begun when a server was killed; they never got a number.

    Younger ones than WRITTEN_BACK_SECONDS stay, since another writer may be about to finish them.
    Never raises.
    """
    oldest = clock.now().timestamp() - WRITTEN_BACK_SECONDS
    try:
        for path in list(folder.iterdir()):
            if _TORN.fullmatch(path.name) and path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("left-over files stay in a log: %s", error.strerror)
