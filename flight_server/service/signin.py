"""Log in, and tell from a token who is calling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flight_server import errors
from flight_server.auth.tokens import Tokens
from flight_server.auth.users import User, UserStore
from policies.names import Principal

TOKEN_USER = "token"  # noqa: S105  a user name, not a password


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sign-in comes from, as far as it is known."""

    address: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A caller who has proven who they are; ``token`` is what proves it on the next call.

    ``token_id`` names that token where it can be revoked by itself, ``tier`` is what the caller may
    use.
    """

    principal: Principal
    session_id: str
    token: str
    token_id: str = ""
    tier: str = ""


class SignIn:
    """Passwords to tokens, tokens to principals.

    The token proves identity alone: whether the account is active, and its roles, are looked up at
    every call.
    """

    def __init__(
        self, users: UserStore, tokens: Tokens, *, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._users = users
        self._tokens = tokens
        self._random_bytes = random_bytes

    def by_password(
        self,
        username: str,
        password: str,
        *,
        origin: Origin,  # noqa: ARG002  not kept yet
    ) -> SignedIn:
        """Sign in with a password.

        The user ``token`` gives a token in its place. Raises Unauthenticated.
        """
        if username == TOKEN_USER:
            return self.by_token(password)
        user = self._users.authenticate(username, password)
        session_id = self._random_bytes(16).hex()
        token = self._tokens.issue(
            user.user_id, session_id, role=user.role, tier=user.subscription_tier
        )
        return SignedIn(
            user.as_principal(),
            session_id,
            token.text,
            token_id=token.claims.token_id,
            tier=user.subscription_tier,
        )

    def by_token(self, token: str) -> SignedIn:
        """Recognise a caller by a token that this server issued. Raises Unauthenticated."""
        claims = self._tokens.verify(token)
        user = self._active(claims.user_id)
        return SignedIn(
            user.as_principal(),
            claims.session_id,
            token,
            token_id=claims.token_id,
            tier=user.subscription_tier,
        )

    def _active(self, user_id: str) -> User:
        try:
            user = self._users.get(user_id)
        except errors.NotFound:
            raise errors.Unauthenticated(
                "the account is gone or disabled; sign in again", code="token_revoked"
            ) from None
        if not user.is_active:
            raise errors.Unauthenticated(
                "the account is gone or disabled; sign in again", code="token_revoked"
            )
        return user
