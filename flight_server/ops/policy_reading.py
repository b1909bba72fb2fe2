"""Opens what answers questions about the rules, whether or not a server runs on the lakehouse."""

from __future__ import annotations

from pathlib import Path

from flight_server.auth.former import FormerUsers
from flight_server.catalog.editions import Editions
from flight_server.catalog.registry import Registry
from flight_server.clock import Clock
from flight_server.ops.rights import buckets
from flight_server.ops.settings import Settings
from flight_server.service import governed
from flight_server.service.explaining import Explainer, TombstoneCounts
from flight_server.service.hidden_keys import KeyStores
from flight_server.service.opening import Opener


def open_editions(settings: Settings) -> Editions:
    """Return the history of the rules; InvalidRequest when the settings name no lakehouse."""
    return Editions(settings.storage.system_path, settings.policy_book().grants)


def explainer(settings: Settings, registry: Registry, opener: Opener, clock: Clock) -> Explainer:
    """Return what answers questions, over what there is."""
    root: Path = settings.storage.system_path
    return Explainer(
        open_editions(settings),
        FormerUsers(root),
        registry,
        opener=opener,
        clock=clock,
        counting=TombstoneCounts(KeyStores.open(root, clock)),
    )


def open_explainer(settings: Settings, clock: Clock) -> Explainer:
    """Return the same for a folder; raises InvalidRequest when the settings name none."""
    located = buckets(settings)
    editions = open_editions(settings)
    found = governed.build(located, lambda: editions.newest().book, clock)
    return explainer(settings, found.registry, found.opener, clock)
