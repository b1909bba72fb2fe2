"""Whose a shared domain of hashes is.

Within one domain equal values have equal hashes. Whoever could hash values of their own choice in
the domain of another view would find out what its hashes stand for, guess by guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flight_server.errors import PermissionDenied
from policies.book import PolicyBook
from policies.decide import decide
from policies.names import Principal, Privilege, TableRef
from policies.rules import Redaction


def check_domains(
    book: PolicyBook, principal: Principal, redactions: Iterable[Redaction], *, of: TableRef
) -> None:
    """Raise PermissionDenied unless somebody may hash in the domains that redactions name.

    ``of`` is the table or view that they are of. A domain that no other one names is for whoever
    names it; otherwise one needs to manage all that name it, views and what they are made of.
    """
    for domain in sorted({each.domain for each in redactions if each.domain is not None}):
        for ref in _naming(book, domain):
            if ref != of and not decide(book, principal, Privilege.MANAGE, ref).allowed:
                raise PermissionDenied(
                    f"the domain {domain!r} is that of hashes which you do not manage:"
                    " name another one"
                )


def _naming(book: PolicyBook, domain: str) -> Iterator[TableRef]:
    """Return the tables and views with a redaction that names a domain, and the bases of these."""
    for mask in book.masks:
        if mask.redaction.domain == domain:
            yield mask.table
    for view in book.views:
        if any(redaction.domain == domain for _, redaction in view.redactions):
            yield view.ref
            yield view.base
