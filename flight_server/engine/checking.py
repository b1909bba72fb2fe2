"""New and changed rows must be such as the row filters of their writer would show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
from datafusion import SessionContext

from flight_server.engine.base import JSON, ROW_FILTER_CHECK, FileScan, Sink
from flight_server.engine.faults import Stage
from flight_server.engine.planning import our_errors
from flight_server.engine.scan import check_files, frame_of_files
from flight_server.engine.targets import SCANS_MAX
from flight_server.engine.view import unmet
from flight_server.errors import PermissionDenied

# Rows are checked together: a plan for each of many single ones takes longer than writing them.
CHECKED_ROWS = 16_384


class CheckedSink:
    """A sink that lets only such rows in for which all ``checks`` are true.

    ``write`` and ``finish`` raise PermissionDenied (``row_filter_check``) for any other, and
    InvalidRequest (``policy_misfit``) for conditions that do not fit the columns of the table.
    """

    def __init__(self, ctx: SessionContext, sink: Sink, checks: Sequence[str]) -> None:
        self._ctx = ctx
        self._sink = sink
        self._checks = checks
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    @property
    def schema(self) -> pa.Schema:
        """The schema of the table."""
        return self._sink.schema

    def fitted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows as the table will hold them."""
        return self._sink.fitted(batch)

    def write(self, batch: pa.RecordBatch) -> None:
        """Check rows as the table will hold them, some at a time, and take them."""
        self._waiting.append(self._sink.fitted(batch))
        self._rows += batch.num_rows
        if self._rows >= CHECKED_ROWS:
            self._pass_on()

    def finish(self) -> tuple[JSON, ...]:
        """Check what is left, close and sync the files."""
        self._pass_on()
        return self._sink.finish()

    def _pass_on(self) -> None:
        waiting, self._waiting, self._rows = self._waiting, [], 0
        if not waiting:
            return
        with our_errors(Stage.RUNNING, is_rewritten=True):
            refused = unmet(self._ctx.read_batches(waiting), self._checks).limit(1).collect()
        if any(found.num_rows for found in refused):
            raise refused_rows()
        for rows in waiting:
            self._sink.write(rows)

    def abandon(self) -> None:
        """Remove what was written."""
        self._sink.abandon()


def checked(ctx: SessionContext, sink: Sink, checks: Sequence[str]) -> Sink:
    """Return a sink that lets only such rows in; the same one when nothing is to be checked."""
    return CheckedSink(ctx, sink, checks) if checks else sink


def count_refused(ctx: SessionContext, scan: FileScan, checks: Sequence[str]) -> int:
    """Return how many rows of some files do not meet all ``checks``; see ``Engine``."""
    rows = 0
    for start in range(0, len(scan.groups), SCANS_MAX):
        part = replace(scan, groups=scan.groups[start : start + SCANS_MAX])
        refused = unmet(frame_of_files(ctx, part), checks)
        with our_errors(Stage.RUNNING, is_rewritten=True):
            rows += refused.count()
            check_files([part])
    return rows


def refused_rows() -> PermissionDenied:
    """Return the error for rows that their writer would not see."""
    return PermissionDenied(
        "a row would not pass the row filters that hold for you on this table; nothing was changed",
        code=ROW_FILTER_CHECK,
    )
