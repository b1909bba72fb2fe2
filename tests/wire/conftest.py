"""Fixtures of the tests that go over the wire."""

from __future__ import annotations

from collections.abc import Iterator

import adbc_driver_flightsql.dbapi as flightsql
import pytest

from tests.servers import Server
from tests.wire.raw import RawClient


@pytest.fixture(scope="session")
def raw(server: Server) -> Iterator[RawClient]:
    """A bare Flight client, signed in to the shared server as the administrator."""
    with RawClient.connect(server) as client:
        yield client


@pytest.fixture(scope="module")
def adbc(server: Server) -> Iterator[flightsql.Connection]:
    """A connection of the official driver to the shared server, as the administrator."""
    with server.connect() as connection:
        yield connection
