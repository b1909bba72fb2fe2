"""Opens the grants of a lakehouse as the settings say, whether or not a server runs on it."""

from __future__ import annotations

import os

from flight_server.catalog.rulebook import Rulebook
from flight_server.clock import Clock
from flight_server.ops.accounts import open_users
from flight_server.ops.settings import Settings
from flight_server.service.grants import Grants
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import GRANTS


def open_grants(settings: Settings, clock: Clock) -> Grants:
    """Return the grants of the lakehouse; InvalidRequest when the settings name none."""
    table = SystemTable(settings.storage.system_path, GRANTS, clock=clock, random_bytes=os.urandom)
    rules = Rulebook(settings.policy_book().grants, table, clock=clock, random_bytes=os.urandom)
    return Grants(rules, open_users(settings, clock), buckets=lambda: settings.bucket_names)
