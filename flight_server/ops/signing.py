"""What the settings say about keys: those of this server, and those of other issuers."""

from __future__ import annotations

from flight_server.auth.issuers import IssuerRules
from flight_server.auth.keys import KeySources
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
