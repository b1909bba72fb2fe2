"""The rules as frozen values; what they mean together is decided in ``decide``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policies.names import Principal, Privilege, TableRef

# ``bucket``, ``bucket.schema`` or ``bucket.schema.table``, as its parts.
Resource = tuple[str, ...]


class Effect(StrEnum):
    """Whether a matching grant opens or closes."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Grant:
    """One privilege on one resource, to one user or to one role.

    ``resource`` is ``bucket``, ``bucket.schema`` or ``bucket.schema.table``; it covers everything
    below it. Exactly one of ``user`` (a user name) and ``role`` (a base or custom role) is set; a
    grant with neither matches nobody. With ``user_id`` it is to that very account, and not to a
    later one of the same name.
    """

    privilege: Privilege
    resource: Resource
    user: str | None = None
    role: str | None = None
    effect: Effect = Effect.ALLOW
    user_id: str | None = None

    def is_for(self, principal: Principal) -> bool:
        """Whether this grant speaks of that principal."""
        if self.user is not None:
            is_account = self.user_id in (None, principal.user_id)
            return self.role is None and self.user == principal.username and is_account
        return self.role is not None and (
            self.role == principal.role or self.role in principal.custom_roles
        )

    def covers(self, ref: TableRef) -> bool:
        """Whether that table lies in the resource."""
        names = (ref.bucket, ref.schema, ref.table)
        return bool(self.resource) and names[: len(self.resource)] == self.resource
