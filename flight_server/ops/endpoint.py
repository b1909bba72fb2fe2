"""A small HTTP server for monitoring: fixed answers to GET and HEAD, nothing else.

It runs in one thread beside everything else and must not be hurt by whoever reaches its port: a
connection has little time for all it does, may send little, and there are few at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from flight_server import errors

_log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 8 * 1024
CONNECTIONS_MAX = 32
# For the head of a request, and for taking the answer away.
TRANSFER_SECONDS_MAX = 2.0
# For making the answer.
ANSWER_SECONDS_MAX = 8.0
_START_SECONDS_MAX = 10.0
_END_SECONDS_MAX = 0.5
_BACKLOG = 128
# What the kernel keeps of a connection that is closed: struct linger, on, for no second.
_NOTHING_LEFT = struct.pack("@ii", 1, 0)
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path says."""

    body: bytes
    content_type: str = _TEXT
    status: HTTPStatus = HTTPStatus.OK


# Makes the answer of a path; takes the value of the header Accept.
Route = Callable[[str], Awaitable[Answer]]


class Endpoint:
    """Serves ``routes`` by path on one address until ``close``."""

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        self._host = host
        self._port = port
        self._routes = routes
        self._open = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_up = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Begin to answer; return the URL.

        Raises Unavailable when the address cannot be used.
        """
        try:
            listening = _listen(self._host, self._port)
        except OSError as error:
            raise errors.Unavailable(
                f"cannot listen on {self._host}:{self._port} for monitoring:"
                f" {error.strerror or 'address not usable'}"
            ) from None
        self._port = listening.getsockname()[1]
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(listening)), name="monitoring", daemon=True
        )
        self._thread.start()
        self._is_up.wait(_START_SECONDS_MAX)
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def close(self) -> None:
        """Stop answering; safe to call again."""
        loop, self._loop = self._loop, None
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(_START_SECONDS_MAX)

    async def _run(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._serve, sock=listening, limit=HEAD_BYTES_MAX)
        self._is_up.set()
        async with server:
            await self._stop.wait()
            # No more connections before the server closes: asyncio forgets one that is on its way
            # in then.
            asyncio.get_running_loop().remove_reader(listening)
            await _end_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= CONNECTIONS_MAX:
            _reset(writer)
            return
        self._open += 1
        try:
            answer, is_head = await self._answer(reader)
            async with asyncio.timeout(TRANSFER_SECONDS_MAX):
                writer.write(_message(answer, is_head=is_head))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it went away, or takes its time
        except Exception:  # noqa: BLE001  one connection must not end the others
            _log.exception("a request of monitoring failed")
        finally:
            self._open -= 1
            _reset(writer)

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[Answer, bool]:
        """Return what to say to a request, and whether only its head is wanted."""
        try:
            async with asyncio.timeout(TRANSFER_SECONDS_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), False
        first, *rest = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
            return _plain(HTTPStatus.BAD_REQUEST), False
        method, path = words[0], words[1].partition("?")[0]
        if method not in {"GET", "HEAD"}:
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED), False
        route = self._routes.get(path)
        if route is None:
            return _plain(HTTPStatus.NOT_FOUND), method == "HEAD"
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return await route(_header(rest, "accept")), method == "HEAD"
        except TimeoutError:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE), method == "HEAD"
        except Exception:  # noqa: BLE001  who asks is told by the status, the operator by the log
            _log.exception("an answer of monitoring failed")
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR), method == "HEAD"


async def _end_all() -> None:
    """End the connections that are left: for a moment gently, then at once."""
    for is_gentle in (True, False):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in () if is_gentle else left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_END_SECONDS_MAX)
    await asyncio.sleep(0)  # they are closed in the next turn


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        listening.settimeout(0)
    except OSError:
        listening.close()
        raise
    return listening


def _reset(writer: asyncio.StreamWriter) -> None:
    """Let go of a connection at once, with what its other side has not taken away."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOTHING_LEFT)
    writer.transport.abort()


def _plain(status: HTTPStatus) -> Answer:
    return Answer(f"{status.phrase}\n".encode(), status=status)


def _message(answer: Answer, *, is_head: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head if is_head else head + answer.body


def _header(lines: list[str], name: str) -> str:
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return ""
