"""`lakeflight label`: what columns tell of a person, also while a server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.accounts import Format, Listing
from flight_server.cli.options import ConfigOption, FolderOption
from flight_server.cli.rule_options import OnlyOption, TableArgument, made, named, open_rules

if TYPE_CHECKING:
    from flight_server.service.rules import Stored
    from policies.rules import Label

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Say what columns tell of a person.\n\nWhat a purpose hides goes by that; a running server"
    " sees the change at the next call.",
)

PUT_EXAMPLES = """\b
Examples:
  lakeflight label put primary.hr.people email user_id --dir ./lakehouse
  lakeflight label put primary.web.visits client_address source_ip
"""
LIST_EXAMPLES = """\b
Examples:
  lakeflight label list --dir ./lakehouse
  lakeflight label list --table primary.hr.people --format json
"""
DROP_EXAMPLES = """\b
Examples:
  lakeflight label drop primary.hr.people email user_id --dir ./lakehouse
"""

ColumnArgument = Annotated[str, typer.Argument(help="The column.")]
LabelArgument = Annotated[
    str, typer.Argument(help="user_id, source_ip, device_info or data_content.")
]


@app.command(epilog=PUT_EXAMPLES)
def put(
    table: TableArgument,
    column: ColumnArgument,
    label: LabelArgument,
    *,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Say what a column tells of a person."""
    rules, on_record = open_rules(config, folder)
    with on_record("label.put", table, {"column": column, "label": label}):
        _, is_new = rules.put_label(None, rules.named(None, table), column=column, part=label)
    typer.echo(f"{'added' if is_new else 'kept'} the label {label} of {column} in {table}")


@app.command("list", epilog=LIST_EXAMPLES)
def list_labels(
    *,
    table: OnlyOption = None,
    output: Annotated[Format, typer.Option("--format", help="How to list them.")] = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List labels: which columns tell what of a person."""
    rules, _ = open_rules(config, folder)
    _LISTING.show(rules.labels(None, named(rules, table)), output, nothing="no labels")


@app.command(epilog=DROP_EXAMPLES)
def drop(
    table: TableArgument,
    column: ColumnArgument,
    label: LabelArgument,
    *,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Drop a label, also one that cannot be read."""
    rules, on_record = open_rules(config, folder)
    with on_record("label.drop", table, {"column": column, "label": label}):
        rules.drop_label(None, rules.named(None, table), column=column, part=label)
    typer.echo(f"dropped the label {label} of {column} in {table}")


def _as_json(stored: Stored[Label]) -> dict[str, object]:
    rule = stored.rule
    return {
        "table": str(rule.table),
        "column": rule.column,
        "label": rule.part.value,
        **made(stored),
    }


def _as_row(stored: Stored[Label]) -> tuple[str, ...]:
    rule = stored.rule
    return str(rule.table), rule.column, rule.part.value, stored.created_by or "-"


_LISTING = Listing(("table", "column", "label", "by"), _as_row, _as_json)
