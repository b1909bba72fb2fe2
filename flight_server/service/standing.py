"""Whether who made a request could make it again now, for what has gone on since then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from flight_server.auth.users import User
from flight_server.errors import LakeflightError, NotFound, PermissionDenied, Unauthenticated
from flight_server.service.purposes import Stating, check_purpose
from flight_server.service.request import Request
from policies.names import Principal


class Users(Protocol):
    """Where accounts are looked up."""

    def get(self, user_id: str) -> User:
        """Return the user of that id; raises NotFound."""
        ...


# Looks a caller up anew. Raises Unauthenticated for one whose session or account has ended, and
# Unavailable when that cannot be told.
Standing = Callable[[Request], Principal]


class AccountStanding:
    """A ``Standing`` over the accounts.

    ``still`` says what has become of session and token, ``stating`` who may state which purpose:
    without it, a purpose that was stated stands.
    """

    def __init__(
        self,
        users: Users,
        still: Callable[[Request], LakeflightError | None] | None = None,
        *,
        stating: Stating | None = None,
    ) -> None:
        self._users = users
        self._still = still
        self._stating = stating

    def __call__(self, request: Request) -> Principal:
        """Return who asks, with the roles that they have now, for the purpose that they stated.

        Raises as ``Standing`` says, and PermissionDenied when they may not state it any more.
        """
        if self._still is not None and (error := self._still(request)) is not None:
            raise error
        try:
            user = self._users.get(request.principal.user_id)
        except NotFound:
            raise _gone() from None
        if not user.is_active:
            raise _gone()
        principal = replace(user.as_principal(), purpose=request.purpose)
        if self._stating is not None and request.purpose is not None:
            check_purpose(self._stating, principal, request.purpose)
        return principal


def as_before(request: Request) -> Principal:
    """Return who asked, as if nothing could have changed: a ``Standing`` where nobody looks."""
    return request.principal


def withdrawn() -> PermissionDenied:
    """Return the error for what was begun with a right that is gone.

    It names no table: those that a view reads are not for everybody to know.
    """
    return PermissionDenied("a right that this needs was withdrawn while it ran")


def _gone() -> Unauthenticated:
    return Unauthenticated("the account is gone or disabled; sign in again", code="token_revoked")
