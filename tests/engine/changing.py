"""Statements that change tables of a test lake: run by the engine, then committed to the lake."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from flight_server.engine.base import FileGroup, FileScan, Query, WriteTarget, Written
from flight_server.sql.commands import CreateTable, Insert
from flight_server.sql.grammar import read_command
from flight_server.storage.files import DataFile
from policies.names import Principal, TableRef
from tests.engine.lake import ADMIN, Session, never, query, url


def stream_of(rows: pa.Table | pa.RecordBatch) -> bytes:
    """The rows as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return sink.getvalue().to_pybytes()


def bound(sql: str, **columns: Any) -> Query:
    """A statement with rows of parameters."""
    return replace(query(sql), parameters=stream_of(pa.table(columns)))


@dataclass
class Changing:
    """Runs statements against the tables of a lake, each in a folder of its own."""

    session: Session
    schemas: dict[TableRef, pa.Schema] = field(default_factory=dict)
    partitions: dict[TableRef, tuple[str, ...]] = field(default_factory=dict)

    def create(self, name: str, schema: pa.Schema, *partition_by: str) -> None:
        """Add an empty table."""
        ref = TableRef("lake", "main", name)
        self.schemas[ref], self.partitions[ref] = schema, partition_by
        self.folder(ref).mkdir()
        plain = pa.schema([pa.field(f.name, f.type) for f in schema])
        self.session.lake.add(name, FileScan(plain, partition_by, ()))

    def folder(self, ref: TableRef) -> Path:
        return self.session.lake.folder / f"data_{ref.table}"

    def fill(self, name: str, *tables: pa.Table) -> None:
        """Add rows to a table, each of these as files of their own."""
        ref = TableRef("lake", "main", name)
        for rows in tables:
            self.session.lake.add_rows("source_of_fill", rows)
            written = self.write(query(f"INSERT INTO {name} SELECT * FROM source_of_fill"))
            assert written.inserted == rows.num_rows
            assert self.schemas[ref]

    def run(self, sql: str | Query, *, principal: Principal = ADMIN) -> Written:
        """Run a statement and commit what it made."""
        asked = query(sql, principal) if isinstance(sql, str) else sql
        return self.write(asked)

    def write(self, asked: Query, *, chosen: tuple[str, ...] | None = None) -> Written:
        command = read_command(asked.sql, bucket=asked.bucket, schema=asked.schema)
        assert command is not None
        ref: TableRef = command.target  # type: ignore[union-attr]  # those that change rows have one
        target = self.target(ref, command, chosen)
        written = self.session.engine.write(asked, target, is_cancelled=never)
        self._commit(ref, written)
        return written

    def target(self, ref: TableRef, command: object, chosen: Any = None) -> WriteTarget:
        if isinstance(command, CreateTable):
            self.folder(ref).mkdir()
            self.partitions[ref] = command.partition_by
            return WriteTarget(str(self.folder(ref)), None, command.partition_by)
        pin = self.session.lake.open(ref, ADMIN, as_of=None, pin=None).pin
        return WriteTarget(
            str(self.folder(ref)),
            self.schemas[ref],
            self.partitions[ref],
            pin=None if isinstance(command, Insert) else pin,
            chosen=chosen,
        )

    def _commit(self, ref: TableRef, written: Written) -> None:
        before = self.session.lake.versions.get(ref)
        schema = pa.schema([pa.field(f.name, f.type) for f in written.schema])
        self.schemas.setdefault(ref, written.schema)
        groups: dict[tuple[Any, ...], list[str]] = {}
        if before:
            last = before[-1]
            assert isinstance(last, FileScan)
            for group in last.groups:
                kept = [path for path in group.paths if path not in written.removed]
                groups.setdefault(group.partition, []).extend(kept)
        for each in map(DataFile.from_json, written.files):
            values = tuple(
                pa.scalar(each.partition_values[name], pa.string()).cast(schema.field(name).type)
                for name in self.partitions[ref]
            )
            path = each.file_below(self.folder(ref))
            assert path.stat().st_size == each.size
            groups.setdefault(values, []).append(url(path))
        scan = FileScan(
            schema,
            self.partitions[ref],
            tuple(FileGroup(key, tuple(paths)) for key, paths in groups.items() if paths),
        )
        self.session.lake.add(ref.table, scan)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return self.session.values(sql)
