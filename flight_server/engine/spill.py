"""Where one gateway's workers put what does not fit in memory, and how it goes away again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "lakeflight-spill-"
_PREFIX_UNLOCKED = "lakeflight-new-spill-"


class SpillFolder:
    """A folder that belongs to this process for as long as it lives.

    It is locked; the kernel lifts the lock when the process ends in whatever way, and the next
    gateway removes what it finds unlocked.
    """

    def __init__(self, parent: Path | None) -> None:
        base = Path(tempfile.gettempdir()) if parent is None else parent
        _remove_abandoned(base)
        # Locked before it has the name that others look for.
        made = Path(tempfile.mkdtemp(prefix=_PREFIX_UNLOCKED, dir=base))
        self._lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = made.rename(made.with_name(made.name.replace(_PREFIX_UNLOCKED, _PREFIX, 1)))

    def for_worker(self) -> Path:
        """Make a folder for one worker."""
        return Path(tempfile.mkdtemp(prefix="worker-", dir=self.path))

    def close(self) -> None:
        """Remove the folder and all in it; safe to call again."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(lock)


def _remove_abandoned(base: Path) -> None:
    for path in base.glob(f"{_PREFIX}*"):
        # Another user's, or gone meanwhile, or still locked: none of our business.
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
