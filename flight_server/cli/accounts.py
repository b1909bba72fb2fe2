"""What the commands on accounts share: the tables of a lakehouse, and the record of each change."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import typer

from flight_server.cli.options import align, existing_lakehouse, load_settings

if TYPE_CHECKING:
    from flight_server.auth.stores import Stores
    from flight_server.clock import Clock
    from flight_server.ops.settings import Settings
    from flight_server.service.recording import Detail
    from flight_server.service.user_administration import UserAdministration


T = TypeVar("T")


class OnRecord(Protocol):
    """Gives a block whose work is on record before it begins and after it ends."""

    def __call__(
        self, action: str, resource: str, details: Mapping[str, Detail] | None = None
    ) -> AbstractContextManager[None]:
        """Return the block."""
        ...


class Format(StrEnum):
    """How things are listed."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Folder:
    """The accounts of a lakehouse, for one command."""

    settings: Settings
    clock: Clock
    stores: Stores
    administration: UserAdministration

    def on_record(
        self, action: str, resource: str, details: Mapping[str, Detail] | None = None
    ) -> AbstractContextManager[None]:
        """Return a block whose work is on record before it begins and after it ends."""
        from flight_server.ops.spooling import on_record  # noqa: PLC0415 - keeps `--help` quick

        return on_record(self.settings, self.clock, action, resource=resource, details=details)


def open_folder(config: Path | None, folder: str | None) -> Folder:
    """Open the accounts of an existing lakehouse; raises InvalidRequest."""
    from flight_server.clock import SystemClock  # noqa: PLC0415 - keeps `--help` quick
    from flight_server.ops.accounts import open_stores  # noqa: PLC0415 - as above
    from flight_server.service.user_administration import UserAdministration  # noqa: PLC0415 - as above

    settings = load_settings(config, folder)
    existing_lakehouse(settings)
    clock = SystemClock()
    stores = open_stores(settings, clock)
    administration = UserAdministration(
        stores, clock=clock, token_seconds=settings.auth.token_seconds_max
    )
    return Folder(settings, clock, stores, administration)


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """How things of one kind are listed: their columns, a row of each, and each as JSON."""

    columns: tuple[str, ...]
    as_row: Callable[[T], tuple[str, ...]]
    as_json: Callable[[T], dict[str, object]]

    def show(self, found: Sequence[T], output: Format, *, nothing: str) -> None:
        """Print them; ``nothing`` says on standard error that there are none."""
        if output is Format.JSON:
            values = [self.as_json(each) for each in found]
            typer.echo(json.dumps(values, indent=2, ensure_ascii=False))
        elif found:
            typer.echo("\n".join(align([self.columns, *map(self.as_row, found)])))
        else:
            typer.echo(nothing, err=True)


def time_text(moment: datetime) -> str:
    """Return a moment as it is printed: RFC 3339 in UTC, whole seconds."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
