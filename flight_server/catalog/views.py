"""The stored views: a query's text under a name, and what it was made with.

A view is kept as the text that somebody wrote, and the names that its short names meant then. It
holds no rights: whoever uses it needs those of the tables that it reads. Its columns are listed as
they were when it was made; a query through it always uses the present ones.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from flight_server.catalog.folders import is_name
from flight_server.clock import Clock
from flight_server.errors import (
    AlreadyExists,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from flight_server.sql.commands import IfThere
from flight_server.sql.lexer import SILENT, Kind, Token, position, tokens
from flight_server.sql.statements import StatementKind, read_statement
from flight_server.storage.system import Change, Row, Rows, Snapshot, SystemTable
from policies.names import TableRef

VIEWS_MAX = 10_000
_CLOSED_BUCKETS = frozenset({"system"})
_CLOSED_SCHEMAS = frozenset({"information_schema"})
_NO_QUERIES = frozenset({"SHOW", "DESCRIBE", "DESC", "EXPLAIN"})


@dataclass(frozen=True, slots=True)
class View:
    """A stored view.

    Short names in ``definition`` are looked up in ``bucket`` and ``schema``. ``columns`` rename
    those of the query, none leaves them. ``arrow_schema`` is what it returned when it was made,
    under the names that callers see. ``created_at`` is aware, in UTC.
    """

    ref: TableRef
    definition: str
    bucket: str
    schema: str
    columns: tuple[str, ...]
    arrow_schema: pa.Schema
    comment: str | None
    owner_id: str
    created_at: datetime

    @property
    def stamp(self) -> str:
        """Differs between two views that do not say the same."""
        said = (self.definition, self.bucket, self.schema, self.columns)
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Draft:
    """A view as it is asked for; ``arrow_schema`` is that of its query, before ``columns``."""

    ref: TableRef
    definition: str
    bucket: str
    schema: str
    arrow_schema: pa.Schema
    owner_id: str
    columns: tuple[str, ...] = ()
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class _Index:
    snapshot: Snapshot | None
    by_ref: dict[TableRef, View]
    by_bucket: dict[str, tuple[View, ...]]


class Views:
    """All views; safe to use from many threads, and sees at once what other processes write."""

    def __init__(self, table: SystemTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._index = _Index(None, {}, {})

    def get(self, ref: TableRef) -> View | None:
        """Return the view of that name, or None; Unavailable when views cannot be read."""
        return self._newest().by_ref.get(ref)

    def list(self, bucket: str) -> tuple[View, ...]:
        """Return the views of a bucket by schema and name; Unavailable as for ``get``."""
        return self._newest().by_bucket.get(bucket, ())

    def put(self, draft: Draft, if_there: IfThere, *, is_table: Callable[[TableRef], bool]) -> bool:
        """Store a view, durable; return False when it was there and is kept.

        ``is_table`` tells whether a name is that of a table, and is asked while no other view can
        be stored. Raises AlreadyExists when the name is taken, by a table whatever ``if_there``
        says; InvalidRequest for a name, a query or columns that cannot be a view's;
        PermissionDenied for one of the server's own schemas; LimitExceeded; Unavailable.
        """
        check_place(draft.ref)
        view = self._made(draft)
        was_kept = False

        def edit(rows: Rows) -> list[Row]:
            nonlocal was_kept
            is_there = _key(view.ref) in rows
            was_kept = is_there and if_there is IfThere.KEEP
            if is_table(view.ref):
                raise AlreadyExists(f"there is a table {view.ref} already", code="table_exists")
            if was_kept:
                return []
            if is_there and if_there is not IfThere.REPLACE:
                raise AlreadyExists(f"there is a view {view.ref} already", code="view_exists")
            if not is_there and len(rows) >= VIEWS_MAX:
                raise LimitExceeded(
                    f"there are as many views as there may be: views_max={VIEWS_MAX}"
                )
            return [_row(view)]

        self._table.change(edit)
        return not was_kept

    def drop(self, ref: TableRef, *, if_exists: bool) -> bool:
        """Forget a view, durable; return whether it was there.

        Raises NotFound (``view_not_found``) when it was not, unless ``if_exists``.
        """
        return bool(self._remove(lambda view: view.ref == ref, ref=None if if_exists else ref))

    def drop_schema(self, bucket: str, schema: str) -> int:
        """Forget all views of a schema, durable; return how many there were."""
        return self._remove(lambda view: (view.ref.bucket, view.ref.schema) == (bucket, schema))

    def _remove(self, is_meant: Callable[[View], bool], *, ref: TableRef | None = None) -> int:
        removed: frozenset[str] = frozenset()

        def edit(rows: Rows) -> Change:
            nonlocal removed
            views = (_view(row) for row in rows.values())
            removed = frozenset(_key(view.ref) for view in views if is_meant(view))
            if ref is not None and not removed:
                raise no_view(ref)
            return Change(remove=removed)

        self._table.change(edit)
        return len(removed)

    def _made(self, draft: Draft) -> View:
        return View(
            ref=draft.ref,
            definition=query_text(draft.definition, bucket=draft.bucket, schema=draft.schema),
            bucket=draft.bucket,
            schema=draft.schema,
            columns=draft.columns,
            arrow_schema=_named(draft.arrow_schema, draft.columns),
            comment=draft.comment,
            owner_id=draft.owner_id,
            created_at=self._clock.now(),
        )

    def _newest(self) -> _Index:
        snapshot = self._table.snapshot()
        index = self._index
        if index.snapshot is not snapshot:
            views = sorted((_view(row) for row in snapshot.rows.values()), key=lambda v: v.ref)
            by_bucket: dict[str, list[View]] = {}
            for view in views:
                by_bucket.setdefault(view.ref.bucket, []).append(view)
            index = _Index(
                snapshot,
                {view.ref: view for view in views},
                {bucket: tuple(each) for bucket, each in by_bucket.items()},
            )
            self._index = index
        return index


def no_view(ref: TableRef) -> NotFound:
    """Return the error for a view that is not there."""
    return NotFound(f"the view {ref} does not exist", code="view_not_found")


def check_place(ref: TableRef) -> None:
    """Raise InvalidRequest for names that nothing can have, PermissionDenied for the server's."""
    if ref.bucket in _CLOSED_BUCKETS or ref.schema in _CLOSED_SCHEMAS:
        raise PermissionDenied("views are made in schemas of your own, not in those of the server")
    if not (is_name(ref.schema) and is_name(ref.table)):
        raise InvalidRequest("no view can have this name", code="invalid_name")


def query_text(sql: str, *, bucket: str, schema: str) -> str:
    """Return the text of a view's query, without what ends a statement.

    Raises InvalidRequest for text that is no query, or has parameters, Unsupported as
    ``read_statement`` does.
    """
    heard = [token for token in tokens(sql) if token.kind not in SILENT]
    if heard and heard[0].upper in _NO_QUERIES:
        raise InvalidRequest(f"a view is a query, not {heard[0].upper}")
    if read_statement(sql, bucket=bucket, schema=schema).kind is not StatementKind.QUERY:
        raise InvalidRequest("a view is a query")
    for token in heard:
        if _is_placeholder(token):
            where = position(sql, token.start)
            raise InvalidRequest(f"a view's query has no parameters {where}")
    while heard and heard[-1].text == ";":
        heard.pop()
    return sql[heard[0].start : heard[-1].start + len(heard[-1].text)]


def _is_placeholder(token: Token) -> bool:
    return token.kind is Kind.SYMBOL and token.text in ("?", "$")


def _named(schema: pa.Schema, columns: tuple[str, ...]) -> pa.Schema:
    """Return the schema under a view's own names; InvalidRequest when they do not fit."""
    if columns:
        if len(columns) != len(schema):
            raise InvalidRequest(
                f"the view names {len(columns)} columns and its query returns {len(schema)}"
            )
        pairs = zip(schema, columns, strict=True)
        schema = pa.schema([field.with_name(name) for field, name in pairs])
    if not schema.names:
        raise InvalidRequest("a view returns at least one column")
    name, count = Counter(schema.names).most_common(1)[0]
    if count > 1:
        raise InvalidRequest(f'a view has no two columns of one name: give "{name}" an alias')
    if "" in schema.names:
        raise InvalidRequest("a view has no column without a name")
    return schema


def _key(ref: TableRef) -> str:
    return f"{ref.bucket}/{ref.schema}/{ref.table}"


def _row(view: View) -> Row:
    return {
        "view": _key(view.ref),
        "bucket": view.ref.bucket,
        "schema": view.ref.schema,
        "name": view.ref.table,
        "definition": view.definition,
        "default_bucket": view.bucket,
        "default_schema": view.schema,
        "columns": list(view.columns),
        "arrow_schema": view.arrow_schema.serialize().to_pybytes(),
        "comment": view.comment,
        "owner_id": view.owner_id,
        "created_at": view.created_at,
    }


def _view(row: Row) -> View:
    try:
        return View(
            ref=TableRef(row["bucket"], row["schema"], row["name"]),
            definition=row["definition"],
            bucket=row["default_bucket"],
            schema=row["default_schema"],
            columns=tuple(row["columns"] or ()),
            arrow_schema=pa.ipc.read_schema(pa.py_buffer(row["arrow_schema"])),
            comment=row["comment"],
            owner_id=row["owner_id"],
            created_at=row["created_at"],
        )
    except (pa.ArrowException, TypeError, ValueError):
        raise Unavailable("the server's own table cannot be read table=catalog.views") from None
