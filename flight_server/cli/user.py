"""`lakeflight user`: the accounts of a lakehouse, also while a server runs on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.options import (
    ConfigOption,
    FolderOption,
    align,
    existing_lakehouse,
    load_settings,
)
from flight_server.errors import InvalidRequest

if TYPE_CHECKING:
    from flight_server.auth.users import User, UserStore

# More than any rule allows, so that a mistaken file is refused without being read whole.
_PASSWORD_CHARACTERS_MAX = 8192

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Add and list users, change passwords.\n\nA running server sees the change at once.",
)

ADD_EXAMPLES = """\b
Examples:
  lakeflight user add alice --dir ./lakehouse
  lakeflight user add bob --role trader --email bob@example.com
  pwgen 24 1 | lakeflight user add robot --password-stdin
"""
LIST_EXAMPLES = """\b
Examples:
  lakeflight user list --dir ./lakehouse
  lakeflight user list --format json
"""
CHANGE_EXAMPLES = """\b
Examples:
  lakeflight user passwd admin --dir ./lakehouse
  pwgen 24 1 | lakeflight user passwd robot --password-stdin
"""

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="User name.")]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from standard input, one line."),
]


class Format(StrEnum):
    """How users are listed."""

    TABLE = "table"
    JSON = "json"


@app.command(epilog=ADD_EXAMPLES)
def add(
    name: NameArgument,
    *,
    role: Annotated[
        str, typer.Option(help="Base role: guest, pending, registered, trader or admin.")
    ] = "registered",
    custom_role: Annotated[
        list[str] | None, typer.Option("--custom-role", help="Custom role; may be repeated.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="E-mail address.")] = None,
    tier: Annotated[
        str,
        typer.Option(
            help="Subscription: free, pro, pioneer or enterprise. Unless the settings say"
            " otherwise, free allows 10 requests a minute and 100 queries a day, enterprise any"
            " number."
        ),
    ] = "free",
    password_stdin: PasswordStdin = False,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a user."""
    users = _open(config, folder)
    password = _password(from_stdin=password_stdin)
    user = users.add(
        name, password, role=role, email=email, custom_roles=custom_role or (), tier=tier
    )
    typer.echo(f"added {user.username} ({user.role}), id {user.user_id}")


@app.command("list", epilog=LIST_EXAMPLES)
def list_users(
    *,
    output: Annotated[Format, typer.Option("--format", help="How to list them.")] = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List the users; passwords and their hashes are never shown."""
    users = _open(config, folder).list()
    if output is Format.JSON:
        typer.echo(json.dumps([_as_json(user) for user in users], indent=2, ensure_ascii=False))
    elif users:
        typer.echo("\n".join(_as_table(users)))
    else:
        typer.echo("no users yet; the first start of the server makes admin", err=True)


@app.command(epilog=CHANGE_EXAMPLES)
def passwd(
    name: NameArgument,
    *,
    password_stdin: PasswordStdin = False,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Change the password of a user."""
    users = _open(config, folder)
    users.require(name)
    users.set_password(name, _password(from_stdin=password_stdin))
    typer.echo(f"changed the password of {name}")


def _open(config: Path | None, folder: str | None) -> UserStore:
    from flight_server.clock import SystemClock  # noqa: PLC0415 - keeps `--help` quick
    from flight_server.ops.accounts import open_users  # noqa: PLC0415 - as above

    settings = load_settings(config, folder)
    existing_lakehouse(settings)
    return open_users(settings, SystemClock())


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        line = sys.stdin.readline(_PASSWORD_CHARACTERS_MAX)
        return line.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise InvalidRequest("there is no terminal to ask for the password: use --password-stdin")
    answer = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return str(answer)


def _as_json(user: User) -> dict[str, object]:
    return {
        "user_id": user.user_id,
        "username": user.username,
        "email": user.email,
        "role": user.role.value,
        "custom_roles": list(user.custom_roles),
        "subscription_tier": user.subscription_tier,
        "is_active": user.is_active,
        "created_at": _time(user.created_at.isoformat(timespec="seconds")),
        "updated_at": _time(user.updated_at.isoformat(timespec="seconds")),
    }


def _time(text: str) -> str:
    return text.replace("+00:00", "Z")


def _as_table(users: Sequence[User]) -> list[str]:
    rows: list[tuple[str, ...]] = [
        ("username", "role", "custom roles", "tier", "active", "e-mail", "created")
    ]
    rows += [
        (
            user.username,
            user.role.value,
            ", ".join(user.custom_roles) or "-",
            user.subscription_tier,
            "yes" if user.is_active else "no",
            user.email or "-",
            _time(user.created_at.isoformat(timespec="seconds")),
        )
        for user in users
    ]
    return list(align(rows))
