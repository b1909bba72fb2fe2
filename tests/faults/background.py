"""A query over the bare Flight client, in a thread: it survives the end of its server."""

from __future__ import annotations

import threading
from typing import Any

import pyarrow.flight as fl

from flight_server.protocol import commands
from tests.servers import ADMIN_PASSWORD, Server


class Bare:
    """Runs one query at once; with ``stalls`` it reads the first batch and then no more."""

    def __init__(self, server: Server, sql: str, *, stalls: bool = False) -> None:
        self._client = fl.FlightClient(server.uri)
        token = self._client.authenticate_basic_token("admin", ADMIN_PASSWORD)
        self._options = fl.FlightCallOptions(headers=[token])
        self._sql = sql
        self._stalls = stalls
        self._reader: Any = None
        self._rows: list[dict[str, Any]] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            command = commands.encode_command(commands.StatementQuery(self._sql))
            descriptor = fl.FlightDescriptor.for_command(command)
            (endpoint,) = self._client.get_flight_info(descriptor, self._options).endpoints
            self._reader = self._client.do_get(endpoint.ticket, self._options)
            if self._stalls:
                self._reader.read_chunk()
            else:
                self._rows = self._reader.read_all().to_pylist()
        except Exception as error:  # noqa: BLE001  the test looks at it
            self._error = error

    def join(self) -> None:
        """Wait for the thread."""
        self._thread.join(30)
        assert not self._thread.is_alive()

    def result(self) -> list[dict[str, Any]]:
        """Return the rows, or raise the error."""
        self.join()
        self.close()
        if self._error is not None:
            raise self._error
        return self._rows

    def close(self) -> None:
        """Close the connection."""
        self._reader = None
        self._client.close()
