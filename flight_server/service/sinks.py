"""Where the rows of a worker's writes go: fitted to their table, into its data files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from flight_server.clock import Clock
from flight_server.engine.base import JSON
from flight_server.storage.files import DataFileWriter, FileOptions
from flight_server.storage.fit import Fitter, table_schema


class TableSink:
    """Implements ``engine.base.Sink`` over the data files of a Delta table."""

    def __init__(
        self,
        folder: str,
        incoming: pa.Schema,
        *,
        schema: pa.Schema | None,
        partition_columns: tuple[str, ...],
        options: FileOptions | None = None,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.schema = table_schema(incoming) if schema is None else schema
        self._fitters: dict[pa.Schema, Fitter] = {}
        self._fitter(incoming)  # what never fits is said before anything is written
        self._writer = DataFileWriter(
            Path(folder),
            self.schema,
            partition_columns=partition_columns,
            options=options,
            clock=clock,
            random_bytes=random_bytes,
        )

    def fitted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows as the table will hold them; see ``Sink``."""
        return self._fitter(batch.schema).fit(batch)

    def write(self, batch: pa.RecordBatch) -> None:
        """Fit rows to the table and write them; see ``Sink``."""
        self._writer.write(self.fitted(batch))

    def finish(self) -> tuple[JSON, ...]:
        """Close and sync the files; return each as ``DataFile.to_json`` gives it."""
        return tuple(file.to_json() for file in self._writer.finish())

    def abandon(self) -> None:
        """Remove what was written."""
        self._writer.abandon()

    def _fitter(self, incoming: pa.Schema) -> Fitter:
        fitter = self._fitters.get(incoming)
        if fitter is None:
            fitter = Fitter(incoming, self.schema, by_name=True, rounds=True)
            self._fitters[incoming] = fitter
        return fitter


class TableSinks:
    """Implements ``engine.writes.Sinks``."""

    def __init__(
        self,
        clock: Clock,
        options: FileOptions | None = None,
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._clock = clock
        self._options = options or FileOptions()
        self._random_bytes = random_bytes

    def __call__(
        self,
        folder: str,
        incoming: pa.Schema,
        *,
        schema: pa.Schema | None,
        partition_columns: tuple[str, ...],
        in_order: bool,
        file_bytes: int | None = None,
    ) -> TableSink:
        """Open a sink in a table's folder."""
        options = self._options
        if file_bytes is not None:
            options = replace(options, file_bytes_target=file_bytes)
        return TableSink(
            folder,
            incoming,
            schema=schema,
            partition_columns=partition_columns,
            # Several writers take turns, so that each of their files spans all that was written.
            options=replace(options, writers_max=1) if in_order else options,
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
