"""Opens the accounts of a lakehouse as the settings say, whether or not a server runs on it."""

from __future__ import annotations

import os

from flight_server.auth.passwords import PasswordOptions, Passwords
from flight_server.auth.users import UserStore
from flight_server.clock import Clock
from flight_server.ops.settings import Settings
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import USERS


def open_users(settings: Settings, clock: Clock) -> UserStore:
    """Return the users of the lakehouse; InvalidRequest when the settings name none."""
    auth = settings.auth
    options = PasswordOptions(
        time_cost=auth.argon2_time_cost,
        memory_kib=auth.argon2_memory_kib,
        parallelism=auth.argon2_parallelism,
        hashing_concurrent_max=auth.hashing_concurrent_max,
        hashing_wait_seconds_max=auth.hashing_wait_seconds_max,
        password_bytes_max=auth.password_bytes_max,
    )
    table = SystemTable(settings.storage.system_path, USERS, clock=clock, random_bytes=os.urandom)
    return UserStore(table, Passwords(options), clock=clock, random_bytes=os.urandom)
