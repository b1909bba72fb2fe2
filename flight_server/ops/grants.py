"""Grants as settings: rows that become the rules of a policy book."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Self

from pydantic import Field, model_validator

from flight_server.ops.sections import Section
from flight_server.storage.locations import catalog_name
from policies.book import PolicyBook
from policies.names import Privilege
from policies.rules import Effect, Grant

_RESOURCE_PART = re.compile(r'"((?:[^"]|"")+)"|([^".\s]+)')


class GrantSettings(Section):
    """One grant or deny: a privilege on a resource, to one user or to one role."""

    privilege: Privilege = Field(description="What is allowed or denied.")
    resource: str = Field(
        min_length=1, description="`bucket`, `bucket.schema` or `bucket.schema.table`."
    )
    user: str | None = Field(default=None, min_length=1, description="User name; or set `role`.")
    role: str | None = Field(
        default=None, min_length=1, description="Base or custom role; or set `user`."
    )
    effect: Effect = Field(default=Effect.ALLOW, description="A matching deny beats every allow.")

    @model_validator(mode="after")
    def _one_grantee(self) -> Self:
        if (self.user is None) == (self.role is None):
            raise ValueError("exactly one of user and role must be set")
        _resource(self.resource)
        return self

    def as_grant(self) -> Grant:
        """Return the same as a rule of the policies."""
        return Grant(
            privilege=self.privilege,
            resource=_resource(self.resource),
            user=self.user,
            role=self.role,
            effect=self.effect,
        )


def _resource(text: str) -> tuple[str, ...]:
    """Split ``bucket.schema.table``; a part with a dot is put in double quotes, as in SQL."""
    parts: list[str] = []
    position = 0
    while match := _RESOURCE_PART.match(text, position):
        parts.append(match[1].replace('""', '"') if match[1] else match[2])
        position = match.end() + 1
        if match.end() == len(text) or text[match.end()] != ".":
            break
    if not 1 <= len(parts) <= 3 or position != len(text) + 1:
        raise ValueError("a resource is bucket, bucket.schema or bucket.schema.table")
    return (catalog_name(parts[0]), *parts[1:])


def policy_book(grants: tuple[GrantSettings, ...]) -> PolicyBook:
    """Return the grants as a book whose version is their digest, whatever their order."""
    rows = sorted({json.dumps(grant.model_dump(mode="json"), sort_keys=True) for grant in grants})
    version = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
    return PolicyBook(version=version, grants=tuple(grant.as_grant() for grant in grants))
