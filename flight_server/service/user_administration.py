"""What administrators do with accounts, their sessions and tokens, by action and on the folder.

Whatever takes something away from an account counts from its next call on, also in servers that run
beside the command which did it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from flight_server.auth.account_rules import check_attributes, check_role
from flight_server.auth.stores import Stores
from flight_server.auth.users import User
from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, NotFound
from policies.names import Role

# Told user id and session id of what is to be forgotten of connections; None for all of the user.
Ended = Callable[[str, str | None], object]


class UserAdministration:
    """Every change is durable when its method returns, and harmless to repeat after an error.

    ``ended`` frees what this process keeps for connections. ``token_seconds`` is the longest life
    of a session's token.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        clock: Clock,
        token_seconds: int,
        ended: Ended | None = None,
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._token_seconds = token_seconds
        self._when_ended = ended

    def find(self, *, user_id: str | None = None, username: str | None = None) -> User:
        """Return the user of that id or of that name; one of them must be given.

        Raises NotFound (``user_not_found``), InvalidRequest.
        """
        if (user_id is None) is (username is None):
            raise InvalidRequest("name the user by either 'user_id' or 'username'")
        users = self._stores.users
        return users.get(user_id) if user_id is not None else users.require(username or "")

    def approve(self, user: User, *, role: str | None = None, tier: str | None = None) -> User:
        """Open an account that waits for it; InvalidRequest when it does not."""
        given = check_role(Role.REGISTERED if role is None else role)
        if given is Role.PENDING:
            raise InvalidRequest("an account that is approved needs another role than pending")

        def change(found: User) -> User:
            if not found.is_pending:
                raise InvalidRequest(f"the account {found.username} does not wait for approval")
            return replace(
                found,
                role=given,
                subscription_tier=found.subscription_tier if tier is None else tier,
                requested_tier=None,
            )

        return self._stores.users.update(user.user_id, change)

    def reject(self, user: User) -> User:
        """Remove an account that waits for approval; InvalidRequest when it does not."""
        rejected = self._stores.users.reject(user.user_id)
        self._end_all(user, "the account was rejected")
        return rejected

    def disable(self, user: User) -> User:
        """Let nobody in by an account, and end its sessions; its personal tokens rest."""
        disabled = self._stores.users.update(
            user.user_id, lambda found: replace(found, is_active=False)
        )
        self._end_all(user, "the account was disabled")
        return disabled

    def enable(self, user: User) -> User:
        """Let an account be used again; sessions of before stay ended."""
        if not user.is_active:  # a crash may have kept some of them from ending
            self._end_all(user, "the account was disabled")
        return self._stores.users.update(user.user_id, lambda found: replace(found, is_active=True))

    def set_role(self, user: User, role: str, *, custom_roles: Iterable[str] | None = None) -> User:
        """Give an account another base role, and other custom roles where they are given."""
        given = check_role(role)
        customs = None if custom_roles is None else tuple(dict.fromkeys(custom_roles))
        return self._stores.users.update(
            user.user_id,
            lambda found: replace(
                found,
                role=given,
                custom_roles=found.custom_roles if customs is None else customs,
            ),
        )

    def set_tier(self, user: User, tier: str) -> User:
        """Give an account another tier."""
        return self._stores.users.update(
            user.user_id, lambda found: replace(found, subscription_tier=tier, requested_tier=None)
        )

    def set_attributes(self, user: User, attributes: Mapping[str, str]) -> User:
        """Give an account these attributes in place of those that it had."""
        given = check_attributes(attributes.items())
        return self._stores.users.update(
            user.user_id, lambda found: replace(found, attributes=given)
        )

    def set_password(self, user: User, password: str, *, but: str | None = None) -> int:
        """Give an account another password and end its sessions, ``but`` one; return how many.

        Personal tokens stay. The sessions end first, so that a crash leaves none of them beside the
        new password; and again, for those who signed in with the old one meanwhile.
        """
        reason = "the password was changed"
        self._stores.users.check_new_password(user.user_id, password)
        count = self._stores.sessions.end_all(user.user_id, reason=reason, but=but)
        self._stores.users.set_password(user.username, password)
        return count + self._stores.sessions.end_all(user.user_id, reason=reason, but=but)

    def kill_session(self, session_id: str, *, owner_id: str | None = None) -> None:
        """End a session, of ``owner_id`` alone where given; NotFound (``session_not_found``)."""
        if not self._stores.sessions.end(session_id, reason="killed", user_id=owner_id):
            raise NotFound("there is no such session", code="session_not_found")

    def revoke_token(self, token_id: str, *, owner_id: str | None = None) -> None:
        """Revoke a personal token, or one token of a session by its ``jti``.

        With ``owner_id`` only what is theirs is revoked. Raises NotFound (``token_not_found``) for
        a personal token of somebody else, InvalidRequest for what is no id.
        """
        personal = self._stores.personal
        kept = personal.find(token_id)
        if kept is None:
            ends = self._clock.now() + timedelta(seconds=self._token_seconds)
            personal.revoke_session_token(token_id, user_id=owner_id, expires_at=ends)
        elif personal.revoke(token_id, user_id=owner_id):
            self._forget(kept.user_id, token_id)
        else:
            raise NotFound("there is no such token", code="token_not_found")

    def _end_all(self, user: User, reason: str) -> None:
        self._stores.sessions.end_all(user.user_id, reason=reason)
        self._forget(user.user_id, None)

    def _forget(self, user_id: str, session_id: str | None) -> None:
        if self._when_ended is not None:
            self._when_ended(user_id, session_id)
