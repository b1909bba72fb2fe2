"""Opens a table that was found, at the state that was asked for."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from flight_server.catalog.folders import Kind
from flight_server.catalog.registry import Entry
from flight_server.clock import Clock
from flight_server.engine.base import (
    FileGroup,
    FileScan,
    Pin,
    ProviderScan,
    RowScan,
    TableScan,
)
from flight_server.errors import Conflict, InvalidRequest, Unsupported
from flight_server.sql.names import AsOf
from flight_server.storage.arrow_types import without_metadata
from flight_server.storage.delta import scan_provider, scan_rows
from flight_server.storage.history import history
from flight_server.storage.parquet import ParquetTables
from flight_server.storage.snapshots import Reading, Snapshot, no_version
from flight_server.storage.tables import DeltaTables
from policies.decide import SYSTEM_BUCKET

# Nobody reads these through SQL, administrators included.
SECRET_COLUMNS = frozenset({"password_hash", "token_hash"})


class Opener:
    """Snapshots of tables of every kind, shared by all who open tables in one process."""

    def __init__(self, clock: Clock) -> None:
        self.delta = DeltaTables(clock)
        self._parquet = ParquetTables()

    def open(self, entry: Entry, *, as_of: AsOf | None = None, pin: Pin | None = None) -> Snapshot:
        """Return the newest state of a table, the one meant by ``as_of``, or exactly ``pin``.

        Raises NotFound (``version_not_found``) when that state is not there, Conflict when a
        Parquet table changed since it was pinned, InvalidRequest, Unavailable, Unsupported.
        """
        if entry.kind is Kind.PARQUET:
            snapshot = self._open_parquet(entry, as_of=as_of, pin=pin)
        else:
            snapshot = self._open_delta(entry, as_of=as_of, pin=pin)
        return _without_secrets(entry, snapshot)

    def scan(self, entry: Entry, snapshot: Snapshot) -> TableScan:
        """Return how exactly that state of a table is read; raises Unsupported when it is not."""
        where = str(entry.path.absolute())
        if snapshot.reading is Reading.NATIVE:
            return scan_of_files(snapshot)
        if snapshot.reading is Reading.PROVIDER:
            schema = without_metadata(snapshot.schema)
            return ProviderScan(schema, scan_provider(where, snapshot, str(entry.ref)))
        if snapshot.reading is Reading.ROWS:
            return RowScan(scan_rows(where, snapshot, str(entry.ref)))
        raise Unsupported(f"the table {entry.ref} cannot be read: {snapshot.refusal}")

    def history(self, entry: Entry) -> pa.Table:
        """Return what the log says of a table's versions, newest first, see ``storage.history``.

        Raises Unsupported for a table that has none, Unavailable.
        """
        if entry.kind is Kind.PARQUET:
            raise Unsupported(
                f"the table {entry.ref} is plain Parquet, which has no older versions"
            )
        return history(entry.path, name=str(entry.ref))

    def _open_parquet(self, entry: Entry, *, as_of: AsOf | None, pin: Pin | None) -> Snapshot:
        name = str(entry.ref)
        if as_of is not None:
            raise Unsupported(f"the table {name} is plain Parquet, which has no older versions")
        snapshot = self._parquet.open(entry.path, name=name)
        if pin is not None and pin.version is not None:
            raise no_version(name, "was replaced by another one")
        if pin is not None and pin.stamp != snapshot.stamp:
            raise Conflict(f"the files of the table {name} changed; run the query again")
        return snapshot

    def _open_delta(self, entry: Entry, *, as_of: AsOf | None, pin: Pin | None) -> Snapshot:
        name, path = str(entry.ref), entry.path
        if pin is not None:
            if pin.version is None:
                raise no_version(name, "was replaced by another one")
            return self.delta.pinned(path, pin.version, stamp=pin.stamp, name=name)
        if as_of is None:
            return self.delta.newest(path, name=name)
        if as_of.version is not None and as_of.time is None:
            return self.delta.at_version(path, as_of.version, name=name)
        if as_of.time is not None and as_of.version is None:
            return self.delta.at_time(path, as_of.time, name=name)
        raise InvalidRequest("a table is read as of a version or as of a time")


def scan_of_files(snapshot: Snapshot) -> FileScan:
    """Return the files of a state as they lie on the disk."""
    groups = tuple(FileGroup(each.partition, each.uris) for each in snapshot.file_sets)
    return FileScan(without_metadata(snapshot.schema), snapshot.partition_columns, groups)


def _without_secrets(entry: Entry, snapshot: Snapshot) -> Snapshot:
    """Take the secrets of the server's own tables out of the schema that scans are made from."""
    if entry.ref.bucket != SYSTEM_BUCKET or SECRET_COLUMNS.isdisjoint(snapshot.schema.names):
        return snapshot
    if snapshot.reading is not Reading.NATIVE:
        return replace(
            snapshot, reading=Reading.REFUSED, refusal="it holds secrets that only files can leave"
        )
    kept = [column for column in snapshot.schema if column.name not in SECRET_COLUMNS]
    return replace(snapshot, schema=pa.schema(kept))
