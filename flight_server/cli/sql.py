"""``lakeflight sql``: run SQL on a server, once or interactively."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flight_server.errors import AlreadyExists, InvalidRequest, LakeflightError

if TYPE_CHECKING:
    from flight_server.cli.sql_session import Session

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

EXAMPLES: Final = """\b
Examples:
  lakeflight sql                                     # a prompt; \\? shows its commands
  lakeflight sql -c 'SELECT * FROM tpch.nation'
  lakeflight sql grpc+tls://lake.example.com:443 --user ada --tls-roots ca.pem
  lakeflight sql -c 'SELECT * FROM tpch.lineitem' --output lineitem.parquet
  lakeflight sql --format csv -f report.sql > report.csv
  echo 'SELECT 1' | LAKEFLIGHT_PASSWORD=... lakeflight sql --user admin

\b
The password comes from --password-stdin, --password, LAKEFLIGHT_PASSWORD, or a question.
A token is the password of the user `token`.
Exit codes: 0 success, 1 a statement failed, 2 wrong usage, 130 interrupted.
"""
DEFAULT_URI: Final = "grpc://127.0.0.1:31337"
_SCRIPT_BYTES_MAX: Final = 16 * 1024 * 1024
_HISTORY: Final = "~/.lakeflight_history"


@app.command(epilog=EXAMPLES)
def sql(  # noqa: PLR0913  one parameter for each option
    uri: Annotated[str, typer.Argument(help="The server.")] = DEFAULT_URI,
    *,
    command: Annotated[
        str | None, typer.Option("--command", "-c", metavar="SQL", help="Run this and leave.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Run this file and leave; - is stdin.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Default: admin.")] = None,
    password: Annotated[
        str | None, typer.Option(help="Seen by others on this machine; prefer the other ways.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    tls_roots: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificates to trust.")
    ] = None,
    bucket: Annotated[str | None, typer.Option(help="Where short names are looked up.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Longest time for one call.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="table, csv, json, parquet or arrow.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the result here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file.")] = False,
    max_rows: Annotated[
        int, typer.Option(min=1, max=100_000, help="Most rows of a table on the screen.")
    ] = 1_000,
) -> None:
    """Run SQL on a server: one statement, a script, or a prompt."""
    from flight_server.cli.sql_session import Format, Look, Session, file_format  # noqa: PLC0415  loads Arrow, which --help need not wait for
    from flight_server.client import connect  # noqa: PLC0415  as above
    from flight_server.clock import SystemClock  # noqa: PLC0415  as above

    if form not in list(Format):
        raise typer.BadParameter(f"--format is one of {', '.join(Format)}")
    look = Look(form=Format(form), rows_max=max_rows, output=output, force=force)
    if output is not None:
        file_format(look.form, output)
        if output.exists() and not force:  # said before the query has run
            raise AlreadyExists(f"{output} exists; --force replaces it")
    elif look.form is Format.PARQUET:
        raise typer.BadParameter("--format parquet needs --output")
    secret = _password(
        user, password, from_stdin=password_stdin, script_given=bool(command or file)
    )
    statements = _script(command, file)
    if output is not None and (statements is None or len(statements) != 1):
        raise typer.BadParameter("--output takes the result of exactly one statement")
    try:
        connection = connect(
            uri,
            user=None if secret is None else user or "admin",
            password=secret,
            tls_roots=tls_roots,
            bucket=bucket,
            timeout_seconds=timeout,
        )
    except InvalidRequest:
        raise
    except LakeflightError as error:
        _fail(error)
    session = Session(connection, look, clock=SystemClock())
    try:
        _run(session, statements)
    finally:
        session.close()


def _run(session: Session, statements: tuple[str, ...] | None) -> None:
    if statements is None:
        from flight_server.cli.sql_shell import Shell  # noqa: PLC0415  needs a terminal

        Shell(session, history=Path(_HISTORY).expanduser()).loop()
        return
    for statement in statements:
        try:
            session.run(statement)
        except LakeflightError as error:
            _fail(error)


def _fail(error: LakeflightError) -> None:
    from flight_server.cli.sql_work import shown  # noqa: PLC0415  loads rich, which --help need not wait for
    from flight_server.errors import Cancelled  # noqa: PLC0415  as above

    typer.echo(shown(error), err=True)
    raise typer.Exit(130 if isinstance(error, Cancelled) else 1) from None


def _script(command: str | None, file: Path | None) -> tuple[str, ...] | None:
    """Return the statements to run, or None when the user is to type them."""
    from flight_server.cli.sql_text import split  # noqa: PLC0415  as above

    if command is not None and file is not None:
        raise typer.BadParameter("give --command or --file, not both")
    if command is not None:
        text = command
    elif file is not None and str(file) != "-":
        text = _read(file)
    elif file is None and sys.stdin.isatty():
        return None
    else:
        text = _bounded(sys.stdin.read(_SCRIPT_BYTES_MAX + 1))
    script = split(text)
    statements = (*script.statements, script.rest) if script.rest else script.statements
    if not statements:
        raise typer.BadParameter("there is no statement to run")
    return statements


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as stream:
            return _bounded(stream.read(_SCRIPT_BYTES_MAX + 1))
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} is not UTF-8") from None


def _bounded(text: str) -> str:
    if len(text) > _SCRIPT_BYTES_MAX:
        raise typer.BadParameter(f"the script is too long script_bytes_max={_SCRIPT_BYTES_MAX}")
    return text


def _password(
    user: str | None, given: str | None, *, from_stdin: bool, script_given: bool
) -> str | None:
    """Return the password, or None to connect without one."""
    from flight_server.ops.settings import client_password  # noqa: PLC0415  as above

    if from_stdin:
        if given is not None or not script_given:
            raise typer.BadParameter("--password-stdin goes with --command or --file, alone")
        return sys.stdin.readline().rstrip("\r\n")
    found = given if given is not None else client_password()
    if found is None and sys.stdin.isatty():
        asked = getpass.getpass(f"Password of {user or 'admin'} (empty for none): ")
        found = asked or None
    if found is None and user is not None:
        raise typer.BadParameter(f"no password for {user}: see --help for the ways to give one")
    return found
