"""Who may ask what about the rules: everybody what they see themselves, auditors everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flight_server.catalog.editions import Since
from flight_server.errors import PermissionDenied
from flight_server.service.browse import Browser
from flight_server.service.explaining import Explainer, Question, without_raw
from flight_server.service.explanations import as_json
from flight_server.service.periods import Period
from flight_server.service.policy_changes import Difference, difference
from flight_server.service.request import Request
from flight_server.sql.fragments import read_table
from policies.book import PolicyBook
from policies.decide import decide
from policies.names import Principal, Privilege, Role, TableRef
from policies.records import reads_everybody

VERSIONS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as somebody writes it; a user of None is oneself, a moment of None is now."""

    table: str
    user: str | None = None
    purpose: str | None = None
    at: datetime | None = None
    version: str | None = None


class PolicyQuestions:
    """The use cases of asking about the rules.

    Administrators and auditors ask about everybody and about any moment; who manages a table asks
    about themselves at any moment; all others about themselves and now, and hear no conditions.
    """

    def __init__(
        self,
        explainer: Explainer,
        browser: Browser,
        *,
        book: Callable[[], PolicyBook],
        named: Callable[[Request, TableRef], TableRef],
    ) -> None:
        self._explainer = explainer
        self._browser = browser
        self._book = book
        self._named = named

    def explain(self, request: Request, asked: Asked) -> dict[str, Any]:
        """Return what somebody sees of a table and why, as plain data with sentences.

        Raises PermissionDenied, NotFound for a table that the caller may not know of and for what
        ``Explainer.explain`` does not find, InvalidRequest, Unavailable.
        """
        principal = _admitted(request.principal)
        ref = self._named(request, read_table(asked.table))
        is_auditor = reads_everybody(principal)
        managed = decide(self._book(), principal, Privilege.MANAGE, without_raw(ref))
        is_full = is_auditor or managed.allowed
        is_own = asked.user in (None, principal.username, principal.user_id)
        if not (is_own or is_auditor):
            # The same for users who do not exist: who does is nobody's business.
            raise PermissionDenied("you may ask about yourself, not about others")
        is_past = asked.at is not None or asked.version is not None
        if is_past and not is_full:
            raise PermissionDenied("what was seen at other times is for auditors to ask")
        self._check_known(principal, ref, is_full=is_full, is_past=is_past)
        question = Question(
            ref,
            principal.user_id if is_own or asked.user is None else asked.user,
            purpose=asked.purpose or (request.purpose if is_own else None),
            at=asked.at,
            version=asked.version,
        )
        found = self._explainer.explain(question)
        if asked.user is not None and found.principal is None:
            found = replace(found, username=asked.user)
        return as_json(found, is_full=is_full)

    def differences(self, request: Request, since: str, until: str | None) -> Difference:
        """Return how the rules of two versions or moments differ.

        Raises PermissionDenied for others than auditors, and as ``difference`` does.
        """
        _check_auditor(request.principal)
        return difference(self._explainer.editions, since, until)

    def versions(self, request: Request, period: Period) -> list[Since]:
        """Return the versions of the rules that held in a stretch of time, newest first.

        Raises PermissionDenied for others than auditors, Unavailable.
        """
        _check_auditor(request.principal)
        return self._explainer.editions.list(period.since, period.before, limit=VERSIONS_MAX)

    def _check_known(
        self, principal: Principal, ref: TableRef, *, is_full: bool, is_past: bool
    ) -> None:
        if not is_full:
            self._browser.columns(principal, ref)
        elif not is_past and not self._explainer.exists(ref):
            raise self._browser.missing(principal, ref)


def _admitted(principal: Principal) -> Principal:
    if principal.role is Role.PENDING:
        raise PermissionDenied("the account is not approved")
    return principal


def _check_auditor(principal: Principal) -> None:
    if not reads_everybody(_admitted(principal)):
        raise PermissionDenied("this is for administrators and auditors")
