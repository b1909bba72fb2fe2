"""The foreign server that the tests of the client talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flight_server.client import Connection, connect
from tests.client.foreign import ForeignServer


@pytest.fixture(scope="session")
def foreign() -> Iterator[ForeignServer]:
    with ForeignServer() as server:
        yield server


@pytest.fixture
def connection(foreign: ForeignServer) -> Iterator[Connection]:
    with connect(foreign.uri) as opened:
        yield opened
