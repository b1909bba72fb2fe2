"""Who may make rules on a table or a safe view: those who may manage it."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from flight_server.errors import PermissionDenied, Unsupported
from flight_server.service.browse import Browser
from flight_server.service.conditions import Conditions
from flight_server.service.hash_domains import check_domains
from flight_server.service.information_schema import INFORMATION_SCHEMA
from flight_server.service.request import Request
from flight_server.service.standing import withdrawn
from flight_server.service.targets import Targets
from flight_server.sql.fragments import read_table
from policies.book import PolicyBook
from policies.decide import SYSTEM_BUCKET
from policies.names import Privilege, TableRef
from policies.rules import Redaction


class RulePermits:
    """Implements ``rules.Permits``; safe to use from many threads."""

    def __init__(
        self,
        browser: Browser,
        targets: Targets,
        conditions: Conditions,
        *,
        book: Callable[[], PolicyBook],
    ) -> None:
        self._browser = browser
        self._targets = targets
        self._conditions = conditions
        self._book = book

    def named(self, request: Request, table: str) -> TableRef:
        """Return the table that a name means to a request; raises InvalidRequest, NotFound."""
        return self._targets.named(request, read_table(table), may_be_temporary=False)

    def check(self, request: Request, ref: TableRef) -> None:
        """Raise what a caller is to hear who may not make rules on a table or view.

        NotFound for what they may not even know of, PermissionDenied for what they may only read,
        Unsupported for the server's own tables, which have rules of their own.
        """
        principal = request.principal
        if ref.bucket == SYSTEM_BUCKET or ref.schema == INFORMATION_SCHEMA:
            if self._browser.sees_catalog(principal, ref.bucket):
                raise Unsupported("no rules are put on the server's own tables")
            raise self._browser.missing(principal, ref)
        if not self._browser.may_manage(principal, ref):
            if self._browser.sees(principal, ref):
                raise PermissionDenied(f"you may not manage {ref}")
            raise self._browser.missing(principal, ref)

    def check_still(self, request: Request, ref: TableRef) -> None:
        """Raise PermissionDenied, or what ``Standing`` says, when a right is gone by now."""
        if not self._browser.may_manage(self._targets.principal(request), ref):
            raise withdrawn()

    def check_redaction(self, request: Request, ref: TableRef, redaction: Redaction) -> None:
        """Raise PermissionDenied for a hash in a domain that is somebody else's."""
        check_domains(self._book(), request.principal, [redaction], of=ref)

    def may_manage(self, request: Request, ref: TableRef) -> bool:
        """Whether somebody may make rules on a table or view."""
        return self._browser.may_manage(request.principal, ref)

    def denied(self, request: Request, ref: TableRef) -> frozenset[str]:
        """Return columns of a table or view that do not exist for a caller."""
        return self._browser.readable(request.principal, ref).denied

    def check_condition(
        self, request: Request, text: str, ref: TableRef, *, schema: pa.Schema
    ) -> None:
        """Raise InvalidRequest, with a place, unless a text is a condition over these columns.

        It is planned as a query of its caller, who needs the right to read for that.
        """
        if not self._browser.may_still(request.principal, Privilege.READ, ref):
            raise PermissionDenied(
                f"to try a filter on {ref} you need the right to read it as well"
            )
        self._conditions.check(request, text, ref, schema=schema)
