"""One SQL session of the command line: run a statement, show or write what it returns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from flight_server.cli.sql_work import Meter, Worker, shown
from flight_server.client import Connection, Result, export
from flight_server.client.aligned import aligned, expanded, page
from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, LakeflightError

ROWS_MAX: Final = (
    100_000  # most rows that a table on the screen may have; they are laid out in memory
)


class Format(StrEnum):
    """How results are shown or written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    ARROW = "arrow"


class Expanded(StrEnum):
    """Whether each row is shown as a block, with one line for each column."""

    ON = "on"
    OFF = "off"
    AUTO = "auto"


@dataclass(slots=True)
class Look:
    """How results look; the session's commands change it."""

    form: Format = Format.TABLE
    rows_max: int = 1_000
    expanded: Expanded = Expanded.AUTO
    timing: bool = True
    output: Path | None = None
    force: bool = False


class Session:
    """A connection, the screen, and how results look."""

    def __init__(self, connection: Connection, look: Look, *, clock: Clock) -> None:
        self.connection = connection
        self.look = look
        self.screen = Console(
            file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self.notes = Console(
            file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self._clock = clock
        self._worker = Worker()

    def close(self) -> None:
        """End the session; errors no longer matter to anyone."""
        self._worker.close()
        try:
            self.connection.close()
        except LakeflightError as error:
            self.complain(error)

    def complain(self, error: LakeflightError) -> None:
        """Say in one line what went wrong."""
        self.notes.print(Text(shown(error), style="red"))

    def run(self, sql: str) -> None:
        """Run one statement and show what it returns; raises what the client raises."""
        look = self.look
        to_screen = look.output is None and look.form is not Format.TABLE
        meter = Meter(self.notes, self._clock, enabled=not (to_screen and self.screen.is_terminal))
        try:
            result = self._call(lambda: self.connection.execute(sql), meter)
            try:
                if not result.schema.names:
                    self._acknowledge(result, meter)
                elif look.output is not None:
                    self._write_file(result, meter, target=look.output)
                elif look.form is Format.TABLE:
                    self._show(result, meter)
                else:
                    self._write_stream(result, meter)
            finally:
                result.close()
        finally:
            meter.stop()

    def show(self, table: pa.Table) -> None:
        """Show a small table of our own."""
        for line in aligned(page(table.schema, table.to_batches())):
            self.screen.print(line)
        self.screen.print(Text(f"({_count(table.num_rows)})", style="dim"))

    def metadata(self, ask: Any) -> Any:
        """Run one question about metadata where Ctrl-C can reach it."""
        meter = Meter(self.notes, self._clock, enabled=True)
        try:
            return self._call(ask, meter)
        finally:
            meter.stop()

    def _call(self, work: Any, meter: Meter) -> Any:
        return self._worker.call(work, meter=meter, cancel=self.connection.cancel)

    def _batches(self, result: Result, meter: Meter) -> Iterator[pa.RecordBatch]:
        batches = iter(result)
        while (batch := self._call(lambda: next(batches, None), meter)) is not None:
            meter.add(batch.num_rows, batch.nbytes)
            yield batch

    def _acknowledge(self, result: Result, meter: Meter) -> None:
        for _ in self._batches(result, meter):
            pass
        meter.stop()
        rows = result.rows_affected
        said = "done" if rows is None else f"{_count(rows)} changed"
        self.screen.print(Text(f"({said}{self._took(meter)})", style="dim"))

    def _show(self, result: Result, meter: Meter) -> None:
        limit = self.look.rows_max
        gathered: list[pa.RecordBatch] = []
        count, more = 0, False
        for batch in self._batches(result, meter):
            gathered.append(batch.slice(0, limit - count))
            more = count + batch.num_rows > limit
            count = min(limit, count + batch.num_rows)
            if more:
                break
        meter.stop()
        laid_out = page(result.schema, gathered)
        for line in (
            expanded(laid_out) if self._expands(laid_out.total_width) else aligned(laid_out)
        ):
            self.screen.print(line)
        total = f"first {_count(count)}, more follow" if more else _count(count)
        self.screen.print(Text(f"({total}{self._took(meter)})", style="dim"))

    def _expands(self, width: int) -> bool:
        if self.look.expanded is Expanded.AUTO:
            return self.screen.is_terminal and width > self.screen.width
        return self.look.expanded is Expanded.ON

    def _write_file(self, result: Result, meter: Meter, *, target: Path) -> None:
        form = file_format(self.look.form, target)
        with export.replacing(target, force=self.look.force) as stream:
            self._drain(result, meter, export.sink(form, stream, schema=result.schema))
        meter.stop()
        size = target.stat().st_size / 1e6
        text = f"wrote {_count(meter.rows)}, {size:,.1f} MB, to {target}{self._took(meter)}"
        self.notes.print(Text(text, style="dim"))

    def _write_stream(self, result: Result, meter: Meter) -> None:
        form = export.Format(self.look.form.value)
        is_text = form in (export.Format.CSV, export.Format.JSON)
        if self.screen.is_terminal and not is_text:
            raise InvalidRequest(f"{form} is not for the screen: give --output, or redirect")
        if form is export.Format.PARQUET:
            raise InvalidRequest("Parquet needs a file: give --output")
        raw: IO[bytes] = sys.stdout.buffer
        # Data must not drive the terminal that shows it.
        stream: Any = export.Harmless(raw) if self.screen.is_terminal else raw
        self._drain(result, meter, export.sink(form, stream, schema=result.schema, seekable=False))
        raw.flush()

    def _drain(self, result: Result, meter: Meter, sink: export.Sink) -> None:
        for batch in self._batches(result, meter):
            with _writing():
                sink.write(batch)
        with _writing():
            sink.close()

    def _took(self, meter: Meter) -> str:
        if not self.look.timing:
            return ""
        seconds = meter.seconds
        return f", {seconds * 1e3:,.0f} ms" if seconds < 1 else f", {seconds:,.2f} s"


def file_format(form: Format, target: Path) -> export.Format:
    """Return the format of a file: the one that was asked for, else what its name says."""
    if form is not Format.TABLE:
        return export.Format(form.value)
    found = export.SUFFIXES.get(target.suffix.lower())
    if found is None:
        known = " ".join(export.SUFFIXES)
        raise InvalidRequest(f"cannot tell the format of {target.name}: end it in one of {known}")
    return found


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InvalidRequest(f"cannot write the output: {error.strerror or error}") from None
    except pa.ArrowException as error:
        raise InvalidRequest(f"the format cannot hold this result: {error}") from None


def _count(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"
