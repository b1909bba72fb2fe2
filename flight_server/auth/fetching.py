"""Fetches a small document over HTTPS: within a time, up to a size, from exactly that place."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from flight_server.errors import InvalidRequest, Unavailable

FETCH_SECONDS_MAX = 5.0
DOCUMENT_BYTES_MAX = 512 * 1024
URL_CHARACTERS_MAX = 2048
_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def is_local(url: str) -> bool:
    """Whether a URL leads to this machine."""
    with suppress(ValueError):
        return urlsplit(url).hostname in _LOCAL_HOSTS
    return False


def check_url(url: str, *, local: bool) -> SplitResult:
    """Return the parts of a URL that may be fetched; ``local`` allows HTTP within this machine.

    Raises InvalidRequest.
    """
    try:
        parts = urlsplit(url)
        named = parts.hostname is not None and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        raise InvalidRequest("the URL cannot be read") from None
    if len(url) > URL_CHARACTERS_MAX or not (url.isascii() and url.isprintable() and named):
        raise InvalidRequest("the URL cannot be used")
    if " " in url or parts.fragment:
        raise InvalidRequest("the URL cannot be used")
    if parts.scheme != "https" and not (parts.scheme == "http" and local and is_local(url)):
        raise InvalidRequest("the URL does not begin with https://")
    return parts


def fetch(url: str, *, local: bool = False, seconds_max: float = FETCH_SECONDS_MAX) -> bytes:
    """Return the document at a URL.

    Redirects are not followed. Certificates are checked against the authorities of the system, or
    those that the variables of OpenSSL name. Raises Unavailable, with what went wrong, when there
    is no whole document of at most DOCUMENT_BYTES_MAX in time; InvalidRequest as ``check_url``.
    """
    parts = check_url(url, local=local)
    connection = _connection(parts, seconds_max)
    deadline = _Deadline(seconds_max)
    try:
        connection.connect()
        deadline.guard(connection.sock)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "application/json"})
        with connection.getresponse() as response:
            content = response.read(DOCUMENT_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        problem = "took too long" if deadline.is_over else type(error).__name__
        raise Unavailable(f"{parts.hostname} did not answer: {problem}") from None
    finally:
        deadline.cancel()
        connection.close()
    if deadline.is_over:
        raise Unavailable(f"{parts.hostname} did not answer: took too long")
    if response.status != http.client.OK:
        raise Unavailable(f"{parts.hostname} answered with the status {response.status}")
    if len(content) > DOCUMENT_BYTES_MAX:
        raise Unavailable(f"{parts.hostname} answered with more than {DOCUMENT_BYTES_MAX} bytes")
    if response.length:
        raise Unavailable(f"{parts.hostname} did not answer to the end")
    return content


class _Deadline:
    """Cuts a connection off when its time is over.

    A sender of one byte at a time would never run into the time limit of a single read.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def guard(self, connected: socket.socket) -> None:
        """Cut this one off at the deadline, or now if that is over."""
        with self._lock:
            self._socket = connected
        if self.is_over:
            self._end()

    def cancel(self) -> None:
        """Cut off nothing any more."""
        self._timer.cancel()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            if self._socket is not None:
                with suppress(OSError):
                    # Not the method of an encrypted socket, which would first forget its keys.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _connection(parts: SplitResult, seconds_max: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=seconds_max)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(host, parts.port, timeout=seconds_max, context=context)
