"""Opens the grants of a lakehouse as the settings say, whether or not a server runs on it."""

from __future__ import annotations

from flight_server.clock import Clock
from flight_server.ops.accounts import open_users
from flight_server.ops.settings import Settings
from flight_server.service.governed import open_rulebook
from flight_server.service.grants import Grants
from flight_server.storage.locations import locate
from policies.decide import SYSTEM_BUCKET


def open_grants(settings: Settings, clock: Clock) -> Grants:
    """Return the grants of the lakehouse; InvalidRequest when the settings name none."""
    system = {SYSTEM_BUCKET: locate(SYSTEM_BUCKET, str(settings.storage.system_path))}
    rules = open_rulebook(settings.policy_book().grants, system, clock)
    return Grants(rules, open_users(settings, clock), buckets=lambda: settings.bucket_names)
