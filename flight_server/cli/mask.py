"""`lakeflight mask`: column masks of a lakehouse, also while a server runs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.accounts import Format, Listing
from flight_server.cli.options import ConfigOption, FolderOption
from flight_server.cli.rule_options import (
    ExceptOption,
    NameArgument,
    OnlyOption,
    RoleOption,
    TableArgument,
    UserOption,
    made,
    named,
    open_rules,
    whom,
    whom_json,
    whom_text,
)

if TYPE_CHECKING:
    from flight_server.service.rules import Stored
    from policies.rules import ColumnMask

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Put, list and drop column masks.\n\nA running server sees the change at the next call.",
)

PUT_EXAMPLES = """\b
Examples:
  lakeflight mask put primary.sales.orders hide_note note null --dir ./lakehouse
  lakeflight mask put primary.hr.people email email mask --keep-prefix 2 --role analyst
  lakeflight mask put primary.hr.people zip address.zip null --except-role admin
  lakeflight mask put primary.hr.people born born generalise --to year
"""
LIST_EXAMPLES = """\b
Examples:
  lakeflight mask list --dir ./lakehouse
  lakeflight mask list --table primary.hr.people --format json
"""
DROP_EXAMPLES = """\b
Examples:
  lakeflight mask drop primary.hr.people email --dir ./lakehouse
"""


@app.command(epilog=PUT_EXAMPLES)
def put(  # noqa: PLR0913 - each is an option of the command
    table: TableArgument,
    name: NameArgument,
    column: Annotated[str, typer.Argument(help="The column; dots lead into structs.")],
    kind: Annotated[str, typer.Argument(help="null, hash, mask or generalise.")],
    *,
    keep_prefix: Annotated[int | None, typer.Option(help="Characters that a mask shows.")] = None,
    keep_suffix: Annotated[int | None, typer.Option(help="The same at the end.")] = None,
    domain: Annotated[str | None, typer.Option(help="Equal values hash equally within it.")] = None,
    to: Annotated[str | None, typer.Option(help="What a value is generalised to.")] = None,
    user: UserOption = None,
    role: RoleOption = None,
    except_role: ExceptOption = None,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Show a column, or a field in it, only redacted; one of this name is replaced."""
    from flight_server.rpc.redactions import read_redaction  # noqa: PLC0415 - keeps `--help` quick

    given = {
        "kind": kind,
        "keep_prefix": keep_prefix,
        "keep_suffix": keep_suffix,
        "domain": domain,
        "to": to,
    }
    redaction = read_redaction("the redaction", given)
    rules, on_record = open_rules(config, folder)
    audience = whom(user, role, except_role)
    with on_record("mask.put", table, {"name": name, "column": column, "redaction": kind}):
        stored, is_new = rules.put_mask(
            None,
            rules.named(None, table),
            name=name,
            column=tuple(column.split(".")),
            redaction=redaction,
            to=audience,
        )
    what = "added" if is_new else "replaced"
    typer.echo(f"{what} the mask {name} of {stored.rule.table}, for {whom_text(stored.rule.to)}")


@app.command("list", epilog=LIST_EXAMPLES)
def list_masks(
    *,
    table: OnlyOption = None,
    output: Annotated[Format, typer.Option("--format", help="How to list them.")] = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List column masks: who sees which columns only redacted."""
    rules, _ = open_rules(config, folder)
    _LISTING.show(rules.masks(None, named(rules, table)), output, nothing="no column masks")


@app.command(epilog=DROP_EXAMPLES)
def drop(
    table: TableArgument,
    name: NameArgument,
    *,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Drop a column mask, also one that cannot be read."""
    rules, on_record = open_rules(config, folder)
    with on_record("mask.drop", table, {"name": name}):
        rules.drop_mask(None, rules.named(None, table), name)
    typer.echo(f"dropped the mask {name} of {table}")


def _as_json(stored: Stored[ColumnMask]) -> dict[str, object]:
    from flight_server.rpc.redactions import redaction_json  # noqa: PLC0415 - as above

    rule = stored.rule
    return {
        "name": rule.name,
        "table": str(rule.table),
        "path": list(rule.column),
        "redaction": dict(redaction_json(rule.redaction)),
        **whom_json(rule.to),
        **made(stored),
    }


def _as_row(stored: Stored[ColumnMask]) -> tuple[str, ...]:
    from policies.words import redaction_words  # noqa: PLC0415 - as above

    rule = stored.rule
    return (
        str(rule.table),
        rule.name,
        ".".join(rule.column),
        redaction_words(rule.redaction),
        whom_text(rule.to),
        stored.created_by or "-",
    )


_LISTING = Listing(("table", "name", "column", "shown", "for", "by"), _as_row, _as_json)
