"""The root folder of a bucket: one server at a time, and nothing left over from the last one."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from flight_server.errors import InvalidRequest, Unavailable
from flight_server.storage.creation import DROPPED_PREFIX, STAGING_PREFIX
from flight_server.storage.durable import make_folder
from flight_server.storage.locations import Location

LOCK_NAME = ".lakeflight.lock"
_STATE_LOCK = "state.lock"
LEFT_OVERS_REMOVED_MAX = 10_000

_log = logging.getLogger(__name__)


class RootLock:
    """Holds the root of one bucket for this process, until closed or until the process ends.

    ``writable`` is false for a root that this process may not write: it is served read-only, and
    others may serve it as well. Raises InvalidRequest (``invalid_settings``) when another server
    holds the root. A process that forks shares the lock with its child: open it after.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._descriptor = self._open(location.root / LOCK_NAME)
        if self._descriptor is None:
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise InvalidRequest(
                f"another server has the bucket {location.catalog}; one root, one server",
                code="invalid_settings",
            ) from None
        except OSError as error:  # some network file systems have no such locks
            _log.warning("the bucket %s cannot be locked: %s", location.catalog, error.strerror)

    @property
    def writable(self) -> bool:
        """Whether tables of this root can be written here."""
        return self._descriptor is not None

    def close(self) -> None:
        """Let go of the root; safe to call again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @staticmethod
    def _open(path: Path) -> int | None:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # not ours, mounted read-only, or not there
            return None


class StateLock:
    """Holds a folder for the state of this server alone: the first of several that is free.

    ``folder`` is that one, made when it was missing. Raises InvalidRequest (``invalid_settings``)
    when other servers have all of them, Unavailable when none can be used.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            descriptor = self._take(folder)
            if descriptor is not None:
                self.folder, self._descriptor = folder, descriptor
                return
        raise InvalidRequest(
            "another server has this folder for its state: set storage.state to one of its own",
            code="invalid_settings",
        )

    def close(self) -> None:
        """Let go of the folder; safe to call again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @staticmethod
    def _take(folder: Path) -> int | None:
        try:
            make_folder(folder, mode=0o700)
            descriptor = os.open(folder / _STATE_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            _log.error("the folder for this server's state cannot be used: %s", error)
            raise Unavailable("the folder for this server's state cannot be used") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:  # some network file systems have no such locks
            _log.warning("the folder for this server's state cannot be locked: %s", error.strerror)
        return descriptor


def clean(lock: RootLock) -> int:
    """Remove what was begun or dropped when the last server ended; return how many folders.

    The lock proves that nobody is at work on them. At most LEFT_OVERS_REMOVED_MAX at a time, and
    what cannot be removed stays: never raises.
    """
    if not lock.writable:
        return 0
    removed = 0
    root = lock.location.root
    for folder in (root, *_folders(root)):
        for each in _folders(folder):
            if not each.name.startswith((STAGING_PREFIX, DROPPED_PREFIX)):
                continue
            if removed >= LEFT_OVERS_REMOVED_MAX:
                return removed
            try:
                shutil.rmtree(each)
            except OSError as error:
                _log.warning(
                    "left-overs stay in the bucket %s: %s", lock.location.catalog, error.strerror
                )
            else:
                removed += 1
    if removed:
        _log.info("removed %d left-over folders of %s", removed, lock.location.catalog)
    return removed


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(each.path) for each in entries if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []
