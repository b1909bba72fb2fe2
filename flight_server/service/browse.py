"""What one principal can see: catalogs, schemas, tables and their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from flight_server.catalog.registry import Entry, Registry
from flight_server.errors import NotFound, Unavailable
from flight_server.service import information_schema
from flight_server.service.information_schema import INFORMATION_SCHEMA
from flight_server.service.opening import Opener
from policies.book import PolicyBook
from policies.decide import decide
from policies.names import Principal, Privilege, TableRef

BASE_TABLE = "BASE TABLE"
VIEW = "VIEW"
SYSTEM_TABLE = "SYSTEM TABLE"
TABLE_TYPES = (BASE_TABLE, SYSTEM_TABLE, VIEW)


@dataclass(frozen=True, slots=True, order=True)
class TableRow:
    """A table that may be seen, and its type, one of ``TABLE_TYPES``."""

    ref: TableRef
    table_type: str


class Browser:
    """Lists what a principal may read, and nothing that they may not.

    A bucket or schema is seen by those who can read a table in it; administrators see every
    bucket. Buckets that cannot be read just now count as empty here: opening their tables says
    why.
    """

    def __init__(self, registry: Registry, opener: Opener, book: Callable[[], PolicyBook]) -> None:
        self._registry = registry
        self._opener = opener
        self._book = book

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
            if self._is_visible(book, principal, bucket):
                found.add((bucket, INFORMATION_SCHEMA))
                found.update(
                    (bucket, e.ref.schema) for e in self._readable(book, principal, bucket)
                )
        return tuple(sorted(found))

    def tables(
        self,
        principal: Principal,
        catalog: str | None = None,
        *,
        schema: str | None = None,
    ) -> tuple[TableRow, ...]:
        """Return visible tables by name."""
        book = self._book()
        rows: list[TableRow] = []
        for bucket in self._named(catalog):
            own = [
                TableRow(entry.ref, BASE_TABLE) for entry in self._readable(book, principal, bucket)
            ]
            if own or (principal.is_admin and self._is_visible(book, principal, bucket)):
                rows += own
                rows += [
                    TableRow(TableRef(bucket, INFORMATION_SCHEMA, name), SYSTEM_TABLE)
                    for name in information_schema.SCHEMAS
                ]
        return tuple(sorted(row for row in rows if schema is None or row.ref.schema == schema))

    def columns(self, principal: Principal, ref: TableRef) -> pa.Schema:
        """Return a table's columns: plain types, nullability, comments as metadata ``comment``.

        Raises NotFound as for a table that does not exist when it may not be read, and whatever
        opening it raises.
        """
        if ref.schema == INFORMATION_SCHEMA:
            if ref.table in information_schema.SCHEMAS and self.sees_catalog(principal, ref.bucket):
                return information_schema.SCHEMAS[ref.table]
            raise self.missing(principal, ref)
        entry = self.find(principal, ref)
        return self._opener.open(entry).schema

    def find(self, principal: Principal, ref: TableRef) -> Entry:
        """Find a table for somebody who may read it.

        Raises NotFound, the same whether it does not exist or may not be read, and Unavailable.
        """
        if decide(self._book(), principal, Privilege.READ, ref).allowed:
            entry = self._registry.find(ref)
            if entry is not None:
                return entry
        raise self.missing(principal, ref)

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
        if principal.is_admin:
            return True
        return any(True for _ in self._readable(book, principal, bucket))

    def _readable(self, book: PolicyBook, principal: Principal, bucket: str) -> Iterator[Entry]:
        try:
            entries = self._registry.tables(bucket)
        except Unavailable:
            return
        for entry in entries:
            if decide(book, principal, Privilege.READ, entry.ref).allowed:
                yield entry
