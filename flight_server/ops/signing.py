"""What the settings say about keys: those of this server, and those of other issuers."""

from __future__ import annotations

import os

from flight_server.auth.external import ExternalAccounts
from flight_server.auth.issuers import IssuerRules, Issuers
from flight_server.auth.keys import KeySources
from flight_server.auth.users import UserStore
from flight_server.clock import Clock
from flight_server.errors import InvalidRequest
from flight_server.ops.settings import Settings


def key_sources(settings: Settings) -> KeySources:
    """Return the sources of all keys; InvalidRequest when the settings name no system folder."""
    auth = settings.auth
    return KeySources(
        system_folder=settings.storage.system_path,
        secret=None if auth.secret is None else auth.secret.get_secret_value().encode(),
        previous_secrets=tuple(each.get_secret_value().encode() for each in auth.previous_secrets),
        signing_key=auth.signing_key,
        verification_keys=auth.verification_keys,
        algorithms=auth.algorithms,
    )


def issuer_rules(settings: Settings) -> list[IssuerRules]:
    """Return what is accepted of each configured issuer."""
    tiers = frozenset(settings.all_tiers)
    return [
        IssuerRules(name=name, tiers=tiers, **dict(issuer))
        for name, issuer in settings.issuers.items()
    ]


def open_external(settings: Settings, users: UserStore, clock: Clock) -> ExternalAccounts | None:
    """Return the accounts of other issuers and begin to fetch their keys; None without issuers.

    Raises InvalidRequest (``invalid_settings``) for issuers that cannot be told apart or asked
    safely.
    """
    rules = issuer_rules(settings)
    if not rules:
        return None
    if any(each.issuer == settings.auth.issuer for each in rules):
        raise InvalidRequest(
            "auth.issuer: is that of another system, whose tokens could not be told from ours",
            code="invalid_settings",
        )
    issuers = Issuers(rules, clock=clock)
    issuers.prefetch()
    return ExternalAccounts(users, issuers, random_bytes=os.urandom)
