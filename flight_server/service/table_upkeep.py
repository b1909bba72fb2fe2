"""Upkeep of tables that is asked for by values and not by statements, with an account of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flight_server.errors import InvalidRequest
from flight_server.service.request import Request
from flight_server.service.running import Running
from flight_server.service.statements import Bound
from flight_server.service.targets import Targets
from flight_server.service.upkeep import Rewritten, Upkeep
from flight_server.service.writes import version_made
from flight_server.sql.commands import Optimize, Vacuum
from flight_server.sql.fragments import read_table
from flight_server.sql.names import quoted, written_name

FILE_BYTES_MIN, FILE_BYTES_MAX = 1024, 4 * 1024**3


@dataclass(frozen=True, slots=True)
class Optimized:
    """What was written anew, or would be, and the version that this made, if it made one."""

    rewritten: Rewritten
    version: int | None


class TableUpkeep:
    """The use cases. Tables are named as in SQL; all raise what the statements raise."""

    def __init__(self, upkeep: Upkeep, targets: Targets, running: Running) -> None:
        self._upkeep = upkeep
        self._targets = targets
        self._running = running

    def compact(
        self, request: Request, table: str, *, file_bytes: int | None, dry_run: bool
    ) -> Optimized:
        """Join small files to files of ``file_bytes``, None for the size of the settings.

        Rows that tombstones hide are removed for good.

        A dry run only looks.
        """
        if file_bytes is not None and not FILE_BYTES_MIN <= file_bytes <= FILE_BYTES_MAX:
            raise InvalidRequest(f"files have {FILE_BYTES_MIN} to {FILE_BYTES_MAX} bytes")
        if not dry_run:
            return self._optimize(request, table, (), file_bytes=file_bytes)
        ref = self._targets.named(request, read_table(table))
        sql = f"OPTIMIZE {written_name(ref)}"
        with self._running.writing(request, sql) as listed:
            bound = Bound(listed, sql)
            found = self._upkeep.optimizable(listed, Optimize(ref), bound, file_bytes=file_bytes)
        return Optimized(found, None)

    def z_order(self, request: Request, table: str, columns: Sequence[str]) -> Optimized:
        """Sort all rows along a curve through the columns."""
        if not columns:
            raise InvalidRequest("z-order needs at least one column")
        return self._optimize(request, table, tuple(columns), file_bytes=None)

    def vacuum(
        self, request: Request, table: str, *, retention_hours: float | None, dry_run: bool
    ) -> tuple[str, ...]:
        """Remove files that no version within the retention needs; return their names."""
        ref = self._targets.named(request, read_table(table))
        with self._running.writing(request, f"VACUUM {written_name(ref)}") as listed:
            return self._upkeep.vacuum_files(listed, Vacuum(ref, retention_hours, dry_run))

    def _optimize(
        self,
        request: Request,
        table: str,
        columns: tuple[str, ...],
        *,
        file_bytes: int | None,
    ) -> Optimized:
        written = read_table(table)
        ref = self._targets.named(request, written)
        order = f" ZORDER BY ({', '.join(map(quoted, columns))})" if columns else ""
        sql = f"OPTIMIZE {written_name(written)}{order}"
        # A repeat finds nothing left to do, and no key is kept.
        request = replace(request, idempotency_key=None)
        with self._running.writing(request, sql) as listed:
            done = self._upkeep.optimize(
                listed, Optimize(ref, columns), Bound(listed, sql), file_bytes=file_bytes
            )
        target = self._targets.to_maintain(request, ref)
        return Optimized(done, version_made(request, target) if done.files else None)
