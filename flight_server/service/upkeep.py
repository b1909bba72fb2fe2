"""Statements that keep a table in shape: OPTIMIZE, VACUUM and RESTORE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from flight_server import errors
from flight_server.clock import Clock
from flight_server.engine.base import Engine, WriteTarget
from flight_server.service.request import Request
from flight_server.service.statements import REPORT_SCHEMA, Bound
from flight_server.service.targets import Targets
from flight_server.service.writes import author_of, commit, data_files, query_of, retried
from flight_server.sql.commands import Optimize, Restore, Vacuum
from flight_server.storage import upkeep
from flight_server.storage.changes import Change
from flight_server.storage.commits import Commits
from flight_server.storage.delta_actions import ActiveFile
from flight_server.storage.heads import Head
from flight_server.storage.tables import DeltaTables

# A dry run names no more files than this.
REPORT_FILES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The data files that an OPTIMIZE replaces: how many, and their bytes."""

    files: int
    size_bytes: int


class Upkeep:
    """The use cases of upkeep. None but RESTORE changes what a query returns."""

    def __init__(
        self,
        engine: Engine,
        targets: Targets,
        commits: Commits,
        *,
        snapshots: DeltaTables,
        clock: Clock,
        file_bytes_target: int,
    ) -> None:
        self._engine = engine
        self._targets = targets
        self._commits = commits
        self._snapshots = snapshots
        self._clock = clock
        self._file_bytes_target = file_bytes_target

    def optimize(
        self, request: Request, command: Optimize, bound: Bound, *, file_bytes: int | None = None
    ) -> Rewritten:
        """Write small files again as larger ones, or all rows in the order of ``z_order``.

        ``file_bytes`` is the size that the files aim at, None the one of the settings.
        """
        target = self._targets.to_maintain(request, command.target)

        def attempt() -> Rewritten:
            head = self._commits.head(target.path, name=target.name, with_files=True)
            # Taken after it, so that it holds every file that is chosen.
            pin = self._targets.pin(request, target)
            files = self._chosen(command, head, file_bytes)
            if not files:
                return Rewritten(0, 0)
            written = self._engine.write(
                query_of(bound),
                WriteTarget(
                    str(target.path),
                    head.schema,
                    head.partition_columns,
                    pin=pin,
                    chosen=upkeep.uris_of(target.path, files),
                    file_bytes=file_bytes,
                ),
                is_cancelled=request.is_cancelled,
            )
            change = Change(
                "OPTIMIZE",
                author_of(request),
                adds=data_files(written),
                removes=written.removed,
                parameters={"zOrderBy": ",".join(command.z_order)} if command.z_order else {},
                data_change=False,
                table_id=head.table_id,
                schema=head.schema,
                read_version=head.version,
            )
            commit(request, self._commits, target, change)
            return _rewritten(files)

        return retried(lambda: self._commits.rewriting(target.path), attempt)

    def optimizable(
        self, request: Request, command: Optimize, *, file_bytes: int | None = None
    ) -> Rewritten:
        """Return what ``optimize`` would write again, as the table is now."""
        target = self._targets.to_maintain(request, command.target)
        head = self._commits.head(target.path, name=target.name, with_files=True)
        return _rewritten(self._chosen(command, head, file_bytes))

    def _chosen(
        self, command: Optimize, head: Head, file_bytes: int | None
    ) -> tuple[ActiveFile, ...]:
        files = head.files or ()
        if command.z_order:
            return files
        groups = upkeep.small_files(files, target_bytes=file_bytes or self._file_bytes_target)
        return tuple(chain.from_iterable(groups))

    def vacuum(self, request: Request, command: Vacuum) -> pa.Table:
        """Do as ``vacuum_files`` does; of the files at most REPORT_FILES_MAX are named."""
        files = self.vacuum_files(request, command)
        return pa.Table.from_pydict({"file": list(files[:REPORT_FILES_MAX])}, schema=REPORT_SCHEMA)

    def vacuum_files(self, request: Request, command: Vacuum) -> tuple[str, ...]:
        """Remove files that no version within the retention needs; return which, below the table.

        A dry run removes nothing.
        """
        target = self._targets.to_maintain(request, command.target)
        return upkeep.vacuum(
            target.path,
            self._commits,
            clock=self._clock,
            retain_hours=command.retain_hours,
            dry_run=command.dry_run,
            name=target.name,
            check=lambda: target.check(()),
        )

    def restore(self, request: Request, command: Restore) -> None:
        """Make an older state the newest version."""
        target = self._targets.to_write(request, command.target, also_reads=True)
        with self._commits.rewriting(target.path):
            head = self._commits.head(target.path, name=target.name)
            terms = self._targets.terms(request, target, head.schema)
            terms.require_all_rows("bring back an older state of it")
            version = command.as_of.version
            if version is None:
                time = command.as_of.time
                assert time is not None  # noqa: S101  it is one or the other
                snapshot = self._snapshots.at_time(target.path, time, name=target.name)
                version = snapshot.version
            if version is None or version > head.version:
                raise errors.NotFound(
                    f"the table {target.name} has no version {version}", code="version_not_found"
                )
            change = upkeep.restoring(
                target.path,
                head,
                version=version,
                author=author_of(request),
                idempotency_key=request.idempotency_key,
                name=target.name,
            )
            commit(request, self._commits, target, change)


def _rewritten(files: Sequence[ActiveFile]) -> Rewritten:
    return Rewritten(len(files), sum(file.size for file in files))
