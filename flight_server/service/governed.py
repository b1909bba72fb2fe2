"""A table's name to the table as one principal may see it: find it, decide, open it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from flight_server.catalog.folders import Kind, is_name
from flight_server.catalog.registry import AnyView, Entry, Registry
from flight_server.catalog.rulebook import Narrowing
from flight_server.catalog.safe_views import SafeViews, StoredSafeView
from flight_server.catalog.views import View, Views
from flight_server.clock import Clock, SystemClock
from flight_server.engine.base import (
    TEMPORARY_BUCKET,
    FileScan,
    GovernedTable,
    KeyFilter,
    Pin,
    RowScan,
)
from flight_server.errors import (
    InvalidRequest,
    LakeflightError,
    NotFound,
    PermissionDenied,
    Unsupported,
)
from flight_server.service import audit_views, information_schema
from flight_server.service.browse import Browser
from flight_server.service.hidden_keys import HiddenKeys, KeyStores
from flight_server.service.information_schema import INFORMATION_SCHEMA
from flight_server.service.narrowing import EVERYTHING, Narrowed, Narrower
from flight_server.service.opening import Opener, scan_of_files
from flight_server.service.own_bucket import (
    hash_secret,
    open_rulebook,
    open_views,
    temporary_root,
)
from flight_server.service.safe_states import SafeStates
from flight_server.service.sql_views import open_view, policy_of, refuse_older_versions
from flight_server.service.terms import Terms
from flight_server.sql.names import AsOf, parse_history_name, parse_raw_name
from flight_server.storage.arrow_types import without_metadata
from flight_server.storage.history import without_counts
from flight_server.storage.locations import Location, locate
from flight_server.storage.snapshots import PARTITION_TUPLES_MAX, Reading, Snapshot
from policies.book import PolicyBook, from_rows, to_rows
from policies.decide import SYSTEM_BUCKET
from policies.names import Principal, TableRef
from policies.purposes import GROUP_ROWS_MIN
from policies.records import AUDIT_LOG
from policies.rules import Grant

_MADE_ANEW = "information_schema"
_NO_RECORDS = "no records"
_MAPPING_MODE = "delta.columnMapping.mode"


class GovernedTables:
    """Implements ``engine.base.Tables`` over the registry, the policies and storage.

    ``temporary_root`` is the folder of the bucket ``temp``, whose names nobody can write in SQL:
    whoever comes here with one was led by their own session.
    """

    def __init__(
        self,
        browser: Browser,
        opener: Opener,
        registry: Registry,
        *,
        narrower: Narrower,
        hidden: HiddenKeys | None = None,
        temporary_root: Path | None = None,
    ) -> None:
        self._browser = browser
        self._opener = opener
        self._registry = registry
        self._narrower = narrower
        self.attached = narrower.attached
        self._hidden = hidden
        self._safe = SafeStates(browser, opener, registry, narrower=narrower)
        self._temporary_root = temporary_root

    def open(
        self, ref: TableRef, principal: Principal, *, as_of: AsOf | None, pin: Pin | None
    ) -> GovernedTable:
        """Open a table for somebody at its newest state, at ``as_of``, or at exactly ``pin``.

        With both, the pin decides and ``as_of`` is only passed on. Raises NotFound in the same
        words for what does not exist and for what may not be read; NotFound
        (``version_not_found``) and Conflict when the pinned state is gone; Unavailable;
        Unsupported when the table cannot be read right; InvalidRequest.
        """
        if ref.schema == INFORMATION_SCHEMA:
            return self._open_made(ref, principal, as_of=as_of)
        if (base := _base_of_history(ref)) is not None:
            rows = self._history(base, principal)
            return GovernedTable(Pin(ref, None, _MADE_ANEW), RowScan(rows))
        entry = self._look_up(principal, ref)
        if isinstance(entry, View):
            return self._open_view(entry, principal, as_of=as_of, pin=pin)
        if isinstance(entry, StoredSafeView):
            safe = self._safe.open(entry, principal, as_of=as_of, pin=pin)
            scan = safe.narrowed.scan(self._opener.scan(safe.entry, safe.snapshot))
            return GovernedTable(safe.pin, scan)
        snapshot = self._opener.open(entry, as_of=None if pin else as_of, pin=pin)
        narrowed = self._narrowed(ref, entry, snapshot, principal)
        scan = narrowed.scan(self._opener.scan(entry, snapshot))
        as_of, stamp = pin.as_of if pin else as_of, snapshot.stamp
        return GovernedTable(Pin(ref, snapshot.version, stamp, as_of, narrowed.stamp), scan)

    def files(self, pin: Pin, principal: Principal) -> FileScan:
        """Return the active files of exactly that state of a table, for rewriting some of them.

        They hold what is hidden from this caller as well: see ``engine.base.Tables``. Raises as
        ``pin_files`` does, PermissionDenied for those who may neither write nor maintain it, and
        Unsupported for a table whose files do not hold its rows as they are.
        """
        if not self._browser.may_change(principal, pin.ref):
            self._look_up(principal, pin.ref)
            raise PermissionDenied(f"you may not change {pin.ref}")
        entry = self._look_up_to_rewrite(principal, pin.ref)
        if entry.kind is not Kind.DELTA:
            raise Unsupported(f"{pin.ref} is no Delta table: its rows cannot be changed")
        snapshot = self._opener.open(entry, pin=pin)
        is_partitioned_finely = (
            snapshot.reading is Reading.PROVIDER
            and len(snapshot.file_sets) > PARTITION_TUPLES_MAX
            and snapshot.configuration.get(_MAPPING_MODE, "none").lower() == "none"
        )
        if snapshot.reading is not Reading.NATIVE and not is_partitioned_finely:
            raise Unsupported(
                f"rows of the table {pin.ref} cannot be changed here: it uses column mapping,"
                " deletion vectors or another feature of its format beyond plain files"
            )
        return scan_of_files(snapshot)

    def purged(self, pin: Pin, scan: FileScan, stamp: int) -> KeyFilter | None:
        """Return which rows of these files are to go for good; see ``engine.base.Tables``."""
        found = self._hidden
        return None if found is None else found.purged(pin.ref, scan.schema, stamp=stamp)

    def pin(
        self, ref: TableRef, principal: Principal, *, as_of: AsOf | None, is_changing: bool = False
    ) -> Pin:
        """Name the state that ``open`` would open now, without opening it; raises as it does.

        Its rows may be written anew only where ``is_changing`` was said before.
        """
        if ref.schema == INFORMATION_SCHEMA:
            self._check_made(ref, principal, as_of=as_of)
            return Pin(ref, None, _MADE_ANEW)
        if (base := _base_of_history(ref)) is not None:
            self._browser.find(principal, base)
            return Pin(ref, None, _MADE_ANEW)
        entry = self._look_up(principal, ref)
        if isinstance(entry, View):
            return self._open_view(entry, principal, as_of=as_of, pin=None).pin
        if isinstance(entry, StoredSafeView):
            return self._safe.open(entry, principal, as_of=as_of, pin=None).pin
        snapshot = self._opener.open(entry, as_of=as_of)
        if is_changing and self._hidden is not None:
            self._hidden.settle(ref, snapshot.paths)
        policy = self._narrowed(ref, entry, snapshot, principal).stamp
        return Pin(ref, snapshot.version, snapshot.stamp, as_of, policy)

    def pin_files(self, ref: TableRef, principal: Principal, *, is_changing: bool) -> Pin:
        """Name the newest state of a table, all of whose rows are written anew as they are.

        Whoever may maintain the table need not be able to read it. Raises as ``pin`` otherwise.
        """
        snapshot = self._opener.open(self._look_up_to_rewrite(principal, ref))
        if is_changing and self._hidden is not None:
            self._hidden.settle(ref, snapshot.paths)
        return Pin(ref, snapshot.version, snapshot.stamp)

    def check(self, ref: TableRef, principal: Principal) -> None:
        """Raise NotFound when there is no such table for somebody, or no longer."""
        if ref.schema == INFORMATION_SCHEMA:
            self._check_made(ref, principal, as_of=None)
        else:
            self._look_up(principal, _base_of_history(ref) or ref)

    def renewed(self, pin: Pin, principal: Principal) -> Pin:
        """Return the same state of a table under the policies of this moment.

        Raises NotFound when there is no such table for somebody, or no longer, and as ``open`` does
        for a pin.
        """
        if pin.ref.schema == INFORMATION_SCHEMA:
            self._check_made(pin.ref, principal, as_of=None)
            return pin
        entry = self._look_up(principal, _base_of_history(pin.ref) or pin.ref)
        if pin.ref.bucket == SYSTEM_BUCKET or _base_of_history(pin.ref) is not None:
            return pin
        if isinstance(entry, View):
            return replace(pin, policy=policy_of(self._browser.readable(principal, entry.ref)))
        if isinstance(entry, StoredSafeView):
            return self._safe.open(entry, principal, as_of=None, pin=pin).pin
        snapshot = self._opener.open(entry, pin=pin)
        return replace(pin, policy=self._narrowed(pin.ref, entry, snapshot, principal).stamp)

    def _history(self, ref: TableRef, principal: Principal) -> pa.Table:
        """Return the versions of a table, without what speaks of rows that somebody sees not."""
        entry = self._browser.find(principal, ref)
        rows = self._opener.history(entry)
        try:
            terms = self.terms(ref, principal, self._opener.open(entry).schema)
            shows_all = terms.sees_all
        except LakeflightError:
            # What cannot be read has a history all the same.
            terms = self.terms(ref, principal, pa.schema([]))
            shows_all = terms.sees_all and not terms.has_rules
        return rows if shows_all else without_counts(rows)

    def terms(self, ref: TableRef, principal: Principal, schema: pa.Schema) -> Terms:
        """Return what somebody is held to who changes a table of these columns, or makes it."""
        if ref.bucket == TEMPORARY_BUCKET:
            return Terms(ref)
        return self._narrower.terms(principal, ref, schema)

    def _narrowed(
        self, ref: TableRef, entry: Entry, snapshot: Snapshot, principal: Principal
    ) -> Narrowed:
        if entry.ref.bucket == TEMPORARY_BUCKET:
            return EVERYTHING  # of whoever made it, and gone with their session
        schema = without_metadata(snapshot.schema)
        is_raw = ref != entry.ref
        return self._narrower.narrowed(
            principal, entry.ref, schema, paths=snapshot.paths, is_raw=is_raw
        )

    def _look_up(self, principal: Principal, ref: TableRef) -> Entry | AnyView:
        if ref.bucket == TEMPORARY_BUCKET:
            return self._temporary(ref)
        if (name := parse_raw_name(ref.table)) is not None:
            return self._browser.look_up_raw(principal, ref, replace(ref, table=name))
        return self._browser.look_up(principal, ref)

    def _look_up_to_rewrite(self, principal: Principal, ref: TableRef) -> Entry:
        if ref.bucket == TEMPORARY_BUCKET:
            return self._temporary(ref)
        return self._browser.find_to_rewrite(principal, ref)

    def _temporary(self, ref: TableRef) -> Entry:
        if self._temporary_root is not None and is_name(ref.schema) and is_name(ref.table):
            path = self._temporary_root / ref.schema / ref.table
            if path.is_dir():
                return Entry(ref, Kind.DELTA, path)
        raise NotFound(f"the table {ref.table} does not exist", code="table_not_found")

    def _open_view(
        self, view: View, principal: Principal, *, as_of: AsOf | None, pin: Pin | None
    ) -> GovernedTable:
        if view.ref in audit_views.FENCED:
            return self._open_fenced(view, principal, as_of=as_of, pin=pin)
        return open_view(view, principal, self._browser, as_of=as_of, pin=pin)

    def _open_fenced(
        self, view: View, principal: Principal, *, as_of: AsOf | None, pin: Pin | None
    ) -> GovernedTable:
        """Open a view of the audit log, which nobody else need be able to read."""
        refuse_older_versions(view, as_of)
        entry = self._registry.find(AUDIT_LOG)
        if entry is None or (pin is not None and pin.version is None):
            scan = audit_views.fenced(view.ref, principal, audit_views.nothing())
            return GovernedTable(Pin(view.ref, None, _NO_RECORDS), scan)
        snapshot = self._opener.open(entry, pin=pin)
        scan = audit_views.fenced(view.ref, principal, self._opener.scan(entry, snapshot))
        return GovernedTable(Pin(view.ref, snapshot.version, snapshot.stamp), scan)

    def _open_made(
        self, ref: TableRef, principal: Principal, *, as_of: AsOf | None
    ) -> GovernedTable:
        """Make a table of ``information_schema``: always the present, whatever was pinned."""
        self._check_made(ref, principal, as_of=as_of)
        rows = information_schema.rows(self._browser, principal, ref.table)
        return GovernedTable(Pin(ref, None, _MADE_ANEW), RowScan(rows))

    def _check_made(self, ref: TableRef, principal: Principal, *, as_of: AsOf | None) -> None:
        if ref.table not in information_schema.SCHEMAS or not self._browser.sees_catalog(
            principal, ref.bucket
        ):
            raise self._browser.missing(principal, ref)
        if as_of is not None:
            raise Unsupported("information_schema has no older versions")


def _base_of_history(ref: TableRef) -> TableRef | None:
    """Return the table whose versions a name lists, None for an ordinary name."""
    name = parse_history_name(ref.table)
    return None if name is None else TableRef(ref.bucket, ref.schema, name)


@dataclass(frozen=True, slots=True)
class Governed:
    """What there is and who may see it, over one registry and one memory of snapshots."""

    registry: Registry
    views: Views | None
    safe_views: SafeViews | None
    opener: Opener
    browser: Browser
    tables: GovernedTables
    keys: KeyStores | None
    hidden: HiddenKeys | None


def build(
    buckets: Mapping[str, Location],
    book: Callable[[], PolicyBook],
    clock: Clock,
    *,
    narrowing: Narrowing | None = None,
    log_path: Path | None = None,
) -> Governed:
    """Build the listing and the opening of tables.

    ``buckets`` are locations by catalog name; ``book`` returns the rules in force now, and
    ``narrowing`` keeps those that narrow, AI-safe views among them; ``log_path`` is the table of
    this server's audit log, where it is not below the server's own bucket.
    """
    opener = Opener(clock)
    views = open_views(buckets, clock)
    placed = {} if log_path is None else {AUDIT_LOG: log_path}
    safe_views = None if narrowing is None else SafeViews(narrowing.views)
    registry = Registry(
        buckets,
        views,
        safe_views=safe_views,
        own_views=audit_views.AUDIT_VIEWS,
        placed=placed,
    )
    browser = Browser(registry, opener, book)
    system = buckets.get(SYSTEM_BUCKET)
    keys = None if system is None else KeyStores.open(system.root, clock)
    hidden = None if keys is None else HiddenKeys(keys)
    tables = GovernedTables(
        browser,
        opener,
        registry,
        narrower=Narrower(book, hidden=hidden, secret=hash_secret(buckets)),
        hidden=hidden,
        temporary_root=temporary_root(buckets),
    )
    return Governed(registry, views, safe_views, opener, browser, tables, keys, hidden)


def tables_configuration(
    buckets: Iterable[Location],
    fixed: Iterable[Grant],
    *,
    group_rows_min: int = GROUP_ROWS_MIN,
    log_path: Path | None = None,
) -> dict[str, Any]:
    """Return as plain JSON data what ``governed_tables`` needs in another process.

    ``fixed`` are the grants of the settings; those that are stored it looks up by itself.
    """
    return {
        "buckets": {location.catalog: location.uri for location in buckets},
        "grants": to_rows(fixed),
        "group_rows_min": group_rows_min,
        "log_path": None if log_path is None else str(log_path),
    }


def governed_tables(configuration: Mapping[str, Any]) -> GovernedTables:
    """Build the tables of a worker from ``tables_configuration``'s result.

    Raises InvalidRequest when it is not one: a rule that cannot be read opens nothing.
    """
    clock = SystemClock()
    try:
        buckets = {name: locate(name, uri) for name, uri in configuration["buckets"].items()}
        fixed = from_rows(configuration["grants"])
        group_rows_min = int(configuration["group_rows_min"])
        log_path = None if (text := configuration["log_path"]) is None else Path(text)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidRequest("the configuration of the tables cannot be read") from None
    rules = open_rulebook(fixed, buckets, clock, group_rows_min=group_rows_min)
    found = build(buckets, rules.book, clock, narrowing=rules.narrowing, log_path=log_path)
    return found.tables


__all__ = [
    "GovernedTables",
    "build",
    "governed_tables",
    "open_rulebook",
    "tables_configuration",
    "temporary_root",
]
