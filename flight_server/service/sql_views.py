"""Opens SQL views: stored queries, which run with the rights of whoever reads them.

Of the columns that such a view returns, a caller reads those that grants on the view let them read.
"""

from __future__ import annotations

import hashlib

from flight_server.catalog.views import View
from flight_server.engine.base import GovernedTable, Pin, ViewScan
from flight_server.errors import Conflict, Unsupported
from flight_server.service.browse import Browser, reads_text
from flight_server.sql.names import AsOf
from policies.lens import ALL_COLUMNS, Readable
from policies.names import Principal


def open_view(
    view: View, principal: Principal, browser: Browser, *, as_of: AsOf | None, pin: Pin | None
) -> GovernedTable:
    """Return the query of a view for somebody who may read it.

    Raises Unsupported for an older version, Conflict when the view is not the pinned one.
    """
    refuse_older_versions(view, as_of)
    if pin is not None and pin.stamp != view.stamp:
        raise Conflict(f"the view {view.ref} was changed; run the query again")
    readable = browser.readable(principal, view.ref)
    scan = ViewScan(
        view.definition,
        view.bucket,
        view.schema,
        view.columns,
        is_open=reads_text(principal, view),
        readable=readable,
    )
    return GovernedTable(Pin(view.ref, None, view.stamp, policy=policy_of(readable)), scan)


def policy_of(readable: Readable) -> str:
    """Return what a pin says of the columns that somebody may read of a view."""
    if readable == ALL_COLUMNS:
        return ""
    allowed = None if readable.allowed is None else sorted(readable.allowed)
    return hashlib.sha256(repr((allowed, sorted(readable.denied))).encode()).hexdigest()[:32]


def refuse_older_versions(view: View, as_of: AsOf | None) -> None:
    """Raise Unsupported when a version of a view is asked for."""
    if as_of is not None:
        raise Unsupported(f"{view.ref} is a view, which has no older versions")
