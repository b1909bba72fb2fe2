"""Certificates of our own making: authorities, and what they vouch for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_ADDRESS = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
_MAY_SIGN = x509.BasicConstraints(ca=True, path_length=None)


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority, and the file with its certificate."""

    certificate: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path, name: str) -> Self:
        """Make an authority that vouches for itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        title = _named(name)
        made = (
            _builder(title, title, key)
            .add_extension(_MAY_SIGN, critical=True)
            .sign(key, hashes.SHA256())
        )
        path = folder / f"{name}.pem"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return cls(path, title, key)

    def issue(self, folder: Path, name: str, *, expired: bool = False) -> tuple[Path, Path]:
        """Return the files of a certificate for 127.0.0.1, good for both ends, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        title = _named(name)
        uses = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        made = (
            _builder(title, self.name, key, expired=expired)
            .add_extension(_ADDRESS, critical=False)
            .add_extension(uses, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        return _written(folder, name, made, key)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    title = _named("lakeflight test")
    made = (
        _builder(title, title, key)
        .add_extension(_ADDRESS, critical=False)
        .add_extension(_MAY_SIGN, critical=True)
        .sign(key, hashes.SHA256())
    )
    return _written(folder, "server", made, key)


def _written(
    folder: Path, name: str, made: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    certificate_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_path, key_path


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    expired: bool = False,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=-1 if expired else 1))
    )
