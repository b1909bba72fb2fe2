"""From the URL to the driver's options."""

from __future__ import annotations

from pathlib import Path

import pytest
from adbc_driver_flightsql import DatabaseOptions
from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import ArgumentError

from flight_server.client.sqlalchemy.url import Target, target

HEADER = DatabaseOptions.RPC_CALL_HEADER_PREFIX.value


def read(url: str) -> Target:
    made = make_url(url)
    return target(made, tls=made.drivername == "lakeflight+tls")


def test_a_whole_url() -> None:
    made = read("lakeflight://ada:p%40ss@lake.example:4711/primary/sales")
    assert made.uri == "grpc://lake.example:4711"
    assert (made.bucket, made.schema) == ("primary", "sales")
    assert made.options["username"] == "ada"
    assert made.options["password"] == "p@ss"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", (None, None)),
        ("/", (None, None)),
        ("/b", ("b", None)),
        ("/b/", ("b", None)),
        ("/b/s", ("b", "s")),
    ],
)
def test_names_may_be_left_out(path: str, names: tuple[str | None, str | None]) -> None:
    made = read(f"lakeflight://lake.example{path}")
    assert (made.bucket, made.schema) == names
    assert made.uri == "grpc://lake.example:31337"


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("lakeflight://h", "grpc"),
        ("lakeflight+tls://h", "grpc+tls"),
        ("lakeflight://h?tls=true", "grpc+tls"),
        ("lakeflight+tls://h?tls=no", "grpc"),
    ],
)
def test_tls(url: str, scheme: str) -> None:
    assert read(url).uri == f"{scheme}://h:31337"


def test_an_address_of_ip_6_keeps_its_brackets() -> None:
    assert read("lakeflight://[::1]:99").uri == "grpc://[::1]:99"


def test_options(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text("PEM")
    options = read(
        f"lakeflight://h?token=T&tls_skip_verify=1&tls_roots={roots}&timeout_seconds=2.5"
        "&query_tag=nightly&purpose=audit&header.X-Trace=7&tls_server_name=other"
    ).options
    assert options[DatabaseOptions.AUTHORIZATION_HEADER.value] == "Bearer T"
    assert options[DatabaseOptions.TLS_SKIP_VERIFY.value] == "true"
    assert options[DatabaseOptions.TLS_ROOT_CERTS.value] == "PEM"
    assert options[DatabaseOptions.TLS_OVERRIDE_HOSTNAME.value] == "other"
    assert options[DatabaseOptions.TIMEOUT_FETCH.value] == "2.5"
    assert options[f"{HEADER}x-lakehouse-query-tag"] == "nightly"
    assert options[f"{HEADER}x-lakehouse-purpose"] == "audit"
    assert options[f"{HEADER}x-trace"] == "7"
    assert "username" not in options


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("lakeflight://h/a/b/c", "/bucket/schema"),
        ("lakeflight://h?colour=red", "colour"),
        ("lakeflight://h?tls=perhaps", "perhaps"),
        ("lakeflight://h?timeout_seconds=soon", "soon"),
        ("lakeflight://h?timeout_seconds=-1", "above 0"),
        ("lakeflight://h?tls_roots=/no/such/file", "tls_roots"),
        ("lakeflight://ada@h", "password"),
        ("lakeflight://ada:p@h?token=T", "not both"),
        ("lakeflight://h?token=a&token=b", "token"),
    ],
)
def test_what_is_wrong_is_said(url: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        read(url)
