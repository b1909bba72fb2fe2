"""The interactive loop: lines become statements and commands, until the user leaves."""

from __future__ import annotations

import contextlib
import readline
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow as pa
from rich.text import Text

from flight_server.cli.sql_session import Expanded, Format, Session, file_format
from flight_server.cli.sql_text import name_parts, split
from flight_server.client import TableName
from flight_server.errors import Cancelled, InvalidRequest, LakeflightError, NotFound

HISTORY_LINES_MAX: Final = 10_000
_PROMPT: Final = "lakeflight> "
_CONTINUED: Final = "        ..> "


class Shell:
    """Reads from the terminal and drives a session."""

    def __init__(self, session: Session, *, history: Path) -> None:
        self._session = session
        self._history = history
        self._buffer = ""
        self._left = False

    def loop(self) -> None:
        r"""Read and run until ``\q`` or Ctrl-D; Ctrl-C drops the line or cancels the statement."""
        self._load_history()
        self._session.notes.print(Text("\\? shows the commands, Ctrl-D leaves", style="dim"))
        try:
            while not self._left:
                try:
                    self.feed(input(_CONTINUED if self._buffer else _PROMPT))
                except EOFError:
                    self._session.notes.print()
                    return
                except KeyboardInterrupt:
                    self._buffer = ""
                    self._session.notes.print()
        finally:
            self._save_history()

    def feed(self, line: str) -> None:
        """Take one line: a command, a statement, or a part of one."""
        if not self._buffer and line.lstrip().startswith("\\"):
            self._guarded(lambda: self._command(line.strip()))
            return
        script = split(f"{self._buffer}{line}\n")
        self._buffer = f"{script.rest}\n" if script.rest else ""
        for statement in script.statements:
            if not self._guarded(lambda statement=statement: self._statement(statement)):  # type: ignore[misc]  # a lambda's default has no declared type
                return

    def _statement(self, sql: str) -> None:
        try:
            self._session.run(sql)
        finally:
            self._session.look.output = None  # \o is for one result

    def _guarded(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except LakeflightError as error:
            self._session.complain(error)
            return False
        except KeyboardInterrupt:
            self._session.complain(Cancelled("cancelled"))
            return False
        return True

    def _command(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        if name not in _COMMANDS:
            raise NotFound(f"there is no command {name}; \\? shows them")
        _COMMANDS[name][1](self, argument.strip().removesuffix(";"))

    def leave(self, _argument: str) -> None:
        """Leave."""
        self._left = True

    def tables(self, argument: str) -> None:
        """List tables; the argument is a pattern as of LIKE, or a part of a name."""
        parts = name_parts(argument) if argument else ()
        if parts is None:
            raise InvalidRequest("a pattern is [[bucket.]schema.]table")
        catalog, schema, table = (None, None, None, *parts)[-3:]
        session = self._session
        found = session.metadata(
            lambda: session.connection.tables(catalog=catalog, schema=schema, table=table)
        )
        # Drivers filter catalogs in ways of their own.
        _list(session, [one for one in found if catalog in (None, one.catalog)])

    def describe(self, argument: str) -> None:
        """Show the columns of a table, or list all tables."""
        if not argument:
            self.tables("")
            return
        parts = name_parts(argument)
        if parts is None:
            raise InvalidRequest(
                "a name is [[bucket.]schema.]table, with odd parts in double quotes"
            )
        session = self._session
        found = [
            one
            for one in session.metadata(lambda: session.connection.tables(table=parts[-1]))
            if (one.catalog, one.schema, one.table)[-len(parts) :] == parts
        ]
        if not found:
            raise NotFound(f"there is no table {argument}")
        for one in found:
            schema: pa.Schema = session.metadata(
                lambda one=one: session.connection.table_schema(one)
            )
            session.screen.print(Text(f"{one.catalog}.{one.schema}.{one.table}", style="bold"))
            session.show(
                pa.table(
                    {
                        "column": pa.array(schema.names, pa.string()),
                        "type": pa.array([str(kind) for kind in schema.types], pa.string()),
                        "nullable": pa.array([field.nullable for field in schema], pa.bool_()),
                    }
                )
            )

    def catalogs(self, _argument: str) -> None:
        """List the buckets."""
        names = self._session.metadata(self._session.connection.catalogs)
        self._session.show(pa.table({"bucket": pa.array(names, pa.string())}))

    def schemas(self, _argument: str) -> None:
        """List the schemas."""
        found = self._session.metadata(self._session.connection.schemas)
        buckets, names = [one[0] for one in found], [one[1] for one in found]
        self._session.show(
            pa.table(
                {"bucket": pa.array(buckets, pa.string()), "schema": pa.array(names, pa.string())}
            )
        )

    def timing(self, argument: str) -> None:
        """Switch the time line on or off."""
        self._session.look.timing = _switch(argument, now=self._session.look.timing)
        self._note(f"timing is {'on' if self._session.look.timing else 'off'}")

    def expanded(self, argument: str) -> None:
        """Choose how wide rows are shown."""
        look = self._session.look
        if argument:
            look.expanded = Expanded(_choice(argument, list(Expanded)))
        else:
            look.expanded = Expanded.OFF if look.expanded is Expanded.ON else Expanded.ON
        self._note(f"expanded is {look.expanded}")

    def form(self, argument: str) -> None:
        """Choose how results are shown."""
        look = self._session.look
        look.form = Format(_choice(argument, list(Format)))
        self._note(f"format is {look.form}")

    def output(self, argument: str) -> None:
        """Send the next result to a file."""
        target = Path(argument).expanduser() if argument else None
        if target is not None:
            file_format(self._session.look.form, target)  # an unknown ending is said now
        self._session.look.output = target
        self._note(f"the next result goes to {target or 'the screen'}")

    def usage(self, _argument: str) -> None:
        """Show the commands."""
        for name, (meaning, _) in _COMMANDS.items():
            self._session.screen.print(Text(f"  {name:9} {meaning}"))
        self._session.screen.print(Text("  A statement ends with a semicolon."))

    def _note(self, text: str) -> None:
        self._session.notes.print(Text(text, style="dim"))

    def _load_history(self) -> None:
        readline.set_history_length(HISTORY_LINES_MAX)
        with contextlib.suppress(OSError):
            readline.read_history_file(self._history)

    def _save_history(self) -> None:
        with contextlib.suppress(OSError):
            self._history.touch(mode=0o600)  # statements may hold data
            readline.write_history_file(self._history)


def _list(session: Session, found: list[TableName]) -> None:
    columns = {
        "bucket": [one.catalog for one in found],
        "schema": [one.schema for one in found],
        "table": [one.table for one in found],
        "kind": [one.kind for one in found],
    }
    session.show(pa.table({name: pa.array(rows, pa.string()) for name, rows in columns.items()}))


def _switch(argument: str, *, now: bool) -> bool:
    return _choice(argument, ["on", "off"]) == "on" if argument else not now


def _choice(argument: str, known: list[str]) -> str:
    if argument not in known:
        raise InvalidRequest(f"choose one of {', '.join(known)}")
    return argument


_COMMANDS: Final[dict[str, tuple[str, Callable[[Shell, str], None]]]] = {
    "\\q": ("leave", Shell.leave),
    "\\d": ("[TABLE]  columns of a table, or all tables", Shell.describe),
    "\\dt": ("[PATTERN]  tables; % and _ stand for any text and any character", Shell.tables),
    "\\dn": ("schemas", Shell.schemas),
    "\\l": ("buckets", Shell.catalogs),
    "\\o": (
        "[FILE]  write the next result to a .csv, .json, .parquet or .arrow file",
        Shell.output,
    ),
    "\\format": ("table|csv|json  how results are shown", Shell.form),
    "\\x": ("[on|off|auto]  one line for each column", Shell.expanded),
    "\\timing": ("[on|off]  show how long a statement took", Shell.timing),
    "\\?": ("this list", Shell.usage),
}
