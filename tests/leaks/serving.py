"""A real server over the tables of all cases, and every byte that it sends to those attacking."""

from __future__ import annotations

import json
import selectors
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow.flight as fl

from tests.leaks import searching
from tests.leaks.cases import FENCED, ME
from tests.leaks.searching import Outcome
from tests.leaks.world import World
from tests.servers import Server, running
from tests.wire.raw import RawClient

PASSWORD = "quite another horse"
_CHUNK_BYTES = 1 << 16


class Tap:
    """Passes bytes on between clients and a server, and keeps what the server sends."""

    def __init__(self, uri: str) -> None:
        self._target = urlsplit(uri)
        self._received = bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.uri = f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def received(self) -> bytes:
        """Return all that the server has sent so far."""
        return bytes(self._received)

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._accepting.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._target.hostname, self._target.port))
                self._sockets += (client, server)
                threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError, ValueError), selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    source: Any = key.fileobj
                    data = source.recv(_CHUNK_BYTES)
                    if not data:
                        return
                    if source is server:
                        self._received += data
                    key.data.sendall(data)


@dataclass(frozen=True, slots=True)
class Clients:
    """Connections of one user who is watched, and of one before whom what is left is fenced."""

    world: World
    server: Server
    tap: Tap
    me: RawClient
    researcher: RawClient
    analyst: RawClient
    fenced: RawClient
    driver: flightsql.Connection
    admin: RawClient

    def of(self, purpose: str | None) -> RawClient:
        """Return the connection that states a purpose, or none."""
        return {"research": self.researcher, "analytics": self.analyst}.get(purpose or "", self.me)


@contextmanager
def serving(world: World) -> Iterator[Clients]:
    """Serve a lakehouse, in which nothing is hidden yet."""
    environment = {
        "LAKEFLIGHT_STORAGE__SYSTEM": str(world.system),
        "LAKEFLIGHT_WORKERS__COUNT_MAX": "2",
    }
    with ExitStack() as stack:
        server = stack.enter_context(running(world.folder, environment=environment))
        tap = Tap(server.uri)
        stack.callback(tap.close)
        admin = stack.enter_context(RawClient.connect(server))
        for name in (ME.username, FENCED.username):
            admin.call(
                "auth.register", username=name, email=f"{name}@example.org", password=PASSWORD
            )
            admin.call("user.approve", username=name, role="registered", tier="enterprise")
        admin.call("user.set_attributes", username="me", attributes=dict(ME.attributes))
        _grant(admin)
        tapped = replace(server, uri=tap.uri)
        me = stack.enter_context(RawClient.connect(tapped, "me", PASSWORD))
        researcher, analyst = (
            stack.enter_context(
                RawClient.connect(tapped, "me", PASSWORD, x_lakehouse_purpose=purpose)
            )
            for purpose in ("research", "analytics")
        )
        fenced = stack.enter_context(RawClient.connect(server, "fenced", PASSWORD))
        driver = stack.enter_context(tapped.connect("me", PASSWORD))
        yield Clients(world, server, tap, me, researcher, analyst, fenced, driver, admin)


def _grant(admin: RawClient) -> None:
    admin.call(
        "grant.add",
        privilege="read",
        resource="primary.left",
        to={"user": "me"},
        purposes=["research", "analytics"],
    )


def asked(client: RawClient, sql: Any) -> Outcome:
    """Run a query by GetFlightInfo and DoGet; what is said has the totals too."""
    try:
        info = client.info(sql)
        found = read(client, info.endpoints[0].ticket)
    except fl.FlightError as error:
        return refused(error)
    totals = (info.total_records, info.total_bytes)
    return Outcome((*found.said, totals), found.received)


def read(client: RawClient, ticket: fl.Ticket) -> Outcome:
    """Use a ticket."""
    try:
        reader = client.open(ticket)
        batches = [chunk.data for chunk in reader]
        return searching.of_rows(reader.schema, batches)
    except fl.FlightError as error:
        return refused(error)


def bound(connection: flightsql.Connection, sql: str, values: Sequence[object]) -> Outcome:
    """Run a prepared statement of the official driver."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, tuple(values) or None)
            table = cursor.fetch_arrow_table()
            return searching.of_rows(table.schema, table.to_batches())
    except flightsql.Error as error:
        details: dict[Any, Any] = dict(error.details)
        body = details.get(b"x-lakehouse-error", b"{}")
        return _refused(body, f"{error} {details}")


def refused(error: fl.FlightError) -> Outcome:
    """Return the outcome of a call that failed."""
    return _refused(error.extra_info or b"{}", f"{error} {error.extra_info!r}")


def _refused(body: bytes, text: str) -> Outcome:
    found = json.loads(body)
    said = (found.get("code"), searching.alike(found.get("message", "")))
    return Outcome(said, text.encode())
