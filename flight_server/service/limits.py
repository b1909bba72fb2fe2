"""What the users of each tier may use: requests in a minute, queries in a day and at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from flight_server.errors import (
    LakeflightError,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from flight_server.storage.counters import Change, Counters

# What a user is limited by whose tier is not among the settings any more.
DEFAULT_TIER = "free"
MINUTE = 60_000
DAY = 86_400_000
# The numbers of a user: the queries of a day, what requests have begun, and groups of requests.
_DAY, _BEGUN, _GROUPS = 0, 1, 2
GROUPS_COUNT = 11
WIDTH = _GROUPS + GROUPS_COUNT
# Requests within so many milliseconds are one group where a tier allows more of them than there are
# groups. A minute touches as many spans of this length as there are groups.
GROUP_MILLISECONDS = 6_000
_COUNT_BITS, _DAY_BITS, _BEGUN_BITS = 22, 40, 16
_COUNT_MAX = (1 << _COUNT_BITS) - 1
_BEGUN_MAX = (1 << _BEGUN_BITS) - 1
_USERS_MAX = 1024
_PLACE_SECONDS = 1.0


class Step(Enum):
    """What a call is to the request that it belongs to.

    A query of a driver is up to five calls, and one request all the same: a call that goes on with
    what an earlier one has begun does not count again.
    """

    WHOLE = auto()  # a request by itself
    PREPARE = auto()  # begins what EXECUTE or CHANGE goes on with
    EXECUTE = auto()  # of a prepared statement; begins what FETCH goes on with
    CHANGE = auto()  # the same without a result to fetch
    DESCRIBE = auto()  # begins what FETCH goes on with
    FETCH = auto()


# What each step begins and goes on with: where its number stands among those of ``_BEGUN``.
_EXECUTIONS, _FETCHES = 0, _BEGUN_BITS
_BEGINS = {Step.PREPARE: _EXECUTIONS, Step.EXECUTE: _FETCHES, Step.DESCRIBE: _FETCHES}
_CONTINUES = {Step.EXECUTE: _EXECUTIONS, Step.CHANGE: _EXECUTIONS, Step.FETCH: _FETCHES}


@dataclass(frozen=True, slots=True)
class Tier:
    """The limits of the users of one tier; None is no limit."""

    requests_per_minute_max: int | None = None
    queries_per_day_max: int | None = None
    concurrent_queries_max: int | None = None


class Place:
    """The place of one query or change among those that its user may run."""

    __slots__ = ("_among", "_limits", "_user_id", "day")

    def __init__(self, limits: Limits, user_id: str, among: dict[Place, None]) -> None:
        self._limits = limits
        self._user_id = user_id
        self._among = among
        # The day that it counts for, in days since 1970; None when it does not count.
        self.day: int | None = None

    def leave(self) -> None:
        """Make room for another one; takes no lock, as any thread may do it in any state."""
        self._among.pop(self, None)

    def refused(self, error: BaseException) -> None:
        """Count it no longer where the error says that it was not let run."""
        if self.day is not None and _is_refusal(error):
            self._limits.give_back(self._user_id, self.day)
            self.day = None


class Limits:
    """Counts what users do and refuses what is too much; safe to use from many threads.

    All users of a tier have the same limits, and each their own counts, by id.
    """

    def __init__(self, tiers: Mapping[str, Tier], counters: Counters) -> None:
        self._tiers = tiers
        self._counters = counters
        self._lock = threading.Lock()
        self._places: dict[str, dict[Place, None]] = {}

    def request(self, user_id: str, tier: str, *, step: Step) -> None:
        """Count a call; LimitExceeded when there were too many requests in the last 60 seconds."""
        name, limits = self._limits_of(tier)
        most = limits.requests_per_minute_max
        if most is None:
            return
        now = self._counters.now()

        def rule(values: Sequence[int]) -> Change:
            begun = values[_BEGUN]
            begins, continues = _BEGINS.get(step), _CONTINUES.get(step)
            changed: tuple[tuple[int, int], ...] = ()
            if continues is not None and begun >> continues & _BEGUN_MAX:
                begun -= 1 << continues
            else:
                changed = (_counted(values, now, name=name, most=most),)
            if begins is not None and begun >> begins & _BEGUN_MAX < min(most, _BEGUN_MAX):
                begun += 1 << begins
            return (*changed, (_BEGUN, begun)), now + MINUTE

        self._counters.change(user_id, rule, now=now)

    def enter(self, user_id: str, tier: str) -> Place:
        """Give a query or change that starts now a place, to be left when it has ended.

        Raises LimitExceeded when the user runs as many as the tier allows, or has run as many on
        this day of UTC. Neither counts then.
        """
        name, limits = self._limits_of(tier)
        place = self._place(user_id, name, limits.concurrent_queries_max)
        most = limits.queries_per_day_max
        if most is not None:
            try:
                place.day = self._count_query(user_id, name, most)
            except BaseException:
                place.leave()
                raise
        return place

    def give_back(self, user_id: str, day: int) -> None:
        """Count one query of a day less; ``day`` is in days since 1970."""

        def rule(values: Sequence[int]) -> Change | None:
            counted_day, count = divmod(values[_DAY], 1 << _DAY_BITS)
            if counted_day != day or not count:
                return None
            return ((_DAY, values[_DAY] - 1),), (day + 1) * DAY

        self._counters.change(user_id, rule, now=self._counters.now())

    def _limits_of(self, tier: str) -> tuple[str, Tier]:
        limits = self._tiers.get(tier)
        return (DEFAULT_TIER, self._tiers[DEFAULT_TIER]) if limits is None else (tier, limits)

    def _place(self, user_id: str, tier: str, most: int | None) -> Place:
        with self._lock:
            among = self._places.get(user_id)
            if among is None:
                if len(self._places) >= _USERS_MAX:
                    self._places = {who: some for who, some in self._places.items() if some}
                among = self._places[user_id] = {}
            # Meanwhile others may leave, but only we can enter.
            if most is not None and len(among) >= most:
                raise LimitExceeded(
                    f"the tier {tier} allows {most} queries and changes of one user at the same"
                    f" time; tier={tier} concurrent_queries_max={most}",
                    retry_after_seconds=_PLACE_SECONDS,
                )
            place = Place(self, user_id, among)
            among[place] = None
            return place

    def _count_query(self, user_id: str, tier: str, most: int) -> int:
        """Count a query; return the day, in days since 1970, that it counts for."""
        now = self._counters.now()
        day = now // DAY

        def rule(values: Sequence[int]) -> Change:
            nonlocal day
            counted_day, count = divmod(values[_DAY], 1 << _DAY_BITS)
            # The clock may have been set back over midnight: a second quota is nobody's gain.
            if counted_day not in {day, day + 1}:
                counted_day, count = day, 0
            day = counted_day
            if count >= most:
                raise LimitExceeded(
                    f"the tier {tier} allows {most} queries and changes in one day of UTC;"
                    f" tier={tier} queries_per_day_max={most}",
                    retry_after_seconds=((day + 1) * DAY - now) / 1000,
                )
            return ((_DAY, day << _DAY_BITS | count + 1),), (day + 1) * DAY

        self._counters.change(user_id, rule, now=now)
        return day


def _counted(values: Sequence[int], now: int, *, name: str, most: int) -> tuple[int, int]:
    """Return which group of requests is to become what with one more request.

    A group counts for 60 seconds from its last request on, so that no 60 seconds ever hold more
    than ``most``. Each request is a group of its own where there are groups enough.
    """
    total, newest, free = 0, -1, -1
    for index in range(_GROUPS, WIDTH):
        word = values[index]
        # What lies in the future is damage, or the clock was set back.
        if now - MINUTE <= word >> _COUNT_BITS <= now + MINUTE:
            total += word & _COUNT_MAX
            if newest < 0 or word > values[newest]:
                newest = index
        elif free < 0:
            free = index
    if total >= most:
        raise LimitExceeded(
            f"the tier {name} allows {most} requests in 60 seconds;"
            f" tier={name} requests_per_minute_max={most}",
            retry_after_seconds=_room_after(values, now, excess=total - most + 1) / 1000,
        )
    if newest >= 0:
        at, count = divmod(values[newest], 1 << _COUNT_BITS)
        is_near = most > GROUPS_COUNT and at // GROUP_MILLISECONDS >= now // GROUP_MILLISECONDS
        if is_near or free < 0:
            return newest, max(at, now) << _COUNT_BITS | min(count + 1, _COUNT_MAX)
    return free, now << _COUNT_BITS | 1


def _room_after(values: Sequence[int], now: int, *, excess: int) -> int:
    """Return in how many milliseconds so many requests count no longer."""
    for word in sorted(values[_GROUPS:]):
        at, count = divmod(word, 1 << _COUNT_BITS)
        if now - MINUTE <= at <= now + MINUTE:
            excess -= count
            if excess <= 0:
                return at + MINUTE + 1 - now
    return MINUTE


def _is_refusal(error: BaseException) -> bool:
    """Whether an error means that a query was not let run, rather than that it failed."""
    if isinstance(error, LimitExceeded):
        return error.retry_after_seconds is not None  # others were reached by running
    return isinstance(error, LakeflightError) and isinstance(
        error, PermissionDenied | NotFound | Unavailable
    )
