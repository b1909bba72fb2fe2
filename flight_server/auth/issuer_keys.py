"""The keys of one issuer: fetched when they are needed, kept while they may be.

One thread at a time fetches, whatever tokens come: forged ones cannot make this server hammer an
issuer, nor can an issuer that hangs hold up those whose keys are known.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from flight_server.auth.key_sets import KeySet
from flight_server.auth.keys import Key
from flight_server.auth.signed import refuse
from flight_server.clock import Clock
from flight_server.errors import LakeflightError, Unavailable

# Between two attempts, whether or not the first one was a success.
REFETCH_SECONDS_MIN = 5.0
WAIT_SECONDS_MAX = 5.0
WAITING_MAX = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """The keys as they were fetched, and when, by the monotonic clock."""

    keys: KeySet
    at: float


class IssuerKeys:
    """The keys of one issuer; safe to use from many threads.

    Keys are used for ``seconds_max`` without asking, and for ``offline_seconds_max`` (if that is
    longer) while asking fails. ``load`` fetches them and raises a LakeflightError when it cannot.
    """

    def __init__(
        self,
        title: str,
        load: Callable[[], KeySet],
        *,
        seconds_max: float,
        offline_seconds_max: float,
        clock: Clock,
    ) -> None:
        self._title = title
        self._load = load
        self._fresh_seconds_max = seconds_max
        self._seconds_max = max(seconds_max, offline_seconds_max)
        self._clock = clock
        self._condition = threading.Condition()
        self._known: _Known | None = None
        self._attempted_at: float | None = None
        self._is_fetching = False
        self._has_failed = False
        self._waiting = 0

    def find(self, kid: str | None, algorithm: str) -> Key:
        """Return the key that a token names.

        Raises Unauthenticated when the issuer has no such key, Unavailable when it has not said in
        time which keys it has. Waits for a fetch only when nothing else can tell, or now and then.
        """
        wanted, now, known = (kid, algorithm), self._clock.monotonic(), self._known
        if known is not None and (key := known.keys.get(wanted)) is not None:
            age = now - known.at
            if age < self._fresh_seconds_max:
                return key
            if age < self._seconds_max:
                # The first to find them old waits for what the issuer says now; others need not,
                # and nobody does while it is away.
                self._renew(now, others_wait=False, starter_waits=not self._has_failed)
                return self._known_key(wanted) or refuse()
        self._renew(now, others_wait=True, starter_waits=True)
        return self._known_key(wanted) or refuse()

    def prefetch(self) -> None:
        """Start to fetch the keys, so that the first token need not wait."""
        self._renew(self._clock.monotonic(), others_wait=False, starter_waits=False)

    def _known_key(self, wanted: tuple[str | None, str]) -> Key | None:
        known = self._known
        if known is None or self._clock.monotonic() - known.at >= self._seconds_max:
            raise Unavailable(
                f"the keys of the issuer {self._title} are not known; try again",
                retry_after_seconds=REFETCH_SECONDS_MIN,
            )
        return known.keys.get(wanted)

    def _renew(self, now: float, *, others_wait: bool, starter_waits: bool) -> None:
        """Have the keys fetched unless that was tried lately; wait for it where it is asked for."""
        with self._condition:
            if self._is_fetching:
                if not others_wait:
                    return
            else:
                tried = self._attempted_at
                if tried is not None and now - tried < REFETCH_SECONDS_MIN:
                    return
                self._start(now)
                if not starter_waits:
                    return
            if self._waiting >= WAITING_MAX:
                raise Unavailable(
                    f"too many wait for the keys of the issuer {self._title}",
                    retry_after_seconds=1.0,
                )
            self._waiting += 1
            try:
                self._condition.wait_for(lambda: not self._is_fetching, WAIT_SECONDS_MAX)
            finally:
                self._waiting -= 1

    def _start(self, now: float) -> None:
        self._attempted_at = now
        self._is_fetching = True
        try:
            threading.Thread(target=self._fetch, name="issuer keys", daemon=True).start()
        except RuntimeError:  # the machine has no thread left for us
            self._is_fetching = False
            self._has_failed = True

    def _fetch(self) -> None:
        keys: KeySet | None = None
        try:
            keys = self._load()
        except LakeflightError as error:
            _log.warning("the keys of the issuer %s were not fetched: %s", self._title, error)
        except Exception:  # noqa: BLE001  whatever it is, the next attempt must be possible
            _log.exception("the keys of the issuer %s were not fetched", self._title)
        finally:
            with self._condition:
                self._is_fetching = False
                self._has_failed = keys is None
                if keys is not None:
                    self._known = _Known(self._same(keys), self._clock.monotonic())
                self._condition.notify_all()

    def _same(self, keys: KeySet) -> KeySet:
        """Return the keys with those objects that are known already, so that ``is`` tells them."""
        before = {} if self._known is None else self._known.keys
        return {
            name: before[name] if before.get(name) == key else key for name, key in keys.items()
        }
