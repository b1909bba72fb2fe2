"""What the commands on rules share: opening them, and whom a rule is for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flight_server.cli.accounts import OnRecord, open_folder, time_text

if TYPE_CHECKING:
    from flight_server.service.rules import Rules, Stored, To
    from policies.names import TableRef
    from policies.rules import Audience

TableArgument = Annotated[str, typer.Argument(help="The table or safe view: bucket.schema.name.")]
NameArgument = Annotated[str, typer.Argument(help="The name of the rule.")]
OnlyOption = Annotated[
    str | None, typer.Option("--table", help="Only those of this table or safe view.")
]
UserOption = Annotated[
    str | None, typer.Option("--user", help="Only for this user; without --role for everybody.")
]
RoleOption = Annotated[str | None, typer.Option("--role", help="Only for this role.")]
ExceptOption = Annotated[
    list[str] | None,
    typer.Option("--except-role", help="Not for who has this role; may be repeated."),
]


def open_rules(config: Path | None, folder: str | None) -> tuple[Rules, OnRecord]:
    """Return the rules of an existing lakehouse, and what puts a change of them on record."""
    from flight_server.ops import rights  # noqa: PLC0415 - keeps `--help` quick

    opened = open_folder(config, folder)
    return rights.open_rules(opened.settings, opened.clock), opened.on_record


def named(rules: Rules, table: str | None) -> TableRef | None:
    """Return the table that an option names, None without it."""
    return None if table is None else rules.named(None, table)


def whom(user: str | None, role: str | None, except_roles: list[str] | None) -> To:
    """Return whom a rule is for."""
    from flight_server.errors import InvalidRequest  # noqa: PLC0415 - keeps `--help` quick
    from flight_server.service.rules import To  # noqa: PLC0415 - as above

    if user is not None and role is not None:
        raise InvalidRequest("a rule is for one user, for one role, or for everybody")
    return To(user, role, tuple(except_roles or ()))


def whom_text(to: Audience) -> str:
    """Return whom a rule is for, in words."""
    text = "everybody"
    if to.user is not None:
        text = f"user {to.user}"
    elif to.role is not None:
        text = f"role {to.role}"
    return f"{text} but {', '.join(sorted(to.except_roles))}" if to.except_roles else text


def whom_json(to: Audience) -> dict[str, object]:
    """Return whom a rule is for, as the actions do."""
    user = None if to.user is None else {"user": to.user}
    role = None if to.role is None else {"role": to.role}
    return {"to": user or role, "except_roles": sorted(to.except_roles)}


def made(stored: Stored[Any]) -> dict[str, object]:
    """Return when a rule was made, and by whom."""
    return {"created_at": time_text(stored.created_at), "created_by": stored.created_by}
