"""What the server keeps in its own bucket for everybody: views, rules, and the key of hashes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from flight_server.catalog.rulebook import Narrowing, Rulebook
from flight_server.catalog.views import Views
from flight_server.clock import Clock
from flight_server.service.hidden_keys import KeyStores
from flight_server.storage.hash_keys import HashKey, no_key
from flight_server.storage.locations import Location
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import (
    FILTERS,
    GRANTS,
    LABELS,
    MASKS,
    SAFE_VIEWS,
    VIEWS,
    TableSpec,
)
from policies.decide import SYSTEM_BUCKET
from policies.purposes import GROUP_ROWS_MIN
from policies.rules import Grant


def open_views(buckets: Mapping[str, Location], clock: Clock) -> Views | None:
    """Return the views kept in the server's own bucket; None where there is no such bucket."""
    system = buckets.get(SYSTEM_BUCKET)
    if system is None:
        return None
    return Views(SystemTable(system.root, VIEWS, clock=clock, random_bytes=os.urandom), clock)


def open_rulebook(
    fixed: Iterable[Grant],
    buckets: Mapping[str, Location],
    clock: Clock,
    *,
    group_rows_min: int = GROUP_ROWS_MIN,
) -> Rulebook:
    """Return the rules in force: ``fixed``, and those kept in the server's own bucket."""
    system = buckets.get(SYSTEM_BUCKET)
    if system is None:
        return Rulebook(fixed, clock=clock, random_bytes=os.urandom, group_rows_min=group_rows_min)
    root = system.root

    def table(spec: TableSpec) -> SystemTable:
        return SystemTable(root, spec, clock=clock, random_bytes=os.urandom)

    return Rulebook(
        fixed,
        table(GRANTS),
        narrowing=Narrowing(table, clock=clock),
        clock=clock,
        random_bytes=os.urandom,
        group_rows_min=group_rows_min,
    )


def make_rule_tables(root: Path, clock: Clock) -> None:
    """Make the tables that keep rules where there are none, so that they can be read at any time.

    Raises Unavailable when the disk refuses.
    """
    for spec in (GRANTS, FILTERS, MASKS, LABELS, SAFE_VIEWS):
        SystemTable(root, spec, clock=clock, random_bytes=os.urandom).make()
    stores = KeyStores.open(root, clock)
    stores.tombstones.make()
    stores.consents.make()


def hash_secret(buckets: Mapping[str, Location]) -> Callable[[], bytes]:
    """Return what returns the key of all hashes, as it is at each moment."""
    key = hash_key(buckets)
    return no_key if key is None else key.current


def hash_key(buckets: Mapping[str, Location]) -> HashKey | None:
    """Return the key of all hashes; None where the server has no folder of its own."""
    system = buckets.get(SYSTEM_BUCKET)
    return None if system is None else HashKey(system.root, random_bytes=os.urandom)


def temporary_root(buckets: Mapping[str, Location]) -> Path | None:
    """Return the folder of all temporary tables; None where the server has no folder of its own."""
    system = buckets.get(SYSTEM_BUCKET)
    return None if system is None else system.root / "_temporary"
