"""What people do with their own account: sign up, sign in and out, passwords, tokens, sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flight_server.auth.personal import PersonalToken
from flight_server.auth.sessions import Session
from flight_server.auth.stores import Stores
from flight_server.auth.users import User
from flight_server.errors import InvalidRequest, NotFound, PermissionDenied
from flight_server.service.request import Request
from flight_server.service.signin import Login, Origin, SignIn
from flight_server.service.user_administration import UserAdministration


@dataclass(frozen=True, slots=True)
class Registration:
    """Whether anybody may ask for an account, and how many may wait for approval."""

    is_open: bool = True
    pending_max: int = 1000


@dataclass(frozen=True, slots=True)
class ShownSession:
    """A session that goes on; ``username`` is None for an account that is gone."""

    session: Session
    username: str | None
    last_used_at: datetime | None


class Accounts:
    """Safe to use from many threads. Who is somebody's own is decided here, by the request."""

    def __init__(
        self,
        stores: Stores,
        signin: SignIn,
        *,
        administration: UserAdministration,
        registration: Registration,
    ) -> None:
        self.administration = administration
        self._stores = stores
        self._signin = signin
        self._registration = registration

    def register(
        self, username: str, password: str, *, email: str, tier: str | None = None
    ) -> User:
        """Make an account that waits for approval.

        Of the tier, only the wish is kept. Raises InvalidRequest, AlreadyExists, LimitExceeded for
        too many that wait, PermissionDenied where nobody may ask.
        """
        if not self._registration.is_open:
            raise PermissionDenied("accounts are made by administrators here: ask one")
        return self._stores.users.register(
            username, password, email=email, tier=tier, pending_max=self._registration.pending_max
        )

    def login(self, request: Request, username: str, password: str) -> Login:
        """Sign in to stay; raises Unauthenticated."""
        login = self._signin.login(username, password, origin=_origin(request))
        return _identified(request, login)

    def refresh(self, request: Request, refresh_token: str) -> Login:
        """Go on with a session; raises Unauthenticated."""
        return _identified(request, self._signin.refresh(refresh_token))

    def logout(self, request: Request) -> str:
        """End the session of a call and return its id; InvalidRequest for a call outside of any."""
        user_id, session_id = request.principal.user_id, request.session_id
        if not self._stores.sessions.end(session_id, reason="signed out", user_id=user_id):
            raise InvalidRequest(
                "this call was made with a token that belongs to no session: see token.revoke"
            )
        return session_id

    def users(self) -> tuple[User, ...]:
        """Return all accounts by name, for administrators."""
        return self._stores.users.list()

    def whoami(self, request: Request) -> User:
        """Return the account of a call."""
        return self._stores.users.get(request.principal.user_id)

    def change_password(self, request: Request, old: str, new: str) -> int:
        """Change one's own password; return how many other sessions that ended.

        Raises Unauthenticated (``invalid_credentials``) when the old one is wrong, InvalidRequest
        when the new one breaks the rules.
        """
        user = self._signin.confirm(request.principal.username, old, origin=_origin(request))
        if old == new:
            raise InvalidRequest("the new password is the old one")
        return self.administration.set_password(user, new, but=request.session_id)

    def create_token(
        self,
        request: Request,
        name: str,
        *,
        seconds: int | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[PersonalToken, str]:
        """Make a personal token; its text is shown this once.

        Raises PermissionDenied for a call that was itself made with one, and for accounts of other
        systems, which could be closed there without anybody telling; InvalidRequest, LimitExceeded.
        """
        if self._stores.personal.find(request.token_id) is not None:
            raise PermissionDenied("a personal token makes no others: sign in with a password")
        user_id = request.principal.user_id
        if self._stores.users.get(user_id).external_id is not None:
            raise PermissionDenied("an account of another system gets its tokens there")
        return self._stores.personal.create(user_id, name, seconds=seconds, expires_at=expires_at)

    def tokens(self, request: Request, *, username: str | None) -> tuple[PersonalToken, ...]:
        """Return one's own personal tokens; an administrator may name somebody else."""
        return self._stores.personal.live(self._whose(request, username))

    def revoke_token(self, request: Request, token_id: str) -> None:
        """Revoke a token of one's own; administrators any. Raises NotFound, InvalidRequest."""
        self.administration.revoke_token(token_id, owner_id=_owner_id(request))

    def sessions(self, request: Request, *, username: str | None) -> tuple[ShownSession, ...]:
        """Return one's own sessions; for an administrator all, or those of somebody."""
        everybodys = request.principal.is_admin and username is None
        whose = None if everybodys else self._whose(request, username)
        names = {user.user_id: user.username for user in self._stores.users.list()}
        sessions = self._stores.sessions
        return tuple(
            ShownSession(
                each, names.get(each.user_id), last_used_at=sessions.last_used_at(each.session_id)
            )
            for each in sessions.live(whose)
        )

    def kill_session(self, request: Request, session_id: str) -> None:
        """End a session of one's own; administrators any. Raises NotFound."""
        self.administration.kill_session(session_id, owner_id=_owner_id(request))

    def _whose(self, request: Request, username: str | None) -> str:
        principal = request.principal
        if username is None or username == principal.username:
            return principal.user_id
        if principal.is_admin:
            return self._stores.users.require(username).user_id
        raise NotFound(f"there is no user {username!r}", code="user_not_found")


def _identified(request: Request, login: Login) -> Login:
    """Put on record who it was that called without credentials."""
    request.record.identify(login.user.user_id, login.user.username, login.session_id)
    return login


def _owner_id(request: Request) -> str | None:
    return None if request.principal.is_admin else request.principal.user_id


def _origin(request: Request) -> Origin:
    return Origin(address=request.address or None, user_agent=request.user_agent)
