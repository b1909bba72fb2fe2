"""Two worlds: a table of which a reader sees a part, and a copy that holds that part alone."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from flight_server.clock import SystemClock
from flight_server.engine.base import (
    BatchLimits,
    FileScan,
    GovernedScan,
    GovernedTable,
    Narrowing,
    Pin,
    Query,
    WriteTarget,
    Written,
)
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.errors import LakeflightError
from flight_server.service.sinks import TableSinks
from flight_server.sql.names import AsOf
from policies.names import Principal, TableRef
from tests.engine.changing import Changing
from tests.engine.governed import SECRET
from tests.engine.lake import ADMIN, READER, Lake, Session, query

Rows = list[dict[str, Any]]
T = TableRef("lake", "main", "t")


@dataclass
class GovernedLake(Lake):
    """A lake of whose tables everybody but the administrator sees a part."""

    narrowed: dict[TableRef, Narrowing] = field(default_factory=dict)

    def open(
        self, ref: TableRef, principal: Principal, *, as_of: AsOf | None, pin: Pin | None
    ) -> GovernedTable:
        opened = Lake.open(self, ref, principal, as_of=as_of, pin=pin)
        narrowing = self.narrowed.get(ref)
        if narrowing is None or principal == ADMIN:
            return opened
        assert isinstance(opened.scan, FileScan)
        scan = GovernedScan(opened.scan, (narrowing,), secret=SECRET)
        return GovernedTable(replace(opened.pin, policy="narrowed"), scan)

    def files(self, pin: Pin, principal: Principal) -> FileScan:
        return Lake.files(self, pin, ADMIN)


@dataclass
class Reading(Changing):
    """Runs statements of the reader, who is held to the conditions of what they see."""

    def run(self, sql: str | Query, *, principal: Principal = READER) -> Written:
        asked = query(sql, principal) if isinstance(sql, str) else replace(sql, principal=principal)
        return self.write(asked)

    def target(self, ref: TableRef, command: object, chosen: Any = None) -> WriteTarget:
        target = super().target(ref, command, chosen)
        lake = self.session.lake
        assert isinstance(lake, GovernedLake)
        narrowing = lake.narrowed.get(ref)
        if narrowing is None:
            return target
        shown = tuple(column.name for column in narrowing.columns)
        is_whole = target.schema is None or len(shown) == len(target.schema)
        return replace(target, checks=narrowing.conditions, columns=None if is_whole else shown)

    def stored(self, name: str = "t") -> Rows:
        """All rows, as the files hold them."""
        return self.session.rows(f"SELECT * FROM {name}", principal=ADMIN).to_pylist()

    def seen(self, name: str = "t") -> Rows:
        """What the reader sees."""
        return self.session.rows(f"SELECT * FROM {name}", principal=READER).to_pylist()


def world(folder: Path) -> Reading:
    folder.mkdir(exist_ok=True)
    lake = GovernedLake(folder)
    engine = LocalEngine(
        lake, BatchLimits(), EngineOptions(target_partitions=2), sinks=TableSinks(SystemClock())
    )
    return Reading(Session(lake, engine))


@contextmanager
def worlds(
    parts: Sequence[pa.Table], narrowing: Narrowing, *partition_by: str
) -> Iterator[tuple[Reading, Reading]]:
    """A table t in files of these rows, seen through a narrowing, and a copy of what is seen."""
    with tempfile.TemporaryDirectory() as folder:
        ours, copy = world(Path(folder) / "ours"), world(Path(folder) / "copy")
        schema = parts[0].schema
        ours.create("t", schema, *partition_by)
        _fill(ours, parts)
        before = ours.session.lake.versions[T][-1]
        assert isinstance(before, FileScan)
        assert isinstance(ours.session.lake, GovernedLake)
        ours.session.lake.narrowed[T] = narrowing
        names = [column.name for column in narrowing.columns]
        copy.create("t", pa.schema([schema.field(name) for name in names]), *partition_by)
        # Each file by itself, so that both worlds have the same ones.
        for group in before.groups:
            for path in group.paths:
                alone = replace(before, groups=(replace(group, paths=(path,)),))
                ours.session.lake.versions[T].append(alone)
                seen = ours.session.rows("SELECT * FROM t", principal=READER)
                ours.session.lake.versions[T].pop()
                _fill(copy, [seen])
        yield ours, copy


def _fill(into: Reading, parts: Sequence[pa.Table]) -> None:
    for rows in parts:
        into.session.lake.add_rows("source_of_fill", rows)
        sql = "INSERT INTO t BY NAME SELECT * FROM source_of_fill"
        into.write(query(sql, ADMIN))


def outcome(of: Reading, sql: str | Query) -> tuple[object, ...]:
    """What somebody hears of a statement: how many rows it changed, or its error."""
    try:
        written = of.run(sql)
    except LakeflightError as error:
        return type(error).__name__, error.code, error.message
    return written.inserted, written.updated, written.deleted


def counted(rows: Rows) -> Counter[str]:
    return Counter(repr(sorted(row.items())) for row in rows)
