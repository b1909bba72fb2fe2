"""Grants as settings: rows that become the rules of a policy book."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from flight_server.catalog.resources import check_limits, read_resource
from flight_server.errors import InvalidRequest
from flight_server.ops.sections import Section
from policies.book import PolicyBook, book_of
from policies.names import Privilege
from policies.purposes import GROUP_ROWS_MIN
from policies.rules import Effect, Grant


class PolicySettings(Section):
    """What rules leave open."""

    group_rows_min: int = Field(
        default=GROUP_ROWS_MIN,
        ge=2,
        le=1_000_000,
        description="Rows of the smallest group whose figures leave, for the purpose `analytics`.",
    )


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
    columns: tuple[str, ...] | None = Field(
        default=None, description="Some columns of one table or view, for `read`; all without."
    )
    purposes: frozenset[str] | None = Field(
        default=None, description="Holds in sessions that state one of these; in all without."
    )

    @model_validator(mode="after")
    def _one_grantee(self) -> Self:
        if (self.user is None) == (self.role is None):
            raise ValueError("exactly one of user and role must be set")
        try:
            check_limits(self.as_grant())
        except InvalidRequest as error:
            raise ValueError(error.message) from None
        return self

    def as_grant(self) -> Grant:
        """Return the same as a rule of the policies."""
        return Grant(
            privilege=self.privilege,
            resource=read_resource(self.resource),
            user=self.user,
            role=self.role,
            effect=self.effect,
            columns=None if self.columns is None else tuple(sorted(set(self.columns))),
            purposes=self.purposes,
        )


def policy_book(grants: tuple[GrantSettings, ...]) -> PolicyBook:
    """Return the grants as a book whose version is their digest, whatever their order."""
    return book_of(grant.as_grant() for grant in grants)
