"""A small Flight SQL server of somebody else's: what the client meets beside our own.

The statement is a keyword that says how to answer; see ``ForeignServer.do_get`` and ``FAILURES``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

_FIELDS: list[pa.Field[Any]] = [pa.field("n", pa.int64()), pa.field("text", pa.string())]
SCHEMA = pa.schema(_FIELDS)
BATCH_ROWS = 10
# statement: what the server raises
FAILURES: dict[str, type[Exception]] = {
    "unauthenticated": fl.FlightUnauthenticatedError,
    "denied": fl.FlightUnauthorizedError,
    "away": fl.FlightUnavailableError,
    "late": fl.FlightTimedOutError,
    "broken": fl.FlightInternalError,
}


class ForeignServer(fl.FlightServerBase):  # type: ignore[misc]  # pyarrow.flight has no types
    """Serves CommandStatementQuery and nothing else."""

    def __init__(self) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self.uri = f"grpc://127.0.0.1:{self.port}"
        self.cancelled = threading.Event()
        self.headers: list[dict[str, Any]] = []

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        outer = _fields(descriptor.command)
        if not outer[1].endswith(b"CommandStatementQuery"):
            raise NotImplementedError
        sql = _fields(outer[2])[1].decode()
        if sql in FAILURES:
            raise FAILURES[sql]("told to fail")
        if sql == "described":
            body = {
                "code": "table_not_found",
                "message": "there is no table a.b.c",
                "retryable": False,
            }
            context.add_trailer("x-lakehouse-error", json.dumps(body))
            raise KeyError("there is no table a.b.c")
        endpoint = fl.FlightEndpoint(sql.encode(), [])
        return fl.FlightInfo(SCHEMA, descriptor, [endpoint], -1, -1)

    def do_get(self, context: Any, ticket: Any) -> Any:
        return fl.GeneratorStream(SCHEMA, self._batches(context, ticket.ticket.decode()))

    def _batches(self, context: Any, sql: str) -> Iterator[pa.RecordBatch]:
        # From the first batch on: a cancel may come before the second has been asked for.
        try:
            for number in range(3):
                if number == 2 and sql == "breaks":
                    body = {"code": "limit_exceeded", "message": "too much", "retryable": True}
                    context.add_trailer(
                        "x-lakehouse-error", json.dumps({**body, "retry_after_seconds": 2.5})
                    )
                    raise fl.FlightUnavailableError("too much")
                yield batch(number)
            while sql == "endless":
                yield batch(3)
        finally:
            self.cancelled.set()

    def do_action(self, context: Any, action: Any) -> Any:
        raise NotImplementedError


def batch(number: int) -> pa.RecordBatch:
    """Return the batch of that number, as the server sends it."""
    rows = range(number * BATCH_ROWS, (number + 1) * BATCH_ROWS)
    return pa.RecordBatch.from_pydict(
        {"n": list(rows), "text": [None if n % 7 == 0 else f"row {n}\x1b[31m" for n in rows]},
        schema=SCHEMA,
    )


def _fields(message: bytes) -> dict[int, bytes]:
    """Read the length-delimited fields of a protobuf message."""
    found: dict[int, bytes] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        length = varint()
        if tag & 7 == 2:
            found[tag >> 3] = message[at : at + length]
            at += length
    return found
