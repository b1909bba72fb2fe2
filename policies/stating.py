"""Which purposes somebody may state for what they do."""

from __future__ import annotations

from policies.book import PolicyBook
from policies.names import Principal
from policies.purposes import PURPOSES


def purposes_of(book: PolicyBook, principal: Principal) -> frozenset[str]:
    """Return the purposes that somebody may state: all of them, for administrators.

    Others may state those that a grant to them is for, whatever it is on.
    """
    known = frozenset(PURPOSES)
    return known if principal.is_admin else known & book.purposes(principal)
