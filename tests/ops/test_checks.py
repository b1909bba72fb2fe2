from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from flight_server.auth.keys import SECRET_FILE, load_secret
from flight_server.ops import checks
from flight_server.ops.checks import Finding, Light, examine
from flight_server.ops.settings import load
from tests.auth import forging
from tests.auth.issuing import issuing
from tests.clocks import StandingClock


def look(folder: Path | str, **overrides: Any) -> dict[str, Finding]:
    flags = {"storage.primary": str(folder), "server.port": 0}
    flags |= {key.replace("__", "."): value for key, value in overrides.items()}
    findings = list(examine(load(None, flags, environ={}), StandingClock()))
    return {finding.subject: finding for finding in findings}


def test_a_sound_installation_has_nothing_red(tmp_path: Path) -> None:
    load_secret(tmp_path / ".lakeflight", configured=None, random_bytes=os.urandom)
    findings = look(tmp_path)
    assert [each for each in findings.values() if each.light is Light.RED] == []
    assert {"storage", "system folder", "signing secret", "port", "pyarrow", "clock"} <= set(
        findings
    )
    assert list((tmp_path / ".lakeflight").iterdir()) == [tmp_path / ".lakeflight" / SECRET_FILE]


def test_looking_makes_nothing(tmp_path: Path) -> None:
    look(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_lakehouse_is_red(tmp_path: Path) -> None:
    assert look(tmp_path / "nowhere")["storage"].light is Light.RED
    assert look("s3://bucket/x")["storage"].light is Light.YELLOW
    assert look("s3://bucket/x")["system folder"].light is Light.RED


def test_a_secret_open_to_others_is_red(tmp_path: Path) -> None:
    load_secret(tmp_path / ".lakeflight", configured=None, random_bytes=os.urandom)
    (tmp_path / ".lakeflight" / SECRET_FILE).chmod(0o644)
    assert look(tmp_path)["signing secret"].light is Light.RED


def test_key_files_are_looked_at(tmp_path: Path) -> None:
    assert "token keys" not in look(tmp_path)
    path = forging.write_private(tmp_path / "key.pem", forging.ed_key())
    found = look(tmp_path, auth__signing_key=path)["token keys"]
    assert (found.light, found.text[:10]) == (Light.GREEN, "EdDSA, kid")
    path.chmod(0o644)
    found = look(tmp_path, auth__signing_key=path)["token keys"]
    assert (found.light, "chmod 600" in found.text) == (Light.RED, True)
    missing = [tmp_path / "none.pem"]
    assert look(tmp_path, auth__verification_keys=missing)["token keys"].light is Light.RED
    assert look(tmp_path, auth__algorithms=["RS256"])["token keys"].light is Light.RED


def test_issuers_are_asked(tmp_path: Path) -> None:
    with issuing() as issuer:
        about = {"company": {"issuer": issuer.url, "audience": "lakehouse"}}
        found = look(tmp_path, issuers=about)["issuer company"]
        assert (found.light, "1 usable key" in found.text) == (Light.GREEN, True)
        about["company"]["algorithms"] = ["EdDSA"]  # type: ignore[assignment]  # as in TOML
        assert look(tmp_path, issuers=about)["issuer company"].light is Light.YELLOW
    assert look(tmp_path, issuers=about)["issuer company"].light is Light.YELLOW


def test_a_taken_port_is_red(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        finding = look(tmp_path, server__port=taken.getsockname()[1])["port"]
    assert finding.light is Light.RED


def test_a_file_in_the_way_of_the_system_folder_is_red(tmp_path: Path) -> None:
    (tmp_path / ".lakeflight").write_text("x")
    assert look(tmp_path)["system folder"].light is Light.RED


def test_passwords_in_clear_are_yellow(tmp_path: Path) -> None:
    assert look(tmp_path, server__host="0.0.0.0")["TLS"].light is Light.YELLOW
    missing = {"server__tls_certificate": "/no/c.pem", "server__tls_key": "/no/k.pem"}
    assert look(tmp_path, **missing)["TLS"].light is Light.RED


@pytest.mark.parametrize(
    ("version", "sign", "bound", "holds"),
    [
        ("26.0.1", ">=", "26.0.1", True),
        ("26.0.0", ">=", "26.0.1", False),
        ("55", ">=", "55.0.0", True),
        ("56.0.0", "<", "56", False),
        ("9.1", "<", "10", True),
        ("1.7.0rc1", ">", "1.6", True),
        ("2", "==", "2.0", True),
        ("2.0.1", "<=", "2.0", False),
    ],
)
def test_versions_compare_by_number(version: str, sign: str, bound: str, holds: bool) -> None:
    assert checks._holds(version, sign, bound=bound) is holds
