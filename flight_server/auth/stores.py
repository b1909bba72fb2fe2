"""The tables that say who may call, together: accounts, sessions, tokens."""

from __future__ import annotations

from dataclasses import dataclass

from flight_server.auth.personal import PersonalTokens
from flight_server.auth.sessions import SessionStore
from flight_server.auth.users import UserStore


@dataclass(frozen=True, slots=True)
class Stores:
    """All of one lakehouse; each is safe to use from many threads."""

    users: UserStore
    sessions: SessionStore
    personal: PersonalTokens
