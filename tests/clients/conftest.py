"""A server for the clients, one with TLS, and a process for each client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from tests.clients import environments, matrix
from tests.clients.cases import Site
from tests.clients.rows import ROWS, Row
from tests.clients.running import Running
from tests.lakehouse import build_lakehouse, write
from tests.servers import ADMIN_PASSWORD, Server, running
from tests.wire.certificates import make_certificate
from tests.wire.kinds import every_kind


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two servers, each over tables of its own: the clients write, and others count theirs."""
    folder = tmp_path_factory.mktemp("clients")
    directory = folder / "lakehouse"
    directory.mkdir()
    build_lakehouse(directory)
    write(directory / "types" / "every", every_kind())
    for row in ROWS:
        write(directory / schema_of(row) / "seed", pa.table({"id": [1]}))
    certificate, key = make_certificate(folder)
    with_tls = {
        "LAKEFLIGHT_SERVER__TLS_CERTIFICATE": str(certificate),
        "LAKEFLIGHT_SERVER__TLS_KEY": str(key),
    }
    beside = folder / "beside"
    beside.mkdir()
    build_lakehouse(beside)
    with running(directory) as plain, running(beside, environment=with_tls) as tls:
        yield Site(
            uri=plain.uri,
            tls_uri=tls.uri,
            certificate=str(certificate),
            username="admin",
            password=ADMIN_PASSWORD,
            user_token=_token(plain),
            schema="",
            folder=str(folder),
        )


@pytest.fixture(scope="session")
def clients(served: Site) -> Iterator[Callable[[Row], Running]]:
    """Return the process of a row, started once; skips or fails when the client is not there."""
    started: dict[str, Running] = {}
    with ExitStack() as stack:

        def client(row: Row) -> Running:
            if row.environment and (reason := environments.missing(row.environment)):
                if environments.REQUIRED:
                    pytest.fail(reason)
                pytest.skip(reason)
            if row.key not in started:
                folder = Path(served.folder) / row.key
                folder.mkdir()
                started[row.key] = Running(row, site_of(served, row, folder))
                stack.callback(started[row.key].close)
            return started[row.key]

        yield client
        matrix.save(started)


def schema_of(row: Row) -> str:
    """Return the name of the schema that a row may write in."""
    return "w_" + "".join(c if c.isalnum() else "_" for c in row.key)


def site_of(served: Site, row: Row, folder: Path) -> Site:
    """Return the site of a row."""
    return replace(served, schema=schema_of(row), folder=str(folder))


def _token(server: Server) -> str:
    client = fl.connect(server.uri)
    try:
        _, value = client.authenticate_basic_token("admin", ADMIN_PASSWORD)
    finally:
        client.close()
    token: str = value.decode().removeprefix("Bearer ")
    return token
