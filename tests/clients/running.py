"""Runs the programs of clients, each in a process of its own, and keeps what came out."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from tests.clients import environments
from tests.clients.cases import Case, Site, site_line
from tests.clients.rows import Row

START_SECONDS_MAX = 60.0
CASE_SECONDS_MAX = 60.0


class Running:
    """One client's process, started when its first case runs."""

    def __init__(self, row: Row, site: Site) -> None:
        self._row = row
        self._site = site
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self.versions: Mapping[str, str] = {}
        self.outcomes: dict[str, str | None] = {}

    def run(self, case: Case, *, anew: bool = False) -> str | None:
        """Run a case, or say what came out of it before: None for a pass, else the error."""
        if anew or case.name not in self.outcomes:
            self.outcomes[case.name] = self._ask(case.name)
        return self.outcomes[case.name]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            self._process = None

    def _ask(self, name: str) -> str | None:
        if self._process is None:
            self._start()
        try:
            self._write(json.dumps({"case": name}) + "\n")
            answer = self._read(CASE_SECONDS_MAX)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()  # the next case gets a new process
            return f"the client's process did not answer: {type(error).__name__} {error}"
        assert answer["case"] == name
        error_text: str | None = answer["error"]
        return error_text

    def _start(self) -> None:
        first = [str(environments.FOLDER / self._row.environment)] if self._row.environment else []
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._row.module],
            cwd=environments.ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*first, str(environments.ROOT)])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._write(site_line(self._site))
        self.versions = self._read(START_SECONDS_MAX)

    def _write(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()

    def _read(self, seconds_max: float) -> Any:
        """Read one line, without ever waiting for longer than the limit."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        deadline = time.monotonic() + seconds_max
        while b"\n" not in self._rest:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"after {seconds_max:g} s")
            data = os.read(pipe, 65_536)
            if not data:
                raise EOFError(f"it ended with status {self._process.wait()}")
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)
