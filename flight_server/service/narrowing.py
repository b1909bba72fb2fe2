"""What one principal may see of a table or an AI-safe view, as a scan that the engine can run.

The rules of the base come first, with the keys that hide rows of it; then each view shows its
columns of what is left, and the rules on the view narrow that again. The secret of hashes is asked
for only where something is hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from flight_server.engine.base import GovernedScan, KeyFilter, Narrowing, TableScan
from flight_server.errors import InvalidRequest, NotFound
from flight_server.service.attached import Attached
from flight_server.service.terms import Terms, terms_of
from flight_server.sql.conditions import bound
from policies.book import PolicyBook
from policies.decide import SYSTEM_BUCKET
from policies.lens import TableView, narrow, through
from policies.names import Principal, TableRef
from policies.rules import RedactionKind, SafeView

# Rules speak of columns that a state of their table does not have.
MISFIT = "policy_misfit"
VIEW_BROKEN = "view_broken"
# One principal who sees all of a table sees it as it is.
AS_IT_IS = ""


class Hidden(Protocol):
    """The keys that hide rows, or let them be seen."""

    def tombstones(
        self, ref: TableRef, schema: pa.Schema, paths: frozenset[str]
    ) -> KeyFilter | None:
        """Return the rows of a table that are gone for everybody; None when there are none.

        ``paths`` are the data files of the state that is read. Raises InvalidRequest
        (``policy_misfit``) for a state without the key column, or with another type of it.
        """
        ...

    def key_column(self, ref: TableRef) -> str | None:
        """Return the column by which rows of a table are gone; None when there are none gone."""
        ...

    def consented(self, purpose: str, column: pa.Field[pa.DataType]) -> KeyFilter:
        """Return who has agreed to a purpose, in the type of the column that names people.

        Raises InvalidRequest (``policy_misfit``) for a column that cannot name people.
        """
        ...


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What is seen of a table; ``stamp`` differs when it is something else, see ``Pin.policy``."""

    narrowings: tuple[Narrowing, ...] = ()
    group_rows_min: int = 0
    secret: bytes = b""
    stamp: str = AS_IT_IS

    def scan(self, source: TableScan) -> TableScan | GovernedScan:
        """Return the scan of what is seen; the source itself when that is all of it."""
        if not self.narrowings:
            return source
        return GovernedScan(source, self.narrowings, self.group_rows_min, self.secret)


EVERYTHING = Narrowed()


class Narrower:
    """Narrows tables by the rules in force; safe to use from many threads.

    ``secret`` returns the key of all hashes. Without ``hidden`` there are no keys that hide rows.
    """

    def __init__(
        self,
        book: Callable[[], PolicyBook],
        *,
        hidden: Hidden | None = None,
        secret: Callable[[], bytes] = lambda: b"",
    ) -> None:
        self._book = book
        self._hidden = hidden
        self._secret = secret
        self.attached = Attached(book, key_column=self._key_column)

    def _key_column(self, ref: TableRef) -> str | None:
        return None if self._hidden is None else self._hidden.key_column(ref)

    def narrowed(
        self,
        principal: Principal,
        ref: TableRef,
        schema: pa.Schema,
        *,
        paths: frozenset[str] = frozenset(),
        views: Sequence[SafeView] = (),
        is_raw: bool = False,
    ) -> Narrowed:
        """Return what somebody may see of the table ``ref`` through ``views``, from its base up.

        With ``is_raw`` its tombstones hide nothing. Raises InvalidRequest when rules or a view do
        not fit this state of the table: then nothing of it is shown.
        """
        if ref.bucket == SYSTEM_BUCKET:
            return EVERYTHING  # its rows are records, which have rules of their own
        book = self._book()
        first = narrow(book, principal, ref, schema.names, is_base=bool(views))
        keys = [] if is_raw or self._hidden is None else self._tombstones(ref, schema, paths)
        keys += self._consents(ref, principal, schema, view=first)
        if not (views or keys) and first.shows_all(schema.names):
            return EVERYTHING
        steps = [self._step(first, principal, tuple(keys))]
        group_rows_min, asked = first.group_rows_min, set(first.subjects)
        for place, view in enumerate(views, 1):
            schema = _shown(view, schema)
            steps.append(self._step(through(view), principal))
            over = narrow(book, principal, view.ref, schema.names, is_base=place < len(views))
            # Views keep the names of columns. Those who agreed were looked for below already, where
            # the column is not redacted yet.
            consents = self._consents(view.ref, principal, schema, view=over, asked=asked)
            asked.update(over.subjects)
            if consents or not over.shows_all(schema.names):
                steps.append(self._step(over, principal, tuple(consents)))
            group_rows_min = max(group_rows_min, over.group_rows_min)
        return self._made(tuple(steps), group_rows_min)

    def terms(self, principal: Principal, ref: TableRef, schema: pa.Schema) -> Terms:
        """Return what somebody is held to who changes a table of these columns, or makes it."""
        if ref.bucket == SYSTEM_BUCKET:
            return Terms(ref)
        has_tombstones = self._key_column(ref) is not None
        book = self._book()
        return terms_of(book, principal, ref, schema.names, has_tombstones=has_tombstones)

    def _tombstones(
        self, ref: TableRef, schema: pa.Schema, paths: frozenset[str]
    ) -> list[KeyFilter]:
        assert self._hidden is not None  # noqa: S101  asked by the caller
        found = self._hidden.tombstones(ref, schema, paths)
        return [] if found is None else [found]

    def _consents(
        self,
        ref: TableRef,
        principal: Principal,
        schema: pa.Schema,
        *,
        view: TableView,
        asked: Collection[str] = (),
    ) -> list[KeyFilter]:
        _check_fits(ref, view)
        subjects = [name for name in view.subjects if name not in asked]
        if not subjects:
            return []
        hidden = self._hidden
        if hidden is None or principal.purpose is None:
            raise _misfit("this server keeps no consents")
        # Also of a column that this principal does not see.
        return [hidden.consented(principal.purpose, schema.field(name)) for name in subjects]

    def _step(
        self, view: TableView, principal: Principal, keys: tuple[KeyFilter, ...] = ()
    ) -> Narrowing:
        conditions = tuple(bound(each, principal) for each in view.conditions)
        return Narrowing(view.columns, conditions, keys)

    def _made(self, steps: tuple[Narrowing, ...], group_rows_min: int) -> Narrowed:
        secret = self._secret() if any(map(_hashes, steps)) else b""
        said = repr((steps, group_rows_min, hashlib.sha256(secret).hexdigest()))
        stamp = hashlib.sha256(said.encode()).hexdigest()[:32]
        return Narrowed(steps, group_rows_min, secret, stamp)


def _hashes(step: Narrowing) -> bool:
    return any(
        redaction.kind is RedactionKind.HASH
        for column in step.columns
        for _, redaction in column.redactions
    )


def _shown(view: SafeView, schema: pa.Schema) -> pa.Schema:
    """Return the columns of a view over those of its base; none that is not as it was is shown."""
    for name, kind in view.columns:
        if name not in schema.names or str(schema.field(name).type) != kind:
            raise InvalidRequest(
                f"the view {view.ref} cannot be used: what it is made of has changed, and has no"
                f" column {name!r} as it was",
                code=VIEW_BROKEN,
            )
    return pa.schema([schema.field(name) for name, _ in view.columns])


def _check_fits(ref: TableRef, view: TableView) -> None:
    if not view.columns:  # to count its rows would be to see something of it
        raise NotFound(f"the table {ref} does not exist", code="table_not_found")
    if view.missing:
        raise _misfit(f"rules on {ref} speak of columns that it does not have in this version")


def _misfit(message: str) -> InvalidRequest:
    return InvalidRequest(message, code=MISFIT)
