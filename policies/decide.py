"""May this principal do this to that table? Pure: no clock, no disk, and a refusal is a value."""

from __future__ import annotations

from dataclasses import dataclass

from policies.book import PolicyBook
from policies.names import Principal, Privilege, Role, TableRef
from policies.records import reads_records
from policies.rules import Effect

SYSTEM_BUCKET = "system"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer and, in words, why."""

    allowed: bool
    reason: str


def decide(book: PolicyBook, principal: Principal, privilege: Privilege, ref: TableRef) -> Decision:
    """Decide one privilege on one table.

    A matching deny beats every allow, whatever the order of the rules. Administrators need no
    grant. The bucket ``system`` is for administrators alone, but for the records that somebody may
    read (``policies.records``), a ``pending`` account may do nothing, and a ``guest`` does nothing
    to what is granted but see that it is there (``may_see``): no grant can change any of it.
    """
    decision = _decide(book, principal, privilege, ref)
    if decision.allowed and principal.role is Role.GUEST and not reads_records(principal, ref):
        return Decision(allowed=False, reason="a guest sees what there is and reads no rows")
    return decision


def may_see(book: PolicyBook, principal: Principal, ref: TableRef) -> bool:
    """Whether somebody may know of a table and its columns: who may read it, and guests."""
    return _decide(book, principal, Privilege.READ, ref).allowed


def _decide(
    book: PolicyBook, principal: Principal, privilege: Privilege, ref: TableRef
) -> Decision:
    if principal.role is Role.PENDING:
        return Decision(allowed=False, reason="the account is not approved")
    is_own = privilege is Privilege.READ and reads_records(principal, ref)
    if ref.bucket == SYSTEM_BUCKET and not (is_own or principal.is_admin):
        return Decision(allowed=False, reason="the system bucket is for administrators")
    effect = book.effect(principal, privilege, ref)
    if effect is Effect.DENY:
        return Decision(allowed=False, reason=f"a deny of {privilege} on {ref}")
    if principal.is_admin:
        return Decision(allowed=True, reason="administrator")
    if is_own:
        return Decision(allowed=True, reason=f"the records in {ref}")
    if effect is Effect.ALLOW:
        return Decision(allowed=True, reason=f"a grant of {privilege} on {ref}")
    if privilege is Privilege.READ and any(
        grant.effect is Effect.ALLOW for grant in book.column_grants(principal, privilege, ref)
    ):
        return Decision(allowed=True, reason=f"a grant of {privilege} on columns of {ref}")
    return Decision(allowed=False, reason=f"no grant of {privilege} on {ref}")
