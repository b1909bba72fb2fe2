"""The prompt of ``lakeflight sql`` on a terminal of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.client.foreign import ForeignServer
from tests.servers import ADMIN_PASSWORD, Server

PROMPT = "lakeflight> "
ANSWER_SECONDS_MAX = 30.0
_PARTIAL = re.compile(rb"(?:\x1b(?:\[[0-9;?]*)?|[\xc0-\xff][\x80-\xbf]{0,2})?\Z")
_STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(slots=True)
class Terminal:
    """The user's side of a running prompt."""

    process: subprocess.Popen[bytes]
    master: int
    raw: bytes = b""
    shown: str = ""

    def type(self, line: str) -> None:
        os.write(self.master, f"{line}\n".encode())

    def interrupt(self) -> None:
        """Press Ctrl-C at the prompt until a new one comes.

        A prompt is shown a moment before the terminal listens, and a press in between is lost.
        """
        for _ in range(10):
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(AssertionError):
                self.until(PROMPT, seconds_max=3.0)
                return
        raise AssertionError("Ctrl-C at the prompt gave no new prompt")

    def until(self, expected: str, *, seconds_max: float = ANSWER_SECONDS_MAX) -> str:
        """Return what is shown up to and with the expected text, without its styles."""
        deadline = time.monotonic() + seconds_max
        while (at := self.shown.find(expected)) < 0:
            assert time.monotonic() < deadline, f"{expected!r} did not appear: {self.shown!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.raw += os.read(self.master, 65_536)
                self._take()
        end = at + len(expected)
        found, self.shown = self.shown[:end], self.shown[end:]
        return found

    def _take(self) -> None:
        # A style or a character may be cut at the end; it waits for its rest.
        whole = self.raw[: len(self.raw) - len(_PARTIAL.search(self.raw)[0])]  # type: ignore[index]  # matches always
        self.raw = self.raw[len(whole) :]
        self.shown += _STYLES.sub("", whole.decode("utf-8", "replace"))

    def ask(self, line: str) -> str:
        """Type a line and return what is shown before the next prompt."""
        self.type(line)
        self.until("\n")  # the echo of what was typed
        return self.until(PROMPT)


@contextmanager
def prompt(uri: str, home: Path, *arguments: str, password: str = "") -> Iterator[Terminal]:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flight_server", "sql", uri, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={
            **os.environ,
            "HOME": str(home),
            "TERM": "xterm",
            "COLUMNS": "100",
            "LAKEFLIGHT_PASSWORD": password,
        },
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.fixture(scope="module")
def foreign() -> Iterator[ForeignServer]:
    with ForeignServer() as started:
        yield started


def test_a_session(foreign: ForeignServer, tmp_path: Path) -> None:
    with prompt(foreign.uri, tmp_path) as terminal:
        terminal.until("Password of admin")
        terminal.type("")
        terminal.until(PROMPT)
        assert "(30 rows" in terminal.ask("three;")
        terminal.type("three")
        terminal.until("..> ")
        shown = terminal.ask(";")
        assert "(30 rows" in shown
        assert "\x1b[31m" not in shown  # styles are ours, not those of the data
        assert "there is no table a.b.c (table_not_found)" in terminal.ask("described;")
        assert "timing is off" in terminal.ask("\\timing")
        assert "(30 rows)" in terminal.ask("three;")
        assert "expanded is on" in terminal.ask("\\x")
        assert "─[ row 30 ]" in terminal.ask("three;")
        assert "there is no command \\nope" in terminal.ask("\\nope")
        assert "\\timing" in terminal.ask("\\?")
        terminal.type("\\q")
        assert terminal.process.wait(ANSWER_SECONDS_MAX) == 0
    history = tmp_path / ".lakeflight_history"
    assert "three;" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_ctrl_c_cancels_the_statement_and_keeps_the_session(
    foreign: ForeignServer, tmp_path: Path
) -> None:
    foreign.cancelled.clear()
    target = tmp_path / "out.parquet"
    with prompt(foreign.uri, tmp_path) as terminal:
        terminal.until("Password of admin")
        terminal.type("")
        terminal.until(PROMPT)
        assert "the next result goes to" in terminal.ask(f"\\o {target}")
        terminal.type("endless;")
        terminal.until("rows/s")  # the progress
        terminal.process.send_signal(signal.SIGINT)
        assert "error: cancelled (cancelled)" in terminal.until(PROMPT)
        assert foreign.cancelled.wait(ANSWER_SECONDS_MAX)
        assert not any(path.name.endswith(("parquet", "part")) for path in tmp_path.iterdir())
        assert "(30 rows" in terminal.ask("three;")
        terminal.interrupt()
        terminal.type("\x04")
        assert terminal.process.wait(ANSWER_SECONDS_MAX) == 0


def test_ctrl_c_ends_a_single_statement(foreign: ForeignServer, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    with prompt(foreign.uri, tmp_path, "-c", "endless", "-o", str(target)) as terminal:
        terminal.until("Password of admin")
        terminal.type("")
        terminal.until("rows/s")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(ANSWER_SECONDS_MAX) == 130
        assert not target.exists()


def test_metadata_of_a_real_server(server: Server, tmp_path: Path) -> None:
    with prompt(server.uri, tmp_path, password=ADMIN_PASSWORD) as terminal:
        terminal.until(PROMPT)
        assert "primary" in terminal.ask("\\l")
        assert "primary" in terminal.ask("\\dn")
        shown = terminal.ask("\\dt")
        found = re.search(r"primary +│ (\S+) +│ (\w+) +│", shown)
        assert found
        described = terminal.ask(f'\\d primary.{found[1]}."{found[2]}"')
        assert f"primary.{found[1]}.{found[2]}" in described
        assert "nullable" in described
        assert "there is no table" in terminal.ask("\\d no_such_table")
