"""The sessions of connected clients: their options and temporary tables, in memory.

A session is found by a cookie, else by the token that a sign-in issued, else by the connection and
its user. It is made when there is something to keep: a connection that never sets anything has
none, and costs nothing. It ends when it is closed, when it was idle for too long, and with the
server.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flight_server.clock import Clock
from flight_server.engine.base import Temporary
from flight_server.errors import (
    Cancelled,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Unsupported,
)
from flight_server.protocol.flight import SessionOption, SessionOptionErrorValue
from flight_server.service import session_options
from flight_server.service.purposes import check_purpose
from flight_server.service.request import Request, SessionKey
from flight_server.service.session_options import NAMES, Reader, SessionOptions, Visible
from flight_server.sql.commands import SetOption, Use
from policies.names import Principal

_log = logging.getLogger(__name__)

# A session used within this time is in use: it does not make room for a new one.
_IN_USE_SECONDS = 60.0
_SWEEP_SECONDS_MAX = 60.0
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How many sessions are kept, of all users and of one, and how long an idle one."""

    sessions_max: int = 10_000
    sessions_per_user_max: int = 200
    session_idle_seconds_max: float = 28_800.0


class Session:
    """What the server keeps for one connection; safe to use from many threads.

    ``id`` may be shown; ``sign_in`` is the session of the sign-in, or the personal token, with
    which it was made, and whose end is its own; ``temporary_schema`` is the schema of its temporary
    tables, which nobody else can guess.
    """

    __slots__ = (
        "_lock",
        "_tables",
        "id",
        "is_closed",
        "keys",
        "options",
        "sign_in",
        "temporary",
        "temporary_schema",
        "used_at",
        "user_id",
    )

    def __init__(
        self,
        session_id: str,
        user_id: str,
        *,
        keys: tuple[SessionKey, ...],
        temporary_schema: str,
        sign_in: str = "",
    ) -> None:
        self.id = session_id
        self.sign_in = sign_in
        self.user_id = user_id
        self.keys = keys
        self.temporary_schema = temporary_schema
        # Both are replaced as a whole, so that a call reads them without a lock.
        self.options = SessionOptions()
        self.temporary: Temporary | None = None
        self.used_at = 0.0
        self.is_closed = False
        self._lock = threading.Lock()

    def add_temporary(self, name: str) -> None:
        """Let a table of ``temporary_schema`` be found by its short name from the next call on.

        Raises Cancelled when the session has ended: who made the table removes it then.
        """
        with self._lock:
            if self.is_closed:
                raise Cancelled("the session has ended")
            tables = frozenset() if self.temporary is None else self.temporary.tables
            self.temporary = Temporary(self.temporary_schema, tables | {name})

    def remove_temporary(self, name: str) -> None:
        """Forget a temporary table; one that is not there is no error."""
        with self._lock:
            if self.temporary is not None:
                left = self.temporary.tables - {name}
                self.temporary = Temporary(self.temporary_schema, left) if left else None

    def change(self, **changes: Any) -> None:
        """Set options."""
        with self._lock:
            self.options = replace(self.options, **changes)

    def end(self) -> bool:
        """Mark as closed; False when it was already."""
        with self._lock:
            was_open, self.is_closed = not self.is_closed, True
            return was_open


class Sessions:
    """All sessions of this server; safe to use from many threads.

    Finding one takes no lock and writes nothing but the time of its last use.
    """

    def __init__(
        self,
        names: Visible,
        limits: SessionLimits,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        default_schema: str = "public",
    ) -> None:
        self._names = names
        self._limits = limits
        self._clock = clock
        self._random_bytes = random_bytes
        self._default_schema = default_schema
        self._lock = threading.Lock()
        self._by_key: dict[SessionKey, Session] = {}
        self._by_user: dict[str, dict[str, Session]] = {}
        self._count = 0
        self._sweep_at = 0.0
        self._on_close: list[Callable[[Session], None]] = []

    @property
    def count(self) -> int:
        """How many sessions there are."""
        return self._count

    def when_closed(self, callback: Callable[[Session], None]) -> None:
        """Have this called once for each session that ends, whatever ended it."""
        self._on_close.append(callback)

    def check_purpose(self, principal: Principal, purpose: str) -> None:
        """Raise unless somebody may state this purpose; see ``purposes.check_purpose``."""
        check_purpose(self._names, principal, purpose)

    def find(self, keys: tuple[SessionKey, ...]) -> Session | None:
        """Return the session that the first of these keys stands for, if there is one."""
        now = self._clock.monotonic()
        if now >= self._sweep_at:
            self._sweep(now)
        session = self._by_key.get(keys[0]) if keys else None
        if session is None or self._is_over(session, now):
            return None
        session.used_at = now
        return session

    def open(self, request: Request) -> Session:
        """Return the session of a call, made if it has none yet.

        Raises LimitExceeded when there are too many, InvalidRequest for a call outside of any.
        """
        found = self.find(request.session_keys)
        if found is not None:
            return found
        if not request.session_keys:
            raise InvalidRequest("this call belongs to no session")
        now, user_id = self._clock.monotonic(), request.principal.user_id
        ended: list[Session] = []
        try:
            with self._lock:
                session = self._by_key.get(request.session_keys[0])
                if session is not None and not self._is_over(session, now):
                    return session
                if session is not None:
                    self._remove(session, ended)
                self._make_room(user_id, now, ended)
                session = self._new(request)
                session.used_at = now
                self._add(session)
                return session
        finally:
            self._finish(ended)

    def close(self, request: Request) -> bool:
        """End the session of a call and free what it holds; False when it had none."""
        return bool(request.session_keys) and self._end(self._by_key.get(request.session_keys[0]))

    def kill(self, session_id: str, user_id: str) -> bool:
        """End a session of a user by its id; False when there is no such session."""
        return self._end(self._by_user.get(user_id, {}).get(session_id))

    def end_signed_in(self, user_id: str, sign_in: str | None = None) -> int:
        """End what one sign-in of a user has made, or all; return how many sessions that were."""
        with self._lock:
            own = tuple(self._by_user.get(user_id, {}).values())
        return sum(self._end(each) for each in own if sign_in in (None, each.sign_in))

    def live(self) -> tuple[Session, ...]:
        """Return the sessions there are, in no order."""
        with self._lock:
            return tuple(s for of_user in self._by_user.values() for s in of_user.values())

    def close_all(self) -> None:
        """End every session, when the server stops."""
        for session in self.live():
            self._end(session)

    def set(
        self, request: Request, values: Mapping[str, SessionOption]
    ) -> dict[str, SessionOptionErrorValue]:
        """Set options, each for itself; returns the names that were not set, and why.

        A schema is looked for in the catalog that is set along with it.
        """
        changes: dict[str, str | float | None] = {}
        faults: dict[str, SessionOptionErrorValue] = {}
        for name in sorted(values, key=lambda name: name != "catalog"):
            if name not in NAMES:
                faults[name] = SessionOptionErrorValue.INVALID_NAME
                continue
            try:
                changes[name] = self._reader(request, changes).read(name, values[name])
            except (InvalidRequest, NotFound):
                faults[name] = SessionOptionErrorValue.INVALID_VALUE
            except PermissionDenied:
                faults[name] = SessionOptionErrorValue.ERROR
        if changes:
            self._change(request, changes)
        return faults

    def apply(self, request: Request, command: Use | SetOption) -> None:
        """Execute USE, SET or RESET.

        Raises Unsupported for an option that does not exist, NotFound for a name that the caller
        may not see, InvalidRequest for a value that cannot be, PermissionDenied for a purpose that
        the caller may not state.
        """
        values: dict[str, SessionOption]
        if isinstance(command, Use):
            named = {"catalog": command.bucket, "schema": command.schema}
            if command.is_either and not self._is_catalog(request, command.bucket):
                named = {"schema": command.bucket}
            values = {name: value for name, value in named.items() if value is not None}
        elif command.name == "all" and command.value is None:
            values = dict.fromkeys(NAMES)
        elif command.name in NAMES:
            values = {command.name: command.value}
        else:
            raise Unsupported(
                f"there is no session option {command.name}; there are {', '.join(NAMES)}"
            )
        changes: dict[str, str | float | None] = {}
        for name, value in values.items():
            changes[name] = self._reader(request, changes).read(name, value)
        self._change(request, changes)

    def _is_catalog(self, request: Request, name: str | None) -> bool:
        """Whether a name means a bucket, and does not rather mean a schema of the present one."""
        principal = request.principal
        is_schema = (request.bucket, name) in self._names.schemas(principal, request.bucket)
        return name in self._names.catalogs(principal) or not is_schema

    def values(self, request: Request) -> dict[str, str | float | None]:
        """Return the options as they are in force for a call, also those that are not set."""
        return {
            "catalog": request.bucket,
            "schema": request.schema,
            "purpose": request.purpose,
            "query_timeout_seconds": request.timeout_seconds,
            "query_tag": request.query_tag,
        }

    def shown(self, request: Request) -> dict[str, str]:
        """Return the options in force for a call as texts, for SHOW."""
        return session_options.shown(self.values(request))

    def _reader(self, request: Request, changes: Mapping[str, str | float | None]) -> Reader:
        catalog = changes.get("catalog") or request.bucket
        return Reader(self._names, request.principal, str(catalog), self._default_schema)

    def _change(self, request: Request, changes: Mapping[str, str | float | None]) -> None:
        # To reset what was never set needs no session.
        if any(value is not None for value in changes.values()):
            self.open(request).change(**changes)
        elif (session := self.find(request.session_keys)) is not None:
            session.change(**changes)

    def _new(self, request: Request) -> Session:
        return Session(
            self._random_bytes(_ID_BYTES).hex(),
            request.principal.user_id,
            keys=request.session_keys,
            temporary_schema=f"s_{self._random_bytes(_ID_BYTES).hex()}",
            sign_in=request.session_id,
        )

    def _make_room(self, user_id: str, now: float, ended: list[Session]) -> None:
        """Let the longest idle sessions of the user go until one more fits."""
        own, limits = self._by_user.get(user_id, {}), self._limits
        while len(own) >= limits.sessions_per_user_max or self._count >= limits.sessions_max:
            oldest = min(own.values(), key=lambda session: session.used_at, default=None)
            if oldest is None or now - oldest.used_at < _IN_USE_SECONDS:
                is_own = len(own) >= limits.sessions_per_user_max
                name = "sessions_per_user_max" if is_own else "sessions_max"
                raise LimitExceeded(
                    f"too many sessions are in use; {name}={getattr(limits, name)}",
                    retry_after_seconds=_IN_USE_SECONDS,
                )
            self._remove(oldest, ended)

    def _add(self, session: Session) -> None:
        for key in session.keys:
            self._by_key.setdefault(key, session)
        self._by_user.setdefault(session.user_id, {})[session.id] = session
        self._count += 1

    def _remove(self, session: Session, ended: list[Session]) -> None:
        own = self._by_user.get(session.user_id, {})
        if own.pop(session.id, None) is None:
            return
        if not own:
            del self._by_user[session.user_id]
        for key in session.keys:
            if self._by_key.get(key) is session:
                del self._by_key[key]
        self._count -= 1
        ended.append(session)

    def _end(self, session: Session | None) -> bool:
        ended: list[Session] = []
        if session is not None:
            with self._lock:
                self._remove(session, ended)
            self._finish(ended)
        return bool(ended)

    def _finish(self, ended: list[Session]) -> None:
        """Free what ended sessions held, outside of the lock: it may take a while."""
        for session in ended:
            if session.end():
                for callback in self._on_close:
                    try:
                        callback(session)
                    except Exception:  # noqa: BLE001  the session is gone all the same
                        _log.exception("a session could not be cleared away")

    def _is_over(self, session: Session, now: float) -> bool:
        return now - session.used_at >= self._limits.session_idle_seconds_max

    def _sweep(self, now: float) -> None:
        """End what was idle for too long, once in a while and by one call only."""
        if not self._lock.acquire(blocking=False):
            return
        ended: list[Session] = []
        try:
            self._sweep_at = now + min(_SWEEP_SECONDS_MAX, self._limits.session_idle_seconds_max)
            live = [s for of_user in self._by_user.values() for s in of_user.values()]
            for session in live:
                if self._is_over(session, now):
                    self._remove(session, ended)
        finally:
            self._lock.release()
        self._finish(ended)
