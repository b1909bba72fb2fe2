"""The users: who they are, and whether a password is theirs."""

from __future__ import annotations

import base64
import logging
import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from flight_server.auth.passwords import Passwords
from flight_server.clock import Clock
from flight_server.errors import (
    AlreadyExists,
    InvalidRequest,
    LakeflightError,
    NotFound,
    Unauthenticated,
)
from flight_server.storage.system import Row, Rows, Snapshot, SystemTable
from policies.names import Principal, Role

ADMIN = "admin"
# The user name under which a token may be given as a password.
RESERVED_NAMES = frozenset({"token"})
TIERS = ("free", "pro", "pioneer", "enterprise")
_USERNAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_CUSTOM_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class User:
    """One account as it is stored; times are aware, in UTC.

    ``external_id`` says whose account it is at another system, ``external_claims`` what that system
    said of them last; both are None for an account of this server's own.
    """

    user_id: str
    username: str
    email: str | None
    password_hash: str = field(repr=False)
    role: Role
    custom_roles: tuple[str, ...]
    subscription_tier: str
    is_active: bool
    created_at: datetime
    updated_at: datetime
    external_id: str | None = None
    external_claims: str | None = field(default=None, repr=False)

    def as_principal(self) -> Principal:
        """Return who this user is to the policies."""
        return Principal(
            user_id=self.user_id,
            username=self.username,
            role=self.role,
            custom_roles=frozenset(self.custom_roles),
        )


@dataclass(frozen=True, slots=True)
class _Index:
    snapshot: Snapshot | None
    by_id: dict[str, User]
    by_name: dict[str, User]


class UserStore:
    """The table of users; safe to use from many threads, and sees at once what others write."""

    def __init__(
        self,
        table: SystemTable,
        passwords: Passwords,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._table = table
        self._passwords = passwords
        self._clock = clock
        self._random_bytes = random_bytes
        self._index = _Index(None, {}, {})

    def find(self, username: str) -> User | None:
        """Return the user of that name, or None."""
        return self._newest().by_name.get(username)

    def get(self, user_id: str) -> User:
        """Return the user of that id; NotFound, code user_not_found, when there is none."""
        user = self._newest().by_id.get(user_id)
        if user is None:
            raise NotFound("there is no such user", code="user_not_found")
        return user

    def require(self, username: str) -> User:
        """Return the user of that name; NotFound, code user_not_found, when there is none."""
        user = self.find(username)
        if user is None:
            raise NotFound(f"there is no user {username!r}", code="user_not_found")
        return user

    def list(self) -> tuple[User, ...]:
        """Return all users by name."""
        return tuple(sorted(self._newest().by_id.values(), key=lambda user: user.username))

    def add(
        self,
        username: str,
        password: str,
        *,
        role: str,
        email: str | None = None,
        custom_roles: Iterable[str] = (),
        tier: str = "free",
    ) -> User:
        """Add a user and return it, durable.

        ``role`` is a base role. Raises InvalidRequest for a name, password, role, tier or address
        that breaks the rules, AlreadyExists when the name is taken, also in other capitals.
        """
        user = self._checked(
            username,
            role=role,
            email=email,
            custom_roles=tuple(dict.fromkeys(custom_roles)),
            tier=tier,
        )
        if self._is_taken(username, self._table.snapshot().rows):
            raise _taken(username)
        user = replace(user, password_hash=self._passwords.hash(password))

        def edit(rows: Rows) -> list[Row]:
            if self._is_taken(username, rows):
                raise _taken(username)
            return [_row(user)]

        self._table.change(edit)
        return user

    def set_password(self, username: str, password: str) -> User:
        """Give a user a new password; NotFound, InvalidRequest when it breaks the rule."""
        user = self.require(username)
        return self._set_hash(user.user_id, self._passwords.hash(password))

    def bootstrap(self, password: str | None) -> str | None:
        """Make the administrator at first start.

        Returns the random password when none was given and the user was made now, to be shown once;
        an existing administrator is left as it is.
        """
        if self.find(ADMIN) is not None:
            return None
        chosen = password
        if chosen is None:
            chosen = base64.urlsafe_b64encode(self._random_bytes(18)).decode()
        try:
            self.add(ADMIN, chosen, role=Role.ADMIN, tier="enterprise")
        except AlreadyExists:  # another server on the same folder was faster
            return None
        except InvalidRequest as error:
            raise InvalidRequest(f"admin.password: {error.message}", code=error.code) from None
        return chosen if password is None else None

    def authenticate(self, username: str, password: str) -> User:
        """Return the user whose password this is.

        Raises Unauthenticated, code invalid_credentials, with one text and after the same work
        whether the user is unknown, disabled, or the password wrong; LimitExceeded when too many
        sign in at once.
        """
        user = self.find(username)
        matches = self._passwords.verify(password, None if user is None else user.password_hash)
        if user is None or not matches or not user.is_active:
            raise Unauthenticated("wrong user name or password", code="invalid_credentials")
        if self._passwords.needs_rehash(user.password_hash):
            try:
                return self._set_hash(user.user_id, self._passwords.hash(password))
            except LakeflightError as error:  # a full disk must not lock everybody out
                _log.warning("the password hash of %s was not renewed: %s", username, error)
        return user

    def _newest(self) -> _Index:
        snapshot = self._table.snapshot()
        index = self._index
        if index.snapshot is not snapshot:
            users = [_user(row) for row in snapshot.rows.values()]
            index = _Index(
                snapshot,
                {user.user_id: user for user in users},
                {user.username: user for user in users},
            )
            self._index = index
        return index

    def _set_hash(self, user_id: str, password_hash: str) -> User:
        def edit(rows: Rows) -> list[Row]:
            if user_id not in rows:
                raise NotFound("there is no such user", code="user_not_found")
            return [
                {
                    **rows[user_id],
                    "password_hash": password_hash,
                    "updated_at": self._clock.now(),
                }
            ]

        return _user(self._table.change(edit).rows[user_id])

    def _is_taken(self, username: str, rows: Rows) -> bool:
        # "Admin" beside "admin" would invite mistakes.
        name = username.casefold()
        return any(str(row["username"]).casefold() == name for row in rows.values())

    def _checked(
        self,
        username: str,
        *,
        role: str,
        email: str | None,
        custom_roles: tuple[str, ...],
        tier: str,
    ) -> User:
        """Return a user without a password hash, or raise InvalidRequest."""
        if not _USERNAME.fullmatch(username):
            raise InvalidRequest(
                "a user name is a letter, then letters, digits, '.', '_' or '-', 64 at most"
            )
        if username.casefold() in RESERVED_NAMES:
            raise InvalidRequest(f"the user name {username!r} is reserved")
        if email is not None and not _EMAIL.fullmatch(email):
            raise InvalidRequest("the e-mail address is not valid")
        if role not in set(Role):
            raise InvalidRequest(f"the role is one of {', '.join(Role)}")
        if tier not in TIERS:
            raise InvalidRequest(f"the tier is one of {', '.join(TIERS)}")
        for name in custom_roles:
            if not _CUSTOM_ROLE.fullmatch(name) or name in set(Role):
                raise InvalidRequest(
                    "a custom role is a lower-case letter, then letters, digits, '_' or '-', "
                    "64 at most, and not the name of a base role"
                )
        now = self._clock.now()
        return User(
            user_id=str(uuid.UUID(bytes=self._random_bytes(16), version=4)),
            username=username,
            email=email,
            password_hash="",
            role=Role(role),
            custom_roles=custom_roles,
            subscription_tier=tier,
            is_active=True,
            created_at=now,
            updated_at=now,
        )


def _taken(username: str) -> AlreadyExists:
    return AlreadyExists(f"there is already a user {username!r}")


def _row(user: User) -> dict[str, Any]:
    return {**asdict(user), "role": str(user.role), "custom_roles": list(user.custom_roles)}


def _user(row: Row) -> User:
    try:
        role = Role(row["role"])
    except ValueError:  # a role of a later version: nothing is allowed until it is understood
        role = Role.PENDING
    return User(
        user_id=row["user_id"],
        username=row["username"],
        email=row["email"],
        password_hash=row["password_hash"],
        role=role,
        custom_roles=tuple(row["custom_roles"] or ()),
        subscription_tier=row["subscription_tier"],
        is_active=bool(row["is_active"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        external_id=row["external_id"],
        external_claims=row["external_claims"],
    )
