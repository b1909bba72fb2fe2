"""What the use cases are made of, and where the lakehouse of the settings lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flight_server.audit.log import audit_folder
from flight_server.audit.table import TABLE_FOLDER
from flight_server.auth.stores import Stores
from flight_server.catalog.rulebook import Rulebook
from flight_server.clock import Clock
from flight_server.engine.base import Engine
from flight_server.ops import rights
from flight_server.ops.settings import Settings
from flight_server.protocol.tickets import Sealer
from flight_server.service.limits import Limits
from flight_server.service.signin import SignIn
from flight_server.service.standing import Standing
from flight_server.service.usage import Log
from flight_server.storage.locations import Location
from flight_server.telemetry.meters import Meters


@dataclass(frozen=True, slots=True)
class Parts:
    """What the use cases are made of."""

    settings: Settings
    engine: Engine
    sealer: Sealer
    clock: Clock
    random_bytes: Callable[[int], bytes]
    read_only: frozenset[str]
    rules: Rulebook
    limits: Limits
    audit: Log
    standing: Standing
    stores: Stores
    signin: SignIn
    meters: Meters


def buckets(settings: Settings) -> dict[str, Location]:
    """Return where all buckets lie; see ``ops.rights.buckets``."""
    return rights.buckets(settings)


def log_path(settings: Settings) -> Path:
    """Return the folder of the audit table, which this server alone writes."""
    return audit_folder(settings.storage.state_path) / TABLE_FOLDER
