"""Grants that come and go while the server runs: who may do what, from the next call on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from flight_server.auth.account_rules import check_custom_roles
from flight_server.auth.users import User
from flight_server.catalog.resources import check_limits, read_resource, write_resource
from flight_server.catalog.rulebook import Rulebook, StoredGrant
from flight_server.errors import InvalidRequest, NotFound
from policies.decide import SYSTEM_BUCKET
from policies.names import Privilege, Role, TableRef
from policies.rules import Effect, Grant, Resource


@dataclass(frozen=True, slots=True)
class Wording:
    """A grant as somebody writes it: ``resource`` as text, to a user or to a role.

    Without ``columns`` it is on all of them, without ``purposes`` for sessions of any.
    """

    privilege: str
    resource: str
    user: str | None = None
    role: str | None = None
    effect: str = Effect.ALLOW.value
    columns: tuple[str, ...] | None = None
    purposes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A grant that holds; one of the settings has neither id nor time, and no one who made it."""

    privilege: str
    resource: str
    user: str | None
    role: str | None
    effect: str
    grant_id: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None
    user_id: str | None = None
    columns: tuple[str, ...] | None = None
    purposes: tuple[str, ...] | None = None


class Users(Protocol):
    """Where accounts are looked up."""

    def find(self, username: str) -> User | None:
        """Return the user of that name, or None."""
        ...


class Columns(Protocol):
    """Where the columns of tables and views are looked up."""

    def schema(self, ref: TableRef) -> pa.Schema | None:
        """Return them; None where there is no table or view of that name."""
        ...


class Grants:
    """The use cases, for administrators; who calls has asked whether it is one.

    ``buckets`` returns the catalog names of all buckets.
    """

    def __init__(
        self,
        rules: Rulebook,
        users: Users,
        *,
        shapes: Columns,
        buckets: Callable[[], Iterable[str]],
    ) -> None:
        self._rules = rules
        self._users = users
        self._shapes = shapes
        self._buckets = buckets

    def add(self, wording: Wording, *, created_by: str | None) -> tuple[Shown, bool]:
        """Add a grant, durable; return it, and whether it was not there before.

        ``created_by`` is a user's name, None for the command line. Raises InvalidRequest for words
        that mean nothing, NotFound (``bucket_not_found``, ``user_not_found``,
        ``column_not_found``), LimitExceeded, Unavailable.
        """
        grant = self._checked(self._read(wording))
        stored, is_new = self._rules.add(grant, created_by=created_by)
        return _shown(stored), is_new

    def remove(self, asked: str | Wording) -> Shown:
        """Remove a grant by its id or by what it says, durable; return it.

        Raises NotFound (``grant_not_found``), also for one of the settings; InvalidRequest;
        Unavailable.
        """
        named = asked if isinstance(asked, str) else self._read(asked)
        try:
            return _shown(self._rules.remove(named))
        except NotFound as error:
            if named not in self._rules.fixed:
                raise
            raise NotFound(
                f"{error.message}: this one is in the settings, and holds as long as it is there",
                code=error.code,
            ) from None

    def list(
        self, *, user: str | None = None, role: str | None = None, resource: str | None = None
    ) -> list[Shown]:
        """Return the grants that hold, first those of the settings, then by age.

        To a user, to a role, and on a resource: on itself, on what it lies in, on what lies in it.
        Raises InvalidRequest for what is no resource, Unavailable.
        """
        found = [*map(_of_settings, self._rules.fixed), *map(_shown, self._rules.list())]
        if user is not None:
            found = [each for each in found if each.user == user]
        if role is not None:
            found = [each for each in found if each.role == role]
        if resource is not None:
            asked = read_resource(resource)
            found = [each for each in found if _touches(each.resource, asked)]
        return found

    def _read(self, wording: Wording) -> Grant:
        """Return what the words say; raises InvalidRequest."""
        if wording.privilege not in set(Privilege):
            raise InvalidRequest(f"the privilege is one of {', '.join(Privilege)}")
        if wording.effect not in set(Effect):
            raise InvalidRequest(f"the effect is one of {', '.join(Effect)}")
        if (wording.user is None) == (wording.role is None):
            raise InvalidRequest("a grant is to one user or to one role")
        grant = Grant(
            Privilege(wording.privilege),
            read_resource(wording.resource),
            user=wording.user,
            role=wording.role,
            effect=Effect(wording.effect),
            columns=None if wording.columns is None else tuple(sorted(set(wording.columns))),
            purposes=None if wording.purposes is None else frozenset(wording.purposes),
        )
        check_limits(grant)
        return grant

    def _checked(self, grant: Grant) -> Grant:
        """Return it for the very account of its user.

        Raises for a grant that would mean nothing to anybody, and only look as if it did.
        """
        known = sorted(self._buckets())
        if grant.resource[0] not in known:
            raise NotFound(
                f"the bucket {grant.resource[0]} does not exist; there are {', '.join(known)}",
                code="bucket_not_found",
            )
        self._check_columns(grant)
        if grant.user is not None:
            user = self._users.find(grant.user)
            if user is None:
                raise NotFound(f"there is no user {grant.user!r}", code="user_not_found")
            return replace(grant, user_id=user.user_id)
        if grant.role is not None and grant.role not in set(Role):
            check_custom_roles([grant.role])
        if grant.role == Role.PENDING:
            raise InvalidRequest(f"the role {Role.PENDING} may do nothing, whatever is granted")
        return grant

    def _check_columns(self, grant: Grant) -> None:
        if grant.columns is None:
            return
        ref = TableRef(*grant.resource)
        if ref.bucket == SYSTEM_BUCKET:
            raise InvalidRequest("the server's own tables are seen as a whole or not at all")
        schema = self._shapes.schema(ref)
        if schema is None:
            return  # of a table that may come
        for name in grant.columns:
            if name not in schema.names:
                raise NotFound(f"{ref} has no column {name!r}", code="column_not_found")


def _sorted(purposes: frozenset[str] | None) -> tuple[str, ...] | None:
    return None if purposes is None else tuple(sorted(purposes))


def _shown(stored: StoredGrant) -> Shown:
    return Shown(
        stored.privilege,
        stored.resource,
        stored.user,
        stored.role,
        stored.effect,
        grant_id=stored.grant_id,
        created_at=stored.created_at,
        created_by=stored.created_by,
        user_id=stored.user_id,
        columns=stored.columns,
        purposes=_sorted(stored.purposes),
    )


def _of_settings(grant: Grant) -> Shown:
    return Shown(
        grant.privilege.value,
        write_resource(grant.resource),
        grant.user,
        grant.role,
        grant.effect.value,
        columns=grant.columns,
        purposes=_sorted(grant.purposes),
    )


def _touches(text: str, asked: Resource) -> bool:
    """Whether one of two resources lies in the other; one that cannot be read touches nothing."""
    try:
        resource = read_resource(text)
    except InvalidRequest:
        return False
    shared = min(len(resource), len(asked))
    return resource[:shared] == asked[:shared]
