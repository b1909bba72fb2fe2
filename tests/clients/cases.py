"""What a client's program is made of: cases for the columns of the matrix, and their loop.

Only the standard library is imported here: the program of an old client runs beside that client.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any, TypeVar

COLUMNS = ("connect", "browse", "query", "parameters", "DDL/DML", "ingest", "cancel", "types")


@dataclass(frozen=True, slots=True)
class Site:
    """The server that a program talks to, and what it may rely on there.

    ``schema`` is the program's own to write in and holds a table ``seed`` of one row. ``tls_uri``
    serves others with the certificate in the file ``certificate``. ``folder`` is the program's own
    on disk. ``user_token`` is a token of the user.
    """

    uri: str
    tls_uri: str
    certificate: str
    username: str
    password: str
    user_token: str
    schema: str
    folder: str

    @property
    def address(self) -> str:
        """Host and port."""
        return self.uri.partition("://")[2]

    @property
    def tls_address(self) -> str:
        """Host and port of the server with TLS."""
        return self.tls_uri.partition("://")[2]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a client does; it passes when ``run`` returns.

    ``needs`` names features of the server: see ``tests.clients.pending``.
    """

    name: str
    column: str
    run: Callable[[Site], None]
    needs: tuple[str, ...]


C = TypeVar("C", bound=Callable[[Site], None])


@dataclass(frozen=True, slots=True)
class Program:
    """The cases of one client, by name, and the columns that the client has nothing for."""

    packages: tuple[str, ...]
    cases: dict[str, Case] = field(default_factory=dict)
    impossible: dict[str, str] = field(default_factory=dict)

    def case(self, column: str, *needs: str) -> Callable[[C], C]:
        """Add a function to a column; ``needs`` names features that the server must have."""
        if column not in COLUMNS:
            raise ValueError(column)

        def add(function: C) -> C:
            name = function.__name__
            if name in self.cases:
                raise ValueError(f"two cases are called {name}")
            self.cases[name] = Case(name, column, function, needs)
            return function

        return add

    def cannot(self, column: str, reason: str) -> None:
        """Say why the client has nothing for a column, in words that fit a footnote."""
        self.impossible[column] = reason

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that this process has."""
        return {name: metadata.version(name) for name in self.packages}

    def main(self, versions: Callable[[], Mapping[str, str]] | None = None) -> None:
        """Run cases as they are asked for: JSON lines in, JSON lines out, until the end of input.

        The first line in is the site, the first line out the versions. Then each line in is
        ``{"case"}`` and each line out ``{"case", "error"}``, with an error of None for a pass.
        """
        answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what a client prints must not get among the answers
        site = Site(**json.loads(sys.stdin.readline()))
        _say(answers, dict((versions or self.versions)()))
        for line in sys.stdin:
            name = json.loads(line)["case"]
            _say(answers, {"case": name, "error": self._run(name, site)})

    def _run(self, name: str, site: Site) -> str | None:
        try:
            self.cases[name].run(site)
        except BaseException as error:  # noqa: BLE001  a failed case is an answer
            with suppress(Exception):  # a client's own text for an error may fail
                return "".join(traceback.format_exception(error))
            return type(error).__name__
        return None


def site_line(site: Site) -> str:
    """Return a site as the first line that a program reads."""
    return json.dumps(asdict(site)) + "\n"


def _say(stream: Any, message: Mapping[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()
