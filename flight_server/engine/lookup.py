"""The catalog of one query: names are looked up when the planner meets them, and nowhere else.

DataFusion asks Python for a catalog, then a schema, then a table, from inside its own runtime; what
may block there is done on a thread beside it. An exception raised in there would come out as text,
so it is kept and raised again later.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import replace
from typing import Protocol

from datafusion.catalog import CatalogProvider, CatalogProviderList, SchemaProvider, Table

from flight_server.engine.base import (
    TEMPORARY_BUCKET,
    FencedScan,
    GovernedScan,
    GovernedTable,
    Pin,
    Query,
    Tables,
    ViewScan,
)
from flight_server.engine.explain import stand_in
from flight_server.errors import Conflict, LakeflightError, NotFound
from flight_server.sql.names import DEFAULT, AsOf, parse_versioned_name
from flight_server.sql.statements import Statement
from policies.names import TableRef

Key = tuple[TableRef, AsOf | None]


class Register(Protocol):
    """Turns a governed table into one of the session."""

    def __call__(self, table: GovernedTable, *, is_fenced: bool) -> Table:
        """Return the session's table, behind its fence or in the fast form."""
        ...


class Lookup:
    """What one query has opened so far.

    ``register`` turns a governed table into one of the session, ``is_fenced`` tells in which form.
    With ``is_bound`` a name without a pin is a Conflict. ``awaited`` are views met that are no
    tables of the session yet, ``views`` those that are, or the reason why not. ``is_timeless`` and
    ``is_repeatable`` speak of the views used, as a ``Statement`` does of itself. For an EXPLAIN
    tables may be given in their shape only, see ``engine.explain``.
    """

    def __init__(
        self,
        tables: Tables,
        query: Query,
        *,
        register: Register,
        is_bound: bool,
        is_explained: bool = False,
    ) -> None:
        self._tables = tables
        self._query = query
        self._register = register
        self._is_bound = is_bound and bool(query.pins)
        self._pins: dict[Key, Pin] = {(pin.ref, pin.as_of): pin for pin in query.pins}
        self.opened: dict[Key, GovernedTable] = {}
        self.failure: Exception | None = None
        self.awaited: dict[TableRef, ViewScan] = {}
        self.views: dict[TableRef, Table | LakeflightError] = {}
        self._used: list[Statement] = []
        self.is_fenced = False
        self.is_explained = is_explained
        self.is_shape_only = is_explained and not query.principal.is_admin

    @property
    def pins(self) -> tuple[Pin, ...]:
        """The states opened, in an order that does not depend on the plan."""
        return tuple(
            self.opened[key].pin
            for key in sorted(self.opened, key=lambda key: (key[0], str(key[1])))
        )

    @property
    def username(self) -> str:
        """Who asks."""
        return self._query.principal.username

    @property
    def is_timeless(self) -> bool:
        """Whether no view used asks the clock."""
        return all(statement.is_timeless for statement in self._used)

    @property
    def is_repeatable(self) -> bool:
        """Whether every view used gives the same rows of the same states again."""
        return all(statement.is_repeatable for statement in self._used)

    @property
    def narrows(self) -> bool:
        """Whether a table opened shows less than it holds, so that its form matters."""
        return any(isinstance(table.scan, GovernedScan) for table in self.opened.values())

    @property
    def hides(self) -> bool:
        """Whether a table opened holds what the caller may not see."""
        scans = [table.scan for table in self.opened.values()]
        return any(isinstance(scan, GovernedScan | FencedScan) for scan in scans)

    @property
    def key_bytes(self) -> int:
        """How large the largest set of keys is that tells which rows are there."""
        scans = (table.scan for table in self.opened.values())
        return max(
            (
                each.keys.nbytes
                for scan in scans
                if isinstance(scan, GovernedScan)
                for narrowing in scan.narrowings
                for each in narrowing.keys
            ),
            default=0,
        )

    @property
    def is_behind_fence(self) -> bool:
        """Whether a table opened lies behind a fence."""
        return any(
            isinstance(table.scan, FencedScan)
            or (
                isinstance(table.scan, GovernedScan)
                # Groups that are too small are behind a fence in either form.
                and (self.is_fenced or table.scan.group_rows_min > 0)
            )
            for table in self.opened.values()
        )

    def fence(self) -> None:
        """Give all tables behind their fences from now on; views are to be planned again."""
        self.is_fenced = True
        self.views.clear()

    def leave_shapes(self) -> None:
        """Give tables that only have the columns of those opened; plan views again."""
        self.is_shape_only = True
        self.views.clear()

    def begin(self) -> None:
        """Forget what an attempt to plan has met."""
        self.failure = None
        self.awaited.clear()

    def uses(self, statement: Statement) -> None:
        """Take note of a view's query."""
        self._used.append(statement)

    def inside(self, view: ViewScan) -> Lookup:
        """Return the lookup of a view's query: its own short names, and otherwise the same one."""
        query = replace(self._query, bucket=view.bucket, schema=view.schema, temporary=None)
        inner = Lookup(self._tables, query, register=self._register, is_bound=self._is_bound)
        inner.opened, inner.views, inner._used = self.opened, self.views, self._used
        inner.is_fenced, inner.is_shape_only = self.is_fenced, self.is_shape_only
        return inner

    def open(self, ref: TableRef) -> GovernedTable:
        """Open a table by its full, possibly versioned, name, once."""
        if ref.bucket == TEMPORARY_BUCKET and not self._is_own(ref):
            raise NotFound(f"the table {ref} does not exist", code="table_not_found")
        name, as_of = parse_versioned_name(ref.table)
        key = (TableRef(ref.bucket, ref.schema, name), as_of)
        if key not in self.opened:
            pin = self._pins.get(key)
            if pin is None and self._is_bound:
                raise Conflict("the query now names a table that it was not planned with")
            self.opened[key] = self._tables.open(
                key[0], self._query.principal, as_of=as_of, pin=pin
            )
        return self.opened[key]

    def table(self, ref: TableRef) -> Table | None:
        """Return the session's table of a name; None, with the failure kept, when there is none."""
        try:
            opened = self.open(self._resolved(ref))
            if isinstance(opened.scan, ViewScan):
                return self._view(opened.pin.ref, opened.scan)
            made = self._register(opened, is_fenced=self.is_fenced)
            return stand_in(made.schema) if self.is_shape_only else made
        except NotFound as error:
            # The planner also asks for names that turn out to be those of the statement's own
            # parts.
            self.failure = self.failure or error
            return None
        except Exception as error:
            self.failure = error
            raise

    def _view(self, ref: TableRef, scan: ViewScan) -> Table | None:
        made = self.views.get(ref)
        if isinstance(made, LakeflightError):
            self.failure = self.failure or made
            return None
        if made is None:
            self.awaited[ref] = scan
        return made

    def _is_own(self, ref: TableRef) -> bool:
        """Whether a name of the bucket ``temp`` is that of a temporary table of the session.

        Whatever led to it: nothing else below that folder has a name, and none may lead out of it.
        """
        temporary = self._query.temporary
        return temporary is not None and (
            ref.schema == temporary.schema and ref.table in temporary.tables
        )

    def _resolved(self, ref: TableRef) -> TableRef:
        query, temporary = self._query, self._query.temporary
        is_bare = ref.bucket == ref.schema == DEFAULT
        if temporary is not None and is_bare and ref.table in temporary.tables:
            return TableRef(TEMPORARY_BUCKET, temporary.schema, ref.table)
        bucket = query.bucket if ref.bucket == DEFAULT else ref.bucket
        schema = query.schema if ref.schema == DEFAULT else ref.schema
        return TableRef(bucket, schema, ref.table)


class LookupCatalogs(CatalogProviderList):
    """All catalogs: any name is one until a table is asked of it."""

    def __init__(self, lookup: Lookup, beside: Executor) -> None:
        self._lookup = lookup
        self._beside = beside

    def catalog_names(self) -> set[str]:
        """None are listed: names are found, not browsed."""
        return set()

    def catalog(self, name: str) -> CatalogProvider:
        """Return the bucket of this name."""
        return _Bucket(self._lookup, self._beside, bucket=name)


class _Bucket(CatalogProvider):
    def __init__(self, lookup: Lookup, beside: Executor, *, bucket: str) -> None:
        self._lookup = lookup
        self._beside = beside
        self._bucket = bucket

    def schema_names(self) -> set[str]:
        return set()

    def schema(self, name: str) -> SchemaProvider:  # type: ignore[override]  # a provider is taken
        return _Schema(self._lookup, self._beside, bucket=self._bucket, schema=name)


class _Schema(SchemaProvider):
    def __init__(self, lookup: Lookup, beside: Executor, *, bucket: str, schema: str) -> None:
        self._lookup = lookup
        self._beside = beside
        self._bucket = bucket
        self._schema = schema

    @property
    def table_names(self) -> set[str]:  # type: ignore[override]  # read as a property
        return set()

    def table(self, name: str) -> Table | None:
        ref = TableRef(self._bucket, self._schema, name)
        return self._beside.submit(self._lookup.table, ref).result()

    def table_exist(self, name: str) -> bool:
        return self.table(name) is not None
