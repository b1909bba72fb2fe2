"""Tombstones by the names of tables, for those who may see or change them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flight_server.catalog.registry import Entry, Registry
from flight_server.engine.base import TEMPORARY_BUCKET
from flight_server.errors import InvalidRequest, PermissionDenied, Unsupported
from flight_server.service.browse import Browser
from flight_server.service.information_schema import INFORMATION_SCHEMA
from flight_server.service.keyed_tombstones import Hiding, KeyedTombstones, Outcome, Page, Status
from flight_server.service.opening import Opener
from flight_server.service.request import Request
from flight_server.service.targets import Targets
from flight_server.service.terms import terms_of
from flight_server.sql.fragments import read_table
from flight_server.storage.arrow_types import without_metadata
from policies.book import PolicyBook
from policies.decide import SYSTEM_BUCKET, decide, may_see
from policies.names import Principal, Privilege, TableRef

PAGE_KEYS, PAGE_KEYS_MAX = 1_000, 10_000
# Who has one of these learns the keys of what is hidden.
_SEEING_KEYS = (Privilege.WRITE, Privilege.MANAGE, Privilege.READ_RAW)


class Tombstones:
    """The use cases.

    All raise NotFound for a table out of sight, Unsupported for what has no tombstones: views,
    temporary tables, and the server's own.
    """

    def __init__(
        self,
        keyed: KeyedTombstones,
        targets: Targets,
        browser: Browser,
        *,
        registry: Registry,
        opener: Opener,
        book: Callable[[], PolicyBook],
    ) -> None:
        self._keyed = keyed
        self._targets = targets
        self._browser = browser
        self._registry = registry
        self._opener = opener
        self._book = book

    def add(
        self,
        request: Request,
        table: str,
        *,
        column: str,
        values: Sequence[Any],
        actor: str | None,
        reason: str,
    ) -> list[Outcome]:
        """Hide rows, for those who may write the table; see ``KeyedTombstones.add``."""
        hiding = self._found(request, table, (Privilege.WRITE,))
        self._check_sight(request, hiding, column)
        actor = request.principal.username if actor is None else actor
        done = self._keyed.add(hiding, column, values, actor=actor, reason=reason)
        request.record.note(rows=sum(each.status is Status.ADDED for each in done))
        return done

    def remove(
        self, request: Request, table: str, values: Sequence[Any], *, reason: str | None
    ) -> list[Outcome]:
        """Let rows be seen again, for those who may write the table."""
        hiding = self._found(request, table, (Privilege.WRITE,))
        self._check_sight(request, hiding, self._keyed.state(hiding.ref).key_column)
        actor = request.principal.username
        done = self._keyed.remove(hiding, values, actor=actor, reason=reason)
        request.record.note(rows=sum(each.status is Status.REMOVED for each in done))
        return done

    def list(self, request: Request, table: str, *, limit: int | None, token: str | None) -> Page:
        """Return tombstones of a table, from behind the one that ``token`` names.

        Those who may change or manage the table, or read what is hidden, and see all rows and the
        key column as it is, learn the keys; others who may read it learn how many there are. Raises
        InvalidRequest for a token that is none.
        """
        limit = PAGE_KEYS if limit is None else limit
        if not 1 <= limit <= PAGE_KEYS_MAX:
            raise InvalidRequest(f"the limit is from 1 to {PAGE_KEYS_MAX}")
        if token is not None and not (token.isascii() and token.isdigit() and len(token) <= 18):
            raise InvalidRequest("this is no token of a page")
        hiding = self._found(request, table, (Privilege.READ, *_SEEING_KEYS))
        if not self._sees_keys(request, hiding):
            return Page(hiding.ref, None, self._keyed.state(hiding.ref).count)
        page = self._keyed.page(hiding, after=int(token or 0), limit=limit)
        request.record.note(rows=len(page.tombstones or ()))
        return page

    def _found(self, request: Request, table: str, rights: Sequence[Privilege]) -> Hiding:
        """Return a table for those who have one of some rights on it."""
        principal = request.principal
        ref = self._targets.named(request, read_table(table))
        if ref.bucket == TEMPORARY_BUCKET:
            raise Unsupported(f"the temporary table {ref.table} has no tombstones: delete its rows")
        found = self._registry.find(ref) or self._registry.find_view(ref)
        is_seen = may_see(self._book(), principal, ref) or self._may(principal, _SEEING_KEYS, ref)
        if ref.bucket == SYSTEM_BUCKET or ref.schema == INFORMATION_SCHEMA:
            if self._browser.sees_catalog(principal, ref.bucket):
                raise Unsupported("the server's own tables have no tombstones")
            raise self._browser.missing(principal, ref)
        if found is None or not is_seen:
            raise self._browser.missing(principal, ref)
        if not self._may(principal, rights, ref):
            raise PermissionDenied(f"you may not {' or '.join(rights)} {ref}")
        if not isinstance(found, Entry):
            raise Unsupported(f"{ref} is a view, which has no tombstones: hide rows of its tables")
        return Hiding(ref, without_metadata(self._opener.open(found).schema))

    def _sees_keys(self, request: Request, hiding: Hiding) -> bool:
        if not self._may(request.principal, _SEEING_KEYS, hiding.ref):
            return False
        try:
            self._check_sight(request, hiding, self._keyed.state(hiding.ref).key_column)
        except (InvalidRequest, PermissionDenied):
            return False
        return True

    def _check_sight(self, request: Request, hiding: Hiding, column: str | None) -> None:
        """Refuse who does not see the key column as it is, or some rows only.

        Which rows go, and which keys are there, would tell whoever guesses what is in it, and keys
        reach rows that a filter hides.
        """
        names = hiding.schema.names
        terms = terms_of(self._book(), request.principal, hiding.ref, names, has_tombstones=False)
        terms.require_as_they_are([] if column is None else [column], "hide rows by it")
        terms.require_all_rows("say which of its rows are hidden")

    def _may(self, principal: Principal, rights: Iterable[Privilege], ref: TableRef) -> bool:
        book = self._book()
        return any(decide(book, principal, each, ref).allowed for each in rights)
