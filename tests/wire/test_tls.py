"""TLS: a certificate of our own making, and clients that trust it or do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pyarrow.flight as fl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import ADMIN_PASSWORD, Server, running


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lakeflight test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "server.pem", folder / "server.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_path, key_path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls_server(lakehouse: Path, certificate: tuple[Path, Path]) -> Iterator[Server]:
    settings = {
        "LAKEFLIGHT_SERVER__TLS_CERTIFICATE": str(certificate[0]),
        "LAKEFLIGHT_SERVER__TLS_KEY": str(certificate[1]),
        # Its own state, since the server over the same tables has its own users.
        "LAKEFLIGHT_STORAGE__SYSTEM": str(certificate[0].parent / "system"),
    }
    with running(lakehouse, read_only=True, environment=settings) as server:
        yield server


def test_the_uri_says_tls(tls_server: Server) -> None:
    assert tls_server.uri.startswith("grpc+tls://127.0.0.1:")


def test_adbc_connects_with_the_certificate(
    tls_server: Server, certificate: tuple[Path, Path]
) -> None:
    roots = {"adbc.flight.sql.client_option.tls_root_certs": certificate[0].read_text()}
    with closing(tls_server.connect(**roots)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sales.orders")
        assert cursor.fetchone() == (10_000,)


def test_a_client_that_does_not_trust_it_does_not_connect(tls_server: Server) -> None:
    with fl.connect(tls_server.uri) as client, pytest.raises(fl.FlightError):
        client.authenticate_basic_token("admin", ADMIN_PASSWORD)


def test_a_client_without_tls_does_not_connect(tls_server: Server) -> None:
    plain = tls_server.uri.replace("grpc+tls://", "grpc://")
    with fl.connect(plain) as client, pytest.raises(fl.FlightError):
        client.authenticate_basic_token("admin", ADMIN_PASSWORD)
