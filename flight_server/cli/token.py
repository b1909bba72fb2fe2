"""`lakeflight token`: personal access tokens, also while a server runs on the lakehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.accounts import Format, Listing, open_folder, time_text
from flight_server.cli.options import ConfigOption, FolderOption

if TYPE_CHECKING:
    from flight_server.auth.personal import PersonalToken

_SECONDS_OF_DAY = 86_400

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Make, list and revoke personal access tokens.\n\nA running server sees each change at"
    " once.",
)

CREATE_EXAMPLES = """\b
Examples:
  lakeflight token create robot --name "nightly load" --dir ./lakehouse
  lakeflight token create robot --name CI --days 90 --quiet > token.txt
"""
LIST_EXAMPLES = """\b
Examples:
  lakeflight token list --dir ./lakehouse
  lakeflight token list --user robot --format json
"""
REVOKE_EXAMPLES = """\b
Examples:
  lakeflight token revoke 0f1e2d3c4b5a6978 --dir ./lakehouse
"""


@app.command(epilog=CREATE_EXAMPLES)
def create(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose token it is.")],
    *,
    name: Annotated[str, typer.Option("--name", help="What it is for.")],
    days: Annotated[int | None, typer.Option("--days", help="How long it is good; 30.")] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print the token and nothing else.")
    ] = False,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a personal access token and print it, this once."""
    opened = open_folder(config, folder)
    with opened.on_record("token.create", user, {"name": name}):
        owner = opened.administration.find(username=user)
        made, text = opened.stores.personal.create(
            owner.user_id, name, seconds=None if days is None else days * _SECONDS_OF_DAY
        )
    typer.echo(text)
    if not quiet:
        until = time_text(made.expires_at)
        typer.echo(f"token {made.token_id} of {user}, good until {until}; it is not kept", err=True)


@app.command("list", epilog=LIST_EXAMPLES)
def list_tokens(
    *,
    user: Annotated[str | None, typer.Option("--user", help="Only those of this user.")] = None,
    output: Annotated[Format, typer.Option("--format", help="How to list them.")] = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List the personal access tokens that are good now, newest first."""
    stores = open_folder(config, folder).stores
    names = {each.user_id: each.username for each in stores.users.list()}
    found = stores.personal.live(None if user is None else stores.users.require(user).user_id)
    listing: Listing[PersonalToken] = Listing(
        ("token", "user", "name", "since", "until"),
        lambda each: _as_row(each, names),
        lambda each: _as_json(each, names),
    )
    listing.show(found, output, nothing="there are no personal tokens")


@app.command(epilog=REVOKE_EXAMPLES)
def revoke(
    token_id: Annotated[
        str, typer.Argument(metavar="TOKEN", help="As list names it, or the jti of another.")
    ],
    *,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """End a personal access token, or one token of a session."""
    opened = open_folder(config, folder)
    with opened.on_record("token.revoke", token_id):
        opened.administration.revoke_token(token_id)
    typer.echo(f"revoked {token_id}")


def _as_json(token: PersonalToken, names: dict[str, str]) -> dict[str, object]:
    return {
        "token_id": token.token_id,
        "user_id": token.user_id,
        "username": names.get(token.user_id),
        "name": token.name,
        "created_at": time_text(token.created_at),
        "expires_at": time_text(token.expires_at),
    }


def _as_row(token: PersonalToken, names: dict[str, str]) -> tuple[str, ...]:
    return (
        token.token_id,
        names.get(token.user_id, "-"),
        token.name or "-",
        time_text(token.created_at),
        time_text(token.expires_at),
    )
