"""What the log of a table adds up to: read once, then carried forward entry by entry.

Reads the JSON entries and classic checkpoints itself, because a commit needs what the Delta library
does not hand out: the files exactly as the log names them, and the transactions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flight_server.errors import Unsupported
from flight_server.storage.delta_actions import (
    Action,
    ActiveFile,
    TableMetadata,
    TableProtocol,
    file_of,
    metadata_of,
    protocol_of,
)
from flight_server.storage.log import (
    LOG_FOLDER,
    LogListing,
    Mark,
    check_version,
    commit_path,
    list_log,
    mark_of,
)
from flight_server.storage.snapshots import damaged, no_version

# Of all transactions only those that we wrote are kept: nobody asks for the others.
APP_PREFIX = "lakeflight:"
# How the entries that we write name their writer, before its version.
ENGINE = "lakeflight/"
_FILE_LEAVES = (
    *("path", "partitionValues", "size", "modificationTime", "stats", "tags", "deletionVector"),
)


@dataclass(slots=True)
class LogState:
    """A table at one version; ``apply`` moves it on. Not safe to share between threads.

    ``files`` are the active ones by their path on disk, or None where they were not asked for. The
    ``last_…`` are versions: the newest that changed rows, that took rows away, that changed what
    the table is. ``mark`` is that of the newest entry. ``base`` is the version of the checkpoint
    that was read, or -1; ``unsynced`` are the versions after it whose entries others wrote, so
    that a power cut might still take them, and ``names_synced`` says that it takes no name from
    the log.
    """

    root: str
    version: int = -1
    mark: Mark | None = None
    protocol: TableProtocol | None = None
    metadata: TableMetadata | None = None
    transactions: dict[str, int] = field(default_factory=dict)
    files: dict[str, ActiveFile] | None = None
    last_data: int = -1
    last_removal: int = -1
    last_definition: int = -1
    base: int = -1
    unsynced: list[int] = field(default_factory=list)
    names_synced: bool = False

    @property
    def folder(self) -> str:
        """The folder of the log."""
        return f"{self.root}/{LOG_FOLDER}"

    @property
    def weight(self) -> int:
        """About how many values are held."""
        return 1 + len(self.transactions) + len(self.files or ())

    def is_newest(self) -> bool:
        """Whether our entry is in place and none follows: two looks at the folder."""
        return self.is_in_place() and not os.path.lexists(
            commit_path(self.folder, self.version + 1)
        )

    def is_in_place(self) -> bool:
        """Whether the log is still the one that was read."""
        return self.mark is not None and mark_of(commit_path(self.folder, self.version)) == (
            self.mark
        )

    def follow(self, version: int, actions: Sequence[Action]) -> None:
        """Move on to a version that was found in the log."""
        self.apply(version, actions)
        self.names_synced = False
        # Our own entries and their files are synced before they get their name.
        if not any(_is_ours(action) for action in actions):
            self.unsynced.append(version)

    def apply(self, version: int, actions: Iterable[Action]) -> None:
        """Move on to a version by the actions of its entry."""
        self.version = version
        for action in actions:
            if (added := action.get("add")) is not None:
                self._add(version, added)
            elif (removed := action.get("remove")) is not None:
                self._remove(version, removed)
            elif (transaction := action.get("txn")) is not None:
                self._remember(transaction)
            elif (described := action.get("metaData")) is not None:
                self.metadata = metadata_of(described)
                self.last_definition = version
            elif (asked := action.get("protocol")) is not None:
                self.protocol = protocol_of(asked)
                self.last_definition = version

    def _add(self, version: int, action: Action) -> None:
        if action.get("dataChange", True):
            self.last_data = version
        if self.files is not None:
            file = file_of(action)
            self.files[file.key] = file

    def _remove(self, version: int, action: Action) -> None:
        if action.get("dataChange", True):
            self.last_data = self.last_removal = version
        if self.files is not None:
            self.files.pop(unquote(str(action["path"])), None)

    def _remember(self, action: Action) -> None:
        app_id = str(action["appId"])
        if app_id.startswith(APP_PREFIX):
            self.transactions[app_id] = int(action["version"])


def _is_ours(action: Action) -> bool:
    info = action.get("commitInfo")
    return info is not None and str(info.get("engineInfo")).startswith(ENGINE)


def read_entry(folder: str, version: int, name: str) -> list[Action]:
    """Return the actions of one entry.

    Raises Unavailable (``table_damaged``) for one that is gone, empty or torn.
    """
    try:
        content = Path(commit_path(folder, version)).read_bytes()
        actions = [json.loads(line) for line in content.splitlines() if line.strip()]
    except (OSError, ValueError):
        raise damaged(name, f"the commit of version {version} cannot be read") from None
    if not actions or not all(isinstance(action, dict) for action in actions):
        raise damaged(name, f"the commit of version {version} is empty or is no commit")
    return actions


def read_state(root: str, name: str, *, version: int | None = None, with_files: bool) -> LogState:
    """Read a table's state at its newest version, or at one of its versions.

    ``root`` is the table's absolute folder. Raises NotFound (``version_not_found``), Unavailable
    (``table_damaged``), Unsupported for a log in a form that is not known here.
    """
    folder = f"{root}/{LOG_FOLDER}"
    listing = list_log(folder, name)
    wanted = listing.latest if version is None else version
    check_version(listing, wanted, name)
    state = _from_checkpoint(root, listing, wanted, name=name, with_files=with_files)
    try:
        for number in range(state.version + 1, wanted + 1):
            state.follow(number, read_entry(folder, number, name))
        state.mark = mark_of(commit_path(folder, wanted)) or listing.mark(wanted)
    except (KeyError, TypeError, ValueError):
        raise damaged(name, "its log holds what is no action") from None
    if state.protocol is None or state.metadata is None or state.mark is None:
        raise damaged(name, "its log does not say what the table is")
    return state


def advance(state: LogState, name: str) -> None:
    """Carry a state forward over the entries that follow it.

    Raises Unavailable (``table_damaged``).
    """
    while True:
        following = state.version + 1
        mark = mark_of(commit_path(state.folder, following))
        if mark is None:
            return
        try:
            state.follow(following, read_entry(state.folder, following, name))
        except (KeyError, TypeError, ValueError):
            raise damaged(name, "its log holds what is no action") from None
        state.mark = mark


def _from_checkpoint(
    root: str, listing: LogListing, version: int, *, name: str, with_files: bool
) -> LogState:
    """Begin at the newest checkpoint that can be read; an empty state where none is needed."""
    bases = sorted((v for v in listing.checkpoints if v <= version), reverse=True)
    for base in bases:
        if any(number not in listing.commits for number in range(base + 1, version + 1)):
            break
        state = LogState(root, files={} if with_files else None)
        try:
            for action in checkpoint_actions(
                listing.folder, base, name=name, with_files=with_files
            ):
                state.apply(base, action)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            continue  # left half-written by a power cut; the entries before it may still be there
        if state.metadata is not None and state.protocol is not None:
            state.last_data = state.last_removal = state.last_definition = state.base = base
            return state
    if all(number in listing.commits for number in range(version + 1)):
        return LogState(root, files={} if with_files else None)
    raise (
        no_version(name, f"no longer has version {version}")
        if (version < listing.latest)
        else damaged(name, "its checkpoint cannot be read")
    )


def checkpoint_actions(
    folder: str, version: int, *, name: str, with_files: bool, with_removes: bool = False
) -> Iterator[list[Action]]:
    """Read the actions of a classic checkpoint.

    Raises OSError or an Arrow error for what cannot be read, Unsupported for a V2 checkpoint.
    """
    whole = Path(folder, f"{version:020d}.checkpoint.parquet")
    parts = sorted(Path(folder).glob(f"{version:020d}.checkpoint.[0-9]*.[0-9]*.parquet"))
    paths = [whole] if whole.exists() else parts
    if not paths:
        raise Unsupported(f"the table {name} cannot be written here: it has V2 checkpoints")
    wanted = ["protocol", "metaData", "txn"]
    if with_files:
        wanted += [f"add.{leaf}" for leaf in _FILE_LEAVES]
    if with_removes:
        wanted += ["remove.path", "remove.deletionTimestamp", "remove.dataChange"]
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=wanted):
                yield from _rows(batch)


def _rows(batch: pa.RecordBatch) -> Iterator[list[Action]]:
    for kind in batch.schema.names:
        column: Any = batch.column(kind)
        present = pc.drop_null(column)
        yield [{kind: row} for row in present.to_pylist(maps_as_pydicts="lossy") if row is not None]
