"""The users: who they are, and whether a password is theirs."""

from __future__ import annotations

import base64
import logging
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from flight_server.auth.account_rules import (
    ADMIN,
    check_attributes,
    check_custom_roles,
    check_email,
    check_own_choice,
    check_role,
    check_tier,
    check_username,
)
from flight_server.auth.passwords import Passwords
from flight_server.auth.user import FIRST_TIER, TIERS, User, as_row, user_of
from flight_server.clock import Clock
from flight_server.errors import (
    AlreadyExists,
    InvalidRequest,
    LakeflightError,
    LimitExceeded,
    NotFound,
    Unauthenticated,
)
from flight_server.storage.system import Change, Row, Rows, Snapshot, SystemTable
from policies.names import Role

__all__ = ["ADMIN", "FIRST_TIER", "TIERS", "User", "UserStore"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Index:
    snapshot: Snapshot | None
    by_id: dict[str, User]
    by_name: dict[str, User]
    by_external_id: dict[str, User]


class UserStore:
    """The table of users; safe to use from many threads, and sees at once what others write."""

    def __init__(
        self,
        table: SystemTable,
        passwords: Passwords,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        tiers: Collection[str] = TIERS,
    ) -> None:
        self._table = table
        self._passwords = passwords
        self._tiers = tiers
        self._clock = clock
        self._random_bytes = random_bytes
        self._index = _Index(None, {}, {}, {})

    def find(self, username: str) -> User | None:
        """Return the user of that name, or None."""
        return self._newest().by_name.get(username)

    def find_external(self, external_id: str) -> User | None:
        """Return whose account at another system this is, or None."""
        return self._newest().by_external_id.get(external_id)

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
        tier: str = FIRST_TIER,
    ) -> User:
        """Add a user and return it, durable.

        ``role`` is a base role. Raises InvalidRequest for a name, password, role, tier or address
        that breaks the rules, AlreadyExists when the name is taken, also in other capitals.
        """
        check_username(username)
        user = self._new(
            username, email=email, role=role, custom_roles=custom_roles, subscription_tier=tier
        )
        return self._insert(user, password)

    def add_external(
        self,
        external_id: str,
        usernames: Iterable[str],
        *,
        email: str | None,
        role: str,
        custom_roles: Iterable[str],
        tier: str,
        claims: str,
        attributes: Iterable[tuple[str, str]] = (),
    ) -> User:
        """Add the account of somebody who signs in at another system, and return it, durable.

        It gets the first of these names that is free, and no password. One that is there is
        returned as it is. Raises AlreadyExists when no name is free, InvalidRequest as ``add``.
        """
        names = tuple(usernames)
        made = self._new(
            "", email=email, role=role, custom_roles=custom_roles, subscription_tier=tier
        )
        made = replace(
            made,
            external_id=external_id,
            external_claims=claims,
            attributes=check_attributes(attributes),
        )

        def edit(rows: Rows) -> list[Row]:
            nonlocal made
            for row in rows.values():
                if row["external_id"] == external_id:
                    made = user_of(row)
                    return []
            free = (name for name in names if not self._is_taken(name, rows))
            name = next(free, None)
            if name is None:
                raise _taken(names[0] if names else "")
            made = replace(made, username=name)
            return [as_row(made)]

        self._table.change(edit)
        return made

    def register(
        self, username: str, password: str, *, email: str, tier: str | None, pending_max: int
    ) -> User:
        """Add an account that waits for approval, and return it, durable.

        Raises as ``add`` and LimitExceeded when ``pending_max`` accounts wait already.
        """
        check_own_choice(username)
        user = self._new(username, email=email, role=Role.PENDING, requested_tier=tier)
        return self._insert(user, password, pending_max=pending_max)

    def update(self, user_id: str, change: Callable[[User], User]) -> User:
        """Change an account and return it, durable.

        ``change`` gets the newest state, may be called again, and raises to give up. Raises
        NotFound, InvalidRequest for roles, tiers and attributes that break the rules, and when no
        active administrator would be left.
        """
        after: User | None = None

        def edit(rows: Rows) -> list[Row]:
            nonlocal after
            before = self._stored(rows, user_id)
            after = change(before)
            check_custom_roles(after.custom_roles)
            check_attributes(after.attributes)
            if after.subscription_tier != before.subscription_tier:
                check_tier(after.subscription_tier, self._tiers)
            if after == before:
                return []
            self._keep_an_administrator(rows, before, after)
            after = replace(after, updated_at=self._clock.now())
            return [as_row(after)]

        self._table.change(edit)
        assert after is not None  # noqa: S101 - the edit ran, or raised
        return after

    def reject(self, user_id: str) -> User:
        """Remove an account that waits for approval, and return it; its name is free again.

        Raises NotFound, InvalidRequest for any other account.
        """
        found: User | None = None

        def edit(rows: Rows) -> Change:
            nonlocal found
            found = self._stored(rows, user_id)
            if not found.is_pending:
                raise InvalidRequest(
                    "only an account that waits for approval can be rejected: disable this one"
                )
            if found.external_id is not None:
                raise InvalidRequest(
                    "the account would come back with the next token of its issuer: disable it"
                )
            return Change(remove=frozenset({user_id}))

        self._table.change(edit)
        assert found is not None  # noqa: S101 - as above
        return found

    def check_new_password(self, user_id: str, password: str) -> None:
        """Raise InvalidRequest when this cannot be the user's new password, NotFound."""
        user = self.get(user_id)
        _check_has_passwords(user)
        self._passwords.check_rule(password, names=(user.username, user.email))

    def set_password(self, username: str, password: str) -> User:
        """Give a user a new password; NotFound, InvalidRequest when it breaks the rule."""
        user = self.require(username)
        _check_has_passwords(user)
        hashed = self._passwords.hash(password, names=(user.username, user.email))
        return self.update(user.user_id, lambda found: replace(found, password_hash=hashed))

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
        if user is not None and user.external_id is not None:
            user = None  # no password is theirs, and it must take as long to say so
        matches = self._passwords.verify(password, None if user is None else user.password_hash)
        if user is None or not matches or not user.is_active:
            raise Unauthenticated("wrong user name or password", code="invalid_credentials")
        if self._passwords.needs_rehash(user.password_hash):
            return self._rehashed(user, password)
        return user

    def _newest(self) -> _Index:
        snapshot = self._table.snapshot()
        index = self._index
        if index.snapshot is not snapshot:
            users = [user_of(row) for row in snapshot.rows.values()]
            index = _Index(
                snapshot,
                {user.user_id: user for user in users},
                {user.username: user for user in users},
                {user.external_id: user for user in users if user.external_id is not None},
            )
            self._index = index
        return index

    def _rehashed(self, user: User, password: str) -> User:
        try:
            hashed = self._passwords.hash_again(password)
            # Unless it was changed meanwhile, by another call that knew it or by its owner.
            return self.update(
                user.user_id,
                lambda found: (
                    replace(found, password_hash=hashed)
                    if found.password_hash == user.password_hash
                    else found
                ),
            )
        except LakeflightError as error:  # a full disk must not lock everybody out
            _log.warning("the password hash of %s was not renewed: %s", user.username, error)
            return user

    def _insert(self, user: User, password: str, *, pending_max: int | None = None) -> User:
        def check(rows: Rows) -> None:
            if self._is_taken(user.username, rows):
                raise _taken(user.username)
            if pending_max is not None:
                pending = sum(row["role"] == Role.PENDING for row in rows.values())
                if pending >= pending_max:
                    raise LimitExceeded(
                        f"too many accounts wait for approval auth.pending_max={pending_max}"
                    )

        self._passwords.check_rule(password, names=(user.username, user.email))
        check(self._table.snapshot().rows)  # before the work of hashing
        hashed = self._passwords.hash(password)
        made = replace(user, password_hash=hashed)

        def edit(rows: Rows) -> list[Row]:
            check(rows)
            return [as_row(made)]

        self._table.change(edit)
        return made

    def _stored(self, rows: Rows, user_id: str) -> User:
        if user_id not in rows:
            raise NotFound("there is no such user", code="user_not_found")
        return user_of(rows[user_id])

    def _keep_an_administrator(self, rows: Rows, before: User, after: User) -> None:
        if not before.is_active_admin or after.is_active_admin:
            return
        others = (user_of(row) for row in rows.values() if row["user_id"] != before.user_id)
        if not any(other.is_active_admin for other in others):
            raise InvalidRequest(
                f"{before.username} is the last active administrator: make another one first"
            )

    def _is_taken(self, username: str, rows: Rows) -> bool:
        # "Admin" beside "admin" would invite mistakes.
        name = username.casefold()
        return any(str(row["username"]).casefold() == name for row in rows.values())

    def _new(
        self,
        username: str,
        *,
        email: str | None,
        role: str,
        custom_roles: Iterable[str] = (),
        subscription_tier: str = FIRST_TIER,
        requested_tier: str | None = None,
    ) -> User:
        """Return a user without a password hash, or raise InvalidRequest."""
        if email is not None:
            check_email(email)
        now = self._clock.now()
        user = User(
            user_id=str(uuid.UUID(bytes=self._random_bytes(16), version=4)),
            username=username,
            email=email,
            password_hash="",
            role=check_role(role),
            custom_roles=check_custom_roles(custom_roles),
            subscription_tier=subscription_tier,
            is_active=True,
            created_at=now,
            updated_at=now,
            requested_tier=requested_tier,
        )
        check_tier(subscription_tier, self._tiers)
        if requested_tier is not None:
            check_tier(requested_tier, self._tiers)
        return user


def _check_has_passwords(user: User) -> None:
    if user.external_id is not None:
        raise InvalidRequest(f"{user.username!r} signs in at another system and has no password")


def _taken(username: str) -> AlreadyExists:
    return AlreadyExists(f"there is already a user {username!r}")
