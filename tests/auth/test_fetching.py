"""Documents of other servers: fetched whole, in time, from exactly the place that was asked."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flight_server import errors
from flight_server.auth.fetching import DOCUMENT_BYTES_MAX, check_url, fetch
from tests.auth.issuing import KEYS, Issuer, issuing, plain_answer
from tests.wire.certificates import Authority


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


def problem(url: str, *, seconds_max: float = 5.0) -> str:
    with pytest.raises(errors.Unavailable) as caught:
        fetch(url, local=True, seconds_max=seconds_max)
    return caught.value.message


def test_a_document_comes_as_it_is(issuer: Issuer) -> None:
    issuer.answers["/a"] = plain_answer(b" " * DOCUMENT_BYTES_MAX)
    issuer.answers["/b?c=d"] = plain_answer(b"x")
    base = issuer.url.removesuffix("/realm")
    assert fetch(base + "/a", local=True) == b" " * DOCUMENT_BYTES_MAX
    assert fetch(base + "/b?c=d", local=True) == b"x"


def test_what_is_no_whole_document_is_an_error(issuer: Issuer) -> None:
    url, other = issuer.url + "/keys", plain_answer(b"{}")
    issuer.answers["/elsewhere"] = other
    assert problem(issuer.url + "/none").endswith("status 404")
    for status in (301, 302, 307, 308):
        issuer.answers[KEYS] = plain_answer(b"", status, Location="/elsewhere")
        assert problem(url).endswith(f"status {status}")
    assert "/elsewhere" not in issuer.asked
    issuer.answers[KEYS] = plain_answer(b"x" * (DOCUMENT_BYTES_MAX + 1))
    assert "more than" in problem(url)
    issuer.answers[KEYS] = plain_answer(b"", 204)
    assert problem(url).endswith("status 204")
    issuer.stop()
    assert "did not answer" in problem(url)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def broken(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"x" * 50)


def nonsense(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"hello\r\n\r\n")


def test_senders_that_do_not_keep_to_the_protocol_are_errors(issuer: Issuer) -> None:
    for answer in (endless, broken, nonsense):
        issuer.answers[KEYS] = answer
        problem(issuer.url + "/keys")


def test_a_sender_of_single_bytes_is_cut_off(issuer: Issuer) -> None:
    issuer.answers[KEYS] = issuer.trickle
    start = time.monotonic()
    assert problem(issuer.url + "/keys", seconds_max=0.3).endswith("took too long")
    assert time.monotonic() - start < 2


def slow_headers(issuer: Issuer) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        while not issuer.released.wait(0.05):
            handler.wfile.write(b"y")
            handler.wfile.flush()

    issuer.answers[KEYS] = answer


def test_a_sender_of_endless_headers_is_cut_off(issuer: Issuer) -> None:
    slow_headers(issuer)
    assert problem(issuer.url + "/keys", seconds_max=0.3).endswith("took too long")


def test_a_host_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for scheme in ("http", "https"):
            assert "did not answer" in problem(f"{scheme}://127.0.0.1:{port}/", seconds_max=0.2)


@contextmanager
def https_server(authority: Authority, folder: Path) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            plain_answer(b"{}")(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name
            """Say nothing."""

    certificate, key = authority.issue(folder, "issuer")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that refuse
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.make(tmp_path, "authority")
    with https_server(authority, tmp_path) as port:
        assert "did not answer" in problem(f"https://127.0.0.1:{port}/")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        assert fetch(f"https://127.0.0.1:{port}/") == b"{}"
        # The certificate is for the address, not for the name.
        assert "did not answer" in problem(f"https://localhost:{port}/")


@pytest.mark.parametrize(
    "url",
    ["http://login.example.com/", "file:///etc/passwd", "https://a@b/", "https://", "https://a:x/"],
)
def test_places_that_are_not_safe_are_not_asked(url: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        fetch(url, local=True)
    with pytest.raises(errors.InvalidRequest):
        check_url("http://127.0.0.1/", local=False)
