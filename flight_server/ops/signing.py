"""Where the settings say that the keys of this server come from."""

from __future__ import annotations

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
