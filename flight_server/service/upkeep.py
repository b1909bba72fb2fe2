"""Statements that keep a table in shape: OPTIMIZE, VACUUM and RESTORE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import pyarrow as pa

from flight_server import errors
from flight_server.clock import Clock
from flight_server.engine.base import Engine, WriteTarget, Written
from flight_server.service.purging import Purge, Purging
from flight_server.service.request import Request
from flight_server.service.statements import REPORT_SCHEMA, Bound
from flight_server.service.targets import Target, Targets
from flight_server.service.writes import author_of, commit, data_files, query_of, retried
from flight_server.sql.commands import Optimize, Restore, Vacuum
from flight_server.storage import upkeep
from flight_server.storage.changes import Change
from flight_server.storage.commits import Commits
from flight_server.storage.delta_actions import ActiveFile
from flight_server.storage.files import remove_data_files
from flight_server.storage.heads import Head
from flight_server.storage.tables import DeltaTables

# A dry run names no more files than this.
REPORT_FILES_MAX = 1000
# How often an OPTIMIZE looks for rows that came in while it removed others for good.
PURGE_ROUNDS_MAX = 5


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The data files that an OPTIMIZE replaces: how many, and their bytes.

    ``rows`` are those that went for good, ``tombstones`` those that are done with; None where rows
    came in meanwhile that may have to go, too.
    """

    files: int = 0
    size_bytes: int = 0
    rows: int = 0
    tombstones: int | None = None

    def with_more(self, other: Rewritten) -> Rewritten:
        """Return both together; what became of the tombstones is said by the other."""
        return Rewritten(
            self.files + other.files,
            self.size_bytes + other.size_bytes,
            self.rows + other.rows,
            other.tombstones,
        )


@dataclass(frozen=True, slots=True)
class _Work:
    """An OPTIMIZE of a table that was found; a dry one only looks."""

    request: Request
    command: Optimize
    bound: Bound
    target: Target
    file_bytes: int | None
    is_dry: bool = False


class Upkeep:
    """The use cases of upkeep. None but RESTORE changes what a query returns.

    Rows that OPTIMIZE removes were hidden before.
    """

    def __init__(
        self,
        engine: Engine,
        targets: Targets,
        commits: Commits,
        *,
        purging: Purging,
        snapshots: DeltaTables,
        clock: Clock,
        file_bytes_target: int,
    ) -> None:
        self._engine = engine
        self._targets = targets
        self._commits = commits
        self._purging = purging
        self._snapshots = snapshots
        self._clock = clock
        self._file_bytes_target = file_bytes_target

    def optimize(
        self, request: Request, command: Optimize, bound: Bound, *, file_bytes: int | None = None
    ) -> Rewritten:
        """Write small files again as larger ones, or all rows in the order of ``z_order``.

        Rows that tombstones hide are removed for good, and the tombstones are done with then.
        ``file_bytes`` is the size that the files aim at, None the one of the settings.
        """
        target = self._to_optimize(request, command)
        done = Rewritten()
        for _ in range(PURGE_ROUNDS_MAX):
            work = _Work(request, command, bound, target, file_bytes)
            found = retried(
                lambda: self._commits.rewriting(target.path), partial(self._optimize, work)
            )
            done = done.with_more(found)
            if found.tombstones is not None:
                break
            # Others added to the table meanwhile: only the purge is left to be done.
            command = replace(command, z_order=())
        return done

    def optimizable(
        self, request: Request, command: Optimize, bound: Bound, *, file_bytes: int | None = None
    ) -> Rewritten:
        """Return what ``optimize`` would write again and remove, as the table is now."""
        target = self._to_optimize(request, command)
        return self._optimize(_Work(request, command, bound, target, file_bytes, is_dry=True))

    def _to_optimize(self, request: Request, command: Optimize) -> Target:
        # Whether there is a column, and of what type, is told by ordering by it.
        also_reads = bool(command.z_order)
        return self._targets.to_maintain(request, command.target, also_reads=also_reads)

    def _optimize(self, work: _Work) -> Rewritten:
        """Do it once; ``tombstones`` None says that more rows came in, which were not asked."""
        request, target = work.request, work.target
        head = self._commits.head(target.path, name=target.name, with_files=True)
        if work.command.z_order:
            # The order in which rows are found would tell of what they are ordered by.
            terms = self._targets.terms(request, target, head.schema)
            terms.require_as_they_are(work.command.z_order, "order rows by it")
        # Taken after it, so that it holds every file that is chosen.
        pin = self._targets.pin_files(request, target, is_changing=not work.is_dry)
        purge = self._purging.of(target.ref, head)
        files = self._chosen(work.command, head, work.file_bytes)
        if not files and purge is None:
            return Rewritten(tombstones=0)
        if purge is None and work.is_dry:
            return _rewritten(files, tombstones=0)
        if purge is not None and pin.version != head.version:
            raise errors.Conflict(
                f"the table {target.name} was changed by another writer meanwhile"
            )
        written = self._engine.write(
            query_of(work.bound),
            WriteTarget(
                str(target.path),
                head.schema,
                head.partition_columns,
                pin=pin,
                chosen=upkeep.uris_of(target.path, files),
                file_bytes=work.file_bytes,
                purges=0 if purge is None else purge.stamp,
                is_dry=work.is_dry,
            ),
            is_cancelled=request.is_cancelled,
        )
        removed = frozenset(written.removed)
        uris = upkeep.uris_of(target.path, head.files or ())
        replaced = [
            file for file, uri in zip(head.files or (), uris, strict=True) if uri in removed
        ]
        done = _rewritten(replaced, rows=written.deleted, tombstones=0)
        if work.is_dry:
            count = 0 if purge is None else purge.state.count
            return replace(done, tombstones=count)
        return replace(done, tombstones=self._commit(work, head, written, purge))

    def _commit(self, work: _Work, head: Head, written: Written, purge: Purge | None) -> int | None:
        """Commit what was written; return how many tombstones are done with, None for not yet."""
        request, command, target = work.request, work.command, work.target
        change = Change(
            "OPTIMIZE",
            author_of(request),
            adds=data_files(written),
            removes=written.removed,
            parameters={"zOrderBy": ",".join(command.z_order)} if command.z_order else {},
            data_change=bool(written.deleted),
            table_id=head.table_id,
            schema=head.schema,
            read_version=head.version,
        )
        if purge is None:
            commit(request, self._commits, target, change)
            return 0
        with self._finishing(target, purge, written):
            if change.adds or change.removes:
                version = commit(request, self._commits, target, change).version
                is_last = version == head.version + 1
            else:
                target.check(())
                is_last = not upkeep.is_overtaken(target.path, head.version)
            if not is_last:
                return None
            actor = request.principal.username
            self._purging.finish(purge, target.path, head=head, written=written, actor=actor)
            return purge.state.count

    @contextmanager
    def _finishing(self, target: Target, purge: Purge, written: Written) -> Iterator[None]:
        """Begin to finish a purge, or remove what was written for it."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._purging.finishing(purge))
            except errors.LakeflightError:
                remove_data_files(target.path, data_files(written))
                raise
            yield

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

        A dry run removes nothing. Whoever does not see all of the table learns no folders: their
        names have values of rows.
        """
        target = self._targets.to_maintain(request, command.target)
        files = upkeep.vacuum(
            target.path,
            self._commits,
            clock=self._clock,
            retain_hours=command.retain_hours,
            dry_run=command.dry_run,
            name=target.name,
            check=lambda: target.check(()),
        )
        if not any("/" in file for file in files) or self._sees_all(request, target):
            return files
        return tuple(file.rpartition("/")[2] for file in files)

    def _sees_all(self, request: Request, target: Target) -> bool:
        try:
            schema = self._commits.head(target.path, name=target.name).schema
        except errors.LakeflightError:
            return False
        terms = self._targets.terms(request, target, schema)
        return terms.reads and terms.sees_all and not terms.has_tombstones

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
            # What the files hide must be hidden before they are seen.
            paths = frozenset(file.key for file in change.restores)
            self._purging.settle(target.ref, paths, actor=request.principal.username)
            commit(request, self._commits, target, change)


def _rewritten(files: Sequence[ActiveFile], *, rows: int = 0, tombstones: int) -> Rewritten:
    return Rewritten(len(files), sum(file.size for file in files), rows, tombstones)
