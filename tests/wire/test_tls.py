"""TLS: certificates of our own making, clients that trust them or do not, and who must show one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow.flight as fl
import pytest

from flight_server.protocol import commands
from tests.servers import ADMIN_PASSWORD, Server, running
from tests.wire.certificates import Authority
from tests.wire.raw import refused

OPTION = "adbc.flight.sql.client_option"
Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    """The authority of the server."""
    return Authority.make(folder, "authority")


@pytest.fixture(scope="module")
def tls_server(lakehouse: Path, folder: Path, authority: Authority) -> Iterator[Server]:
    certificate, key = authority.issue(folder, "server")
    settings = {
        "LAKEFLIGHT_SERVER__TLS_CERTIFICATE": str(certificate),
        "LAKEFLIGHT_SERVER__TLS_KEY": str(key),
        # Its own state, since the server over the same tables has its own users.
        "LAKEFLIGHT_STORAGE__SYSTEM": str(folder / "system"),
    }
    with running(lakehouse, read_only=True, environment=settings) as server:
        yield server


def trusting(authority: Authority, own: Files | None = None) -> dict[str, str]:
    """Return the driver's options to trust an authority, and to show a certificate of one's own."""
    options = {f"{OPTION}.tls_root_certs": authority.certificate.read_text()}
    if own is not None:
        options[f"{OPTION}.mtls_cert_chain"] = own[0].read_text()
        options[f"{OPTION}.mtls_private_key"] = own[1].read_text()
    return options


def count(server: Server, options: dict[str, str]) -> object:
    with closing(server.connect(**options)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sales.orders")
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def arrow_client(server: Server, authority: Authority, own: Files | None = None) -> fl.FlightClient:
    chain, key = (None, None) if own is None else (path.read_bytes() for path in own)
    roots = authority.certificate.read_bytes()
    return fl.FlightClient(server.uri, tls_root_certs=roots, cert_chain=chain, private_key=key)


def test_the_uri_says_tls(tls_server: Server) -> None:
    assert tls_server.uri.startswith("grpc+tls://127.0.0.1:")


def test_adbc_connects_with_the_certificate(tls_server: Server, authority: Authority) -> None:
    assert count(tls_server, trusting(authority)) == 10_000


def test_a_client_that_does_not_trust_it_does_not_connect(tls_server: Server) -> None:
    with fl.connect(tls_server.uri) as client, pytest.raises(fl.FlightError):
        client.authenticate_basic_token("admin", ADMIN_PASSWORD)


def test_a_client_without_tls_does_not_connect(tls_server: Server) -> None:
    plain = tls_server.uri.replace("grpc+tls://", "grpc://")
    with fl.connect(plain) as client, pytest.raises(fl.FlightError):
        client.authenticate_basic_token("admin", ADMIN_PASSWORD)


@pytest.fixture(scope="module")
def clients(folder: Path) -> Authority:
    """The authority of the clients, which is another one than that of the server."""
    return Authority.make(folder, "clients")


@pytest.fixture(scope="module")
def own(folder: Path, clients: Authority) -> Files:
    return clients.issue(folder, "client")


@pytest.fixture(scope="module")
def mutual_server(
    lakehouse: Path, folder: Path, authority: Authority, clients: Authority
) -> Iterator[Server]:
    certificate, key = authority.issue(folder, "mutual")
    settings = {
        "LAKEFLIGHT_SERVER__TLS_CERTIFICATE": str(certificate),
        "LAKEFLIGHT_SERVER__TLS_KEY": str(key),
        "LAKEFLIGHT_SERVER__TLS_CLIENT_AUTHORITIES": str(clients.certificate),
        "LAKEFLIGHT_STORAGE__SYSTEM": str(folder / "mutual-system"),
    }
    with running(lakehouse, read_only=True, environment=settings) as server:
        yield server


def test_clients_with_a_certificate_connect(
    mutual_server: Server, authority: Authority, own: Files
) -> None:
    assert count(mutual_server, trusting(authority, own)) == 10_000
    with arrow_client(mutual_server, authority, own) as client:
        token = client.authenticate_basic_token("admin", ADMIN_PASSWORD)
        assert list(client.list_actions(fl.FlightCallOptions(headers=[token])))


def test_a_certificate_is_no_password(
    mutual_server: Server, authority: Authority, own: Files
) -> None:
    descriptor = fl.FlightDescriptor.for_command(
        commands.encode_command(commands.StatementQuery("SELECT 1"))
    )
    with arrow_client(mutual_server, authority, own) as client:
        assert refused(lambda: client.get_flight_info(descriptor)) == "unauthenticated"
        wrong = refused(lambda: client.authenticate_basic_token("admin", "wrong password"))
        assert wrong == "invalid_credentials"


@pytest.mark.parametrize("kind", ["none", "of another authority", "made by itself", "expired"])
def test_clients_without_a_good_certificate_do_not_connect(
    mutual_server: Server,
    authority: Authority,
    clients: Authority,
    tmp_path: Path,
    kind: str,
) -> None:
    shown = {
        "none": None,
        "of another authority": authority.issue(tmp_path, "other"),
        # Of the same name as the right authority, which proves nothing.
        "made by itself": Authority.make(tmp_path, "clients").issue(tmp_path, "client"),
        "expired": clients.issue(tmp_path, "expired", expired=True),
    }[kind]
    with arrow_client(mutual_server, authority, shown) as client, pytest.raises(fl.FlightError):
        client.authenticate_basic_token("admin", ADMIN_PASSWORD)
    with pytest.raises(flightsql.Error):
        count(mutual_server, trusting(authority, shown))
