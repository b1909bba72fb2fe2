"""Failed sign-ins make the next ones wait: by account and, where it is known, by address.

The first ``failures_max`` failures cost nothing. From then on an attempt is let through one second
after the last failure, then after 2, 4, 8 and so on up to ``failure_seconds_max``; failures are
forgotten when so long has passed without another one. An attempt is counted before the password is
looked at, and given back when it was right, so that a hundred guesses at once are as many tries as
a hundred in a row; those that the count does not allow yet wait for what becomes of the others.

Nobody can be kept out by the failures of others for good. An address from which an account was
signed in within the last 30 days has a count of its own for it, and neither the count of the
account nor that of the address is asked there. Tokens are no passwords: who holds one is never
asked to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from flight_server.clock import Clock
from flight_server.errors import LimitExceeded, Unauthenticated
from flight_server.storage.counters import Change, Counters

WIDTH = 1
KNOWN_MILLISECONDS = 30 * 86_400_000
# Longer names belong to no account; they are counted all the same.
_NAME_CHARACTERS_MAX = 256
_COUNT_BITS = 16
_COUNT_MAX = (1 << _COUNT_BITS) - 1
_DOUBLINGS_MAX = 20
_AT_ONCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ThrottleRules:
    """How many failures cost nothing, by account and by address, and for how long they count.

    ``wait_seconds_max`` is how long an attempt waits for others of the same account to end.
    """

    failures_max: int = 5
    failures_per_address_max: int = 50
    failure_seconds_max: int = 900
    wait_seconds_max: float = 10.0


@dataclass(frozen=True, slots=True)
class _Lane:
    """One count: under which name, how many failures it allows, and the setting that says so."""

    name: str
    most: int
    setting: str
    is_cleared: bool  # by a success


@dataclass(frozen=True, slots=True)
class _Reserved:
    """An attempt in a lane: when it was counted, and when the last failure before it was."""

    lane: _Lane
    at: int
    before: int


class Throttle:
    """Counts failed sign-ins; safe to use from many threads.

    Names count whether or not there is such an account, so that nobody learns which there are.
    """

    def __init__(self, counters: Counters, rules: ThrottleRules, *, clock: Clock) -> None:
        self._counters = counters
        self._rules = rules
        self._clock = clock
        self._forgotten_after = rules.failure_seconds_max * 1000
        self._settled = threading.Condition()
        # Attempts whose passwords are being looked at, by lane; in the counts already.
        self._pending: dict[str, int] = {}

    @contextmanager
    def attempt(self, username: str, address: str | None) -> Iterator[None]:
        """Count the block as an attempt: it fails when it raises Unauthenticated.

        Any other error says nothing about the password and does not count. Raises LimitExceeded
        before the block when the account or the address has to wait.
        """
        name = username[:_NAME_CHARACTERS_MAX].casefold()
        network = None if address is None else _network(address)
        attempt = self._enter(self._lanes(name, network))
        try:
            yield
        except Unauthenticated:
            self._leave(attempt, self._fail)
            raise
        except BaseException:
            self._leave(attempt, self._undo)
            raise
        self._leave(attempt, self._succeed)
        if network is not None:
            self._know(name, network)

    def _lanes(self, name: str, network: str | None) -> tuple[_Lane, ...]:
        rules = self._rules
        if network is not None and self._read(_known(name, network), is_time=False):
            own = f"own {name}\0{network}"
            return (_Lane(own, rules.failures_max, "failures_max", is_cleared=True),)
        account = _Lane(f"account {name}", rules.failures_max, "failures_max", is_cleared=True)
        if network is None:
            return (account,)
        most = rules.failures_per_address_max
        return (
            account,
            _Lane(f"address {network}", most, "failures_per_address_max", is_cleared=False),
        )

    def _enter(self, lanes: tuple[_Lane, ...]) -> list[_Reserved]:
        """Wait until every lane lets an attempt in, and count it in each."""
        deadline = self._clock.monotonic() + self._rules.wait_seconds_max
        with self._settled:
            # Each is asked: a lane that is closed refuses whatever the others do.
            while False in [self._is_open(lane) for lane in lanes]:
                left = deadline - self._clock.monotonic()
                if left <= 0 or not self._settled.wait(left):
                    raise LimitExceeded(
                        "too many sign-ins of one account at once; limit=auth.failures_max",
                        retry_after_seconds=_AT_ONCE_SECONDS,
                    )
            return [self._reserve(lane) for lane in lanes]

    def _leave(self, attempt: list[_Reserved], settle: Callable[[_Reserved, int], None]) -> None:
        with self._settled:
            for reserved in attempt:
                name = reserved.lane.name
                others = self._pending.pop(name) - 1
                if others:
                    self._pending[name] = others
                settle(reserved, others)
            self._settled.notify_all()

    def _is_open(self, lane: _Lane) -> bool:
        """Whether an attempt may start, False where others must end first; or LimitExceeded."""
        at, count = divmod(self._read(lane.name), 1 << _COUNT_BITS)
        if count < lane.most:
            return True
        if lane.name in self._pending:
            return False
        doublings = min(count - lane.most, _DOUBLINGS_MAX)
        seconds = min(1 << doublings, self._rules.failure_seconds_max)
        left = at + seconds * 1000 - self._counters.now()
        if left <= 0:
            return True
        # In words as well: drivers cannot show the rest of an error of a sign-in.
        raise LimitExceeded(
            f"too many failed sign-ins: the next one may be tried in {-(-left // 1000)} seconds;"
            f" limit=auth.{lane.setting}",
            retry_after_seconds=left / 1000,
        )

    def _read(self, name: str, *, is_time: bool = True) -> int:
        """Return what is counted under a name; 0 when it is too long ago to matter."""
        now = self._counters.now()
        found = [0]

        def look(values: Sequence[int]) -> None:
            found[0] = values[0]

        self._counters.change(name, look, now=now)
        at = found[0] >> _COUNT_BITS
        if is_time and not now - self._forgotten_after < at <= now + self._forgotten_after:
            return 0
        return found[0]

    def _write(self, name: str, at: int, count: int) -> None:
        now = self._counters.now()
        word = at << _COUNT_BITS | min(max(count, 0), _COUNT_MAX)
        until = max(at, now) + self._forgotten_after

        def put(_: Sequence[int]) -> Change:
            return ((0, word),), until

        self._counters.change(name, put, now=now)

    def _reserve(self, lane: _Lane) -> _Reserved:
        """Count an attempt as if it had failed."""
        before, count = divmod(self._read(lane.name), 1 << _COUNT_BITS)
        now = self._counters.now()
        self._write(lane.name, now, count + 1)
        self._pending[lane.name] = self._pending.get(lane.name, 0) + 1
        return _Reserved(lane, now, before)

    def _fail(self, reserved: _Reserved, others: int) -> None:  # noqa: ARG002  as the others
        _, count = divmod(self._read(reserved.lane.name), 1 << _COUNT_BITS)
        self._write(reserved.lane.name, self._counters.now(), max(count, 1))

    def _undo(self, reserved: _Reserved, others: int) -> None:  # noqa: ARG002  as the others
        at, count = divmod(self._read(reserved.lane.name), 1 << _COUNT_BITS)
        # Others may have failed since.
        last = reserved.before if at == reserved.at else at
        self._write(reserved.lane.name, last, count - 1)

    def _succeed(self, reserved: _Reserved, others: int) -> None:
        if reserved.lane.is_cleared:
            self._write(reserved.lane.name, self._counters.now(), others)
        else:
            self._undo(reserved, others)

    def _know(self, name: str, network: str) -> None:
        now = self._counters.now()

        def put(_: Sequence[int]) -> Change:
            return ((0, 1),), now + KNOWN_MILLISECONDS

        self._counters.change(_known(name, network), put, now=now)


def _known(name: str, network: str) -> str:
    return f"known {name}\0{network}"


def _network(address: str) -> str:
    """Return whom an address belongs to: of IPv6 addresses, one subscriber has a whole /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{int(parsed) >> 64:x}/64"
    return str(parsed)
