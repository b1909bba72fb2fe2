"""The sessions: one for each sign-in, looked up at every call that its token makes."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any

from flight_server.clock import Clock
from flight_server.errors import Unauthenticated
from flight_server.storage.system import Change, Row, Rows, SystemTable

# Of one user at a time, where their tier has no limit of its own.
SESSIONS_OF_USER_MAX = 10_000
# Rows of sessions that are over, before the next sign-in clears them away.
OVER_ROWS_MAX = 64
# Ids of sessions that another system started begin so, and no others.
EXTERNAL_PREFIX = "ext_"
USER_AGENT_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in as it is stored; times are aware, in UTC.

    ``token_hash`` is that of the newest refresh token, whose number is ``generation``; None for a
    session that cannot be prolonged. ``expires_at`` is when the session is over whatever happens.
    """

    session_id: str
    user_id: str
    token_hash: str | None = field(repr=False)
    generation: int
    expires_at: datetime
    created_at: datetime
    ip_address: str | None = None
    user_agent: str | None = None
    revoked_at: datetime | None = None
    revoked_reason: str | None = None


class _Refreshed(Enum):
    """What became of a refresh token that came in."""

    ROTATED = auto()
    ENDED = auto()
    OVERTAKEN = auto()
    REUSED = auto()


class SessionStore:
    """The table of sessions; safe to use from many threads, and sees at once what others write."""

    def __init__(self, table: SystemTable, *, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        # When each was used last, by this process since it started. A hint, and never stored.
        self._used_at: dict[str, datetime] = {}
        self._on_end: list[Callable[[str, str], object]] = []

    def when_ended(self, callback: Callable[[str, str], object]) -> None:
        """Have this called with user id and session id of each session that this process ends."""
        self._on_end.append(callback)

    def start(self, session: Session, *, sessions_max: int | None) -> None:
        """Store a new session, durable.

        Those of the same user that were used least recently end when there would be more than
        ``sessions_max``: drivers sign in for each connection and never out.
        """
        most = SESSIONS_OF_USER_MAX if sessions_max is None else sessions_max
        ended: list[str] = []

        def edit(rows: Rows) -> Change:
            now = self._clock.now()
            ended.clear()
            if session.session_id in rows and not _has_expired(rows[session.session_id], now):
                return Change()
            over = {key for key, row in rows.items() if _is_over(row, now)}
            own = [
                row
                for key, row in rows.items()
                if row["user_id"] == session.user_id and key not in over
            ]
            excess = max(0, len(own) + 1 - most)
            ended[:] = [row["session_id"] for row in self._least_used(own)[:excess]]
            # To remove a row writes all others anew, so those that are over wait for each other.
            spare = {key for key in over if not _is_remembered(rows[key], now)}
            clears = len(spare) >= OVER_ROWS_MAX or bool(ended)
            put = [asdict(session)]
            for key in ended:
                if _is_remembered(rows[key], now):
                    put.append(_revoked(rows[key], now, "too many sessions"))
                else:
                    spare.add(key)
            return Change(put, frozenset(spare if clears else ()))

        after = self._table.change(edit)
        self._used_at[session.session_id] = session.created_at
        self._tell(session.user_id, ended)
        if len(self._used_at) > 2 * len(after.rows) + OVER_ROWS_MAX:
            self._used_at = {key: at for key, at in self._used_at.items() if key in after.rows}

    def follow(self, session: Session, *, sessions_max: int | None) -> None:
        """Let a session go on that another system started; its first call stores it, durable.

        Raises Unauthenticated (``token_revoked``) when it was ended here.
        """
        row = self._table.snapshot().rows.get(session.session_id)
        if row is None or _has_expired(row, self._clock.now()):
            self.start(session, sessions_max=sessions_max)
        self.check(session.session_id, session.user_id)

    def check(self, session_id: str, user_id: str, *, is_use: bool = True) -> None:
        """Return when the session goes on; what asks on its own account is no use of it.

        Raises Unauthenticated (``token_revoked``) when it was ended, is over, or is not known.
        """
        row = self._table.snapshot().rows.get(session_id)
        now = self._clock.now()
        if row is None or row["user_id"] != user_id or _is_over(row, now):
            raise _ended()
        if is_use:
            self._used_at[session_id] = now

    def live(self, user_id: str | None = None) -> tuple[Session, ...]:
        """Return the sessions that go on, of one user or of all, newest first."""
        now = self._clock.now()
        found = [
            Session(**row)
            for row in self._table.snapshot().rows.values()
            if user_id in (None, row["user_id"]) and not _is_over(row, now)
        ]
        return tuple(sorted(found, key=lambda each: each.created_at, reverse=True))

    def last_used_at(self, session_id: str) -> datetime | None:
        """Return when this process last saw a session used; None when it did not."""
        return self._used_at.get(session_id)

    def end(self, session_id: str, *, reason: str, user_id: str | None = None) -> bool:
        """End a session, durable; False when there is no such one, or it is of another user."""
        return bool(
            self._end(
                lambda row: row["session_id"] == session_id and user_id in (None, row["user_id"]),
                reason,
            )
        )

    def end_all(self, user_id: str, *, reason: str, but: str | None = None) -> int:
        """End all sessions of a user, durable, ``but`` one; return how many there were."""
        return self._end(lambda row: row["user_id"] == user_id and row["session_id"] != but, reason)

    def rotate(
        self,
        session_id: str,
        generation: int,
        *,
        token_hash: str,
        next_hash: Callable[[datetime], str],
    ) -> Session:
        """Take a refresh token that this server sealed, and put the next one in its place.

        ``next_hash`` returns the hash of the next token, which is good until the time that it is
        given. Raises Unauthenticated (``token_revoked``) for a session that is over, for a token
        that another call used in the same moment, and for one that had been used before this call
        came: then the session ends, since one of the two who have it stole it.
        """
        before = self._table.snapshot().rows.get(session_id)
        was_newest = before is not None and before["generation"] == generation
        became = _Refreshed.ENDED
        rotated: dict[str, Any] = {}

        def edit(rows: Rows) -> list[Row]:
            nonlocal became, rotated
            row, now = rows.get(session_id), self._clock.now()
            became = _Refreshed.ENDED
            if row is None or _is_over(row, now) or not 0 < generation <= row["generation"]:
                return []
            if row["generation"] == generation:
                # The seal says as much already; the hash is what would survive a lost key.
                kept = row["token_hash"]
                if kept is None or not hmac.compare_digest(kept, token_hash):
                    return []
                became = _Refreshed.ROTATED
                rotated = {
                    **row,
                    "generation": generation + 1,
                    "token_hash": next_hash(row["expires_at"]),
                }
                return [rotated]
            became = _Refreshed.OVERTAKEN if was_newest else _Refreshed.REUSED
            return [] if was_newest else [_revoked(row, now, "a refresh token was used twice")]

        self._table.change(edit)
        if became is _Refreshed.REUSED:
            self._tell(str(before["user_id"]) if before else "", [session_id])
        if became is not _Refreshed.ROTATED:
            raise _ended()
        return Session(**rotated)

    def _end(self, is_meant: Callable[[Row], bool], reason: str) -> int:
        ended: list[Row] = []

        def edit(rows: Rows) -> list[Row]:
            now = self._clock.now()
            ended[:] = [row for row in rows.values() if is_meant(row) and not _is_over(row, now)]
            return [_revoked(row, now, reason) for row in ended]

        self._table.change(edit)
        for row in ended:
            self._tell(row["user_id"], [row["session_id"]])
        return len(ended)

    def _least_used(self, rows: Iterable[Row]) -> list[Row]:
        def used_at(row: Row) -> datetime:
            at: datetime = self._used_at.get(row["session_id"]) or row["created_at"]
            return at

        return sorted(rows, key=used_at)

    def _tell(self, user_id: str, session_ids: Iterable[str]) -> None:
        for session_id in session_ids:
            self._used_at.pop(session_id, None)
            for callback in self._on_end:
                callback(user_id, session_id)


def _is_over(row: Mapping[str, Any], now: datetime) -> bool:
    return row["revoked_at"] is not None or bool(row["expires_at"] <= now)


def _has_expired(row: Mapping[str, Any], now: datetime) -> bool:
    return bool(row["expires_at"] <= now)


def _is_remembered(row: Mapping[str, Any], now: datetime) -> bool:
    """Whether a row must stay when its session ends.

    Without it, the tokens of the other system would start the session anew.
    """
    return str(row["session_id"]).startswith(EXTERNAL_PREFIX) and not _has_expired(row, now)


def _revoked(row: Row, now: datetime, reason: str) -> dict[str, Any]:
    return {**row, "revoked_at": now, "revoked_reason": reason}


def _ended() -> Unauthenticated:
    return Unauthenticated("the session has ended; sign in again", code="token_revoked")
