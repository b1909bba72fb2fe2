"""Syncs what nobody waits for: soon, and many records at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

# How long a record may wait for others to be synced with it.
SOON_SECONDS_MAX = 0.02


class SoonSynced:
    """A thread that syncs a moment after it was asked; asking costs next to nothing.

    ``sync`` syncs everything that there is, and raises nothing.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._asked = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-sync", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask(self) -> None:
        """Have all that is there now synced within SOON_SECONDS_MAX and the time that it takes."""
        if not self._asked.is_set():
            self._asked.set()

    def close(self) -> None:
        """Stop; what was asked for and not begun is left to others. Safe before ``start``."""
        self._closing.set()
        self._asked.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            if self._closing.wait(SOON_SECONDS_MAX):
                return
            # Before the sync: who asks during it may have come too late for it.
            self._asked.clear()
            self._sync()
