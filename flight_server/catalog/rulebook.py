"""The rules in force: those of the settings, which always hold, and those stored while it runs.

What is stored is a table of the server's own, so that every process sees a change at its next look.
A rule that cannot be read opens nothing, and one that may be a deny closes everything: then nobody
is told yes, administrators included, until the table can be read again.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from flight_server.catalog import rule_rows
from flight_server.catalog.resources import check_limits, read_resource, write_resource
from flight_server.catalog.rule_table import Read, RuleTable
from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, LimitExceeded, NotFound, Unavailable
from flight_server.storage.edits import Change
from flight_server.storage.system import Row, Rows, Snapshot, SystemTable
from flight_server.storage.system_tables import FILTERS, LABELS, MASKS, SAFE_VIEWS, TableSpec
from policies.book import PolicyBook, book_of, digest
from policies.names import Principal, Privilege
from policies.purposes import GROUP_ROWS_MIN
from policies.rules import ColumnMask, Effect, Grant, Label, RowFilter, SafeView
from policies.stating import purposes_of

GRANTS_MAX = 20_000
# What stands in place of a version while the rules cannot be read.
UNREADABLE = "unreadable"
_UNREADABLE_TEXT = "the server's own table cannot be read table=policy.grants"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """A grant as it is stored; ``created_by`` is a user's name, None for the command line.

    The words are as they were written: a later version may know privileges that this one does not.
    """

    grant_id: str
    privilege: str
    resource: str
    user: str | None
    role: str | None
    effect: str
    created_at: datetime
    created_by: str | None
    user_id: str | None = None
    columns: tuple[str, ...] | None = None
    purposes: frozenset[str] | None = None

    def rule(self) -> Grant:
        """Return what it says; raises ValueError, or InvalidRequest, when that is unreadable."""
        if (self.user is None) == (self.role is None):
            raise ValueError("a grant is to a user or to a role")
        grant = Grant(
            privilege=Privilege(self.privilege),
            resource=read_resource(self.resource),
            user=self.user,
            role=self.role,
            effect=Effect(self.effect),
            user_id=self.user_id,
            columns=self.columns,
            purposes=self.purposes,
        )
        check_limits(grant)
        return grant


@dataclass(frozen=True, slots=True)
class _Read:
    """The grants of one snapshot, those of the settings first; None when they cannot be read."""

    snapshot: Snapshot
    grants: tuple[Grant, ...] | None


class Narrowing:
    """The stored rules that narrow what grants show: one table for each kind."""

    def __init__(self, open_table: Callable[[TableSpec], SystemTable], *, clock: Clock) -> None:
        self.filters: RuleTable[RowFilter] = RuleTable(
            open_table(FILTERS), rule_rows.filter_of, name="policy.filters", clock=clock
        )
        self.masks: RuleTable[ColumnMask] = RuleTable(
            open_table(MASKS), rule_rows.mask_of, name="policy.masks", clock=clock
        )
        self.labels: RuleTable[Label] = RuleTable(
            open_table(LABELS), rule_rows.label_of, name="policy.labels", clock=clock
        )
        self.views: RuleTable[SafeView] = RuleTable(
            open_table(SAFE_VIEWS),
            rule_rows.view_of,
            name="policy.views",
            clock=clock,
            skips_broken=True,
        )


@dataclass(frozen=True, slots=True)
class _Made:
    """A book, and what it was made of."""

    grants: _Read
    filters: Read[RowFilter]
    masks: Read[ColumnMask]
    labels: Read[Label]
    views: Read[SafeView]
    book: PolicyBook


class Rulebook:
    """The policies of a lakehouse; safe to use from many threads.

    ``fixed`` are the grants of the settings; without a table there are no others, and without
    ``narrowing`` nothing narrows what they show. The version of a book names the versions of the
    tables that it was made of, so that it can be made again.
    """

    def __init__(
        self,
        fixed: Iterable[Grant],
        table: SystemTable | None = None,
        *,
        narrowing: Narrowing | None = None,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        group_rows_min: int = GROUP_ROWS_MIN,
    ) -> None:
        self.fixed = tuple(fixed)
        self._group_rows_min = group_rows_min
        self.narrowing = narrowing
        self._table = table
        self._clock = clock
        self._random_bytes = random_bytes
        self._book = replace(book_of(self.fixed), group_rows_min=group_rows_min)
        self._read: _Read | None = None
        self._made: _Made | None = None

    def book(self) -> PolicyBook:
        """Return the rules in force now; a look at the disk, and the same book until one changes.

        Raises Unavailable when they cannot be read: nothing is allowed then.
        """
        if self._table is None or self.narrowing is None:
            return self._book
        grants, rules, made = self._newest(self._table), self.narrowing, self._made
        filters, masks = rules.filters.read(), rules.masks.read()
        labels, views = rules.labels.read(), rules.views.read()
        if (
            made is None
            or made.grants is not grants
            or made.filters is not filters
            or made.masks is not masks
            or made.labels is not labels
            or made.views is not views
        ):
            if grants.grants is None:
                raise Unavailable(_UNREADABLE_TEXT)
            book = PolicyBook(
                version=self._version(
                    g=grants.snapshot.version,
                    f=filters.version,
                    m=masks.version,
                    l=labels.version,
                    v=views.version,
                ),
                grants=grants.grants,
                filters=tuple(filters.rules.values()),
                masks=tuple(masks.rules.values()),
                labels=tuple(labels.rules.values()),
                views=tuple(views.rules.values()),
                group_rows_min=self._group_rows_min,
            )
            made = _Made(grants, filters, masks, labels, views, book)
            self._made = made
        return made.book

    def _version(self, **versions: int) -> str:
        """Return the name of a state of all rules, such as ``g4-f0-m2-l-v1-s5fc2``.

        Each letter is a table, followed by its version, and by nothing where there is none yet; the
        last one is the digest of the grants of the settings.
        """
        parts = [f"{name}{'' if number < 0 else number}" for name, number in versions.items()]
        return "-".join((*parts, f"s{digest(self.fixed)}"))

    def version(self) -> str:
        """Return the version of the rules in force, for the record; never raises."""
        try:
            return self.book().version
        except Unavailable:
            return UNREADABLE

    def purposes(self, principal: Principal) -> frozenset[str]:
        """Return the purposes that somebody may state; raises Unavailable."""
        return purposes_of(self.book(), principal)

    def list(self) -> tuple[StoredGrant, ...]:
        """Return the stored grants, oldest first, also those that cannot be read as rules.

        Raises Unavailable.
        """
        found = [stored_grant(row) for row in self._rows().values()]
        return tuple(sorted(found, key=lambda grant: (grant.created_at, grant.grant_id)))

    def add(self, grant: Grant, *, created_by: str | None) -> tuple[StoredGrant, bool]:
        """Store a grant, durable; return it, and whether it is new.

        One that says the same is left and returned instead. Raises LimitExceeded, Unavailable.
        """
        new = StoredGrant(
            grant_id=str(uuid.UUID(bytes=self._random_bytes(16), version=4)),
            privilege=grant.privilege.value,
            resource=write_resource(grant.resource),
            user=grant.user,
            role=grant.role,
            effect=grant.effect.value,
            created_at=self._clock.now(),
            created_by=created_by,
            user_id=grant.user_id,
            columns=grant.columns,
            purposes=grant.purposes,
        )
        same: StoredGrant | None = None

        def edit(rows: Rows) -> list[Row]:
            nonlocal same
            same = next((each for each in _alike(rows, grant) if each.user_id == new.user_id), None)
            if same is not None:
                return []
            if len(rows) >= GRANTS_MAX:
                raise LimitExceeded(
                    f"there are as many grants as there may be: grants_max={GRANTS_MAX}"
                )
            return [_row(new)]

        self._writable().change(edit)
        return (new, True) if same is None else (same, False)

    def remove(self, asked: str | Grant) -> StoredGrant:
        """Forget a stored grant, named by its id or by what it says; durable. Returns it.

        Named by what it says, it is forgotten for every account that ever had the user's name; the
        last one is returned. Raises NotFound (``grant_not_found``), Unavailable.
        """
        found: list[StoredGrant] = []

        def edit(rows: Rows) -> Change:
            if isinstance(asked, str):
                found[:] = [stored_grant(rows[asked])] if asked in rows else []
            else:
                found[:] = _alike(rows, asked)
            if not found:
                raise NotFound("there is no such grant", code="grant_not_found")
            return Change(remove=frozenset(each.grant_id for each in found))

        self._writable().change(edit)
        return max(found, key=lambda each: each.created_at)

    def _rows(self) -> Rows:
        return {} if self._table is None else self._newest(self._table).snapshot.rows

    def _writable(self) -> SystemTable:
        if self._table is None:
            raise Unavailable("this server keeps no grants: it has no folder of its own")
        self._newest(self._table)  # in place of a table that went, no new one is begun
        return self._table

    def _newest(self, table: SystemTable) -> _Read:
        snapshot = table.snapshot()
        read = self._read
        if read is None or read.snapshot is not snapshot:
            if read is not None and snapshot.version < 0 <= read.snapshot.version:
                # Its denies went with it, and nobody can say what they were.
                _log.error("the table policy.grants is gone")
                raise Unavailable(_UNREADABLE_TEXT)
            read = _Read(snapshot, self._grants(snapshot))
            self._read = read
        return read

    def _grants(self, snapshot: Snapshot) -> tuple[Grant, ...] | None:
        """Return the grants of a snapshot; None when one that may be a deny cannot be read."""
        rules = list(self.fixed)
        for row in snapshot.rows.values():
            try:
                rules.append(stored_grant(row).rule())
            except (InvalidRequest, ValueError, TypeError):
                _log.error("a grant cannot be read, and opens nothing grant_id=%r", row["grant_id"])
                if row["effect"] != Effect.ALLOW:
                    return None
        return tuple(rules)


def _alike(rows: Rows, grant: Grant) -> list[StoredGrant]:
    """Return the stored grants that say this, whichever account has the user's name."""
    names = (grant.privilege, write_resource(grant.resource), grant.user, grant.role, grant.effect)
    found = [
        stored_grant(row)
        for row in rows.values()
        if (row["privilege"], row["resource"], row["user"], row["role"], row["effect"]) == names
    ]
    limits = (grant.columns, grant.purposes)
    return [each for each in found if (each.columns, each.purposes) == limits]


def stored_grant(row: Row) -> StoredGrant:
    """Return the grant that a row keeps."""
    return StoredGrant(
        grant_id=row["grant_id"],
        privilege=row["privilege"],
        resource=row["resource"],
        user=row["user"],
        role=row["role"],
        effect=row["effect"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        user_id=row["user_id"],
        columns=None if row["columns"] is None else tuple(row["columns"]),
        purposes=None if row["purposes"] is None else frozenset(row["purposes"]),
    )


def _row(grant: StoredGrant) -> Row:
    return {
        "grant_id": grant.grant_id,
        "privilege": grant.privilege,
        "resource": grant.resource,
        "user": grant.user,
        "role": grant.role,
        "effect": grant.effect,
        "created_at": grant.created_at,
        "created_by": grant.created_by,
        "user_id": grant.user_id,
        "columns": None if grant.columns is None else list(grant.columns),
        "purposes": None if grant.purposes is None else sorted(grant.purposes),
    }
