"""Opens what is counted of users across restarts: their requests, queries and failed sign-ins."""

from __future__ import annotations

from dataclasses import dataclass

from flight_server.auth.throttle import WIDTH as FAILURES_WIDTH
from flight_server.auth.throttle import Throttle, ThrottleRules
from flight_server.clock import Clock
from flight_server.ops.settings import Settings
from flight_server.protocol.tickets import derive_key
from flight_server.service.limits import WIDTH, Limits, Tier
from flight_server.storage.counters import Counters, open_counters

# About as many users may have a count at the same time; 4 MiB.
USERS_MAX = 32_768
# The same of accounts and addresses with failed sign-ins, which strangers choose: a file of their
# own, so that no flood of names pushes out a user's count; 2 MiB.
FAILURES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Counting:
    """What counts, and its files."""

    limits: Limits
    throttle: Throttle
    files: tuple[Counters, ...]

    def close(self) -> None:
        """Write every count to the disk; nothing is counted after this."""
        for each in self.files:
            each.close()


def open_counting(settings: Settings, secret: bytes, clock: Clock) -> Counting:
    """Open the counters in the state folder; the secret hides whose they are.

    Where they cannot be written they are kept in memory, with a warning in the log.
    """
    folder, auth = settings.storage.state_path, settings.auth
    users = open_counters(
        folder / "counters",
        key=derive_key(secret, "counters"),
        width=WIDTH,
        slots=USERS_MAX,
        clock=clock,
    )
    failures = open_counters(
        folder / "failures",
        key=derive_key(secret, "failed sign-ins"),
        width=FAILURES_WIDTH,
        slots=FAILURES_MAX,
        clock=clock,
    )
    rules = ThrottleRules(
        failures_max=auth.failures_max,
        failures_per_address_max=auth.failures_per_address_max,
        failure_seconds_max=auth.failure_seconds_max,
        wait_seconds_max=auth.hashing_wait_seconds_max,
    )
    tiers = {
        name: Tier(
            requests_per_minute_max=tier.requests_per_minute_max,
            queries_per_day_max=tier.queries_per_day_max,
            concurrent_queries_max=tier.concurrent_queries_max,
        )
        for name, tier in settings.all_tiers.items()
    }
    throttle = Throttle(failures, rules, clock=clock)
    return Counting(Limits(tiers, users), throttle, (users, failures))
