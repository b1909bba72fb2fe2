"""A small lake for the engine's tests: a real ``Tables`` over Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from flight_server.clock import SystemClock
from flight_server.engine.base import (
    BatchLimits,
    Description,
    FileGroup,
    FileScan,
    GovernedTable,
    KeyFilter,
    Pin,
    ProviderScan,
    Query,
    RowScan,
    Scan,
)
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.errors import NotFound
from flight_server.service.sinks import TableSinks
from flight_server.sql.names import AsOf
from policies.names import Principal, Role, TableRef

ADMIN = Principal("1", "admin", Role.ADMIN)
READER = Principal("2", "reader", Role.REGISTERED)


def never() -> bool:
    """Nobody cancels."""
    return False


def url(path: Path) -> str:
    """The path as an object store sees it."""
    return "file://" + quote(str(path))


@dataclass
class Lake:
    """Tables by name, each with all its versions; what is asked for is written down."""

    folder: Path
    versions: dict[TableRef, list[Scan]] = field(default_factory=dict)
    hidden: set[TableRef] = field(default_factory=set)
    asked: list[tuple[TableRef, AsOf | None, Pin | None]] = field(default_factory=list)

    def open(
        self, ref: TableRef, principal: Principal, *, as_of: AsOf | None, pin: Pin | None
    ) -> GovernedTable:
        self.asked.append((ref, as_of, pin))
        states = self.versions.get(ref)
        if states is None or ref in self.hidden:
            raise NotFound(f"no table {ref}", code="table_not_found")
        version = len(states) - 1
        if pin is not None and pin.version is not None:
            version = pin.version
        elif as_of is not None and as_of.version is not None:
            version = as_of.version
        elif as_of is not None:
            version = 0
        if version >= len(states):
            raise NotFound(f"no version {version} of {ref}", code="version_not_found")
        return GovernedTable(Pin(ref, version, f"stamp-{ref}", as_of), states[version])

    def files(self, pin: Pin, principal: Principal) -> FileScan:
        scan = self.open(pin.ref, principal, as_of=None, pin=pin).scan
        assert isinstance(scan, FileScan)
        return scan

    def purged(self, pin: Pin, scan: FileScan, stamp: int) -> KeyFilter | None:
        return None

    def add(self, name: str, scan: Scan) -> None:
        """Add the next version of a table ``[bucket.[schema.]]table``, by default in lake.main."""
        parts = name.split(".") if name.count(".") in (1, 2) and '"' not in name else [name]
        ref = TableRef(*(("lake", "main")[: 3 - len(parts)] + tuple(parts)))
        self.versions.setdefault(ref, []).append(scan)

    def add_rows(self, name: str, rows: pa.Table) -> None:
        self.add(name, RowScan(rows))

    def add_provider(self, name: str, schema: pa.Schema, provider: object) -> None:
        self.add(name, ProviderScan(schema, provider))

    def write(self, name: str, *tables: pa.Table, row_group_size: int = 10_000) -> FileScan:
        """Add the next version of a table: one Parquet file for each of these."""
        number = sum(len(states) for states in self.versions.values())
        paths = []
        for i, rows in enumerate(tables):
            path = self.folder / f"t{number}" / f"part {i}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, path, row_group_size=row_group_size)
            paths.append(url(path))
        scan = FileScan(tables[0].schema, (), (FileGroup((), tuple(paths)),))
        self.add(name, scan)
        return scan


@dataclass
class Session:
    """An engine over a lake, and the shortest way to ask it something."""

    lake: Lake
    engine: LocalEngine

    def describe(
        self, sql: str, *, principal: Principal = ADMIN, pins: tuple[Pin, ...] = ()
    ) -> Description:
        return self.engine.describe(query(sql, principal, pins=pins), is_cancelled=never)

    def batches(
        self, sql: str, *, principal: Principal = ADMIN, pins: tuple[Pin, ...] = ()
    ) -> tuple[pa.Schema, list[pa.RecordBatch]]:
        schema, stream = self.engine.stream(query(sql, principal, pins=pins), is_cancelled=never)
        return schema, list(stream)

    def rows(
        self, sql: str, *, principal: Principal = ADMIN, pins: tuple[Pin, ...] = ()
    ) -> pa.Table:
        schema, batches = self.batches(sql, principal=principal, pins=pins)
        return pa.Table.from_batches(batches, schema)

    def values(self, sql: str) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in self.rows(sql).to_pylist()]

    def physical_plan(self, sql: str, *, principal: Principal = ADMIN) -> str:
        """The plan that runs, which EXPLAIN does not show of tables that hide something."""
        asked = query(sql, principal)
        planned = self.engine._plan(asked, is_bound=False, is_cancelled=never)
        return planned.frame.execution_plan().display_indent()


def query(sql: str, principal: Principal = ADMIN, *, pins: Sequence[Pin] = ()) -> Query:
    return Query(sql, principal, "lake", "main", tuple(pins))


def session(
    folder: Path, *, limits: BatchLimits | None = None, options: EngineOptions | None = None
) -> Session:
    lake = Lake(folder)
    engine = LocalEngine(
        lake,
        limits or BatchLimits(),
        options or EngineOptions(target_partitions=2),
        sinks=TableSinks(SystemClock()),
    )
    return Session(lake, engine)
