"""The end of a write in SQL: rows as a query gives them, fitted to a table and written to files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from flight_server.clock import Clock
from flight_server.storage.files import DataFileWriter, FileOptions
from flight_server.storage.fit import Fitter, table_schema


class TableSink:
    """Takes the rows of one write to a table; an ``engine.base.Sink``.

    ``incoming`` is the schema of the rows. ``schema`` is that of the table; None makes that of a
    new table for such rows. Columns are paired by place, or by name (see ``Fitter``), and values
    assigned as SQL does: rounded, and text read where the column is of another type.

    Raises SchemaMismatch or InvalidRequest when the rows can never fit.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema | None,
        *,
        incoming: pa.Schema,
        partition_columns: tuple[str, ...] = (),
        by_name: bool = False,
        options: FileOptions | None = None,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.schema = table_schema(incoming) if schema is None else schema
        self.rows = 0
        self._fitter = Fitter(incoming, self.schema, by_name=by_name, rounds=True)
        self._writer = DataFileWriter(
            folder,
            self.schema,
            partition_columns=partition_columns,
            options=options,
            clock=clock,
            random_bytes=random_bytes,
        )

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows in the incoming schema.

        Raises SchemaMismatch, naming the column, for a value that does not fit, and as
        ``DataFileWriter.write`` does.
        """
        self._writer.write(self._fitter.fit(batch))
        self.rows += batch.num_rows

    def finish(self) -> tuple[dict[str, Any], ...]:
        """Close and sync the files; return what ``DataFile.from_json`` reads, for each."""
        return tuple(file.to_json() for file in self._writer.finish())

    def abandon(self) -> None:
        """Remove what was written; safe to call again, and after a failure."""
        self._writer.abandon()
