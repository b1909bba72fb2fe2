"""Which rules name a table or a column of it, so that another name would let it escape them.

Whoever changes a table need not know of the rules for others. Rules that name what is not there any
more close the table to everybody; a deny of a column does not even know that it moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flight_server.errors import InvalidRequest
from flight_server.sql.conditions import mentions
from policies.book import PolicyBook
from policies.names import TableRef
from policies.rules import Effect, SafeView

HAS_POLICIES = "has_policies"


class Attached:
    """Looks for rules in those in force now; safe to use from many threads.

    ``key_column`` returns the column by which tombstones of a table go, None where there are none.
    """

    def __init__(
        self, book: Callable[[], PolicyBook], *, key_column: Callable[[TableRef], str | None]
    ) -> None:
        self._book = book
        self._key_column = key_column

    def check_columns(self, ref: TableRef, names: Iterable[str]) -> None:
        """Raise InvalidRequest (``has_policies``) when a rule names one of these columns."""
        book, key_column = self._book(), self._key_column(ref)
        for name in names:
            found = self._of_column(book, ref, name)
            if found is None and name == key_column:
                found = "tombstones"
            if found is not None:
                raise InvalidRequest(
                    f"{found} on {ref} depends on the column {name!r}: drop that first",
                    code=HAS_POLICIES,
                )

    def check_table(self, ref: TableRef) -> None:
        """Raise InvalidRequest (``has_policies``) when a rule names this very table."""
        found = self._of_table(self._book(), ref)
        if found is None and self._key_column(ref) is not None:
            found = "tombstones"
        if found is not None:
            raise InvalidRequest(
                f"{found} on the name {ref} would stay behind: drop that first, or copy the table",
                code=HAS_POLICIES,
            )

    def _of_table(self, book: PolicyBook, ref: TableRef) -> str | None:
        if book.filters_of(ref):
            return "a row filter"
        if book.masks_of(ref):
            return "a column mask"
        if book.labels_of(ref):
            return "a label"
        table = (ref.bucket, ref.schema, ref.table)
        for grant in book.grants:
            if grant.resource == table and grant.effect is Effect.DENY:
                return "a deny"
            if grant.resource == table and grant.columns is not None:
                return "a grant of columns"
        return "a safe view" if any(view.base == ref for view in book.views) else None

    def _of_column(self, book: PolicyBook, ref: TableRef, name: str) -> str | None:
        # Where names are folded to lower case, they are in conditions alone.
        if any(mentions(each.condition, name) for each in book.filters_of(ref)):
            return "a row filter"
        if any(mask.column[0] == name for mask in book.masks_of(ref)):
            return "a column mask"
        if any(label.column == name for label in book.labels_of(ref)):
            return "a label"
        if any(name in (each.columns or ()) and each.covers(ref) for each in book.grants):
            return "a grant of columns"
        if any(_shows(view, name) for view in book.views if view.base == ref):
            return "a safe view"
        return None


def _shows(view: SafeView, name: str) -> bool:
    return (
        any(column == name for column, _ in view.columns)
        or any(path[0] == name for path, _ in view.redactions)
        or (view.row_filter is not None and mentions(view.row_filter, name))
    )
