"""Log in, and tell from a token who is calling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from flight_server import errors
from flight_server.auth.external import ExternalAccounts
from flight_server.auth.issuers import ExternalClaims
from flight_server.auth.personal import PREFIX as PERSONAL_PREFIX
from flight_server.auth.refresh import RefreshTokens, digest
from flight_server.auth.sessions import USER_AGENT_CHARACTERS_MAX, Session
from flight_server.auth.stores import Stores
from flight_server.auth.throttle import Throttle
from flight_server.auth.tokens import Token, Tokens
from flight_server.auth.users import FIRST_TIER, User
from flight_server.clock import Clock
from flight_server.service.request import Request
from policies.names import Principal

TOKEN_USER = "token"  # noqa: S105  a user name, not a password


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sign-in comes from, as far as it is known."""

    address: str | None = None
    user_agent: str | None = None


NOWHERE = Origin()


@dataclass(frozen=True, slots=True)
class SessionRules:
    """How long a session lasts, and how many a user may have by tier; None for any number.

    ``token_seconds`` is the life of a token, ``refresh_seconds`` that of a session that is
    prolonged by refresh tokens.
    """

    token_seconds: int = 86_400
    refresh_seconds: int = 2_592_000
    sessions_max: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A caller who has proven who they are; ``token`` is what proves it on the next call.

    ``token_id`` names that token where it can be revoked by itself, ``tier`` is what the caller may
    use.
    """

    principal: Principal
    session_id: str
    token: str = field(repr=False)
    token_id: str = ""
    tier: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """What somebody gets who signs in to stay: tokens, and until when they are good."""

    user: User
    session_id: str
    token: str = field(repr=False)
    expires_at: datetime
    refresh_token: str = field(repr=False)
    refresh_expires_at: datetime


class SignIn:
    """Passwords to tokens, tokens to principals.

    The token proves identity alone: whether the account is active, its roles, and whether the
    session goes on, are looked up at every call.
    """

    def __init__(
        self,
        stores: Stores,
        tokens: Tokens,
        *,
        refresh: RefreshTokens,
        rules: SessionRules,
        throttle: Throttle,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        external: ExternalAccounts | None = None,
    ) -> None:
        self._users = stores.users
        self._sessions = stores.sessions
        self._personal = stores.personal
        self._tokens = tokens
        self._refresh = refresh
        self._rules = rules
        self._throttle = throttle
        self._clock = clock
        self._random_bytes = random_bytes
        self._external = external

    def by_password(self, username: str, password: str, *, origin: Origin) -> SignedIn:
        """Sign in with a password, for as long as one token lasts.

        The user ``token`` gives a token in its place. Raises Unauthenticated.
        """
        if username == TOKEN_USER:
            return self.by_token(password, origin=origin)
        user = self._authenticate(username, password, origin)
        seconds = self._rules.token_seconds
        session = self._start(user, password, origin, seconds=seconds)
        token = self._issue(user, session)
        return _signed_in(user, session.session_id, token.text, token_id=token.claims.token_id)

    def by_token(self, token: str, *, origin: Origin = NOWHERE) -> SignedIn:
        """Recognise a caller by a token: of a session, personal, or of another system.

        Raises Unauthenticated, with the code token_revoked when the session, the token or the
        account has ended; Unavailable when the keys of another system cannot be had.
        """
        if token.startswith(PERSONAL_PREFIX):
            return self._by_personal_token(token)
        if self._external is not None and not self._tokens.knows(token):
            found = self._external.recognise(token)
            if found is not None:
                return self._by_external_token(*found, token, origin=origin)
        claims = self._tokens.verify(token)
        user = self._active(claims.user_id)
        self._sessions.check(claims.session_id, claims.user_id)
        self._personal.check_session_token(claims.token_id, claims.user_id)
        return _signed_in(user, claims.session_id, token, token_id=claims.token_id)

    def still(self, request: Request) -> errors.LakeflightError | None:
        """Return what became of the session or the token of a call that runs; None when they last.

        The account is not looked at, and the session does not count as used.
        """
        user_id, session_id, token_id = (
            request.principal.user_id,
            request.session_id,
            request.token_id,
        )
        try:
            if self._personal.find(session_id) is not None:
                self._personal.check(session_id)
            else:
                self._sessions.check(session_id, user_id, is_use=False)
                self._personal.check_session_token(token_id, user_id)
        except errors.Unauthenticated as error:
            return error
        return None

    def confirm(self, username: str, password: str, *, origin: Origin) -> User:
        """Return a user whose password this is, without signing in; raises Unauthenticated."""
        return self._authenticate(username, password, origin)

    def login(self, username: str, password: str, *, origin: Origin) -> Login:
        """Sign in with a password, to stay: with a token that prolongs the session.

        Raises Unauthenticated.
        """
        user = self._authenticate(username, password, origin)
        seconds = self._rules.refresh_seconds
        refresh = ""

        def first_hash(session_id: str, expires_at: datetime) -> str:
            nonlocal refresh
            refresh = self._refresh.make(session_id, 1, expires_at=expires_at)
            return digest(refresh)

        session = self._start(user, password, origin, seconds=seconds, first_hash=first_hash)
        return self._login(user, session, refresh)

    def refresh(self, refresh_token: str) -> Login:
        """Exchange a refresh token for a new token and the next refresh token.

        Raises Unauthenticated: of a token that was used before, the whole session ends.
        """
        session_id, generation = self._refresh.read(refresh_token)
        following = ""

        def next_hash(expires_at: datetime) -> str:
            nonlocal following
            following = self._refresh.make(session_id, generation + 1, expires_at=expires_at)
            return digest(following)

        session = self._sessions.rotate(
            session_id, generation, token_hash=digest(refresh_token), next_hash=next_hash
        )
        return self._login(self._active(session.user_id), session, following)

    def _authenticate(self, username: str, password: str, origin: Origin) -> User:
        """Check a password: the one place through which every attempt to guess one goes."""
        with self._throttle.attempt(username, origin.address):
            return self._users.authenticate(username, password)

    def _by_external_token(
        self, claims: ExternalClaims, user: User, token: str, *, origin: Origin
    ) -> SignedIn:
        """Let somebody in whom another system vouches for, unless they were locked out here.

        A session that has several tokens is remembered longer than any of them is good, so that
        ending it ends those that are still to come.
        """
        if not user.is_active:
            raise _locked_out()
        now, seconds = self._clock.now(), self._rules.refresh_seconds
        ends = datetime.fromtimestamp(claims.expires_at, UTC)
        session = Session(
            claims.session_id,
            user.user_id,
            None,
            generation=1,
            expires_at=max(ends, now + timedelta(seconds=seconds)) if claims.has_session else ends,
            created_at=now,
            ip_address=origin.address,
            user_agent=(origin.user_agent or "")[:USER_AGENT_CHARACTERS_MAX] or None,
        )
        self._sessions.follow(session, sessions_max=self._sessions_max(user))
        self._personal.check_session_token(claims.token_id, user.user_id)
        return _signed_in(user, claims.session_id, token, token_id=claims.token_id)

    def _by_personal_token(self, text: str) -> SignedIn:
        token = self._personal.recognise(text)
        user = self._active(token.user_id)
        return _signed_in(user, token.token_id, text, token_id=token.token_id)

    def _start(
        self,
        user: User,
        password: str,
        origin: Origin,
        *,
        seconds: int,
        first_hash: Callable[[str, datetime], str] | None = None,
    ) -> Session:
        """Store a new session of somebody who has just proven their password."""
        now = self._clock.now()
        session_id, expires_at = self._random_bytes(16).hex(), now + timedelta(seconds=seconds)
        session = Session(
            session_id,
            user.user_id,
            None if first_hash is None else first_hash(session_id, expires_at),
            generation=1,
            expires_at=expires_at,
            created_at=now,
            ip_address=origin.address,
            user_agent=(origin.user_agent or "")[:USER_AGENT_CHARACTERS_MAX] or None,
        )
        self._sessions.start(session, sessions_max=self._sessions_max(user))
        self._check_again(user, password, session_id)
        return session

    def _sessions_max(self, user: User) -> int | None:
        most = self._rules.sessions_max
        return most.get(user.subscription_tier if user.subscription_tier in most else FIRST_TIER)

    def _check_again(self, user: User, password: str, session_id: str) -> None:
        """End a session whose password was changed, or whose account was disabled, meanwhile.

        Whoever did so ended all sessions that they saw; this one may have come right after.
        """
        try:
            newest = self._users.get(user.user_id)
            if newest.is_active and newest.password_hash == user.password_hash:
                return
            self._users.authenticate(newest.username, password)  # it may only be a newer hash
        except (errors.NotFound, errors.Unauthenticated):
            self._sessions.end(session_id, reason="the account changed during the sign-in")
            raise errors.Unauthenticated(
                "wrong user name or password", code="invalid_credentials"
            ) from None

    def _issue(self, user: User, session: Session) -> Token:
        return self._tokens.issue(
            user.user_id, session.session_id, role=user.role, tier=user.subscription_tier
        )

    def _login(self, user: User, session: Session, refresh_token: str) -> Login:
        token = self._issue(user, session)
        ends = datetime.fromtimestamp(token.claims.expires_at, UTC)
        return Login(
            user,
            session.session_id,
            token.text,
            min(ends, session.expires_at),
            refresh_token,
            session.expires_at,
        )

    def _active(self, user_id: str) -> User:
        try:
            user = self._users.get(user_id)
        except errors.NotFound:
            raise _locked_out() from None
        if not user.is_active:
            raise _locked_out()
        return user


def _locked_out() -> errors.Unauthenticated:
    return errors.Unauthenticated(
        "the account is gone or disabled; sign in again", code="token_revoked"
    )


def _signed_in(user: User, session_id: str, token: str, *, token_id: str) -> SignedIn:
    return SignedIn(
        user.as_principal(), session_id, token, token_id=token_id, tier=user.subscription_tier
    )
