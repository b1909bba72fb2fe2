"""The state of an AI-safe view: that of the table below it, seen through all views between them.

Who may read the view needs no right to what it is made of, and learns nothing about that, neither
from the rows nor from errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from flight_server.catalog.registry import Entry, Registry
from flight_server.catalog.safe_views import StoredSafeView, stamp
from flight_server.engine.base import Pin
from flight_server.errors import Conflict, InvalidRequest, Unavailable
from flight_server.service.browse import Browser
from flight_server.service.narrowing import VIEW_BROKEN, Narrowed, Narrower
from flight_server.service.opening import Opener
from flight_server.sql.names import AsOf
from flight_server.storage.arrow_types import without_metadata
from flight_server.storage.snapshots import Snapshot
from policies.names import Principal, TableRef
from policies.rules import SafeView


@dataclass(frozen=True, slots=True)
class SafeState:
    """A state of the table below a view, and what is seen of it through the view.

    ``entry`` is that table under the name of the view, which is what messages call it.
    """

    entry: Entry
    snapshot: Snapshot
    narrowed: Narrowed
    pin: Pin


@dataclass(frozen=True, slots=True)
class _Below:
    """What a view is made of: its table, under the view's name, and the views from that one up."""

    table: TableRef
    entry: Entry
    views: tuple[SafeView, ...]


class SafeStates:
    """Opens AI-safe views; safe to use from many threads."""

    def __init__(
        self, browser: Browser, opener: Opener, registry: Registry, *, narrower: Narrower
    ) -> None:
        self._browser = browser
        self._opener = opener
        self._registry = registry
        self._narrower = narrower

    def open(
        self, view: StoredSafeView, principal: Principal, *, as_of: AsOf | None, pin: Pin | None
    ) -> SafeState:
        """Open what a view shows to somebody who may read it, at a state of the table below it.

        A pin names the state and the views between; what these show is decided anew. Raises
        InvalidRequest (``view_broken``, ``policy_misfit``, ``view_recursive``) when the view does
        not fit what is below it: then nothing is shown; Conflict for a pin of a view that was
        changed; and what opening a table raises, about the view.
        """
        below = self._below(view, principal)
        mark = stamp(below.views)
        opened = None
        if pin is not None:
            state, _, pinned_mark = pin.stamp.rpartition("/")
            if pinned_mark != mark:
                raise Conflict(f"the view {view.ref} was changed; run the query again")
            opened, as_of = replace(pin, stamp=state), pin.as_of
        snapshot = self._opener.open(below.entry, as_of=None if opened else as_of, pin=opened)
        narrowed = self._narrowed(view, principal, below, snapshot=snapshot)
        made = Pin(view.ref, snapshot.version, f"{snapshot.stamp}/{mark}", as_of, narrowed.stamp)
        return SafeState(below.entry, snapshot, narrowed, made)

    def _below(self, view: StoredSafeView, principal: Principal) -> _Below:
        base = view.rule.base
        try:
            found, views = self._registry.made_of(view)
        except Unavailable:
            if self._browser.may_manage(principal, base):
                raise
            raise Unavailable(f"the view {view.ref} cannot be read just now") from None
        base = views[0].base
        if found is None:
            raise self._as_seen(
                InvalidRequest(f"the table {base} does not exist", code=VIEW_BROKEN),
                view,
                principal,
                base=base,
            )
        return _Below(base, Entry(view.ref, found.kind, found.path), views)

    def _narrowed(
        self, view: StoredSafeView, principal: Principal, below: _Below, *, snapshot: Snapshot
    ) -> Narrowed:
        schema = without_metadata(snapshot.schema)
        try:
            return self._narrower.narrowed(
                principal, below.table, schema, paths=snapshot.paths, views=below.views
            )
        except InvalidRequest as error:
            raise self._as_seen(error, view, principal, base=below.table) from None

    def _as_seen(
        self,
        error: InvalidRequest,
        view: StoredSafeView,
        principal: Principal,
        *,
        base: TableRef,
    ) -> InvalidRequest:
        """Return the error as this caller may hear it: who manages the table hears its name."""
        says = "what it is made of no longer fits it"
        if self._browser.may_manage(principal, base):
            says = error.message.removeprefix(f"the view {view.ref} cannot be used: ")
        return InvalidRequest(f"the view {view.ref} cannot be used: {says}", code=error.code)
