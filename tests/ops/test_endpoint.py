from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from flight_server import errors
from flight_server.ops import endpoint
from flight_server.ops.endpoint import CONNECTIONS_MAX, HEAD_BYTES_MAX, Answer, Endpoint

LARGE = b"x" * 8_000_000


async def say(accept: str) -> Answer:
    return Answer(f"accept={accept}".encode())


async def large(_accept: str) -> Answer:
    return Answer(LARGE)


async def hang(_accept: str) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


async def fail(_accept: str) -> Answer:
    raise RuntimeError("a secret")


ROUTES = {"/say": say, "/large": large, "/hang": hang, "/fail": fail}


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endpoint, "TRANSFER_SECONDS_MAX", 0.3)
        patch.setattr(endpoint, "ANSWER_SECONDS_MAX", 0.3)
        served = Endpoint("127.0.0.1", 0, ROUTES)
        parts = urlsplit(served.start())
        yield str(parts.hostname), int(parts.port or 0)
        served.close()


def ask(
    address: tuple[str, int], path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*address, timeout=5)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def raw(address: tuple[str, int], data: bytes) -> bytes:
    """Send bytes and return all that comes back until the end."""
    with socket.create_connection(address, timeout=5) as sock:
        answer = b""
        with contextlib.suppress(OSError):  # closed while we were still talking
            sock.sendall(data)
            while part := sock.recv(65536):
                answer += part
        return answer


def was_reset(sock: socket.socket) -> bool:
    """Read on and tell whether that ends in a reset."""
    try:
        while sock.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    return False


def test_a_path_is_answered(address: tuple[str, int]) -> None:
    status, headers, body = ask(address, "/say?x=1", Accept="text/html")
    assert (status, body) == (200, b"accept=text/html")
    assert headers["Connection"] == "close"


def test_head_has_no_body(address: tuple[str, int]) -> None:
    status, headers, body = ask(address, "/say", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "7", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "CONNECT"])
def test_nothing_but_get_and_head(address: tuple[str, int], method: str) -> None:
    status, headers, _ = ask(address, "/say", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/saying", "/say/", "/../etc/passwd", "/%73ay"])
def test_no_other_path(address: tuple[str, int], path: str) -> None:
    assert ask(address, path)[0] == 404


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET\r\n\r\n", b"400"),
        (b"GET /say\r\n\r\n", b"400"),
        (b"GET say HTTP/1.1\r\n\r\n", b"400"),
        (b"GET  /say  HTTP/1.1\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"),
        (b"GET /say HTTP/1.1\r\nno colon\r\n: \r\n\xff\r\n\r\n", b"200"),
        (b"GET /say HTTP/1.1\r\nContent-Length: 999999\r\n\r\nbody", b"200"),
    ],
)
def test_odd_requests_get_an_answer(
    address: tuple[str, int], request_head: bytes, status: bytes
) -> None:
    assert raw(address, request_head).startswith(b"HTTP/1.1 " + status)


def test_a_head_that_is_too_long_is_not_read(address: tuple[str, int]) -> None:
    head = b"GET /say HTTP/1.1\r\nX: " + b"x" * (2 * HEAD_BYTES_MAX) + b"\r\n\r\n"
    assert raw(address, head)[:12] in (b"HTTP/1.1 431", b"")  # or reset while we still send


def test_garbage_ends_nothing(address: tuple[str, int]) -> None:
    for length in (1, 100, 5_000, 200_000):
        raw(address, os.urandom(length))
    assert ask(address, "/say")[0] == 200


def test_an_answer_that_hangs_or_fails_tells_nothing(address: tuple[str, int]) -> None:
    assert ask(address, "/hang")[0] == 503
    status, _, body = ask(address, "/fail")
    assert (status, body) == (500, b"Internal Server Error\n")


def test_who_is_slow_holds_up_nobody(address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(address, timeout=5))
            for _ in range(CONNECTIONS_MAX - 1)
        ]
        for sock in slow:
            sock.sendall(b"GET /say HTT")
        assert ask(address, "/say")[0] == 200
        # Their time ends, however many there are, and whether they send another byte or not.
        slow[0].sendall(b"P")
        for sock in slow:
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(10) == b""


def test_who_does_not_read_is_left(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=5) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        assert ask(address, "/hang")[0] == 503  # meanwhile the time of the other is over
        assert was_reset(sock)


def test_more_connections_than_allowed_are_closed(address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        held, refused = [], 0
        for _ in range(CONNECTIONS_MAX + 20):
            try:
                held.append(stack.enter_context(socket.create_connection(address, timeout=5)))
            except ConnectionResetError:
                refused += 1
        for sock in held:  # those that were let in have their time, and no more
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""
    assert refused <= 20
    assert ask(address, "/say")[0] == 200


def test_it_takes_one_thread(address: tuple[str, int]) -> None:
    threads = [thread.name for thread in threading.enumerate() if thread.name == "monitoring"]
    assert threads == ["monitoring"]


def test_a_taken_port_is_told(address: tuple[str, int]) -> None:
    with pytest.raises(errors.Unavailable, match="for monitoring"):
        Endpoint(*address, ROUTES).start()


def test_it_ends(address: tuple[str, int]) -> None:
    served = Endpoint("127.0.0.1", 0, ROUTES)
    parts = urlsplit(served.start())
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=5) as sock:
        served.close()
        served.close()
        with contextlib.suppress(OSError):
            assert sock.recv(1) == b""
