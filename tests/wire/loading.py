"""Loads over the bare Flight client: exactly the batches that a test wants to send."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from flight_server.protocol import commands
from flight_server.protocol.commands import StatementIngest, TableExists, TableNotExist
from tests.wire.raw import RawClient

MODES = {
    "create": (TableNotExist.CREATE, TableExists.FAIL),
    "append": (TableNotExist.FAIL, TableExists.APPEND),
    "replace": (TableNotExist.CREATE, TableExists.REPLACE),
    "create_append": (TableNotExist.CREATE, TableExists.APPEND),
}


def ingest(
    table: str, *, mode: str = "create", schema: str | None = "sales", **more: Any
) -> fl.FlightDescriptor:
    """Return what CommandStatementIngest is sent with."""
    options = commands.TableDefinitionOptions(*MODES[mode])
    command = StatementIngest(options, table, schema, **more)
    return fl.FlightDescriptor.for_command(commands.encode_command(command))


def load(
    client: RawClient,
    target: fl.FlightDescriptor,
    batches: pa.Table | Iterable[pa.RecordBatch],
    *,
    schema: pa.Schema | None = None,
) -> int:
    """Send batches to a target; return the number of rows that the server says it took.

    ``schema`` is needed where there may be no batch.
    """
    if isinstance(batches, pa.Table):
        schema, batches = batches.schema, batches.to_batches()
    waiting = iter(batches)
    first = None if schema is not None else next(waiting)
    sent = schema if first is None else first.schema
    writer, reader = client.client.do_put(target, sent, client.options)
    try:
        _send(writer, waiting, first)
        answer = reader.read()
    finally:
        writer.close()  # raises what the server refused
    assert answer is not None
    if target.descriptor_type is fl.DescriptorType.PATH:
        rows: int = json.loads(answer.to_pybytes())["rows"]
        return rows
    result = commands.decode_put_result(commands.DoPutUpdateResult, answer.to_pybytes())
    return result.record_count


def _send(writer: Any, batches: Iterable[pa.RecordBatch], first: pa.RecordBatch | None) -> None:
    if first is not None:
        writer.write_batch(first)
    try:
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
    except (fl.FlightError, pa.ArrowException, OSError):
        # The server has answered before the end; reading its answer gives the error.
        return
