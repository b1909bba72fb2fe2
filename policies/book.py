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
from policies.purposes import GROUP_ROWS_MIN
from policies.rules import ColumnMask, Effect, Grant, Label, Resource, RowFilter, SafeView

_RESOURCE_PARTS_MAX = 3

# What the rules for one grantee say of each resource; of several, a deny is what counts.
Effects = Mapping[Resource, Effect]
# Whom a rule speaks of: a user name with the id of an account where it matters, or a role.
_Grantee = tuple[str, str | None] | str


@dataclass(frozen=True, slots=True)
class _Index:
    # Grants on all columns and for all purposes: what nearly all of them are.
    plain: dict[tuple[Privilege, _Grantee], dict[Resource, Effect]] = field(default_factory=dict)
    # Those on some columns, or for some purposes.
    special: dict[tuple[Privilege, _Grantee], dict[Resource, list[Grant]]] = field(
        default_factory=dict
    )
    buckets: dict[_Grantee, set[str]] = field(default_factory=dict)
    purposes: dict[_Grantee, set[str]] = field(default_factory=dict)
    filters: dict[TableRef, list[RowFilter]] = field(default_factory=dict)
    masks: dict[TableRef, list[ColumnMask]] = field(default_factory=dict)
    labels: dict[TableRef, list[Label]] = field(default_factory=dict)
    views: dict[TableRef, SafeView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolicyBook:
    """The rules in force. An empty book shows nobody but administrators anything.

    ``group_rows_min`` is how many rows a group has at least, where only aggregates may leave.
    """

    version: str
    grants: tuple[Grant, ...] = ()
    filters: tuple[RowFilter, ...] = ()
    masks: tuple[ColumnMask, ...] = ()
    labels: tuple[Label, ...] = ()
    views: tuple[SafeView, ...] = ()
    group_rows_min: int = GROUP_ROWS_MIN
    _index: _Index = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", _indexed(self))

    def effect(self, principal: Principal, privilege: Privilege, ref: TableRef) -> Effect | None:
        """Return what the rules on a whole table say; None when none matches.

        One matching deny is a deny. Rules on reading some of its columns say nothing here; there is
        nothing else that could be done to columns alone, so a deny of that is one of the table.
        """
        found: Effect | None = None
        resources = _around(ref)
        for effects in self._plain(principal, privilege):
            for resource in resources:
                effect = effects.get(resource)
                if effect is Effect.DENY:
                    return effect
                found = effect or found
        for grant in self._special(principal, privilege, resources):
            if _is_on_all(grant):
                if grant.effect is Effect.DENY:
                    return Effect.DENY
                found = grant.effect
        return found

    def effects(self, principal: Principal, privilege: Privilege) -> Iterator[Effects]:
        """Return what the rules for a user say, and then those for each of their roles."""
        yield from self._plain(principal, privilege)
        for grant in self._special(principal, privilege):
            if _is_on_all(grant):
                yield {grant.resource: grant.effect}

    def column_grants(
        self, principal: Principal, privilege: Privilege, ref: TableRef
    ) -> Iterator[Grant]:
        """Return the rules for a principal that speak of some columns of a table."""
        for grant in self._special(principal, privilege, _around(ref)):
            if grant.columns is not None:
                yield grant

    def purposes(self, principal: Principal) -> frozenset[str]:
        """Return what the grants let a principal state as the purpose of a session."""
        index = self._index.purposes
        return frozenset().union(*(index.get(each, ()) for each in _grantees(principal)))

    def speaks_of(self, principal: Principal, bucket: str) -> bool:
        """Whether any rule for this principal, of any privilege, lies in a bucket."""
        index = self._index.buckets
        return any(bucket in index.get(grantee, ()) for grantee in _grantees(principal))

    def filters_of(self, ref: TableRef) -> tuple[RowFilter, ...]:
        """Return the row filters of a table or view, whomever they are for."""
        return tuple(self._index.filters.get(ref, ()))

    def masks_of(self, ref: TableRef) -> tuple[ColumnMask, ...]:
        """Return the column masks of a table or view, whomever they are for."""
        return tuple(self._index.masks.get(ref, ()))

    def labels_of(self, ref: TableRef) -> tuple[Label, ...]:
        """Return the labels of a table's columns."""
        return tuple(self._index.labels.get(ref, ()))

    def view(self, ref: TableRef) -> SafeView | None:
        """Return the AI-safe view of that name."""
        return self._index.views.get(ref)

    def _plain(self, principal: Principal, privilege: Privilege) -> Iterator[Effects]:
        for grantee in _grantees(principal):
            found = self._index.plain.get((privilege, grantee))
            if found is not None:
                yield found

    def _special(
        self,
        principal: Principal,
        privilege: Privilege,
        resources: Iterable[Resource] | None = None,
    ) -> Iterator[Grant]:
        """Return the special rules that hold for somebody, all or those on these resources."""
        if not self._index.special:
            return
        for grantee in _grantees(principal):
            found = self._index.special.get((privilege, grantee))
            if found is not None:
                for resource in found if resources is None else resources:
                    for grant in found.get(resource, ()):
                        if grant.holds(principal):
                            yield grant


def _around(ref: TableRef) -> tuple[Resource, ...]:
    """Return the resources that cover a table."""
    return (ref.bucket,), (ref.bucket, ref.schema), (ref.bucket, ref.schema, ref.table)


def _is_on_all(grant: Grant) -> bool:
    """Whether a special rule is on all columns: but for reading, a deny of some is one of all."""
    return grant.columns is None or (
        grant.privilege is not Privilege.READ and grant.effect is Effect.DENY
    )


def _grantees(principal: Principal) -> Iterator[_Grantee]:
    yield (principal.username, None)
    yield (principal.username, principal.user_id)
    yield principal.role
    yield from principal.custom_roles


def _indexed(book: PolicyBook) -> _Index:
    index = _Index()
    for grant in book.grants:
        _add(index, grant)
    for row_filter in book.filters:
        index.filters.setdefault(row_filter.table, []).append(row_filter)
    for mask in book.masks:
        index.masks.setdefault(mask.table, []).append(mask)
    for label in book.labels:
        index.labels.setdefault(label.table, []).append(label)
    index.views.update((view.ref, view) for view in book.views)
    return index


def _add(index: _Index, grant: Grant) -> None:
    if (grant.user is None) == (grant.role is None):
        return  # it speaks of nobody
    if not 1 <= len(grant.resource) <= _RESOURCE_PARTS_MAX:
        return  # it covers nothing
    grantee: _Grantee = grant.role or (grant.user or "", grant.user_id)
    index.buckets.setdefault(grantee, set()).add(grant.resource[0])
    if grant.purposes is not None and grant.effect is Effect.ALLOW:
        index.purposes.setdefault(grantee, set()).update(grant.purposes)
    if grant.columns is not None or grant.purposes is not None:
        by_resource = index.special.setdefault((grant.privilege, grantee), {})
        by_resource.setdefault(grant.resource, []).append(grant)
        return
    effects = index.plain.setdefault((grant.privilege, grantee), {})
    if effects.get(grant.resource) is not Effect.DENY:
        effects[grant.resource] = grant.effect


def book_of(grants: Iterable[Grant]) -> PolicyBook:
    """Return the book of these grants alone; its version is their digest, whatever their order."""
    rules = tuple(grants)
    return PolicyBook(version=digest(rules), grants=rules)


def digest(grants: Iterable[Grant]) -> str:
    """Return a text that differs between two sets of grants that do not say the same."""
    # Written as one text: this is done for all rules whenever one of them changes.
    said = sorted({json.dumps(row) for row in to_rows(grants)})
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


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
            "columns": None if grant.columns is None else list(grant.columns),
            "purposes": None if grant.purposes is None else sorted(grant.purposes),
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
            columns=None if row["columns"] is None else tuple(row["columns"]),
            purposes=None if row["purposes"] is None else frozenset(row["purposes"]),
        )
        for row in rows
    )
