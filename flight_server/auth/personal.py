"""Personal access tokens, for programs; and the ids of session tokens that were revoked singly.

A token is ``lfp_``, its id, and a secret of which only the digest is kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, LimitExceeded, Unauthenticated
from flight_server.storage.system import Change, Row, Rows, SystemTable

PREFIX = "lfp_"
NAME_CHARACTERS_MAX = 100
# Revoked ones of a user that are remembered until their time is over.
REVOKED_MAX = 1000
_ID_BYTES = 8
_SECRET_BYTES = 32
_TEXT = re.compile(r"lfp_([0-9a-f]{16})([A-Za-z0-9_-]{43})")
_TOKEN_ID = re.compile(r"[!-~]{1,255}")
_PERSONAL, _OF_SESSION = "personal", "session"
# In place of a user id: the token is revoked whoever has it.
_ANYBODY = "*"


@dataclass(frozen=True, slots=True)
class PersonalLimits:
    """How many live ones a user may have, and how long they may live."""

    tokens_max: int = 100
    seconds_max: int = 31_536_000
    default_seconds: int = 2_592_000


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A token as it is stored; times are aware, in UTC."""

    token_id: str
    user_id: str
    kind: str
    name: str | None
    token_hash: str | None = field(repr=False)
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


class PersonalTokens:
    """The table of tokens; safe to use from many threads, and sees at once what others write."""

    def __init__(
        self,
        table: SystemTable,
        limits: PersonalLimits | None = None,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._table = table
        self._limits = limits or PersonalLimits()
        self._clock = clock
        self._random_bytes = random_bytes

    def create(
        self,
        user_id: str,
        name: str,
        *,
        seconds: int | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[PersonalToken, str]:
        """Make a token and return it with its text, which is not kept anywhere.

        It is good for so many seconds, or until that time, or for a while if neither is given.
        Raises InvalidRequest for a name or a time that cannot be, LimitExceeded for too many.
        """
        now, limits = self._clock.now(), self._limits
        if not (name.isprintable() and name.strip() and len(name) <= NAME_CHARACTERS_MAX):
            raise InvalidRequest(
                f"the name of a token has 1 to {NAME_CHARACTERS_MAX} printable characters"
            )
        ends = self._end(now, seconds, expires_at)
        token_id = self._random_bytes(_ID_BYTES).hex()
        secret = base64.urlsafe_b64encode(self._random_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
        made = PersonalToken(token_id, user_id, _PERSONAL, name, _digest(secret), now, ends)

        def edit(rows: Rows) -> Change:
            own = self._of(rows, user_id, _PERSONAL)
            if sum(row["revoked_at"] is None for row in own) >= limits.tokens_max:
                raise LimitExceeded(
                    "you have as many personal tokens as you may:"
                    f" auth.personal_tokens_max={limits.tokens_max}; revoke one"
                )
            return Change([asdict(made)], self._spare(rows, own))

        self._table.change(edit)
        return made, f"{PREFIX}{token_id}{secret}"

    def _end(self, now: datetime, seconds: int | None, expires_at: datetime | None) -> datetime:
        if seconds is not None and expires_at is not None:
            raise InvalidRequest("a token is good either for some seconds or until a time")
        most = self._limits.seconds_max
        if expires_at is not None:
            is_possible = now < expires_at <= now + timedelta(seconds=most)
        else:
            seconds = min(self._limits.default_seconds, most) if seconds is None else seconds
            is_possible = 0 < seconds <= most
        if not is_possible:
            raise InvalidRequest(
                "a token expires in the future, and within"
                f" auth.personal_token_seconds_max={most} seconds"
            )
        return expires_at or now + timedelta(seconds=seconds or 0)

    def recognise(self, text: str) -> PersonalToken:
        """Return the token of a text.

        Raises Unauthenticated, with the codes token_revoked and token_expired for who knows the
        secret.
        """
        match = _TEXT.fullmatch(text)
        found = None if match is None else self.find(match[1])
        kept = "" if found is None else found.token_hash or ""
        if match is None or not hmac.compare_digest(kept, _digest(match[2])):
            raise Unauthenticated("the token is not valid")
        return self.check(match[1])

    def find(self, token_id: str) -> PersonalToken | None:
        """Return the personal token of that id, also one that is good no more; None for another."""
        row = self._table.snapshot().rows.get(token_id)
        return None if row is None or row["kind"] != _PERSONAL else PersonalToken(**row)

    def check(self, token_id: str) -> PersonalToken:
        """Return the personal token of that id, or raise Unauthenticated as ``recognise`` does."""
        found = self.find(token_id)
        if found is None:
            raise Unauthenticated("the token is not valid")
        if found.revoked_at is not None:
            raise Unauthenticated("the token was revoked", code="token_revoked")
        if found.expires_at <= self._clock.now():
            raise Unauthenticated("the token has expired", code="token_expired")
        return found

    def check_session_token(self, token_id: str, user_id: str) -> None:
        """Raise Unauthenticated (``token_revoked``) when this token of a session was revoked."""
        row = self._table.snapshot().rows.get(token_id)
        if row is not None and row["user_id"] in (user_id, _ANYBODY):
            raise Unauthenticated("the token was revoked", code="token_revoked")

    def live(self, user_id: str | None = None) -> tuple[PersonalToken, ...]:
        """Return the personal tokens that are good now, of one user or of all, newest first."""
        now = self._clock.now()
        found = [
            PersonalToken(**row)
            for row in self._table.snapshot().rows.values()
            if user_id in (None, row["user_id"]) and _is_live(row, now)
        ]
        return tuple(sorted(found, key=lambda each: each.created_at, reverse=True))

    def revoke(self, token_id: str, *, user_id: str | None = None) -> bool:
        """Revoke a personal token, durable; False when there is none, or it is of another user."""
        is_found = False

        def edit(rows: Rows) -> list[Row]:
            nonlocal is_found
            row, now = rows.get(token_id), self._clock.now()
            is_found = row is not None and _is_live(row, now) and user_id in (None, row["user_id"])
            return [{**row, "revoked_at": now}] if row is not None and is_found else []

        self._table.change(edit)
        return is_found

    def revoke_session_token(
        self, token_id: str, *, user_id: str | None, expires_at: datetime
    ) -> None:
        """Revoke one token of a session by its id, durable; of a user, or whoever has it.

        ``expires_at`` is when it would end anyway, at the latest. Raises InvalidRequest for what is
        no id, LimitExceeded when a user revokes too many.
        """
        if not _TOKEN_ID.fullmatch(token_id):
            raise InvalidRequest("this is not the id of a token")
        now = self._clock.now()

        def edit(rows: Rows) -> Change:
            row = rows.get(token_id)
            if row is not None and row["kind"] == _PERSONAL:
                return Change()
            # Whoever names the token of somebody else must not bring it back to life by that.
            owner = user_id if row is None or row["user_id"] == user_id else _ANYBODY
            revoked = PersonalToken(
                token_id, owner or _ANYBODY, _OF_SESSION, None, None, now, expires_at, now
            )
            own = self._of(rows, revoked.user_id, _OF_SESSION)
            if user_id is not None and row is None and len(own) >= REVOKED_MAX:
                raise LimitExceeded(f"too many revoked tokens: revoked_max={REVOKED_MAX}")
            return Change([asdict(revoked)], self._spare(rows, own))

        self._table.change(edit)

    def _of(self, rows: Rows, user_id: str, kind: str) -> list[Row]:
        """Return the rows of a user that still matter, oldest first."""
        now = self._clock.now()
        found = [
            row
            for row in rows.values()
            if row["user_id"] == user_id and row["kind"] == kind and row["expires_at"] > now
        ]
        return sorted(found, key=lambda row: row["created_at"])

    def _spare(self, rows: Rows, own: list[Row]) -> frozenset[str]:
        """Return the keys of what nobody needs any more, once it is worth the work."""
        now = self._clock.now()
        revoked = [row["token_id"] for row in own if row["kind"] == _PERSONAL and row["revoked_at"]]
        spare = {key for key, row in rows.items() if row["expires_at"] <= now}
        if len(revoked) > REVOKED_MAX:
            spare.update(revoked[: len(revoked) // 2])
        return frozenset(spare) if len(spare) >= REVOKED_MAX // 2 else frozenset()


def _is_live(row: Row, now: datetime) -> bool:
    return bool(row["kind"] == _PERSONAL and row["revoked_at"] is None and row["expires_at"] > now)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
