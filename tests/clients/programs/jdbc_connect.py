"""Connections of the JDBC driver: one Java process for all cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import quote

from tests.clients.cases import Site
from tests.clients.programs.jvm import JavaError, Machine, Remote, Result, closing


@cache
def machine() -> Machine:
    """Return the Java process."""
    return Machine()


def url(site: Site, *, address: str | None = None, **properties: str) -> str:
    """Return a URL with the properties in it, as people write them; by default the user's."""
    if not properties.keys() & {"user", "token"}:
        properties |= {"user": site.username, "password": site.password}
    properties.setdefault("useEncryption", "false")
    given = "&".join(f"{name}={quote(value, safe='')}" for name, value in properties.items())
    return f"jdbc:arrow-flight-sql://{address or site.address}/?{given}"


@contextmanager
def connected(site: Site, *, address: str | None = None, **properties: str) -> Iterator[Remote]:
    """Connect, and close at the end."""
    made = machine().connect(url(site, address=address, **properties), {})
    with closing(made) as connection:
        yield connection


def query(connection: Remote, sql: str) -> Result:
    """Run a query by a statement of its own and read it."""
    with closing(connection.createStatement()) as statement:
        return read(statement.executeQuery(sql))


def read(result_set: Remote) -> Result:
    """Read a ResultSet to its end and close it."""
    with closing(result_set):
        return result_set.read()


def update(connection: Remote, sql: str) -> int:
    """Run a statement that changes something; the count."""
    with closing(connection.createStatement()) as statement:
        count: int = statement.executeUpdate(sql)
        return count


def thrown(call: Callable[[], Any]) -> JavaError:
    """Return what a call throws; fails when it does not."""
    try:
        call()
    except JavaError as error:
        return error
    raise AssertionError("nothing was thrown")
