"""The audit log of a folder, read from outside of its server, which may be running or not.

What is in the table is read by SQL, as the server itself does, and so is what is in the journal
only: as rows in memory, which are few, since a running server flushes them within seconds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from flight_server.audit.columns import SCHEMA
from flight_server.audit.heads import HeadFiles, SignedHead, SigningKey
from flight_server.audit.log import audit_folder, verify_folder
from flight_server.audit.reading import journal_rows
from flight_server.audit.table import TABLE_FOLDER, AuditTable
from flight_server.audit.verification import Material, Verdict
from flight_server.clock import SystemClock
from flight_server.engine.base import (
    BatchLimits,
    FileScan,
    GovernedTable,
    KeyFilter,
    Pin,
    RowScan,
    Tables,
)
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.errors import NotFound, Unsupported
from flight_server.ops.accounts import open_users
from flight_server.ops.settings import Settings
from flight_server.service.governed import governed_tables, tables_configuration
from flight_server.service.periods import Period
from flight_server.service.usage import Asked, Bill, Records, check, user_named
from flight_server.sql.names import AsOf
from flight_server.storage.commits import Commits
from flight_server.storage.locations import locate
from policies.decide import SYSTEM_BUCKET
from policies.names import Principal, TableRef
from policies.records import AUDIT_LOG

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Journal:
    """Implements ``Tables`` for one table, whose rows are in memory."""

    rows: pa.Table

    def open(
        self,
        ref: TableRef,
        principal: Principal,  # noqa: ARG002  whoever may read the folder may read the log
        *,
        as_of: AsOf | None,
        pin: Pin | None,
    ) -> GovernedTable:
        """Return the rows, whoever asks."""
        if ref != AUDIT_LOG or as_of is not None:
            raise NotFound(f"the table {ref} does not exist", code="table_not_found")
        return GovernedTable(pin or Pin(ref, None, "journal"), RowScan(self.rows))

    def files(self, pin: Pin, principal: Principal) -> FileScan:  # noqa: ARG002  there are none
        """Nothing of it is ever rewritten."""
        raise Unsupported("these rows are no table")

    def purged(self, pin: Pin, scan: FileScan, stamp: int) -> KeyFilter | None:  # noqa: ARG002
        """Nothing of it ever goes."""
        return None


class FolderLog:
    """Reads the log that the settings name. Raises NotFound when there is none yet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = audit_folder(settings.storage.state_path)
        if not self._folder.is_dir():
            raise NotFound("there is no audit log yet: a server makes it at its first start")

    def verify(self, head: SignedHead | None = None) -> Verdict:
        """Check the whole chain, and that it holds what a head was signed for."""
        return verify_folder(self._folder, clock=SystemClock(), random_bytes=os.urandom, head=head)

    def head(self) -> SignedHead:
        """Return the newest head that the log has signed of itself; NotFound without one."""
        head = HeadFiles(self._folder).newest()
        if head is None:
            raise NotFound("the log has no signed head yet")
        return head

    def activity(self, asked: Asked) -> list[dict[str, Any]]:
        """Return records, newest first; raises as ``Usage.activity`` does."""
        check(asked)
        user_id = self._user_id(asked.user)
        rows = [
            row
            for records in self._parts()
            for row in records.activity(asked, user_id, is_cancelled=_never)
        ]
        rows.sort(key=lambda row: (row["timestamp"], row["sequence"]), reverse=True)
        return rows[: asked.limit]

    def bills(self, period: Period, user: str | None = None) -> list[Bill]:
        """Return what was used, by day and user; raises as ``Usage.bills`` does."""
        user_id = self._user_id(user)
        found: dict[tuple[date, str], Bill] = {}
        for records in self._parts():
            for bill in records.bills(period, user_id, is_cancelled=_never):
                if (known := found.setdefault((bill.day, bill.user_id), bill)) is not bill:
                    known.add(bill)
        return sorted(found.values(), key=lambda bill: (bill.day, bill.username or ""))

    def _user_id(self, user: str | None) -> str | None:
        users = open_users(self._settings, SystemClock())
        return None if user is None else user_named(users, user)

    def _parts(self) -> Iterator[Records]:
        """Give what is in the table, and then what is behind it in the journal."""
        material = self._material()
        try:
            last = material.table_end
            rows = _table(journal_rows(material.segments, behind=last, until=None))
        finally:
            material.close()
        if (self._folder / TABLE_FOLDER).is_dir():
            yield Records(_engine(self._tables()), last=last)
        yield Records(_engine(_Journal(rows)))

    def _material(self) -> Material:
        clock = SystemClock()
        commits = Commits(clock, random_bytes=os.urandom)
        table = AuditTable(self._folder, commits=commits, clock=clock, random_bytes=os.urandom)
        key = SigningKey.load(self._folder)
        return Material.collect(self._folder, table, heads=HeadFiles(self._folder), key=key)

    def _tables(self) -> Tables:
        system = locate(SYSTEM_BUCKET, str(self._settings.storage.system_path))
        path: Path = self._folder / TABLE_FOLDER
        return governed_tables(tables_configuration([system], (), log_path=path))


def _table(rows: Iterator[tuple[int, dict[str, Any], Any]]) -> pa.Table:
    """Return records of the journal as rows of the table; what is no record is left out."""
    made, lost = [], 0
    for _, record, digest in rows:
        try:
            made.append(
                {
                    **record,
                    "hash": digest,
                    "timestamp": datetime.fromisoformat(record["timestamp"]),
                    "date_partition": date.fromisoformat(record["date_partition"]),
                }
            )
        except (KeyError, TypeError, ValueError):
            lost += 1
    if lost:
        _log.warning("records of the journal cannot be read; verify the log lines=%d", lost)
    return pa.Table.from_pylist(made, schema=SCHEMA)


def _engine(tables: Tables) -> LocalEngine:
    return LocalEngine(tables, BatchLimits(), EngineOptions())


def _never() -> bool:
    return False
