"""What the server does not do yet: the one table that turns cases of the matrix on.

A case that needs a feature listed here must fail, and shows as ``pending`` in the table of the
documentation. When the feature is there the case passes, which fails the run until its line here is
taken out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# feature: what is missing
FEATURES: Mapping[str, str] = {}
# (row, case): a known fault of the server, with what goes wrong
FAULTS: Mapping[tuple[str, str], str] = {}


def why(row: str, case: str, needs: Iterable[str]) -> str | None:
    """Return why a case cannot pass yet, or None when it must."""
    reasons = [FEATURES[need] for need in needs if need in FEATURES]
    if (row, case) in FAULTS:
        reasons.append(FAULTS[row, case])
    return "; ".join(reasons) or None
