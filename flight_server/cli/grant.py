"""`lakeflight grant`: who may do what in a lakehouse, also while a server runs on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.accounts import Format, Listing, OnRecord, open_folder, time_text
from flight_server.cli.options import ConfigOption, FolderOption
from flight_server.errors import InvalidRequest

if TYPE_CHECKING:
    from flight_server.service.grants import Grants, Shown, Wording
    from flight_server.service.recording import Detail

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Add, remove and list grants.\n\nA running server sees the change at the next call.",
)

ADD_EXAMPLES = """\b
Examples:
  lakeflight grant add read primary.sales --user alice --dir ./lakehouse
  lakeflight grant add write primary.sales.orders --role trader
  lakeflight grant add read primary.sales.salaries --role registered --deny
  lakeflight grant add read primary.sales.orders --role intern --column order_id --column day
  lakeflight grant add read primary.sales --role analyst --purpose research
"""
REMOVE_EXAMPLES = """\b
Examples:
  lakeflight grant remove 7c4a8d09-ca37-4f2e-9b1a-0a6a7f2b3c4d --dir ./lakehouse
  lakeflight grant remove read primary.sales --user alice
"""
LIST_EXAMPLES = """\b
Examples:
  lakeflight grant list --dir ./lakehouse
  lakeflight grant list --resource primary.sales --format json
"""

UserOption = Annotated[str | None, typer.Option("--user", help="User name; or give --role.")]
RoleOption = Annotated[
    str | None, typer.Option("--role", help="Base or custom role; or give --user.")
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", help="Only this column of a table or view, for read; repeatable."),
]
PurposeOption = Annotated[
    list[str] | None,
    typer.Option("--purpose", help="Only in sessions that state this purpose; repeatable."),
]
DenyOption = Annotated[
    bool, typer.Option("--deny", help="Forbid it: a matching deny beats every grant.")
]


@app.command(epilog=ADD_EXAMPLES)
def add(  # noqa: PLR0913 - each is an option of the command
    privilege: Annotated[
        str, typer.Argument(help="read, read_raw, write, maintain, erase or manage.")
    ],
    resource: Annotated[str, typer.Argument(help="bucket, bucket.schema or bucket.schema.table.")],
    *,
    user: UserOption = None,
    role: RoleOption = None,
    deny: DenyOption = False,
    column: ColumnOption = None,
    purpose: PurposeOption = None,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Allow a privilege on a resource, to a user or to a role."""
    grants, on_record = _open(config, folder)
    to = _To(user, role, deny, column, purpose)
    wording = _wording(privilege, resource, to)
    with on_record("grant.add", resource, _details(wording)):
        grant, is_new = grants.add(wording, created_by=None)
    typer.echo(f"{'added' if is_new else 'kept'} {_sentence(grant)}, id {grant.grant_id}")


@app.command(epilog=REMOVE_EXAMPLES)
def remove(  # noqa: PLR0913 - each is an option of the command
    grant: Annotated[str, typer.Argument(metavar="ID|PRIVILEGE", help="Id, or the privilege.")],
    resource: Annotated[
        str | None, typer.Argument(help="With a privilege: what the grant is on.")
    ] = None,
    *,
    user: UserOption = None,
    role: RoleOption = None,
    deny: DenyOption = False,
    column: ColumnOption = None,
    purpose: PurposeOption = None,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove a grant, named by its id or by what it says."""
    grants, on_record = _open(config, folder)
    to = _To(user, role, deny, column, purpose)
    if resource is None:
        if to != _To():
            raise InvalidRequest("give the id of a grant alone, or all that the grant says")
        with on_record("grant.remove", grant, {"grant_id": grant}):
            removed = grants.remove(grant)
    else:
        wording = _wording(grant, resource, to)
        with on_record("grant.remove", resource, _details(wording)):
            removed = grants.remove(wording)
    typer.echo(f"removed {_sentence(removed)}")


@app.command("list", epilog=LIST_EXAMPLES)
def list_grants(
    *,
    user: Annotated[str | None, typer.Option("--user", help="Only those to this user.")] = None,
    role: Annotated[str | None, typer.Option("--role", help="Only those to this role.")] = None,
    resource: Annotated[
        str | None, typer.Option("--resource", help="Only those that concern this resource.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How to list them.")] = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List the grants that hold; those of the settings have no id."""
    grants, _ = _open(config, folder)
    found = grants.list(user=user, role=role, resource=resource)
    is_all = (user, role, resource) == (None, None, None)
    nothing = "no grants: only administrators see anything" if is_all else "no such grants"
    _LISTING.show(found, output, nothing=nothing)


@dataclass(frozen=True, slots=True)
class _To:
    """The options that say to whom a grant is, and within which limits."""

    user: str | None = None
    role: str | None = None
    deny: bool = False
    columns: Sequence[str] | None = None
    purposes: Sequence[str] | None = None


def _open(config: Path | None, folder: str | None) -> tuple[Grants, OnRecord]:
    """Return the grants of an existing lakehouse, and what puts a change of them on record."""
    from flight_server.ops.rights import open_grants  # noqa: PLC0415 - keeps `--help` quick

    opened = open_folder(config, folder)
    return open_grants(opened.settings, opened.clock), opened.on_record


def _details(wording: Wording) -> dict[str, Detail]:
    return {
        "privilege": wording.privilege,
        "resource": wording.resource,
        "user": wording.user,
        "role": wording.role,
        "effect": wording.effect,
        "columns": ", ".join(wording.columns or ()) or None,
        "purposes": ", ".join(wording.purposes or ()) or None,
    }


def _wording(privilege: str, resource: str, to: _To) -> Wording:
    from flight_server.service.grants import Wording  # noqa: PLC0415 - keeps `--help` quick

    return Wording(
        privilege,
        resource,
        user=to.user,
        role=to.role,
        effect="deny" if to.deny else "allow",
        columns=tuple(to.columns) if to.columns else None,
        purposes=tuple(to.purposes) if to.purposes else None,
    )


def _to(grant: Shown) -> str:
    return f"user {grant.user}" if grant.user is not None else f"role {grant.role}"


def _sentence(grant: Shown) -> str:
    return f"{grant.effect} {grant.privilege} on {_on(grant)} to {_to(grant)}"


def _on(grant: Shown) -> str:
    columns = "" if grant.columns is None else f" ({', '.join(grant.columns)})"
    purposes = "" if grant.purposes is None else f" for {', '.join(grant.purposes)}"
    return f"{grant.resource}{columns}{purposes}"


def _time(grant: Shown) -> str | None:
    return None if grant.created_at is None else time_text(grant.created_at)


def _as_json(grant: Shown) -> dict[str, object]:
    return {
        "grant_id": grant.grant_id,
        "privilege": grant.privilege,
        "resource": grant.resource,
        "to": {"user": grant.user} if grant.user is not None else {"role": grant.role},
        "effect": grant.effect,
        "columns": grant.columns,
        "purposes": grant.purposes,
        "created_at": _time(grant),
        "created_by": grant.created_by,
    }


def _as_row(grant: Shown) -> tuple[str, ...]:
    return (
        grant.effect,
        grant.privilege,
        _on(grant),
        _to(grant),
        _time(grant) or "-",
        grant.created_by or "-",
        grant.grant_id or "in the settings",
    )


_LISTING = Listing(
    ("effect", "privilege", "resource", "to", "created", "by", "id"), _as_row, _as_json
)
