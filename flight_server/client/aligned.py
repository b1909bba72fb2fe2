"""Rows as aligned text for a terminal, or one column per line where rows are too wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from flight_server.client.cells import is_number, texts, visible

CELL_WIDTH_MAX: Final = 120  # longer values are cut in tables, and only there
_NULL: Final = "NULL"
_CUT: Final = "…"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as it is shown, with the columns of the screen that it takes."""

    text: str
    width: int
    is_null: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Rows that are laid out together: names, whether each column stands right, and the cells."""

    names: tuple[Cell, ...]
    right: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each column in columns of the screen."""
        widths = [name.width for name in self.names]
        for row in self.rows:
            widths = [max(width, cell.width) for width, cell in zip(widths, row, strict=True)]
        return tuple(widths)

    @property
    def total_width(self) -> int:
        """The width of a line of the aligned form."""
        return sum(self.widths) + 3 * len(self.names)


def page(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> Page:
    """Lay out batches of one schema."""
    rows: list[tuple[Cell, ...]] = []
    for batch in batches:
        columns = [[_cell(text) for text in texts(column)] for column in batch.columns]
        # A batch without columns still has rows, and zip would lose them.
        rows.extend(zip(*columns, strict=True) if columns else [()] * batch.num_rows)
    return Page(
        names=tuple(_cell(name) for name in schema.names),
        right=tuple(is_number(kind) for kind in schema.types),
        rows=tuple(rows),
    )


def aligned(shown: Page) -> Iterator[Text]:
    """Yield the lines of a table: names, a rule, and one line for each row."""
    widths = shown.widths
    yield _line(shown.names, widths=widths, right=shown.right, style="bold")
    yield Text("─┼─".join("─" * width for width in widths), style="dim")
    for row in shown.rows:
        yield _line(row, widths=widths, right=shown.right)


def expanded(shown: Page, *, first: int = 1) -> Iterator[Text]:
    """Yield each row as a block, one line for each column; ``first`` numbers the first row."""
    width = max((name.width for name in shown.names), default=0)
    for number, row in enumerate(shown.rows, start=first):
        yield Text(f"─[ row {number} ]".ljust(width + 2, "─"), style="dim")
        for name, cell in zip(shown.names, row, strict=True):
            line = Text(set_cell_size(name.text, width), style="bold")
            line.append(" │ ", style="not bold dim")
            line.append(cell.text, style="not bold dim" if cell.is_null else "not bold")
            yield line


def _cell(value: str | None) -> Cell:
    if value is None:
        return Cell(_NULL, len(_NULL), is_null=True)
    # This fills a cell, zero-width characters included; the rest need not be looked at.
    text = visible(value[: 4 * CELL_WIDTH_MAX])
    width = cell_len(text)
    if width > CELL_WIDTH_MAX:
        text = set_cell_size(text, CELL_WIDTH_MAX - 1).rstrip() + _CUT
        width = cell_len(text)
    return Cell(text, width)


def _line(
    cells: Sequence[Cell], *, widths: Sequence[int], right: Sequence[bool], style: str = ""
) -> Text:
    line = Text(style=style)
    last = len(cells) - 1
    for at, (cell, width, stands_right) in enumerate(zip(cells, widths, right, strict=True)):
        gap = " " * (width - cell.width)
        if at:
            line.append(" │ ", style="dim")
        if stands_right:
            line.append(gap)
        line.append(cell.text, style="dim" if cell.is_null else "")
        if not stands_right and at != last:
            line.append(gap)
    return line
