"""Builds what the methods of the wire call, out of an engine and the settings."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from flight_server import errors
from flight_server.actions_assembly import build_own
from flight_server.ops.settings import Settings
from flight_server.parts import Parts, buckets, log_path
from flight_server.protocol.sql_info import Abilities
from flight_server.rpc.catalog import CatalogReplies
from flight_server.rpc.server import UseCases
from flight_server.service import governed
from flight_server.service.changes import Changes
from flight_server.service.definitions import Definitions
from flight_server.service.guard import Guard
from flight_server.service.loads import Loads
from flight_server.service.making import Making
from flight_server.service.permits import Permits
from flight_server.service.purging import Purging
from flight_server.service.queries import Queries, QueryLimits
from flight_server.service.running import Running
from flight_server.service.sessions import SessionLimits, Sessions
from flight_server.service.statements import Statements
from flight_server.service.table_changes import TableChanges
from flight_server.service.targets import Targets
from flight_server.service.upkeep import Upkeep
from flight_server.service.writes import Writes
from flight_server.storage.commits import Commits
from flight_server.storage.creation import Creation
from flight_server.storage.files import DataFileWriter, FileOptions
from flight_server.storage.locations import Location
from flight_server.storage.roots import RootLock, clean
from policies.decide import SYSTEM_BUCKET


@dataclass(frozen=True, slots=True)
class Built:
    """What the methods of the wire call, and who watches over what they run."""

    use_cases: UseCases
    guard: Guard


def build_use_cases(parts: Parts) -> Built:
    """Build everything between the wire and the engine."""
    settings, clock = parts.settings, parts.clock
    located = buckets(settings)
    found = _governed(parts, located)
    sessions = Sessions(
        found.browser, _session_limits(settings), clock=clock, random_bytes=parts.random_bytes
    )
    running = Running(clock, parts.limits)
    queries = _queries(parts, found, running)
    permits = _permits(parts, found)
    targets = _targets(parts, found, permits, sessions=sessions)
    commits = Commits(clock, random_bytes=parts.random_bytes, meters=parts.meters)
    making = Making(commits, Creation(clock, random_bytes=parts.random_bytes))
    upkeep = _upkeep(parts, targets, commits, found)
    changes = Changes(
        parts.engine,
        sessions,
        running,
        targets=targets,
        writes=Writes(parts.engine, targets, commits),
        definitions=_definitions(
            parts, found, queries, targets=targets, permits=permits, commits=commits, making=making
        ),
        upkeep=upkeep,
    )
    statements = Statements(queries, changes, parts.sealer, clock=clock)
    tables = TableChanges(statements, changes, queries=queries, targets=targets, commits=commits)
    use_cases = UseCases(
        statements=statements,
        queries=queries,
        loads=_loads(parts, targets, making, commits, running=running),
        catalog=CatalogReplies(found.browser, _abilities(parts, located)),
        sessions=sessions,
        own=build_own(
            parts,
            found,
            permits,
            tables=tables,
            upkeep=upkeep,
            targets=targets,
            sessions=sessions,
            running=running,
        ),
        limits=parts.limits,
    )
    return Built(use_cases, _guard(parts, found, running))


def _governed(parts: Parts, located: Mapping[str, Location]) -> governed.Governed:
    return governed.build(
        located,
        parts.rules.book,
        parts.clock,
        narrowing=parts.rules.narrowing,
        log_path=log_path(parts.settings),
    )


def _loads(
    parts: Parts, targets: Targets, making: Making, commits: Commits, *, running: Running
) -> Loads:
    return Loads(
        targets,
        making,
        commits,
        running=running,
        writers=_writers(parts),
        engine=parts.engine,
    )


def _definitions(
    parts: Parts,
    found: governed.Governed,
    queries: Queries,
    *,
    targets: Targets,
    permits: Permits,
    commits: Commits,
    making: Making,
) -> Definitions:
    return Definitions(
        parts.engine,
        queries,
        targets,
        permits=permits,
        registry=found.registry,
        commits=commits,
        making=making,
    )


def _guard(parts: Parts, found: governed.Governed, running: Running) -> Guard:
    return Guard(
        running,
        parts.standing,
        may=found.browser.may_still,
        policy_version=parts.rules.version,
        clock=parts.clock,
    )


def _targets(
    parts: Parts, found: governed.Governed, permits: Permits, *, sessions: Sessions
) -> Targets:
    return Targets(
        permits,
        found.tables,
        sessions,
        temporary_root=_temporary_root(buckets(parts.settings)),
        standing=parts.standing,
    )


def _temporary_root(located: Mapping[str, Location]) -> Path:
    root = governed.temporary_root(located)
    assert root is not None  # noqa: S101  the server's own bucket is always among them
    return root


def _upkeep(parts: Parts, targets: Targets, commits: Commits, found: governed.Governed) -> Upkeep:
    assert found.keys is not None  # noqa: S101  the server's own bucket is always among them
    assert found.hidden is not None  # noqa: S101  as above
    return Upkeep(
        parts.engine,
        targets,
        commits,
        purging=Purging(found.keys, found.hidden),
        snapshots=found.opener.delta,
        clock=parts.clock,
        file_bytes_target=parts.settings.storage.file_bytes_target,
    )


def _permits(parts: Parts, found: governed.Governed) -> Permits:
    return Permits(
        found.browser,
        found.registry,
        found.views,
        book=parts.rules.book,
        safe_views=found.safe_views,
        read_only=parts.read_only,
    )


def _queries(parts: Parts, found: governed.Governed, running: Running) -> Queries:
    return Queries(
        parts.engine,
        found.tables,
        parts.sealer,
        limits=_query_limits(parts.settings),
        clock=parts.clock,
        running=running,
    )


def _query_limits(settings: Settings) -> QueryLimits:
    limits = settings.limits
    return QueryLimits(
        sql_bytes_max=limits.sql_bytes_max,
        ticket_seconds_max=limits.ticket_seconds_max,
        ticket_renewed_seconds_max=limits.ticket_renewed_seconds_max,
    )


def _abilities(parts: Parts, located: Mapping[str, Location]) -> Abilities:
    is_writable = bool(set(located) - {SYSTEM_BUCKET} - parts.read_only)
    return Abilities(
        writes=is_writable,
        ddl_schema=is_writable,
        ddl_table=is_writable,
        ingest=is_writable,
        cancel=True,
        batch_updates=is_writable,
        statement_bytes_max=parts.settings.limits.sql_bytes_max,
    )


def _session_limits(settings: Settings) -> SessionLimits:
    limits = settings.limits
    return SessionLimits(
        sessions_max=limits.sessions_max,
        sessions_per_user_max=limits.sessions_per_user_max,
        session_idle_seconds_max=limits.session_idle_seconds_max,
    )


def _writers(parts: Parts) -> Callable[[Path, pa.Schema, tuple[str, ...]], DataFileWriter]:
    options = FileOptions(file_bytes_target=parts.settings.storage.file_bytes_target)

    def writer(folder: Path, schema: pa.Schema, columns: tuple[str, ...]) -> DataFileWriter:
        return DataFileWriter(
            folder,
            schema,
            partition_columns=columns,
            options=options,
            clock=parts.clock,
            random_bytes=parts.random_bytes,
        )

    return writer


class Roots:
    """The locks on the roots of all buckets, held while the server runs."""

    def __init__(self) -> None:
        self._locks: list[RootLock] = []
        self.read_only: frozenset[str] = frozenset()

    def take(self, settings: Settings) -> None:
        """Lock every root and clear what the last server left there; none when read-only.

        Raises InvalidRequest (``invalid_settings``) when another server has one of them.
        """
        located = buckets(settings)
        if settings.storage.read_only:
            self.read_only = frozenset(located)
            return
        try:
            for location in located.values():
                self._locks.append(RootLock(location))
        except errors.InvalidRequest:
            self.close()
            raise
        self.read_only = frozenset(
            lock.location.catalog for lock in self._locks if not lock.writable
        )
        for lock in self._locks:
            clean(lock)
        root = governed.temporary_root(located)
        if root is not None and SYSTEM_BUCKET not in self.read_only:
            shutil.rmtree(root, ignore_errors=True)

    def close(self) -> None:
        """Let go of the roots."""
        for lock in self._locks:
            lock.close()
        self._locks.clear()
