"""`lakeflight filter`: row filters of a lakehouse, also while a server runs on it.

They are put by the action `filter.put`: only a server has the engine that a filter is tried with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.accounts import Format, Listing
from flight_server.cli.options import ConfigOption, FolderOption
from flight_server.cli.rule_options import (
    NameArgument,
    OnlyOption,
    TableArgument,
    made,
    named,
    open_rules,
    whom_json,
    whom_text,
)

if TYPE_CHECKING:
    from flight_server.service.rules import Stored
    from policies.rules import RowFilter

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List and drop row filters.\n\nThey are put by the action filter.put of a running server,"
    " which sees what is dropped here at the next call.",
)

LIST_EXAMPLES = """\b
Examples:
  lakeflight filter list --dir ./lakehouse
  lakeflight filter list --table primary.sales.orders --format json
"""
DROP_EXAMPLES = """\b
Examples:
  lakeflight filter drop primary.sales.orders own_region --dir ./lakehouse
"""


@app.command("list", epilog=LIST_EXAMPLES)
def list_filters(
    *,
    table: OnlyOption = None,
    output: Annotated[Format, typer.Option("--format", help="How to list them.")] = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List row filters: who sees only which rows."""
    rules, _ = open_rules(config, folder)
    _LISTING.show(rules.filters(None, named(rules, table)), output, nothing="no row filters")


@app.command(epilog=DROP_EXAMPLES)
def drop(
    table: TableArgument,
    name: NameArgument,
    *,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Drop a row filter, also one that cannot be read."""
    rules, on_record = open_rules(config, folder)
    with on_record("filter.drop", table, {"name": name}):
        rules.drop_filter(None, rules.named(None, table), name)
    typer.echo(f"dropped the row filter {name} of {table}")


def _as_json(stored: Stored[RowFilter]) -> dict[str, object]:
    rule = stored.rule
    return {
        "name": rule.name,
        "table": str(rule.table),
        "filter": rule.condition,
        **whom_json(rule.to),
        **made(stored),
    }


def _as_row(stored: Stored[RowFilter]) -> tuple[str, ...]:
    rule = stored.rule
    condition = " ".join(rule.condition.split())
    return str(rule.table), rule.name, whom_text(rule.to), stored.created_by or "-", condition


_LISTING = Listing(("table", "name", "for", "by", "filter"), _as_row, _as_json)
