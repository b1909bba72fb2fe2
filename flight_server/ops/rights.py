"""Opens the rights of a lakehouse as the settings say, whether or not a server runs on it."""

from __future__ import annotations

from flight_server.clock import Clock
from flight_server.ops.accounts import open_users
from flight_server.ops.settings import Settings
from flight_server.service import governed
from flight_server.service.consents import KeptConsents
from flight_server.service.grants import Grants
from flight_server.service.hidden_keys import KeyStores
from flight_server.service.own_bucket import hash_key
from flight_server.service.rules import Rules
from flight_server.service.shapes import Shapes
from flight_server.storage.hash_keys import HashKey
from flight_server.storage.locations import Location, locate_all
from policies.decide import SYSTEM_BUCKET


def buckets(settings: Settings) -> dict[str, Location]:
    """Return where all buckets lie, the server's own included, by the name of their catalog.

    Raises InvalidRequest when two are one, Unsupported for a kind of storage that is not served.
    """
    storage = settings.storage
    return locate_all(
        {
            "primary": storage.primary_uri,
            **storage.buckets,
            SYSTEM_BUCKET: str(storage.system_path),
        }
    )


def open_consents(settings: Settings, clock: Clock) -> KeptConsents:
    """Return the consents of the lakehouse."""
    return KeptConsents(KeyStores.open(buckets(settings)[SYSTEM_BUCKET].root, clock).consents)


def open_hash_key(settings: Settings) -> HashKey:
    """Return the key of all hashes, whether or not there is one by now."""
    key = hash_key(buckets(settings))
    assert key is not None  # noqa: S101  the server's own bucket is always among them
    return key


def open_grants(settings: Settings, clock: Clock) -> Grants:
    """Return the grants of the lakehouse; InvalidRequest when the settings name none."""
    located = buckets(settings)
    rules = governed.open_rulebook(settings.policy_book().grants, located, clock)
    found = governed.build(located, rules.book, clock, narrowing=rules.narrowing)
    return Grants(
        rules,
        open_users(settings, clock),
        shapes=Shapes(found.registry, found.opener),
        buckets=lambda: settings.bucket_names,
    )


def open_rules(settings: Settings, clock: Clock) -> Rules:
    """Return the rules that narrow tables and safe views, for somebody on this machine."""
    located = buckets(settings)
    rulebook = governed.open_rulebook(settings.policy_book().grants, located, clock)
    found = governed.build(located, rulebook.book, clock, narrowing=rulebook.narrowing)
    return Rules(
        rulebook,
        open_users(settings, clock),
        shapes=Shapes(found.registry, found.opener),
    )
