"""The tables of accounts in a folder, opened as the server opens them, with cheap hashes."""

from __future__ import annotations

import os
from pathlib import Path

from flight_server.auth.passwords import PasswordOptions, Passwords
from flight_server.auth.personal import PersonalLimits, PersonalTokens
from flight_server.auth.sessions import Session, SessionStore
from flight_server.auth.stores import Stores
from flight_server.auth.users import UserStore
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import SESSIONS, TOKENS, USERS, TableSpec
from tests.clocks import StandingClock

CHEAP = PasswordOptions(time_cost=1, memory_kib=8, parallelism=1)


def open_table(root: Path, spec: TableSpec, clock: StandingClock) -> SystemTable:
    return SystemTable(root, spec, clock=clock, random_bytes=os.urandom)


def open_stores(
    root: Path,
    clock: StandingClock,
    *,
    passwords: Passwords | None = None,
    limits: PersonalLimits | None = None,
) -> Stores:
    return Stores(
        UserStore(
            open_table(root, USERS, clock),
            passwords or Passwords(CHEAP),
            clock=clock,
            random_bytes=os.urandom,
        ),
        SessionStore(open_table(root, SESSIONS, clock), clock=clock),
        PersonalTokens(
            open_table(root, TOKENS, clock), limits, clock=clock, random_bytes=os.urandom
        ),
    )


def session(
    session_id: str, clock: StandingClock, *, user_id: str = "u", seconds: int = 60
) -> Session:
    now = clock.now()
    ends = now.fromtimestamp(now.timestamp() + seconds, now.tzinfo)
    return Session(session_id, user_id, None, 1, ends, now)
