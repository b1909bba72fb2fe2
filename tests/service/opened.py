"""A lakehouse in a folder, opened as the server opens it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from flight_server.engine.base import GovernedTable, Pin
from flight_server.service.browse import Browser
from flight_server.service.governed import GovernedTables, build
from flight_server.sql.names import AsOf
from flight_server.storage.locations import locate_all
from policies.book import PolicyBook
from policies.names import Principal, Privilege, Role, TableRef
from policies.rules import Effect, Grant

ADMIN = Principal("1", "root", Role.ADMIN)
BOB = Principal("2", "bob", Role.REGISTERED)
PENDING = Principal("3", "eve", Role.PENDING)


class FixedClock:
    """A clock that stands still, in the far future unless set."""

    def __init__(self, now: datetime = datetime(2999, 1, 1, tzinfo=UTC)) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


class Lakehouse:
    """Buckets under one policy book that tests may replace."""

    def __init__(self, buckets: Mapping[str, str | Path]) -> None:
        self.book = PolicyBook("0")
        self.clock = FixedClock()
        self.browser: Browser
        self.tables: GovernedTables
        governed = build(locate_all(buckets), lambda: self.book, self.clock)
        self.browser, self.tables = governed.browser, governed.tables

    def allow(self, *resource: str, user: str = "bob") -> None:
        """Let a user read a resource."""
        self._add(Grant(Privilege.READ, resource, user=user))

    def deny(self, *resource: str, user: str = "bob") -> None:
        """Forbid a user to read a resource."""
        self._add(Grant(Privilege.READ, resource, user=user, effect=Effect.DENY))

    def open(
        self,
        *names: str,
        principal: Principal = ADMIN,
        as_of: AsOf | None = None,
        pin: Pin | None = None,
    ) -> GovernedTable:
        """Open a table of the primary bucket, or of another by its full name."""
        ref = TableRef(*(names if len(names) == 3 else ("primary", *names)))
        return self.tables.open(ref, principal, as_of=as_of, pin=pin)

    def _add(self, grant: Grant) -> None:
        self.book = PolicyBook(self.book.version + "+", (*self.book.grants, grant))
