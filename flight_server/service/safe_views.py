"""AI-safe views are put, listed and dropped here, by those who manage them and what they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from flight_server.catalog.registry import Entry, Registry
from flight_server.catalog.safe_views import RECURSIVE, SafeViews, StoredSafeView
from flight_server.engine.redaction_types import check_redaction
from flight_server.errors import AlreadyExists, InvalidRequest, NotFound, Unavailable
from flight_server.service.attached import Attached
from flight_server.service.browse import Browser
from flight_server.service.conditions import Conditions
from flight_server.service.hash_domains import check_domains
from flight_server.service.permits import Permits
from flight_server.service.request import Request
from flight_server.service.targets import Targets
from flight_server.sql.fragments import read_table
from flight_server.storage.arrow_types import without_metadata
from policies.book import PolicyBook
from policies.names import Principal, Privilege, TableRef
from policies.rules import ColumnPath, Redaction, SafeView

COLUMNS_MAX = 10_000
DESCRIPTION_CHARACTERS_MAX = 4000
TAGS_MAX = 64
TAG_CHARACTERS_MAX = 128
_COMMENT = "comment"


@dataclass(frozen=True, slots=True)
class Wording:
    """A view as somebody writes it: tables as in SQL, redactions by column or ``column.field``."""

    name: str
    base: str
    columns: Sequence[str]
    row_filter: str | None = None
    redactions: Mapping[str, Redaction] = field(default_factory=dict)
    description: str | None = None
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A view as somebody may see it; ``is_open`` tells that they may see what it is made of."""

    view: StoredSafeView
    is_open: bool


class ViewRules:
    """The use cases; views are named as in SQL. Safe to use from many threads."""

    def __init__(
        self,
        stored: SafeViews | None,
        permits: Permits,
        targets: Targets,
        *,
        browser: Browser,
        registry: Registry,
        conditions: Conditions,
        attached: Attached,
        book: Callable[[], PolicyBook],
    ) -> None:
        self._stored = stored
        self._permits = permits
        self._targets = targets
        self._browser = browser
        self._registry = registry
        self._conditions = conditions
        self._attached = attached
        self._book = book

    def put(self, request: Request, wording: Wording) -> tuple[StoredSafeView, bool]:
        """Store a view, durable, in place of one of its name; return it, and whether it is new.

        Raises InvalidRequest, with the place of the mistake, for what cannot be a view, and
        (``view_recursive``) for one that would be made of itself, and (``has_policies``) for one
        that would lose a column which rules on it name; AlreadyExists for the name of a
        table or of an SQL view; NotFound and PermissionDenied as ``Permits`` does; LimitExceeded;
        Unavailable.
        """
        ref = self._named(request, wording.name)
        base = self._named(request, wording.base)
        principal, stored = request.principal, self._views()
        self._permits.may_put_view(principal, ref)
        if ref == base:
            raise InvalidRequest(f"base: the view {ref} would be made of itself", code=RECURSIVE)
        schema = self._columns_of(principal, base)
        _check_words(wording)
        columns = _columns(wording.columns, schema, base)
        redactions = _redactions(wording.redactions, schema, wording.columns)
        if wording.row_filter is not None:
            self._conditions.check(request, wording.row_filter, base, schema=schema)
        view = SafeView(
            ref,
            base,
            columns,
            row_filter=wording.row_filter,
            redactions=redactions,
            description=wording.description,
            tags=tuple(dict.fromkeys(wording.tags)),
        )

        def check() -> None:
            # Planning the filter may have taken a while.
            needs = ((Privilege.MANAGE, ref), (Privilege.MANAGE, base), (Privilege.READ, base))
            maker = self._targets.principal(request)
            self._permits.check_still(maker, needs)
            check_domains(self._book(), maker, (each for _, each in redactions), of=ref)
            self._check_keeps_columns(view)

        shown = _shown_schema(view, schema)
        is_new = stored.put(
            view,
            shown,
            created_by=principal.username,
            check=check,
            check_new=lambda: self._check_free(ref),
        )
        found = stored.get(ref)
        if found is None:
            raise NotFound(f"the view {ref} was dropped meanwhile", code="view_not_found")
        return found, is_new

    def get(self, request: Request, name: str) -> Shown:
        """Return a view that somebody may see; raises NotFound for what is none."""
        ref = self._named(request, name)
        principal = request.principal
        found = self._view_managed(principal, ref) or self._browser.visible(principal, ref)
        if not isinstance(found, StoredSafeView):
            raise NotFound(f"the safe view {ref} does not exist", code="view_not_found")
        return Shown(found, self._browser.may_manage(principal, ref))

    def bases(self, shown: Shown) -> tuple[TableRef, ...]:
        """Return what a view is made of, down to the table."""
        return tuple(each.base for each in self._views().chain(shown.view.rule))

    def list(
        self, request: Request, *, base: str | None = None, tag: str | None = None
    ) -> list[Shown]:
        """Return the views that somebody may see, by name.

        With ``base`` those made of it directly, of which only who manages them knows.
        """
        principal, stored = request.principal, self._views()
        made_of = None if base is None else self._named(request, base)
        found: list[Shown] = []
        for bucket in self._registry.buckets():
            for view in stored.list(bucket):
                is_open = self._browser.may_manage(principal, view.ref)
                if not (is_open or self._browser.sees(principal, view.ref)):
                    continue
                if tag is not None and tag not in view.rule.tags:
                    continue
                if made_of is None or (is_open and view.rule.base == made_of):
                    found.append(Shown(view, is_open))
        return sorted(found, key=lambda shown: shown.view.ref)

    def drop(
        self, request: Request, name: str, *, if_exists: bool = False
    ) -> tuple[TableRef, bool]:
        """Forget a view, durable; return its full name, and whether it was there.

        Raises NotFound when it is not there or out of sight, unless ``if_exists``;
        PermissionDenied when it may not be managed; InvalidRequest for what is no such view.
        """
        ref = self._named(request, name)
        try:
            if not self._views().is_name(ref):
                found = self._browser.visible(request.principal, ref)
                what = "a table" if isinstance(found, Entry) else "a view made by CREATE VIEW"
                raise InvalidRequest(f"{ref} is {what}: drop it by SQL")
            self._permits.drop_safe_view(request.principal, ref)
        except NotFound:
            if if_exists:
                return ref, False
            raise
        return ref, True

    def _views(self) -> SafeViews:
        if self._stored is None:
            raise Unavailable("this server keeps no views: it has no bucket of its own")
        return self._stored

    def _view_managed(self, principal: Principal, ref: TableRef) -> StoredSafeView | None:
        """Return a view that somebody manages, which they need not be able to read for that."""
        return self._views().get(ref) if self._browser.may_manage(principal, ref) else None

    def _named(self, request: Request, text: str) -> TableRef:
        return self._targets.named(request, read_table(text), may_be_temporary=False)

    def _columns_of(self, principal: Principal, base: TableRef) -> pa.Schema:
        """Return those columns of what a view is to be made of that its maker may read."""
        self._permits.find_for_view(principal, base)
        return self._browser.columns(principal, base)

    def _check_keeps_columns(self, new: SafeView) -> None:
        """Raise InvalidRequest when rules name a column that the view has and would lose."""
        kept = {name for name, _ in new.columns}
        for before in self._views().list(new.ref.bucket):
            if before.ref == new.ref:
                lost = [name for name, _ in before.rule.columns if name not in kept]
                self._attached.check_columns(new.ref, lost)

    def _check_free(self, ref: TableRef) -> None:
        """Raise AlreadyExists for a name that means something else."""
        if self._registry.find_below(ref) is not None:
            raise AlreadyExists(f"there is a table {ref} already", code="table_exists")
        if self._registry.find_view(ref) is not None:
            raise AlreadyExists(
                f"there is a view {ref} already, made by CREATE VIEW", code="view_exists"
            )


def _check_words(wording: Wording) -> None:
    if len(wording.description or "") > DESCRIPTION_CHARACTERS_MAX:
        raise InvalidRequest(
            f"'description' is too long; description_characters_max={DESCRIPTION_CHARACTERS_MAX}"
        )
    if len(wording.tags) > TAGS_MAX:
        raise InvalidRequest(f"'tags' has too many elements; tags_max={TAGS_MAX}")
    for place, tag in enumerate(wording.tags):
        if not tag.strip() or len(tag) > TAG_CHARACTERS_MAX:
            raise InvalidRequest(f"tags[{place}] is a text of 1 to {TAG_CHARACTERS_MAX} characters")


def _columns(
    names: Sequence[str], schema: pa.Schema, base: TableRef
) -> tuple[tuple[str, str], ...]:
    if not 0 < len(names) <= COLUMNS_MAX:
        raise InvalidRequest(f"'columns' names 1 to {COLUMNS_MAX} columns of {base}")
    plain = without_metadata(schema)
    seen: set[str] = set()
    for place, name in enumerate(names):
        if name not in plain.names:
            raise InvalidRequest(
                f"columns[{place}]: {base} has no column {name!r}", code="column_not_found"
            )
        if name in seen:
            raise InvalidRequest(f"columns[{place}]: the column {name!r} is named twice")
        seen.add(name)
    return tuple((name, str(plain.field(name).type)) for name in names)


def _redactions(
    given: Mapping[str, Redaction], schema: pa.Schema, columns: Sequence[str]
) -> tuple[tuple[ColumnPath, Redaction], ...]:
    found: dict[ColumnPath, Redaction] = {}
    for text, redaction in given.items():
        place = f"redactions[{text!r}]"
        path = _path(text, columns)
        if path is None:
            raise InvalidRequest(f"{place}: the view has no such column")
        for other in found:
            if path[: len(other)] == other or other[: len(path)] == path:
                raise InvalidRequest(f"{place}: another redaction is of it, or of a part of it")
        try:
            check_redaction(schema.field(path[0]).type, path, redaction)
        except InvalidRequest as error:
            raise InvalidRequest(f"{place}: {error.message}") from None
        found[path] = redaction
    return tuple(sorted(found.items()))


def _path(text: str, columns: Sequence[str]) -> ColumnPath | None:
    """Return the column, and the fields within it, that dots divide; names may hold dots."""
    if text in columns:
        return (text,)
    parts = text.split(".")
    for count in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:count])
        if name in columns:
            return (name, *parts[count:])
    return None


def _shown_schema(view: SafeView, schema: pa.Schema) -> pa.Schema:
    """Return what a view shows: its columns with their comments, and its own as ``comment``."""
    redacted = {path[0] for path, _ in view.redactions}
    fields: list[pa.Field[Any]] = []
    for name, _ in view.columns:
        column = schema.field(name)
        fields.append(column.with_nullable(True) if name in redacted else column)  # noqa: FBT003 - Arrow's
    return pa.schema(fields, None if view.description is None else {_COMMENT: view.description})
