"""Who may change what: the target of a statement, or the error that this caller is to see.

What may be neither read nor written does not exist for its caller; what may be read only is
refused as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from flight_server.catalog.folders import PUBLIC, Kind, is_name
from flight_server.catalog.registry import AnyView, Entry, Registry
from flight_server.catalog.safe_views import SafeViews, StoredSafeView
from flight_server.catalog.views import Draft, Views, no_view
from flight_server.engine.base import TEMPORARY_BUCKET, Description
from flight_server.errors import (
    AlreadyExists,
    InvalidRequest,
    LakeflightError,
    NotFound,
    PermissionDenied,
    Unsupported,
)
from flight_server.service.browse import Browser
from flight_server.service.information_schema import INFORMATION_SCHEMA
from flight_server.service.request import Need
from flight_server.service.standing import withdrawn
from flight_server.sql.commands import CreateView, DropView, IfThere
from flight_server.sql.names import parse_history_name, parse_raw_name, parse_versioned_name
from policies.book import PolicyBook
from policies.decide import SYSTEM_BUCKET, decide, may_see
from policies.names import Principal, Privilege, TableRef

# The Delta library decodes these in paths, and partition folders are told by their equals sign.
_UNSAFE = re.compile(r"%[0-9A-Fa-f]{2}|=|[\x00-\x1f\x7f]")


class Permits:
    """Finds what a principal wants to change; raises what they are to hear otherwise.

    ``views`` None stores none, and so does ``safe_views``. ``read_only`` are buckets that this
    server does not write. Safe to use from many threads.
    """

    def __init__(
        self,
        browser: Browser,
        registry: Registry,
        views: Views | None,
        *,
        book: Callable[[], PolicyBook],
        safe_views: SafeViews | None = None,
        read_only: frozenset[str] = frozenset(),
    ) -> None:
        self._browser = browser
        self._registry = registry
        self._views = views
        self._safe_views = safe_views
        self._book = book
        self._read_only = read_only

    def find_for_write(self, principal: Principal, ref: TableRef) -> Entry:
        """Return the Delta table whose rows or columns are to be changed.

        Raises NotFound when there is none, or none that may be read or written; PermissionDenied
        when it may be read only, or is the server's; Unsupported for a view and for Parquet;
        Unavailable.
        """
        return self._found(principal, ref, Privilege.WRITE)

    def find_for_maintenance(self, principal: Principal, ref: TableRef) -> Entry:
        """Return the Delta table whose files are to be put in order; raises likewise."""
        return self._found(principal, ref, Privilege.MAINTAIN)

    def _found(self, principal: Principal, ref: TableRef, privilege: Privilege) -> Entry:
        self._refuse_own(principal, ref)
        may_read, may_write = self._rights(principal, ref, privilege)
        found = None
        if may_read or may_write:
            found = self._registry.find(ref) or self._registry.find_view(ref)
        if found is None:
            self._refuse_raw(principal, ref)
            raise self._browser.missing(principal, ref)
        if not may_write:
            raise _read_only(ref, privilege)
        self._check_writable(ref.bucket)
        if not isinstance(found, Entry):
            raise Unsupported(f"{ref} is a view, whose rows cannot be changed: change its tables")
        if found.kind is not Kind.DELTA:
            raise Unsupported(f"the table {ref} is plain Parquet, which is read only")
        return found

    def _refuse_raw(self, principal: Principal, ref: TableRef) -> None:
        """Refuse to change a table by the name under which nothing of it is hidden."""
        name = parse_raw_name(ref.table)
        if name is None:
            return
        base = TableRef(ref.bucket, ref.schema, name)
        if self._registry.find(base) and self._browser.may_read_raw(principal, base):
            raise Unsupported(f"{ref} is for reading: change {base}")

    def check_still(self, principal: Principal, needs: Iterable[Need]) -> None:
        """Raise PermissionDenied when rights that were there before are there no longer."""
        if not all(self._browser.may_still(principal, right, ref) for right, ref in needs):
            raise withdrawn()

    def may_create(self, principal: Principal, ref: TableRef) -> Path:
        """Return the folder that a new table would have; whether the name is taken is not asked.

        Raises NotFound (``bucket_not_found``) for a bucket out of sight, PermissionDenied without
        the right to write there, InvalidRequest (``invalid_name``) for names that nothing new may
        have, NotFound (``schema_not_found``); Unavailable.
        """
        self._check_bucket(principal, ref.bucket)
        self._refuse_own(principal, ref)
        if not self._rights(principal, ref)[1]:
            raise PermissionDenied(f"you may not write {ref}")
        self._check_place(ref)
        if isinstance(self._view(ref), StoredSafeView):
            raise AlreadyExists(f"there is a view {ref} already", code="view_exists")
        return self._folder(ref.bucket, ref.schema, ref.table)

    def may_put_view(self, principal: Principal, ref: TableRef) -> None:
        """Let an AI-safe view be put under a name; whether it is taken is not asked.

        Raises as ``may_create``, but with the right to manage in place of that to write.
        """
        self._check_bucket(principal, ref.bucket)
        self._refuse_own(principal, ref)
        if not self._browser.may_manage(principal, ref):
            raise _read_only(ref, Privilege.MANAGE)
        self._check_place(ref)

    def find_for_view(self, principal: Principal, ref: TableRef) -> Entry | StoredSafeView:
        """Return what an AI-safe view is to be made of, for somebody who may manage it.

        Raises NotFound when there is no such thing, or none that may be read; PermissionDenied when
        it may not be managed; Unsupported for the server's own tables and for an SQL view.
        """
        if ref.bucket == SYSTEM_BUCKET or ref.schema == INFORMATION_SCHEMA:
            if self._browser.sees_catalog(principal, ref.bucket):
                raise Unsupported("no safe view is made of the server's own tables")
            raise self._browser.missing(principal, ref)
        found = self._browser.look_up(principal, ref)
        if not self._browser.may_manage(principal, ref):
            raise _read_only(ref, Privilege.MANAGE)
        if not isinstance(found, Entry | StoredSafeView):
            raise Unsupported(
                f"{ref} is a view that runs with the rights of whoever reads it:"
                " make the safe view of its tables"
            )
        return found

    def _check_place(self, ref: TableRef) -> None:
        """Check that a new table or view could be in this place, whoever asks."""
        self._check_writable(ref.bucket)
        check_new_name(ref.schema, "schema")
        check_new_name(ref.table, "table")
        if not self._registry.has_schema(ref.bucket, ref.schema):
            raise _no_schema(ref.bucket, ref.schema)

    def is_taken(self, ref: TableRef) -> bool:
        """Whether a table or view has this name, whoever asks. Raises Unavailable."""
        return bool(self._registry.find(ref) or self._registry.find_view(ref))

    def may_create_schema(self, principal: Principal, bucket: str, schema: str) -> Path:
        """Return the folder that a new schema would have; whether it is there is not asked.

        Raises as ``may_create``, and AlreadyExists when the folder is a table of ``public``.
        """
        self._check_bucket(principal, bucket)
        self._check_schema_right(principal, bucket, schema)
        check_new_name(schema, "schema")
        folder = self._folder(bucket, schema)
        table = self._registry.find(TableRef(bucket, PUBLIC, schema))
        if table is not None and table.path == folder:
            raise AlreadyExists(f"there is a table {table.ref} in the place of this schema")
        return folder

    def may_drop_schema(self, principal: Principal, bucket: str, schema: str) -> Path:
        """Return the folder of a schema that is to be removed.

        Raises NotFound (``bucket_not_found``, ``schema_not_found``) for what is out of sight,
        PermissionDenied for one that may not be written as a whole, or is the server's;
        InvalidRequest for ``public``, which is always there.
        """
        self._check_bucket(principal, bucket)
        if schema == INFORMATION_SCHEMA or bucket == SYSTEM_BUCKET:
            raise _servers_own()
        if (bucket, schema) not in self._browser.schemas(principal, bucket):
            raise _no_schema(bucket, schema)
        self._check_schema_right(principal, bucket, schema)
        if schema == PUBLIC:
            raise InvalidRequest("the schema public is part of its bucket and cannot be dropped")
        return self._folder(bucket, schema)

    def create_view(
        self, principal: Principal, command: CreateView, described: Description, *, names: TableRef
    ) -> bool:
        """Store a view; return False when it was there and is kept.

        ``described`` is its query as the engine described it to this very principal, ``names``
        holds the default bucket and schema that it was read with. Raises as ``may_create`` and
        ``Views.put``, InvalidRequest for a view that would read itself or temporary tables.
        """
        ref, views = command.target, self._stored()
        self.may_create(principal, ref)
        if command.if_there is IfThere.KEEP and self._view(ref) is not None:
            return False
        for pin in described.pins:
            if pin.ref == ref:
                raise InvalidRequest(f"the view {ref} would read itself", code="view_recursive")
            if pin.ref.bucket == TEMPORARY_BUCKET:
                raise InvalidRequest(f"a view outlives the temporary table {pin.ref.table}")
        draft = Draft(
            ref,
            command.query,
            bucket=names.bucket,
            schema=names.schema,
            arrow_schema=described.schema,
            owner_id=principal.user_id,
            columns=command.columns,
            comment=command.comment,
        )
        return views.put(
            draft, command.if_there, is_table=lambda name: self._registry.find(name) is not None
        )

    def drop_view(self, principal: Principal, command: DropView) -> bool:
        """Forget a view; return whether it was there.

        Raises NotFound when it is not there or out of sight, unless the command says otherwise,
        PermissionDenied when it may only be read, InvalidRequest for a table.
        """
        ref = command.target
        try:
            self._refuse_own(principal, ref)
            view = self._view(ref)
            if isinstance(view, StoredSafeView):
                self.drop_safe_view(principal, ref)
                return True
            may_read, may_write = self._rights(principal, ref)
            if not (may_read or may_write):
                raise self._browser.missing(principal, ref)
            if self._registry.find(ref) is not None:
                raise InvalidRequest(f"{ref} is a table: write DROP TABLE")
            if view is None:
                raise no_view(ref)
        except NotFound:
            if command.if_exists:
                return False
            raise
        if not may_write:
            raise _read_only(ref)
        self._check_writable(ref.bucket)
        return self._stored().drop(ref, if_exists=command.if_exists)

    def drop_safe_view(self, principal: Principal, ref: TableRef) -> None:
        """Forget an AI-safe view.

        Raises NotFound when it is not there or out of sight, PermissionDenied when it may not be
        managed, AlreadyExists (``table_exists``) when its name would come to mean a table.
        """
        if not (self._browser.may_manage(principal, ref) and self._safe_views is not None):
            self._browser.visible(principal, ref)
            raise _read_only(ref, Privilege.MANAGE)
        self._check_writable(ref.bucket)
        self._safe_views.drop(frozenset({ref}), check=lambda: self._check_nothing_below(ref))

    def drop_views(self, principal: Principal, bucket: str, schema: str) -> None:
        """Forget all views of a schema, for somebody who may write all that is in it.

        Raises PermissionDenied when there is an AI-safe view that they may not manage.
        """
        safe = () if self._safe_views is None else self._safe_views.list(bucket)
        refs = frozenset(view.ref for view in safe if view.ref.schema == schema)
        for ref in sorted(refs):
            if not self._browser.may_manage(principal, ref):
                raise PermissionDenied(
                    f"the schema {bucket}.{schema} holds a view that you may not manage"
                )
        if refs and self._safe_views is not None:
            # Tables below them are dropped with the schema.
            self._safe_views.drop(refs, check=lambda: None)
        if self._views is not None:
            self._views.drop_schema(bucket, schema)

    def _check_nothing_below(self, ref: TableRef) -> None:
        if self._registry.find_below(ref) is not None:
            raise AlreadyExists(
                f"another tool has put a table where the view {ref} is, and without the view its"
                " name would mean that table: move it away first",
                code="table_exists",
            )

    def _stored(self) -> Views:
        if self._views is None:
            raise Unsupported("this server keeps no views: it has no bucket of its own")
        return self._views

    def _view(self, ref: TableRef) -> AnyView | None:
        return self._registry.find_view(ref)

    def _rights(
        self, principal: Principal, ref: TableRef, privilege: Privilege = Privilege.WRITE
    ) -> tuple[bool, bool]:
        """Whether a table may be seen, and whether the other may be done to it."""
        book = self._book()
        return may_see(book, principal, ref), decide(book, principal, privilege, ref).allowed

    def _check_bucket(self, principal: Principal, bucket: str) -> None:
        if not self._browser.sees_catalog(principal, bucket):
            raise self._browser.missing(principal, TableRef(bucket, PUBLIC, ""))

    def _check_schema_right(self, principal: Principal, bucket: str, schema: str) -> None:
        if bucket == SYSTEM_BUCKET or schema == INFORMATION_SCHEMA:
            raise _servers_own()
        # No table has this name, so only a right to the whole schema counts.
        if not self._rights(principal, TableRef(bucket, schema, ""))[1]:
            raise PermissionDenied(f"you may not write the whole schema {bucket}.{schema}")
        self._check_writable(bucket)

    def _check_writable(self, bucket: str) -> None:
        if bucket in self._read_only:
            raise Unsupported(f"the bucket {bucket} is read only on this server")

    def _refuse_own(self, principal: Principal, ref: TableRef) -> None:
        """Refuse what nobody changes by SQL, in words that fit what this caller can see."""
        if ref.bucket == SYSTEM_BUCKET or ref.schema == INFORMATION_SCHEMA:
            if self._browser.sees_catalog(principal, ref.bucket):
                raise _servers_own()
            raise self._browser.missing(principal, ref)

    def _folder(self, bucket: str, *names: str) -> Path:
        folder = self._registry.folder(bucket, *names)
        if folder is None:
            raise InvalidRequest(
                f"the folder of {'.'.join((bucket, *names))} belongs to another bucket",
                code="invalid_name",
            )
        return folder


def check_new_name(name: str, what: str) -> None:
    """Raise InvalidRequest (``invalid_name``) for what nothing new may be called."""
    is_versioned = parse_history_name(name) is not None
    try:
        is_versioned = is_versioned or parse_versioned_name(name)[1] is not None
    except InvalidRequest:
        is_versioned = True
    if is_versioned or not is_name(name) or _UNSAFE.search(name):
        raise InvalidRequest(
            f"this cannot be the name of a {what}: names do not start with _ or ., hold none of"
            " / \\ = .. or %XX, do not end in @ and a version, and have at most 255 bytes",
            code="invalid_name",
        )


def _read_only(ref: TableRef, privilege: Privilege = Privilege.WRITE) -> LakeflightError:
    what = "change" if privilege is Privilege.WRITE else privilege.value
    return PermissionDenied(f"you may not {what} {ref}")


def _servers_own() -> LakeflightError:
    return PermissionDenied("the server's own tables are not changed by SQL")


def _no_schema(bucket: str, schema: str) -> LakeflightError:
    return NotFound(f"the schema {bucket}.{schema} does not exist", code="schema_not_found")
