"""`lakeflight config`: the effective settings and where each came from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flight_server.cli.options import ConfigOption, FolderArgument, align, load_settings

if TYPE_CHECKING:
    from flight_server.ops.sections import Section
    from flight_server.ops.settings import Settings

EXAMPLES = """\b
Examples:
  lakeflight config
  lakeflight config --config lakeflight.toml --format table
  lakeflight config > lakeflight.toml     # a file to start from
"""


class Format(StrEnum):
    """How the settings are shown."""

    TOML = "toml"
    TABLE = "table"


def config(
    folder: FolderArgument = None,
    *,
    config: ConfigOption = None,
    output: Annotated[Format, typer.Option("--format", help="How to show them.")] = Format.TOML,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the reference of all settings instead.")
    ] = False,
) -> None:
    """Show the effective settings and where they came from; secrets are hidden."""
    if markdown:
        from flight_server.ops.settings_doc import render  # noqa: PLC0415 - rarely needed

        typer.echo(render(), nl=False)
        return
    settings = load_settings(config, folder)
    typer.echo("\n".join(_as_toml(settings) if output is Format.TOML else _as_table(settings)))


def _as_toml(settings: Settings) -> Iterator[str]:
    section = ""
    for key, value, origin in settings.entries():
        name, _, leaf = key.partition(".")
        if name in {"issuers", "tiers", "grants"}:
            continue
        if name != section:
            yield from ([""] if section else [])
            yield f"[{name}]"
            section = name
        # What is not set, and what is hidden, must not come back as a value.
        mark = "# " if value is None or value == "***" else ""
        shown = "(not set)" if value is None else _toml(value)
        yield f"{mark}{leaf} = {shown}" + ("" if origin == "default" else f"  # {origin}")
    for name, issuer in settings.issuers.items():
        yield from _as_table_of_toml(f"[issuers.{_toml(name)}]", issuer)
    for name, tier in settings.tiers.items():
        yield from _as_table_of_toml(f"[tiers.{_toml(name)}]", tier)
    for grant in settings.grants:
        yield from _as_table_of_toml("[[grants]]", grant)


def _as_table_of_toml(title: str, section: Section) -> Iterator[str]:
    """Yield one of several tables of a kind: only what is set, since the rest follows from it."""
    yield from ("", title)
    values = section.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    for name, value in values.items():
        yield f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    # A basic string of TOML escapes as JSON does, but for the character DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _as_table(settings: Settings) -> Iterable[str]:
    rows: list[tuple[str, ...]] = [("setting", "value", "from")]
    for key, value, origin in settings.entries():
        if key == "grants":
            shown = f"{len(settings.grants)} grants"
        elif isinstance(value, dict) and key in {"issuers", "tiers"}:
            shown = ", ".join(value)
        elif key == "storage.buckets":
            shown = ", ".join(f"{name}={uri}" for name, uri in settings.storage.buckets.items())
        else:
            shown = "-" if value is None else str(value)
        rows.append((key, shown or "-", origin))
    return align(rows)
