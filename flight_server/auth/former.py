"""The accounts as they were at an earlier moment."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from flight_server.auth.user import User, user_of
from flight_server.auth.users import UserStore
from flight_server.errors import NotFound
from flight_server.storage.past import NO_VERSION, PastStates
from flight_server.storage.system_tables import USERS


class FormerUsers:
    """The history of the accounts below one folder, of which everything is kept.

    ``users`` has those of now in memory; without it they are read as well.
    """

    def __init__(self, root: Path, users: UserStore | None = None) -> None:
        self._states = PastStates(root, USERS)
        self._users = users

    def find(self, user: str, moment: datetime | None) -> User | None:
        """Return an account by name or id as it was at a moment, now for None; None without one.

        Raises NotFound (``version_not_found``) when what was then is no longer kept, Unavailable.
        """
        if moment is None and self._users is not None:
            return _found(self._users, user)
        if moment is None:
            version = max(self._states.versions(), default=NO_VERSION)
        else:
            version = self._states.version_at(moment)
        rows = self._states.rows(version)
        if user in rows:
            return user_of(rows[user])
        return next((user_of(row) for row in rows.values() if row["username"] == user), None)


def _found(users: UserStore, user: str) -> User | None:
    try:
        return users.get(user)  # first, so that nobody is taken for whom they call themselves
    except NotFound:
        return users.find(user)
