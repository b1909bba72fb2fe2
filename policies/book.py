"""All rules of one moment, with a version that changes whenever any of them does.

A decision is asked for at every call and for every name, so the rules are kept by whom they speak
of: what it costs depends on the roles of a principal, not on the number of rules.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from policies.names import Principal, Privilege, TableRef
from policies.rules import Effect, Grant, Resource

_RESOURCE_PARTS_MAX = 3

# What the rules for one grantee say of each resource; of several, a deny is what counts.
Effects = Mapping[Resource, Effect]


@dataclass(frozen=True, slots=True)
class _Index:
    # By privilege, user name, and the id of an account where it matters.
    users: dict[tuple[Privilege, str, str | None], dict[Resource, Effect]] = field(
        default_factory=dict
    )
    roles: dict[tuple[Privilege, str], dict[Resource, Effect]] = field(default_factory=dict)
    buckets_of_users: dict[tuple[str, str | None], set[str]] = field(default_factory=dict)
    buckets_of_roles: dict[str, set[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolicyBook:
    """The rules in force. An empty book shows nobody but administrators anything."""

    version: str
    grants: tuple[Grant, ...] = ()
    _index: _Index = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", _indexed(self.grants))

    def effect(self, principal: Principal, privilege: Privilege, ref: TableRef) -> Effect | None:
        """Return what the rules say, where one matching deny is a deny; None when none matches."""
        bucket, schema = (ref.bucket,), (ref.bucket, ref.schema)
        table = (ref.bucket, ref.schema, ref.table)
        found: Effect | None = None
        for effects in self.effects(principal, privilege):
            for resource in (bucket, schema, table):
                effect = effects.get(resource)
                if effect is Effect.DENY:
                    return effect
                found = effect or found
        return found

    def effects(self, principal: Principal, privilege: Privilege) -> Iterator[Effects]:
        """Return what the rules for a user say, and then those for each of their roles."""
        index, name = self._index, principal.username
        found: Effects | None = index.users.get((privilege, name, None))
        if found is not None:
            yield found
        found = index.users.get((privilege, name, principal.user_id))
        if found is not None:
            yield found
        for role in (principal.role, *principal.custom_roles):
            found = index.roles.get((privilege, role))
            if found is not None:
                yield found

    def speaks_of(self, principal: Principal, bucket: str) -> bool:
        """Whether any rule for this principal, of any privilege, lies in a bucket."""
        index = self._index
        return any(
            bucket in index.buckets_of_users.get((principal.username, user_id), ())
            for user_id in (None, principal.user_id)
        ) or any(
            bucket in index.buckets_of_roles.get(role, ())
            for role in (principal.role, *principal.custom_roles)
        )


def _indexed(grants: Iterable[Grant]) -> _Index:
    index = _Index()
    for grant in grants:
        if (grant.user is None) == (grant.role is None):
            continue  # it speaks of nobody
        if not 1 <= len(grant.resource) <= _RESOURCE_PARTS_MAX:
            continue  # it covers nothing
        if grant.user is not None:
            effects = index.users.setdefault((grant.privilege, grant.user, grant.user_id), {})
            buckets = index.buckets_of_users.setdefault((grant.user, grant.user_id), set())
        else:
            assert grant.role is not None  # noqa: S101  exactly one of the two, as was just asked
            effects = index.roles.setdefault((grant.privilege, grant.role), {})
            buckets = index.buckets_of_roles.setdefault(grant.role, set())
        if effects.get(grant.resource) is not Effect.DENY:
            effects[grant.resource] = grant.effect
        buckets.add(grant.resource[0])
    return index


def book_of(grants: Iterable[Grant]) -> PolicyBook:
    """Return the book of these rules; its version is their digest, whatever their order."""
    rules = tuple(grants)
    # Written as one text: this is done for all rules whenever one of them changes.
    said = sorted({_said(grant) for grant in rules})
    version = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
    return PolicyBook(version=version, grants=rules)


def _said(grant: Grant) -> tuple[str | Resource, ...]:
    """Return all that a rule says, for comparison; no name is empty."""
    names = (grant.user or "", grant.role or "", grant.user_id or "")
    return (grant.privilege.value, grant.resource, grant.effect.value, *names)


def to_rows(grants: Iterable[Grant]) -> list[dict[str, Any]]:
    """Return rules as plain JSON data."""
    return [
        {
            "privilege": grant.privilege.value,
            "resource": list(grant.resource),
            "user": grant.user,
            "role": grant.role,
            "effect": grant.effect.value,
            "user_id": grant.user_id,
        }
        for grant in grants
    ]


def from_rows(rows: Iterable[Mapping[str, Any]]) -> tuple[Grant, ...]:
    """Return the rules of ``to_rows``; raises KeyError, TypeError or ValueError for others."""
    return tuple(
        Grant(
            privilege=Privilege(row["privilege"]),
            resource=tuple(row["resource"]),
            user=row["user"],
            role=row["role"],
            effect=Effect(row["effect"]),
            user_id=row["user_id"],
        )
        for row in rows
    )
