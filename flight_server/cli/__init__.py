"""The commands of `lakeflight`.

Each command is a line in ``COMMANDS`` and a module of this package: one with a typer ``app`` when
it has subcommands, else one with a function of the command's name and, in ``EXAMPLES``, the end of
its help. It is imported only when it is called, so that help is quick and a command that cannot be
loaded leaves the others alone.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
import typer.main

from flight_server.errors import InvalidRequest, LakeflightError

if TYPE_CHECKING:
    # Newer versions of typer carry click inside; these names serve both.
    Command = Any
    Context = Any

COMMANDS = {
    "serve": "Serve a lakehouse over Arrow Flight SQL.",
    "demo": "Make a sample lakehouse and serve it.",
    "sql": "Run SQL on a server, once or interactively.",
    "user": "Look after accounts: add, approve, disable, roles, passwords.",
    "session": "List and end sessions.",
    "token": "Make, list and revoke personal access tokens.",
    "grant": "Add, remove and list grants: who may do what.",
    "tombstone": "Hide rows of tables by their keys, and let them be seen again.",
    "filter": "List and drop row filters.",
    "mask": "Put, list and drop column masks.",
    "label": "Say what columns tell of a person.",
    "policy": "Explain what somebody sees and why, now or then.",
    "consent": "Keep and list consents: who agreed to what their data is used for.",
    "audit": "Check the audit log, list and count what was done.",
    "config": "Show the effective settings and where they came from.",
    "actions": "List the actions that a server takes.",
    "doctor": "Check settings, storage, port and versions.",
}
EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
# Root of what typer raises for a wrong command line; every exception of it can say what was wrong.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


class _LazyGroup(typer.core.TyperGroup):
    """Lists the commands from the table and imports one when it is called."""

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 - typer's signature
        return [name for name in COMMANDS if importlib.util.find_spec(_module(name))]

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        try:
            module = importlib.import_module(_module(cmd_name))
        except ImportError as error:
            raise LakeflightError(
                f"the command {cmd_name!r} cannot be loaded: {error}", code="unavailable"
            ) from error
        command = typer.main.get_command(_app_of(module, cmd_name))
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Context, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


def _module(command: str) -> str:
    return f"{__name__}.{command}"


def _app_of(module: ModuleType, command: str) -> typer.Typer:
    found = getattr(module, "app", None)
    if isinstance(found, typer.Typer):
        return found
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    examples: str | None = getattr(module, "EXAMPLES", None)
    single.command(name=command, epilog=examples)(getattr(module, command))
    return single


app = typer.Typer(
    name="lakeflight",
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lakeflight {importlib.metadata.version('lakeflight')}")
        raise typer.Exit


@app.callback()
def _lakeflight(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Serve a governed Delta lakehouse over Apache Arrow Flight SQL.

    Every command shows examples with --help.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    0 is success, 1 a failure, 2 a command line or setting that cannot work; an error is one line on
    standard error.
    """
    # Without a handler, Python would print the log records of a failing call beside its one line.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        code = typer.main.get_command(app)(
            list(arguments), prog_name="lakeflight", standalone_mode=False
        )
    except _USAGE_ERROR as error:
        return _explain_usage(error)
    except InvalidRequest as error:
        return _fail(error, error.message, code=EXIT_USAGE)
    except LakeflightError as error:
        return _fail(error, error.message, code=EXIT_FAILURE)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        return EXIT_FAILURE
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback for users
        return _fail(error, f"unexpected {type(error).__name__}: {error}", code=EXIT_FAILURE)
    return code if isinstance(code, int) else 0


def _explain_usage(error: Exception) -> int:
    message = str(getattr(error, "format_message", error.__str__)())
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help that was asked for
        print(message, file=sys.stderr)
        return EXIT_USAGE
    return _fail(error, message, code=EXIT_USAGE)


def _fail(error: BaseException, message: str, *, code: int) -> int:
    from flight_server.ops.settings import debugging  # noqa: PLC0415 - only now is it needed

    if debugging():
        traceback.print_exception(error)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def main() -> None:
    """Run the command line of this process and end it."""
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or EXIT_FAILURE
    # The Delta library can abort a process that ends while its threads run; nothing is left to do.
    os._exit(code)
