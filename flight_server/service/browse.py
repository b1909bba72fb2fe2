"""What one principal can see: catalogs, schemas, tables, views and their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import pyarrow as pa

from flight_server.catalog.folders import Kind
from flight_server.catalog.registry import AnyView, Entry, Registry
from flight_server.catalog.safe_views import StoredSafeView
from flight_server.catalog.views import View
from flight_server.engine.base import TEMPORARY_BUCKET
from flight_server.errors import NotFound, PermissionDenied, Unavailable, Unsupported
from flight_server.service import information_schema
from flight_server.service.information_schema import INFORMATION_SCHEMA
from flight_server.service.opening import Opener
from flight_server.sql.names import parse_history_name, parse_raw_name
from flight_server.storage.arrow_types import commented
from policies.book import PolicyBook
from policies.decide import SYSTEM_BUCKET, decide, may_see
from policies.lens import ALL_COLUMNS, Readable, readable, visible_columns
from policies.names import Principal, Privilege, TableRef
from policies.stating import purposes_of

BASE_TABLE = "BASE TABLE"
VIEW = "VIEW"
SYSTEM_TABLE = "SYSTEM TABLE"
TABLE_TYPES = (BASE_TABLE, SYSTEM_TABLE, VIEW)


@dataclass(frozen=True, slots=True, order=True)
class TableRow:
    """A table that may be seen, and its type, one of ``TABLE_TYPES``."""

    ref: TableRef
    table_type: str


@dataclass(frozen=True, slots=True)
class ViewRow:
    """A view that may be seen; ``definition`` is None for those who may not read its text."""

    ref: TableRef
    definition: str | None
    comment: str | None


class Browser:
    """Lists what a principal may see, and nothing that they may not.

    A schema is seen by those who can see a table or view in it, or may see or write whatever
    will be in it, or write one table of it; a bucket by those who see a schema of it.
    Administrators see every one. Buckets that cannot be read just now count as empty here:
    opening their tables says why.
    """

    def __init__(self, registry: Registry, opener: Opener, book: Callable[[], PolicyBook]) -> None:
        self._registry = registry
        self._opener = opener
        self._book = book

    def purposes(self, principal: Principal) -> frozenset[str]:
        """Return the purposes that somebody may state."""
        return purposes_of(self._book(), principal)

    def catalogs(self, principal: Principal) -> tuple[str, ...]:
        """Return the visible catalogs, sorted."""
        book = self._book()
        return tuple(
            bucket
            for bucket in self._registry.buckets()
            if self._is_visible(book, principal, bucket)
        )

    def schemas(
        self, principal: Principal, catalog: str | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Return visible schemas as (catalog, schema), sorted; of one catalog or of all."""
        book = self._book()
        found: set[tuple[str, str]] = set()
        for bucket in self._named(catalog):
            schemas = self._visible_schemas(book, principal, bucket)
            found.update((bucket, schema) for schema in schemas)
            if schemas or principal.is_admin:
                found.add((bucket, INFORMATION_SCHEMA))
        return tuple(sorted(found))

    def tables(
        self,
        principal: Principal,
        catalog: str | None = None,
        *,
        schema: str | None = None,
    ) -> tuple[TableRow, ...]:
        """Return visible tables and views by name."""
        book = self._book()
        rows: list[TableRow] = []
        for bucket in self._named(catalog):
            own = {entry.ref: BASE_TABLE for entry in self._seen(book, principal, bucket)}
            for view in self._seen_views(book, principal, bucket):
                own.setdefault(view.ref, VIEW)
            rows += [TableRow(ref, table_type) for ref, table_type in own.items()]
            if own or self._is_visible(book, principal, bucket):
                rows += [
                    TableRow(TableRef(bucket, INFORMATION_SCHEMA, name), SYSTEM_TABLE)
                    for name in information_schema.SCHEMAS
                ]
        return tuple(sorted(row for row in rows if schema is None or row.ref.schema == schema))

    def views(self, principal: Principal) -> tuple[ViewRow, ...]:
        """Return visible views by name, each with its text where this principal may read it."""
        shown = {row.ref for row in self.tables(principal) if row.table_type == VIEW}
        return tuple(
            ViewRow(
                view.ref,
                view.definition if self._reads_text(principal, view) else None,
                view.comment,
            )
            for bucket in self._registry.buckets()
            if any(ref.bucket == bucket for ref in shown)
            for view in self._registry.views(bucket)
            if view.ref in shown
        )

    def _reads_text(self, principal: Principal, view: AnyView) -> bool:
        if isinstance(view, StoredSafeView):
            # It names what nobody else need know of.
            return self.may_manage(principal, view.ref)
        return reads_text(principal, view)

    def columns(self, principal: Principal, ref: TableRef) -> pa.Schema:
        """Return a table's columns: plain types, nullability, comments as metadata ``comment``.

        So is the comment of the whole. Those of a view are the ones that it had when it was made.

        Raises NotFound as for a table that does not exist when it may not be seen, and whatever
        opening it raises.
        """
        if ref.schema == INFORMATION_SCHEMA:
            if ref.table in information_schema.SCHEMAS and self.sees_catalog(principal, ref.bucket):
                return information_schema.SCHEMAS[ref.table]
            raise self.missing(principal, ref)
        found = self.visible(principal, ref)
        if isinstance(found, Entry):
            schema = self._opener.open(found).schema
        else:
            schema = commented(found.arrow_schema, found.comment)
        if ref.bucket == SYSTEM_BUCKET:
            return schema
        shown = visible_columns(self._book(), principal, ref, schema.names)
        if len(shown) == len(schema):
            return schema
        left = pa.schema([schema.field(name) for name in shown])
        return left.with_metadata(schema.metadata) if schema.metadata else left

    def look_up(self, principal: Principal, ref: TableRef) -> Entry | AnyView:
        """Find a table or view for somebody who may read it.

        Raises NotFound, the same whether it does not exist or may not be seen, PermissionDenied for
        a guest, who sees more than they may read, and Unavailable.
        """
        found = self.visible(principal, ref)
        if not decide(self._book(), principal, Privilege.READ, ref).allowed:
            raise PermissionDenied(f"a guest sees {ref} and reads no rows of it")
        return found

    def sees(self, principal: Principal, ref: TableRef) -> bool:
        """Whether somebody may know of a table or view, were it there."""
        return may_see(self._book(), principal, ref)

    def readable(self, principal: Principal, ref: TableRef) -> Readable:
        """Return which columns of a table or view somebody may read."""
        if ref.bucket == SYSTEM_BUCKET:
            return ALL_COLUMNS  # its rows are records, which have rules of their own
        return readable(self._book(), principal, ref)

    def visible(self, principal: Principal, ref: TableRef) -> Entry | AnyView:
        """Find what somebody may know of, guests included; raises NotFound as ``look_up``."""
        # Looked for whoever asks, and all there is to look for: how long it takes must not tell
        # that there is something.
        is_seen = may_see(self._book(), principal, ref)
        found: Entry | AnyView | None = self._registry.find(ref)
        if found is None or not is_seen:
            view = self._registry.find_view(ref)
            found = found or view
        if found is None or not is_seen:
            raise self.missing(principal, ref)
        return found

    def find_to_rewrite(self, principal: Principal, ref: TableRef) -> Entry:
        """Find a table as ``find`` does, also for somebody who may only maintain it."""
        may_maintain = decide(self._book(), principal, Privilege.MAINTAIN, ref).allowed
        found = self._registry.find(ref)
        if found is None or ref.bucket == SYSTEM_BUCKET or not may_maintain:
            return self.find(principal, ref)
        return found

    def look_up_raw(self, principal: Principal, ref: TableRef, base: TableRef) -> Entry:
        """Find the table ``base`` for somebody who may read the rows that tombstones hide of it.

        Raises NotFound for ``ref``, the name that they asked for, in all other cases, in the words
        for any name that means nothing.
        """
        found = self._registry.find(base) or self._registry.find_view(base)
        is_table = isinstance(found, Entry) and base.bucket != SYSTEM_BUCKET
        if not (is_table and self.may_read_raw(principal, base)):
            raise self.missing(principal, ref)
        return cast("Entry", found)

    def may_read_raw(self, principal: Principal, ref: TableRef) -> bool:
        """Whether somebody may read the rows of a table that tombstones hide."""
        book = self._book()
        rights = (Privilege.READ, Privilege.READ_RAW)
        return all(decide(book, principal, each, ref).allowed for each in rights)

    def find(self, principal: Principal, ref: TableRef) -> Entry:
        """Find a table as ``look_up`` does; raises Unsupported for a view."""
        found = self.look_up(principal, ref)
        if not isinstance(found, Entry):
            raise Unsupported(f"{ref} is a view: it has no data of its own")
        return found

    def may_write(self, principal: Principal, ref: TableRef) -> bool:
        """Whether somebody may change the rows of a table that they see; of a view nobody may."""
        if ref.bucket == SYSTEM_BUCKET or ref.schema == INFORMATION_SCHEMA:
            return False
        if not decide(self._book(), principal, Privilege.WRITE, ref).allowed:
            return False
        entry = self._registry.find(ref)
        return entry is not None and entry.kind is Kind.DELTA

    def may_manage(self, principal: Principal, ref: TableRef) -> bool:
        """Whether somebody may make and change rules on a table or view, or on its name."""
        return decide(self._book(), principal, Privilege.MANAGE, ref).allowed

    def may_change(self, principal: Principal, ref: TableRef) -> bool:
        """Whether somebody may write or maintain a table; nobody may with the server's own."""
        if ref.bucket == TEMPORARY_BUCKET:
            return True
        book = self._book()
        rights = (Privilege.WRITE, Privilege.MAINTAIN)
        return ref.bucket != SYSTEM_BUCKET and any(
            decide(book, principal, each, ref).allowed for each in rights
        )

    def may_still(self, principal: Principal, privilege: Privilege, ref: TableRef) -> bool:
        """Whether somebody who was let at a table or view would be now, were it there.

        Only the rules are asked, not the disk: what was opened may be dropped while it is read.
        """
        if ref.bucket == TEMPORARY_BUCKET:
            return True
        if ref.schema == INFORMATION_SCHEMA:
            return self.sees_catalog(principal, ref.bucket)
        if (raw := parse_raw_name(ref.table)) is not None:
            return privilege is Privilege.READ and self.may_read_raw(
                principal, TableRef(ref.bucket, ref.schema, raw)
            )
        base = parse_history_name(ref.table)
        named = ref if base is None else TableRef(ref.bucket, ref.schema, base)
        return decide(self._book(), principal, privilege, named).allowed

    def sees_catalog(self, principal: Principal, catalog: str) -> bool:
        """Whether a catalog is visible; one that does not exist is not."""
        return catalog in self._registry.buckets() and self._is_visible(
            self._book(), principal, catalog
        )

    def missing(self, principal: Principal, ref: TableRef) -> NotFound:
        """Return the error for a name that means nothing to this principal.

        It names what they may see anyway: their buckets, or the same name in another case.
        """
        catalogs = self.catalogs(principal)
        if ref.bucket not in catalogs:
            known = ", ".join(catalogs) if catalogs else "none"
            return NotFound(
                f"the bucket {ref.bucket} does not exist; buckets you may use: {known}",
                code="bucket_not_found",
            )
        text = f"the table {ref} does not exist"
        for row in self.tables(principal, ref.bucket):
            if (row.ref.schema.lower(), row.ref.table.lower()) == (
                ref.schema.lower(),
                ref.table.lower(),
            ):
                text += (
                    f'; there is "{row.ref.schema}"."{row.ref.table}", quoted because of its case'
                )
                break
        return NotFound(text, code="table_not_found")

    def _named(self, catalog: str | None) -> tuple[str, ...]:
        buckets = self._registry.buckets()
        return buckets if catalog is None else tuple(b for b in buckets if b == catalog)

    def _is_visible(self, book: PolicyBook, principal: Principal, bucket: str) -> bool:
        return principal.is_admin or bool(self._visible_schemas(book, principal, bucket))

    def _visible_schemas(
        self, book: PolicyBook, principal: Principal, bucket: str
    ) -> frozenset[str]:
        if not principal.is_admin and not _is_concerned(book, principal, bucket):
            return frozenset()
        try:
            schemas = self._registry.schemas(bucket)
        except Unavailable:
            return frozenset()
        if principal.is_admin:
            return schemas
        seen = {schema for schema in schemas if _is_open(book, principal, bucket, schema=schema)}
        seen.update(_written(book, principal, bucket) & schemas)
        seen.update(entry.ref.schema for entry in self._seen(book, principal, bucket))
        seen.update(view.ref.schema for view in self._seen_views(book, principal, bucket))
        return frozenset(seen)

    def _seen(self, book: PolicyBook, principal: Principal, bucket: str) -> Iterator[Entry]:
        try:
            entries = self._registry.tables(bucket)
        except Unavailable:
            return
        for entry in entries:
            if may_see(book, principal, entry.ref):
                yield entry

    def _seen_views(self, book: PolicyBook, principal: Principal, bucket: str) -> Iterator[AnyView]:
        try:
            views = self._registry.views(bucket)
        except Unavailable:
            return
        for view in views:
            if may_see(book, principal, view.ref):
                yield view


def reads_text(principal: Principal, view: View) -> bool:
    """Whether somebody may read what a view's query says: its owner and administrators may."""
    return principal.is_admin or principal.user_id == view.owner_id


def _is_concerned(book: PolicyBook, principal: Principal, bucket: str) -> bool:
    """Whether any rule could let this principal see something in a bucket.

    Everybody may see something of the server's own: what they did.
    """
    if bucket == SYSTEM_BUCKET:
        return True
    return book.speaks_of(principal, bucket)


def _is_open(book: PolicyBook, principal: Principal, bucket: str, *, schema: str) -> bool:
    """Whether somebody may see or write all that a schema will hold."""
    anything = TableRef(bucket, schema, "")  # no table has this name, so only wider rules fit
    return (
        may_see(book, principal, anything)
        or decide(book, principal, Privilege.WRITE, anything).allowed
    )


def _written(book: PolicyBook, principal: Principal, bucket: str) -> frozenset[str]:
    """Return the schemas of a bucket in which somebody may write one table or other."""
    tables = {
        TableRef(*resource)
        for effects in book.effects(principal, Privilege.WRITE)
        for resource in effects
        if len(resource) == 3 and resource[0] == bucket
    }
    return frozenset(
        ref.schema for ref in tables if decide(book, principal, Privilege.WRITE, ref).allowed
    )
