"""One account: as a value, and as the row that keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from flight_server.storage.system import Row
from policies.names import Principal, Role

TIERS = ("free", "pro", "pioneer", "enterprise")
FIRST_TIER = "free"


@dataclass(frozen=True, slots=True)
class User:
    """One account as it is stored; times are aware, in UTC.

    ``requested_tier`` is what was asked for at registration, for who approves it; it gives nothing.
    ``external_id`` says whose account it is at another system, ``external_claims`` what that system
    said of them last; both are None for an account of this server's own. ``attributes`` are pairs
    of name and value, by name.
    """

    user_id: str
    username: str
    email: str | None
    password_hash: str = field(repr=False)
    role: Role
    custom_roles: tuple[str, ...]
    subscription_tier: str
    is_active: bool
    created_at: datetime
    updated_at: datetime
    external_id: str | None = None
    external_claims: str | None = field(default=None, repr=False)
    requested_tier: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def is_pending(self) -> bool:
        """Whether the account waits for approval."""
        return self.role is Role.PENDING

    @property
    def is_active_admin(self) -> bool:
        """Whether this is an administrator who can sign in."""
        return self.is_active and self.role is Role.ADMIN

    def as_principal(self) -> Principal:
        """Return who this user is to the policies."""
        return Principal(
            user_id=self.user_id,
            username=self.username,
            role=self.role,
            custom_roles=frozenset(self.custom_roles),
            attributes=self.attributes,
        )


def as_row(user: User) -> dict[str, Any]:
    """Return an account as it is stored."""
    return {
        **asdict(user),
        "role": str(user.role),
        "custom_roles": list(user.custom_roles),
        "attributes": json.dumps(dict(user.attributes)) if user.attributes else None,
    }


def user_of(row: Row) -> User:
    """Return the account that a row keeps."""
    try:
        role = Role(row["role"])
    except ValueError:  # a role of a later version: nothing is allowed until it is understood
        role = Role.PENDING
    return User(
        user_id=row["user_id"],
        username=row["username"],
        email=row["email"],
        password_hash=row["password_hash"],
        role=role,
        custom_roles=tuple(row["custom_roles"] or ()),
        subscription_tier=row["subscription_tier"],
        is_active=bool(row["is_active"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        external_id=row["external_id"],
        external_claims=row["external_claims"],
        requested_tier=row["requested_tier"],
        attributes=_attributes(row.get("attributes")),
    )


def _attributes(text: str | None) -> tuple[tuple[str, str], ...]:
    """Return the attributes that a row keeps; none where they cannot be read."""
    try:
        kept = json.loads(text or "{}")
    except ValueError:
        return ()
    if not isinstance(kept, dict) or not all(isinstance(each, str) for each in kept.values()):
        return ()
    return tuple(sorted(kept.items()))
