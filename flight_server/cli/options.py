"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.errors import InvalidRequest

if TYPE_CHECKING:
    from flight_server.ops.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Settings file (TOML)."),
]
FolderArgument = Annotated[
    str | None,
    typer.Argument(metavar="DIR", help="Lakehouse: the folder or URI of the primary bucket."),
]
FolderOption = Annotated[
    str | None,
    typer.Option("--dir", "-d", metavar="DIR", help="Lakehouse: the folder of the primary bucket."),
]


def load_settings(
    config: Path | None, folder: str | None, *, flags: Mapping[str, object] | None = None
) -> Settings:
    """Return the effective settings of this command line.

    ``flags`` are by dotted key; None means not given. Raises InvalidRequest.
    """
    from flight_server.ops.settings import load  # noqa: PLC0415 - keeps `--help` quick

    return load(config, {"storage.primary": folder, **(flags or {})})


def existing_lakehouse(settings: Settings) -> Path:
    """Return the system folder of a lakehouse that exists; InvalidRequest when it does not."""
    primary = settings.storage.primary_path if settings.storage.primary else None
    if settings.storage.system is None and primary is None:
        return settings.storage.system_path  # raises, and says what to set
    if primary is not None and not primary.is_dir():
        raise InvalidRequest(f"there is no folder {primary}")
    return settings.storage.system_path


def align(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Return the lines of a table whose columns line up; the first row is its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
