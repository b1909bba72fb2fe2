"""Makes a table and fills it, or replaces one that is there: seen by nobody before it is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from flight_server import errors
from flight_server.service.request import Request
from flight_server.service.targets import Target
from flight_server.service.writes import author_of, commit, known_rows
from flight_server.sql.commands import IfThere
from flight_server.storage.changes import Change
from flight_server.storage.commits import Commits
from flight_server.storage.creation import Creation
from flight_server.storage.delta_actions import schema_text
from flight_server.storage.files import DataFile
from policies.names import TableRef


@dataclass(frozen=True, slots=True)
class Filled:
    """What was written into a table's folder: files in its columns, and how many rows they hold.

    ``read`` are the tables that the rows come from.
    """

    schema: pa.Schema
    files: tuple[DataFile, ...] = ()
    rows: int = 0
    read: tuple[TableRef, ...] = ()


# Writes data files into the folder that it is given.
Fill = Callable[[Path], Filled]


class Making:
    """Makes tables. ``fill`` writes their rows, and leaves nothing behind when it fails."""

    def __init__(self, commits: Commits, creation: Creation) -> None:
        self._commits = commits
        self.creation = creation

    def make(
        self,
        request: Request,
        target: Target,
        fill: Fill,
        *,
        if_there: IfThere,
        partition_columns: tuple[str, ...] = (),
        comment: str | None = None,
    ) -> int | None:
        """Make a table; return the number of its rows, None when one was there and is kept.

        Raises AlreadyExists (``table_exists``).
        """
        known = known_rows(self._commits, request, target) if target.exists else None
        if known is not None:
            return known
        if target.exists and if_there is IfThere.REPLACE:
            return self._replace(
                request, target, fill, partition_columns=partition_columns, comment=comment
            )
        try:
            return self._make(
                request, target, fill, partition_columns=partition_columns, comment=comment
            )
        except errors.AlreadyExists:
            if if_there is IfThere.KEEP:
                return None
            raise

    def _make(
        self,
        request: Request,
        target: Target,
        fill: Fill,
        *,
        partition_columns: tuple[str, ...],
        comment: str | None,
    ) -> int:
        if target.exists:
            raise errors.AlreadyExists(
                f"there is a table {target.name} already", code="table_exists"
            )
        staged = self.creation.stage(target.path, name=target.name)
        try:
            filled = fill(staged)
            metadata = self.creation.metadata(
                filled.schema, partition_columns=partition_columns, description=comment
            )
            change = Change(
                "CREATE TABLE",
                author_of(request),
                adds=filled.files,
                rows=filled.rows,
                idempotency_key=request.idempotency_key,
            )
            target.check(filled.read)
            committed = self.creation.publish(
                staged, target.path, change=change, metadata=metadata, name=target.name
            )
        finally:
            self.creation.discard(staged)
        return committed.rows

    def _replace(
        self,
        request: Request,
        target: Target,
        fill: Fill,
        *,
        partition_columns: tuple[str, ...],
        comment: str | None,
    ) -> int:
        with self._commits.rewriting(target.path):
            head = self._commits.head(target.path, name=target.name)
            filled = fill(target.path)
            metadata = replace(
                head.metadata,
                schema_text=schema_text(filled.schema),
                partition_columns=partition_columns,
                description=comment,
            )
            change = Change(
                "CREATE OR REPLACE TABLE",
                author_of(request),
                adds=filled.files,
                removes_all=True,
                metadata=metadata,
                rows=filled.rows,
                table_id=head.table_id,
                idempotency_key=request.idempotency_key,
            )
            return commit(request, self._commits, target, change, read=filled.read).rows
