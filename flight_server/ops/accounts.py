"""Opens the accounts of a lakehouse as the settings say, whether or not a server runs on it."""

from __future__ import annotations

import os

from flight_server.auth.passwords import PasswordOptions, Passwords
from flight_server.auth.personal import PersonalLimits, PersonalTokens
from flight_server.auth.sessions import SessionStore
from flight_server.auth.stores import Stores
from flight_server.auth.users import UserStore
from flight_server.clock import Clock
from flight_server.ops.settings import Settings
from flight_server.service.signin import SessionRules
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import SESSIONS, TOKENS, USERS, TableSpec


def open_stores(settings: Settings, clock: Clock) -> Stores:
    """Return the accounts of the lakehouse; InvalidRequest when the settings name none."""
    auth = settings.auth

    def table(spec: TableSpec) -> SystemTable:
        return SystemTable(settings.storage.system_path, spec, clock=clock, random_bytes=os.urandom)

    limits = PersonalLimits(
        tokens_max=auth.personal_tokens_max, seconds_max=auth.personal_token_seconds_max
    )
    return Stores(
        open_users(settings, clock),
        SessionStore(table(SESSIONS), clock=clock),
        PersonalTokens(table(TOKENS), limits, clock=clock, random_bytes=os.urandom),
    )


def open_users(settings: Settings, clock: Clock) -> UserStore:
    """Return the users of the lakehouse; InvalidRequest when the settings name none."""
    auth = settings.auth
    options = PasswordOptions(
        time_cost=auth.argon2_time_cost,
        memory_kib=auth.argon2_memory_kib,
        parallelism=auth.argon2_parallelism,
        hashing_concurrent_max=auth.hashing_concurrent_max,
        hashing_waiting_max=auth.hashing_waiting_max,
        hashing_wait_seconds_max=auth.hashing_wait_seconds_max,
        password_bytes_max=auth.password_bytes_max,
    )
    return UserStore(
        SystemTable(settings.storage.system_path, USERS, clock=clock, random_bytes=os.urandom),
        Passwords(options),
        clock=clock,
        random_bytes=os.urandom,
        tiers=tuple(settings.all_tiers),
    )


def session_rules(settings: Settings) -> SessionRules:
    """Return how long sessions last and how many a user may have."""
    return SessionRules(
        token_seconds=settings.auth.token_seconds_max,
        refresh_seconds=settings.auth.refresh_seconds_max,
        sessions_max={name: tier.sessions_max for name, tier in settings.all_tiers.items()},
    )
