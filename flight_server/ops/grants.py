"""Grants as settings: rows that become the rules of a policy book."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from flight_server.catalog.resources import read_resource
from flight_server.errors import InvalidRequest
from flight_server.ops.sections import Section
from policies.book import PolicyBook, book_of
from policies.names import Privilege
from policies.rules import Effect, Grant, Resource


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


def _resource(text: str) -> Resource:
    try:
        return read_resource(text)
    except InvalidRequest as error:
        raise ValueError(error.message) from None


def policy_book(grants: tuple[GrantSettings, ...]) -> PolicyBook:
    """Return the grants as a book whose version is their digest, whatever their order."""
    return book_of(grant.as_grant() for grant in grants)
