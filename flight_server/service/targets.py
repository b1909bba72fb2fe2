"""From the names in a statement to the folders that it changes, temporary tables included."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, cast

import pyarrow as pa

from flight_server.engine.base import TEMPORARY_BUCKET, Pin
from flight_server.errors import NotFound, PermissionDenied
from flight_server.service.governed import GovernedTables
from flight_server.service.permits import Permits, check_new_name
from flight_server.service.request import Need, Request
from flight_server.service.sessions import Session, Sessions
from flight_server.service.standing import Standing, as_before
from flight_server.service.terms import Terms
from flight_server.sql.commands import (
    AlterTable,
    Command,
    CreateSchema,
    CreateTable,
    CreateView,
    DropSchema,
    DropView,
    RenameTable,
    SetOption,
    Use,
)
from flight_server.sql.names import DEFAULT
from policies.names import Principal, Privilege, TableRef

C = TypeVar("C", bound=Command)


def _unchecked(_: Iterable[TableRef] = ()) -> None:
    """Let it be: nobody asked who may change it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A table that is to be changed or made: its full name and its folder.

    ``check`` is to be called right before the change takes effect, with the tables that were read
    for it. It raises Unauthenticated or PermissionDenied when who may make the change has been
    decided otherwise since the target was found.
    """

    ref: TableRef
    path: Path
    exists: bool = True
    check: Callable[[Iterable[TableRef]], None] = field(
        default=_unchecked, compare=False, repr=False
    )

    @property
    def is_temporary(self) -> bool:
        """Whether it ends with its session."""
        return self.ref.bucket == TEMPORARY_BUCKET

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.ref.table if self.is_temporary else str(self.ref)


class Targets:
    """Finds targets for those who may change them. Safe to use from many threads.

    ``temporary_root`` is the folder of all temporary tables, one schema for each session;
    ``standing`` looks callers up anew.
    """

    def __init__(
        self,
        permits: Permits,
        tables: GovernedTables,
        sessions: Sessions,
        *,
        temporary_root: Path,
        standing: Standing = as_before,
    ) -> None:
        self._permits = permits
        self._tables = tables
        self._sessions = sessions
        self._temporary_root = temporary_root
        self._standing = standing
        sessions.when_closed(self._remove_temporary)

    def resolved(self, request: Request, command: C) -> C:
        """Return a statement that was read with ``DEFAULT`` names under the names they mean.

        A bare name means a temporary table of the session first, except where something that stays
        is made.
        """
        if isinstance(command, CreateSchema | DropSchema):
            bucket = request.bucket if command.bucket == DEFAULT else command.bucket
            refuse_temporary(TableRef(bucket, command.schema, ""))
            return cast("C", replace(command, bucket=bucket))
        if isinstance(command, Use | SetOption):
            return command
        stays = isinstance(command, CreateTable | CreateView | DropView)
        target = self.named(request, command.target, may_be_temporary=not stays)
        if isinstance(command, AlterTable) and isinstance(command.change, RenameTable):
            new = self.named(request, command.change.new, may_be_temporary=False)
            return cast("C", replace(command, target=target, change=RenameTable(new)))
        return cast("C", replace(command, target=target))

    def to_write(self, request: Request, ref: TableRef, *, also_reads: bool) -> Target:
        """Return a table whose rows or columns are to be changed; raises as ``Permits`` does.

        Also PermissionDenied when its rows are read for that and the caller may not read them.
        """
        if ref.bucket == TEMPORARY_BUCKET:
            return self._target(request, ref, self._temporary_path(ref))
        entry = self._permits.find_for_write(request.principal, ref)
        if also_reads:
            self._check_reads(request, ref, "change rows of")
        rights = (Privilege.WRITE, Privilege.READ) if also_reads else (Privilege.WRITE,)
        return self._target(request, ref, entry.path, rights=rights)

    def to_maintain(self, request: Request, ref: TableRef, *, also_reads: bool = False) -> Target:
        """Return a table whose files are to be put in order; raises as ``to_write`` does."""
        if ref.bucket == TEMPORARY_BUCKET:
            return self._target(request, ref, self._temporary_path(ref))
        path = self._permits.find_for_maintenance(request.principal, ref).path
        if also_reads:
            self._check_reads(request, ref, "order the files of")
        rights = (Privilege.MAINTAIN, Privilege.READ) if also_reads else (Privilege.MAINTAIN,)
        return self._target(request, ref, path, rights=rights)

    def to_create(self, request: Request, ref: TableRef, *, is_temporary: bool = False) -> Target:
        """Return the place of a table that is to be made, whether or not something is there."""
        if is_temporary:
            check_new_name(ref.table, "table")
            schema = self._sessions.open(request).temporary_schema
            ref = TableRef(TEMPORARY_BUCKET, schema, ref.table)
            path = self._temporary_path(ref)
            return self._target(request, ref, path, exists=path.is_dir())
        path = self._permits.may_create(request.principal, ref)
        exists = self._permits.is_taken(ref)
        if exists:
            # Only what may be written can be replaced; the error for anything else is that of a
            # write.
            path = self._permits.find_for_write(request.principal, ref).path
        return self._target(request, ref, path, rights=(Privilege.WRITE,), exists=exists)

    def principal(self, request: Request) -> Principal:
        """Return who makes a request, looked up anew; raises as ``Standing`` says."""
        return self._standing(request)

    def pin(self, request: Request, target: Target) -> Pin:
        """Return the newest state of a table as its caller sees it, to change rows of it."""
        return self._tables.pin(target.ref, request.principal, as_of=None, is_changing=True)

    def pin_files(self, request: Request, target: Target, *, is_changing: bool = True) -> Pin:
        """Return the newest state of a table, to write its files anew with the rows as they are.

        The caller need not be able to read them.
        """
        return self._tables.pin_files(target.ref, request.principal, is_changing=is_changing)

    def terms(self, request: Request, target: Target, schema: pa.Schema) -> Terms:
        """Return what the caller is held to who changes a table of these columns, or makes it."""
        return self._tables.terms(target.ref, request.principal, schema)

    def check_renamed(self, target: Target, columns: Iterable[str] | None = None) -> None:
        """Raise InvalidRequest (``has_policies``) when rules would be escaped by another name.

        Of the table, or of these columns of it.
        """
        if target.is_temporary:
            return
        if columns is None:
            self._tables.attached.check_table(target.ref)
        else:
            self._tables.attached.check_columns(target.ref, columns)

    def remember_temporary(self, request: Request, target: Target) -> None:
        """Let a temporary table be found by its name; it is removed if the session has ended."""
        try:
            self._sessions.open(request).add_temporary(target.ref.table)
        except Exception:
            shutil.rmtree(target.path, ignore_errors=True)
            raise

    def forget_temporary(self, request: Request, target: Target) -> None:
        """Let the name of a dropped temporary table mean what it meant before."""
        if target.is_temporary:
            self._sessions.open(request).remove_temporary(target.ref.table)

    def named(self, request: Request, ref: TableRef, *, may_be_temporary: bool = True) -> TableRef:
        """Return the table that a name with ``DEFAULT`` parts means to a request."""
        temporary = request.temporary
        is_bare = ref.bucket == ref.schema == DEFAULT
        if may_be_temporary and is_bare and temporary and ref.table in temporary.tables:
            return TableRef(TEMPORARY_BUCKET, temporary.schema, ref.table)
        bucket = request.bucket if ref.bucket == DEFAULT else ref.bucket
        schema = request.schema if ref.schema == DEFAULT else ref.schema
        named = TableRef(bucket, schema, ref.table)
        refuse_temporary(named)
        return named

    def _check_reads(self, request: Request, ref: TableRef, what: str) -> None:
        try:
            self._tables.check(ref, request.principal)
        except NotFound:
            raise PermissionDenied(
                f"to {what} {ref} you need the right to read its rows as well"
            ) from None

    def _target(
        self,
        request: Request,
        ref: TableRef,
        path: Path,
        *,
        rights: tuple[Privilege, ...] = (),
        exists: bool = True,
    ) -> Target:
        """Return a target that was decided on, which is decided again by its ``check``."""
        needs: list[Need] = [(right, ref) for right in rights]
        for privilege, _ in needs:
            request.rely_on(privilege, ref)

        def check(read: Iterable[TableRef] = ()) -> None:
            also: list[Need] = [(Privilege.READ, each) for each in read]
            self._permits.check_still(self._standing(request), (*needs, *also))

        return Target(ref, path, exists, check)

    def _temporary_path(self, ref: TableRef) -> Path:
        return self._temporary_root / ref.schema / ref.table

    def _remove_temporary(self, session: Session) -> None:
        shutil.rmtree(self._temporary_root / session.temporary_schema, ignore_errors=True)


def refuse_temporary(ref: TableRef) -> None:
    """Refuse the bucket of temporary tables by name: only their own session leads there."""
    if ref.bucket == TEMPORARY_BUCKET:
        raise NotFound(f"the table {ref} does not exist", code="table_not_found")
