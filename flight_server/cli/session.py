"""`lakeflight session`: who is signed in to a lakehouse, also while a server runs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.accounts import Format, Listing, open_folder, time_text
from flight_server.cli.options import ConfigOption, FolderOption

if TYPE_CHECKING:
    from flight_server.auth.sessions import Session

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List and end sessions.\n\nA running server refuses the next call of a session that was"
    " ended.",
)

LIST_EXAMPLES = """\b
Examples:
  lakeflight session list --dir ./lakehouse
  lakeflight session list --user alice --format json
"""
KILL_EXAMPLES = """\b
Examples:
  lakeflight session kill 0f1e2d3c4b5a69788796a5b4c3d2e1f0 --dir ./lakehouse
  lakeflight session kill --user alice
"""


@app.command("list", epilog=LIST_EXAMPLES)
def list_sessions(
    *,
    user: Annotated[str | None, typer.Option("--user", help="Only those of this user.")] = None,
    output: Annotated[Format, typer.Option("--format", help="How to list them.")] = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List the sessions that go on, newest first."""
    stores = open_folder(config, folder).stores
    names = {each.user_id: each.username for each in stores.users.list()}
    found = stores.sessions.live(None if user is None else stores.users.require(user).user_id)
    listing: Listing[Session] = Listing(
        ("session", "user", "since", "until", "address", "client"),
        lambda each: _as_row(each, names),
        lambda each: _as_json(each, names),
    )
    listing.show(found, output, nothing="nobody is signed in")


@app.command(epilog=KILL_EXAMPLES)
def kill(
    session_id: Annotated[
        str | None, typer.Argument(metavar="SESSION", help="The session, as list names it.")
    ] = None,
    *,
    user: Annotated[
        str | None, typer.Option("--user", help="All sessions of this user, in place of one.")
    ] = None,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """End a session, or all sessions of a user."""
    if (session_id is None) is (user is None):
        raise typer.BadParameter("give either the id of a session or --user")
    opened = open_folder(config, folder)
    with opened.on_record("session.kill", session_id or user or ""):
        if session_id is not None:
            opened.administration.kill_session(session_id)
            count = 1
        else:
            found = opened.administration.find(username=user)
            count = opened.stores.sessions.end_all(found.user_id, reason="killed")
    typer.echo(f"sessions ended: {count}")


def _as_json(session: Session, names: dict[str, str]) -> dict[str, object]:
    return {
        "session_id": session.session_id,
        "user_id": session.user_id,
        "username": names.get(session.user_id),
        "created_at": time_text(session.created_at),
        "expires_at": time_text(session.expires_at),
        "ip_address": session.ip_address,
        "user_agent": session.user_agent,
    }


def _as_row(session: Session, names: dict[str, str]) -> tuple[str, ...]:
    return (
        session.session_id,
        names.get(session.user_id, "-"),
        time_text(session.created_at),
        time_text(session.expires_at),
        session.ip_address or "-",
        session.user_agent or "-",
    )
