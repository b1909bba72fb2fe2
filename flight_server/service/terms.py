"""What somebody who changes a table is held to by the rules that narrow what they see of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from flight_server.errors import InvalidRequest, PermissionDenied
from flight_server.sql.conditions import bound
from flight_server.sql.names import quoted
from policies.book import PolicyBook
from policies.decide import decide
from policies.lens import ShownColumn, narrow
from policies.names import Principal, Privilege, TableRef
from policies.rules import RedactionKind


@dataclass(frozen=True, slots=True)
class Terms:
    """What one principal is held to who changes one table.

    New rows must meet all ``checks``. ``columns`` are those that the caller sees, None for all, and
    for whoever reads nothing of the table; ``redacted`` those of them that are shown as something
    else. ``sees_all_rows`` does not speak of rows that are hidden from everybody, as those of
    ``has_tombstones`` are. ``has_rules`` tells whether rules on the table narrow what anybody sees,
    ``reads`` whether the caller may read any of it. ``hashed`` are columns that the caller sees as
    hashes: whoever chose values of new rows in them would learn what other hashes stand for.
    """

    ref: TableRef
    checks: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    redacted: frozenset[str] = frozenset()
    sees_all_rows: bool = True
    has_tombstones: bool = False
    has_rules: bool = False
    reads: bool = True
    hashed: frozenset[str] = frozenset()

    @property
    def new_columns(self) -> tuple[str, ...] | None:
        """The columns that the caller gives new rows values in, None for all."""
        if self.columns is None:
            return None
        return tuple(name for name in self.columns if name not in self.hashed)

    @property
    def sees_all(self) -> bool:
        """Whether every row, column and value is shown that is not hidden from everybody."""
        return self.sees_all_rows and self.columns is None and not self.redacted

    def require_all_rows(self, what: str) -> None:
        """Raise PermissionDenied for what is done to all rows by somebody who sees some."""
        if not self.sees_all_rows:
            raise PermissionDenied(f"you see a part of {self.ref} only, so you cannot {what}")

    def require_columns(self, names: Iterable[str], *, is_drop: bool = False) -> None:
        """Raise PermissionDenied for columns whose name or being the caller may not change."""
        for name in names:
            is_hidden = self.columns is not None and name not in self.columns
            if is_hidden or name in self.redacted:
                raise PermissionDenied(f"you may not change the column {quoted(name)}")
        if is_drop:
            self.require_all_rows("drop a column of it")

    def require_as_they_are(self, names: Iterable[str], what: str) -> None:
        """Raise for columns whose values would come out by what is done with them.

        InvalidRequest for one that the caller does not see, as for one that is not there, and
        PermissionDenied for one that they see as something else.
        """
        seen = None if self.columns is None else {name.casefold() for name in self.columns}
        redacted = {name.casefold() for name in self.redacted}
        for name in names:
            if seen is not None and name.casefold() not in seen:
                raise InvalidRequest(f"the table has no column {quoted(name)}")
            if name.casefold() in redacted:
                raise PermissionDenied(
                    f"you do not see the column {quoted(name)} as it is, so you cannot {what}"
                )

    def require_new_names(self, names: Iterable[str]) -> None:
        """Raise PermissionDenied for columns of new rows that the caller does not see."""
        if self.new_columns is None:
            return
        known = {name.casefold() for name in self.new_columns}
        for name in names:
            if name.casefold() not in known:
                raise PermissionDenied(f"you may not change the column {quoted(name)}")

    def require_no_hashes(self) -> None:
        """Raise PermissionDenied for a new table that would show its maker hashes of its rows."""
        if self.hashed:
            raise PermissionDenied(
                f"you see columns of the name {self.ref} as hashes, so you give it no rows anew"
            )

    def require_room(self, schema: pa.Schema) -> None:
        """Raise PermissionDenied when no row can be added: a column that is not seen needs one."""
        columns = self.new_columns
        if columns is not None and any(
            not field.nullable and field.name not in columns for field in schema
        ):
            raise PermissionDenied(
                f"you see some of the columns of {self.ref} only, and not all that a row needs"
            )


def terms_of(
    book: PolicyBook,
    principal: Principal,
    ref: TableRef,
    columns: Sequence[str],
    *,
    has_tombstones: bool,
) -> Terms:
    """Return what somebody is held to who changes a table of these columns."""
    view = narrow(book, principal, ref, columns)
    shown = tuple(column.name for column in view.columns)
    reads = _reads(book, principal, ref)
    hashed = frozenset(filter(None, map(_hashed, view.columns))) if reads else frozenset()
    reads_all = (len(shown) == len(columns) and not hashed) or not reads
    return Terms(
        ref,
        checks=tuple(bound(each, principal) for each in view.conditions),
        columns=None if reads_all else shown,
        redacted=frozenset(column.name for column in view.columns if column.redactions),
        sees_all_rows=not (view.conditions or view.subjects or view.group_rows_min),
        has_tombstones=has_tombstones,
        has_rules=_has_rules(book, ref),
        reads=reads,
        hashed=hashed,
    )


def _hashed(column: ShownColumn) -> str | None:
    kinds = {redaction.kind for _, redaction in column.redactions}
    return column.name if RedactionKind.HASH in kinds else None


def _reads(book: PolicyBook, principal: Principal, ref: TableRef) -> bool:
    return decide(book, principal, Privilege.READ, ref).allowed


def _has_rules(book: PolicyBook, ref: TableRef) -> bool:
    if book.filters_of(ref) or book.masks_of(ref) or book.labels_of(ref):
        return True
    return any(grant.columns is not None and grant.covers(ref) for grant in book.grants)
