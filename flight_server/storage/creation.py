"""Makes, drops and renames tables and schemas, each in one step that a crash cannot split.

A table is built whole in a hidden folder and renamed into its place; one that goes is renamed out
of it first. Names beginning with ``_`` are seen by no catalog. The caller checks names for what
they mean; here they are only kept from leading elsewhere.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa

from flight_server.clock import Clock
from flight_server.errors import AlreadyExists, InvalidRequest, NotFound, Unavailable
from flight_server.storage.changes import Change, Committed, unknown_outcome
from flight_server.storage.delta_actions import (
    TableMetadata,
    entry_bytes,
    millis,
    schema_text,
)
from flight_server.storage.durable import make_folder, sync_folder, write_once
from flight_server.storage.entries import first_actions
from flight_server.storage.log import LOG_FOLDER, commit_path
from flight_server.storage.parquet import SUFFIX

STAGING_PREFIX = "_new-"
DROPPED_PREFIX = "_dropped-"
SCHEMA_MARKER = "_schema"
# The settings of new tables: what was remembered of a write's idempotency key goes after a month.
NEW_TABLE_CONFIGURATION = {"delta.setTransactionRetentionDuration": "interval 30 days"}
# A rename of a folder replaces an empty folder, and nothing else: then it fails with one of these.
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})

_log = logging.getLogger(__name__)


class Creation:
    """Makes and removes tables and schemas. Safe to share between threads."""

    def __init__(self, clock: Clock, *, random_bytes: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._random_bytes = random_bytes

    def metadata(
        self,
        schema: pa.Schema,
        *,
        partition_columns: tuple[str, ...] = (),
        description: str | None = None,
        configuration: Mapping[str, str] | None = None,
    ) -> TableMetadata:
        """Return what a new table is, or what a table is replaced by, with an identity of its own.

        Fields keep NOT NULL and comments. Raises SchemaMismatch for a type that Delta lacks.
        """
        return TableMetadata(
            id=str(uuid.UUID(bytes=self._random_bytes(16), version=4)),
            schema_text=schema_text(schema),
            partition_columns=partition_columns,
            configuration=NEW_TABLE_CONFIGURATION if configuration is None else configuration,
            description=description,
            created_ms=millis(self._clock.now()),
        )

    def stage(self, final: Path, *, name: str) -> Path:
        """Make the hidden folder in which the table for ``final`` is built, and return it.

        The folder above is made when it is missing, as for a schema that nobody created. Raises
        AlreadyExists when the place is taken by now, Unavailable.
        """
        _check_place(final)
        _check_free(final, name)
        staged = final.parent / f"{STAGING_PREFIX}{self._random_bytes(8).hex()}"
        try:
            make_folder(staged / LOG_FOLDER)
        except OSError:
            raise Unavailable(f"the table {name} cannot be made: storage refuses") from None
        return staged

    def publish(
        self, staged: Path, final: Path, *, change: Change, metadata: TableMetadata, name: str
    ) -> Committed:
        """Write version 0 of a staged table and put it into its place, durably.

        ``change`` brings the files, which lie in ``staged``, synced with their folders. On an error
        the staged folder stays, for ``discard``. Raises AlreadyExists when the place was taken
        meanwhile, Unsupported, Unavailable (``commit_unknown`` as in ``Commits.commit``).
        """
        _check_place(final)
        actions = first_actions(change, metadata, name=name, at_ms=millis(self._clock.now()))
        try:
            write_once(Path(commit_path(str(staged / LOG_FOLDER), 0)), entry_bytes(actions))
            sync_folder(staged)
            _check_free(final, name)
            staged.rename(final)
        except OSError as error:
            if error.errno in _TAKEN:
                raise _taken(name) from None
            raise Unavailable(f"the table {name} cannot be made: storage refuses") from None
        try:
            sync_folder(final.parent)
        except OSError:
            raise unknown_outcome(name) from None
        return Committed(0, change.rows)

    def discard(self, staged: Path) -> None:
        """Remove a staged folder that is not published; never raises."""
        if staged.name.startswith(STAGING_PREFIX):
            shutil.rmtree(staged, ignore_errors=True)

    def drop(self, path: Path, *, name: str) -> None:
        """Remove a table: gone for everybody at once, then from the disk.

        Hold ``Commits.vacuuming`` meanwhile. Raises NotFound (``table_not_found``), Unavailable.
        """
        self._drop(path, kind="table", name=name)

    def rename(self, path: Path, new_path: Path, *, new_name: str, name: str) -> None:
        """Give a table another name in the same bucket.

        Hold ``Commits.vacuuming`` of both meanwhile. Raises NotFound, AlreadyExists, Unavailable.
        """
        _check_place(path)
        _check_place(new_path)
        _check_free(new_path, new_name)
        try:
            path.rename(new_path)
            sync_folder(new_path.parent)
            sync_folder(path.parent)
        except FileNotFoundError:
            if new_path.parent.is_dir():
                raise _no_table(name) from None
            raise NotFound(f"there is no schema for {new_name}", code="schema_not_found") from None
        except OSError as error:
            if error.errno in _TAKEN:
                raise _taken(new_name) from None
            raise Unavailable(f"the table {name} cannot be renamed: storage refuses") from None

    def make_schema(self, path: Path, *, name: str) -> None:
        """Make a schema: a folder with a mark, so that it is one without tables too.

        Raises AlreadyExists when it has the mark, Unavailable.
        """
        _check_place(path)
        try:
            make_folder(path)
            made = write_once(path / SCHEMA_MARKER, b"")
        except OSError:
            raise Unavailable(f"the schema {name} cannot be made: storage refuses") from None
        if not made:
            raise AlreadyExists(f"there is a schema {name} already", code="schema_exists")

    def drop_schema(self, path: Path, *, name: str) -> None:
        """Remove a schema with all that is in it; the caller has looked what that is.

        Raises NotFound (``schema_not_found``), Unavailable.
        """
        self._drop(path, kind="schema", name=name)

    def _drop(self, path: Path, *, kind: str, name: str) -> None:
        _check_place(path)
        aside = path.parent / f"{DROPPED_PREFIX}{self._random_bytes(8).hex()}"
        try:
            path.rename(aside)
            sync_folder(path.parent)
        except FileNotFoundError:
            raise NotFound(f"there is no {kind} {name}", code=f"{kind}_not_found") from None
        except OSError:
            raise Unavailable(f"the {kind} {name} cannot be dropped: storage refuses") from None
        _remove(aside, name)


def _remove(folder: Path, name: str) -> None:
    """Remove what nobody sees any more; what stays goes at the next start of a server."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        _log.warning("a part of what %s was stays on disk for now: %s", name, error.strerror)


def _check_place(path: Path) -> None:
    """Check that a path cannot lead elsewhere, whatever its names came from."""
    last = path.name
    if not last or last.startswith((".", "_")) or "\0" in str(path) or ".." in path.parts:
        raise InvalidRequest("this name cannot be used on disk")


def _check_free(path: Path, name: str) -> None:
    """Check that nothing is there, a Parquet file of that name included.

    An empty folder is no table, and gives way.
    """
    if path.is_dir() and not path.is_symlink():
        if any(path.iterdir()):
            raise _taken(name)
    elif os.path.lexists(path):
        raise _taken(name)
    if os.path.lexists(path.with_name(path.name + SUFFIX)):
        raise _taken(name)


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"there is a table {name} already", code="table_exists")


def _no_table(name: str) -> NotFound:
    return NotFound(f"there is no table {name}", code="table_not_found")
