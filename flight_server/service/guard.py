"""Ends what runs with rights that were withdrawn: queries, writes and streams, within seconds.

Every call is checked when it comes in; this is for those that go on for longer. One thread looks at
all of them about once a second while there are any, and sleeps while there are none.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from flight_server.clock import Clock
from flight_server.errors import LakeflightError, PermissionDenied, Unauthenticated, Unavailable
from flight_server.service.request import Need
from flight_server.service.running import Run, Running
from flight_server.service.standing import Standing, withdrawn
from policies.names import Principal, Privilege, TableRef

LOOK_SECONDS = 1.0
# How long something may go on while nobody can tell whether it may. Together with the time of a
# look and the grace of a worker it stays within five seconds.
UNTOLD_SECONDS_MAX = 2.5
_STOPS_AT_ONCE_MAX = 32

_log = logging.getLogger(__name__)

# Whether somebody may still do something to a table.
May = Callable[[Principal, Privilege, TableRef], bool]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a run was let go on with, and when that was last known."""

    known_at: float
    state: tuple[str, Principal, tuple[Need, ...]] | None = None


class Guard:
    """Looks at what runs; ``start`` it once, and ``stop`` it.

    ``standing`` looks callers up anew, ``policy_version`` changes whenever what ``may`` says could,
    and never raises.
    """

    def __init__(
        self,
        running: Running,
        standing: Standing,
        *,
        may: May,
        policy_version: Callable[[], str],
        clock: Clock,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._running = running
        self._standing = standing
        self._may = may
        self._policy_version = policy_version
        self._clock = clock
        self._look_seconds = look_seconds
        self._seen: dict[Run, _Seen] = {}
        self._has_runs = threading.Event()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._running.when_entered(self._wake)
        self._has_runs.set()  # something may have begun before
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no longer; what runs is left alone."""
        self._is_over.set()
        self._has_runs.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> int:
        """Look at all that runs now, and end what may not go on; return how much runs."""
        now, version = self._clock.monotonic(), self._policy_version()
        seen: dict[Run, _Seen] = {}
        ended: list[tuple[Run, LakeflightError]] = []
        runs = [run for run in self._running.runs() if not run.is_stopped]
        for run in runs:
            before = self._seen.get(run) or _Seen(now)
            after = self._judged(run, before, now=now, version=version)
            if isinstance(after, LakeflightError):
                ended.append((run, after))
            else:
                seen[run] = after
        self._seen = seen
        self._end(ended)
        return len(runs)

    def _judged(
        self, run: Run, before: _Seen, *, now: float, version: str
    ) -> _Seen | LakeflightError:
        """Return what is known of a run now, or the error that it has to end with."""
        try:
            principal = self._standing(run.request)
            state = (version, principal, run.needs)
            if state != before.state and not all(
                self._may(principal, privilege, ref) for privilege, ref in run.needs
            ):
                return withdrawn()
            return _Seen(now, state)
        except (Unauthenticated, PermissionDenied) as error:
            return error
        except Exception as error:  # noqa: BLE001  whatever it is, it cannot be told
            # A disk that is away for a moment is no reason to end everything.
            if now - before.known_at < UNTOLD_SECONDS_MAX:
                return before
            if isinstance(error, LakeflightError):
                return error
            _log.exception("whether a query may go on cannot be told")
            return Unavailable("whether this may go on cannot be told")

    def _end(self, ended: list[tuple[Run, LakeflightError]]) -> None:
        """Stop runs; a worker may take its time to notice, and one must not wait for another."""
        for run, reason in ended:
            _log.info("ended query_id=%s reason=%s", run.query_id, reason.code)
            run.mark(reason)
        if ended:
            threads = ThreadPoolExecutor(
                min(len(ended), _STOPS_AT_ONCE_MAX), thread_name_prefix="guard"
            )
            for run, reason in ended:
                threads.submit(run.stop, reason)
            threads.shutdown(wait=False)

    def _watch(self) -> None:
        while not self._is_over.is_set():
            self._has_runs.wait()
            self._is_over.wait(self._look_seconds)
            # Cleared before the look: what begins meanwhile is looked at the next time.
            self._has_runs.clear()
            try:
                if self.look():
                    self._has_runs.set()
            except Exception:  # noqa: BLE001  the guard does not go away for anything
                _log.exception("what runs could not be looked at")
                self._has_runs.set()

    def _wake(self) -> None:
        if not self._has_runs.is_set():
            self._has_runs.set()
