"""Whether the server can do its work now, part by part; no part can hold up another."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

_log = logging.getLogger(__name__)

# A part that has not answered by then counts as not ready.
ANSWER_SECONDS_MAX = 2.0


class State(StrEnum):
    """What is said of a part."""

    READY = "ready"
    NOT_READY = "not ready"
    NO_ANSWER = "no answer"


class Readiness:
    """Asks ``checks`` by the name of the part; each has a thread of its own, and only that one.

    A check that hangs, such as one of a network drive that is gone, is asked no more until it
    comes back.
    """

    def __init__(self, checks: Mapping[str, Callable[[], bool]]) -> None:
        self._checks = dict(sorted(checks.items()))
        self._threads = {
            name: ThreadPoolExecutor(1, thread_name_prefix=f"ready-{name}") for name in self._checks
        }
        self.last: dict[str, State] = dict.fromkeys(self._checks, State.NOT_READY)

    @property
    def is_ready(self) -> bool:
        """Whether all parts were ready when they were asked last."""
        return all(state is State.READY for state in self.last.values())

    async def ask(self) -> None:
        """Ask all parts; ``last`` says what they answered."""
        states = await asyncio.gather(*map(self._ask, self._checks))
        self.last = dict(zip(self._checks, states, strict=True))

    def close(self) -> None:
        """Ask no more."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, name: str) -> State:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                ready = await loop.run_in_executor(self._threads[name], self._checks[name])
        except TimeoutError:
            return State.NO_ANSWER
        except Exception:  # noqa: BLE001  a check that fails says no; the log says why
            _log.exception("the check of %s failed", name)
            return State.NOT_READY
        return State.READY if ready else State.NOT_READY


def are_readable(folders: list[Path]) -> bool:
    """Whether all of these folders can be listed."""
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                next(entries, None)
        except OSError:
            return False
    return True
