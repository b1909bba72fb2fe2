"""Lets users of a lakehouse state purposes, before a server runs on it."""

from __future__ import annotations

import os
from pathlib import Path

from flight_server.catalog.resources import read_resource
from flight_server.clock import SystemClock
from flight_server.service.governed import open_rulebook
from flight_server.storage.locations import locate_all
from policies.decide import SYSTEM_BUCKET
from policies.names import Privilege
from policies.rules import Grant


def let_state(
    lake: Path,
    *purposes: str,
    user: str | None = None,
    role: str | None = None,
    on: str = "primary",
) -> None:
    """Let a user or a role read, for these purposes; the server's own bucket is made if need be."""
    system = lake / ".lakeflight"
    system.mkdir(parents=True, exist_ok=True)
    located = locate_all({"primary": os.fspath(lake), SYSTEM_BUCKET: os.fspath(system)})
    grant = Grant(
        Privilege.READ, read_resource(on), user=user, role=role, purposes=frozenset(purposes)
    )
    open_rulebook((), located, SystemClock()).add(grant, created_by=None)
