"""`lakeflight user`: the accounts of a lakehouse, also while a server runs on it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.accounts import Folder, Format, Listing, open_folder, time_text
from flight_server.cli.options import ConfigOption, FolderOption
from flight_server.errors import InvalidRequest

if TYPE_CHECKING:
    from flight_server.auth.users import User
    from flight_server.service.recording import Detail

# More than any rule allows, so that a mistaken file is refused without being read whole.
_PASSWORD_CHARACTERS_MAX = 8192

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Look after the accounts of a lakehouse.\n\nA running server sees each change at once, and"
    " each is on record in the audit log.",
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
APPROVE_EXAMPLES = """\b
Examples:
  lakeflight user approve alice --dir ./lakehouse
  lakeflight user approve bob --role trader --tier pro
"""
REJECT_EXAMPLES = """\b
Examples:
  lakeflight user reject mallory --dir ./lakehouse
"""
DISABLE_EXAMPLES = """\b
Examples:
  lakeflight user disable alice --dir ./lakehouse
"""
ENABLE_EXAMPLES = """\b
Examples:
  lakeflight user enable alice --dir ./lakehouse
"""
ROLE_EXAMPLES = """\b
Examples:
  lakeflight user set-role alice trader --dir ./lakehouse
  lakeflight user set-role bob registered --custom-role desk --custom-role steward
  lakeflight user set-role bob registered --no-custom-roles
"""
TIER_EXAMPLES = """\b
Examples:
  lakeflight user set-tier alice pro --dir ./lakehouse
"""

ATTRIBUTE_EXAMPLES = """\b
Examples:
  lakeflight user set-attributes alice region=north team=cardiology --dir ./lakehouse
  lakeflight user set-attributes alice --no-attributes
"""

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="User name.")]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from standard input, one line."),
]


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
    opened = open_folder(config, folder)
    password = _password(from_stdin=password_stdin)
    with opened.on_record("user.add", name, {"role": role, "tier": tier}):
        user = opened.stores.users.add(
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
    users = open_folder(config, folder).stores.users.list()
    _LISTING.show(users, output, nothing="no users yet; the first start of the server makes admin")


@app.command(epilog=CHANGE_EXAMPLES)
def passwd(
    name: NameArgument,
    *,
    password_stdin: PasswordStdin = False,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Change the password of a user, and end their sessions."""
    opened = open_folder(config, folder)
    user = opened.stores.users.require(name)
    password = _password(from_stdin=password_stdin)
    with opened.on_record("user.passwd", name):
        ended = opened.administration.set_password(user, password)
    typer.echo(f"changed the password of {name}; sessions ended: {ended}")


@app.command(epilog=APPROVE_EXAMPLES)
def approve(
    name: NameArgument,
    *,
    role: Annotated[
        str, typer.Option(help="Base role: guest, registered, trader or admin.")
    ] = "registered",
    tier: Annotated[
        str | None, typer.Option(help="Subscription; that which was asked for is no default.")
    ] = None,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Open an account that waits for approval."""
    opened = open_folder(config, folder)
    details: dict[str, Detail] = {"role": role, **({} if tier is None else {"tier": tier})}
    user = _change(
        opened,
        "approve",
        name,
        lambda found: opened.administration.approve(found, role=role, tier=tier),
        details=details,
    )
    typer.echo(f"approved {user.username} ({user.role}, {user.subscription_tier})")


@app.command(epilog=REJECT_EXAMPLES)
def reject(name: NameArgument, *, folder: FolderOption = None, config: ConfigOption = None) -> None:
    """Remove an account that waits for approval."""
    opened = open_folder(config, folder)
    user = _change(opened, "reject", name, opened.administration.reject)
    typer.echo(f"rejected {user.username}")


@app.command(epilog=DISABLE_EXAMPLES)
def disable(
    name: NameArgument, *, folder: FolderOption = None, config: ConfigOption = None
) -> None:
    """Let nobody in by an account, and end its sessions."""
    opened = open_folder(config, folder)
    user = _change(opened, "disable", name, opened.administration.disable)
    typer.echo(f"disabled {user.username}")


@app.command(epilog=ENABLE_EXAMPLES)
def enable(name: NameArgument, *, folder: FolderOption = None, config: ConfigOption = None) -> None:
    """Let a disabled account be used again."""
    opened = open_folder(config, folder)
    user = _change(opened, "enable", name, opened.administration.enable)
    typer.echo(f"enabled {user.username}")


@app.command("set-role", epilog=ROLE_EXAMPLES)
def set_role(
    name: NameArgument,
    role: Annotated[str, typer.Argument(help="guest, pending, registered, trader or admin.")],
    *,
    custom_role: Annotated[
        list[str] | None,
        typer.Option("--custom-role", help="Custom role from now on; may be repeated."),
    ] = None,
    no_custom_roles: Annotated[
        bool, typer.Option("--no-custom-roles", help="Take all custom roles away.")
    ] = False,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Give an account another base role; custom roles stay unless they are given."""
    if custom_role and no_custom_roles:
        raise InvalidRequest("give either --custom-role or --no-custom-roles")
    customs = custom_role or ([] if no_custom_roles else None)
    opened = open_folder(config, folder)
    details: dict[str, Detail] = {"role": role}
    if customs is not None:
        details["custom_roles"] = ",".join(customs)
    user = _change(
        opened,
        "set_role",
        name,
        lambda found: opened.administration.set_role(found, role, custom_roles=customs),
        details=details,
    )
    typer.echo(f"{user.username} is now {', '.join((user.role.value, *user.custom_roles))}")


@app.command("set-tier", epilog=TIER_EXAMPLES)
def set_tier(
    name: NameArgument,
    tier: Annotated[str, typer.Argument(help="free, pro, pioneer, enterprise or one of yours.")],
    *,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Give an account another tier."""
    opened = open_folder(config, folder)
    user = _change(
        opened,
        "set_tier",
        name,
        lambda found: opened.administration.set_tier(found, tier),
        details={"tier": tier},
    )
    typer.echo(f"{user.username} is now {user.subscription_tier}")


@app.command("set-attributes", epilog=ATTRIBUTE_EXAMPLES)
def set_attributes(
    name: NameArgument,
    attributes: Annotated[
        list[str] | None, typer.Argument(help="All of them, each as name=value.")
    ] = None,
    *,
    no_attributes: Annotated[
        bool, typer.Option("--no-attributes", help="Take all attributes away.")
    ] = False,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Give an account attributes, which row filters may ask for, in place of those it had."""
    if bool(attributes) is no_attributes:
        raise InvalidRequest("give attributes as name=value, or --no-attributes")
    given: dict[str, str] = {}
    for text in attributes or ():
        key, separator, value = text.partition("=")
        if not separator or key in given:
            raise InvalidRequest("each attribute is name=value, and each name is there once")
        given[key] = value
    opened = open_folder(config, folder)
    user = _change(
        opened,
        "set_attributes",
        name,
        lambda found: opened.administration.set_attributes(found, given),
    )
    typer.echo(f"{user.username} has {_attributes(user)}")


def _attributes(user: User) -> str:
    return ", ".join(f"{name}={value}" for name, value in user.attributes) or "no attributes"


def _change(
    opened: Folder,
    action: str,
    name: str,
    act: Callable[[User], User],
    *,
    details: dict[str, Detail] | None = None,
) -> User:
    """Do something to the user of a name, on record as the action of the same name is."""
    with opened.on_record(f"user.{action}", name, details):
        return act(opened.administration.find(username=name))


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
        "requested_tier": user.requested_tier,
        "attributes": dict(user.attributes),
        "is_active": user.is_active,
        "created_at": time_text(user.created_at),
        "updated_at": time_text(user.updated_at),
    }


def _as_row(user: User) -> tuple[str, ...]:
    return (
        user.username,
        user.role.value,
        ", ".join(user.custom_roles) or "-",
        user.subscription_tier,
        "yes" if user.is_active else "no",
        user.email or "-",
        ", ".join(f"{name}={value}" for name, value in user.attributes) or "-",
        time_text(user.created_at),
    )


_LISTING = Listing(
    ("username", "role", "custom roles", "tier", "active", "e-mail", "attributes", "created"),
    _as_row,
    _as_json,
)
