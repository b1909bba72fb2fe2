"""Data that clients send: bound parameters, and the rows of a load, read within bounds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from flight_server import errors
from flight_server.storage.arrow_types import holds_dictionary, stream_bytes
from flight_server.storage.soundness import sound

PARAMETER_ROWS_MAX = 100_000
PARAMETER_BYTES_MAX = 16 * 1024 * 1024
_NEVER_SENT = "never sent a data message"


class Incoming:
    """The record batches of one DoPut, as they come.

    Whoever reads to the end knows that it is the end: a client that went away in between raises
    Cancelled, where the library alone would tell the two apart no more. Nothing is validated yet.
    """

    def __init__(
        self, reader: fl.MetadataRecordBatchReader, *, is_cancelled: Callable[[], bool]
    ) -> None:
        self._reader = reader
        self._is_cancelled = is_cancelled

    def schema(self) -> pa.Schema | None:
        """Return the schema that was sent, None when the client sent a descriptor and no more."""
        try:
            schema: pa.Schema = self._reader.schema
        except OSError as error:
            if _NEVER_SENT in str(error):
                return None
            raise self._broken() from None
        except (pa.ArrowException, fl.FlightError):
            raise self._broken() from None
        return schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                batch = self._reader.read_chunk().data
            except StopIteration:
                if self._is_cancelled():
                    raise _gone() from None
                return
            except pa.ArrowMemoryError:
                raise errors.LimitExceeded(
                    "the data unpack to more than the server may take; limit=memory_bytes_max"
                ) from None
            except (pa.ArrowException, fl.FlightError, OSError):
                raise self._broken() from None
            if batch is not None:
                yield batch

    def _broken(self) -> errors.LakeflightError:
        if self._is_cancelled():
            return _gone()
        return errors.InvalidRequest("the data are no valid Arrow stream")


def _gone() -> errors.Cancelled:
    return errors.Cancelled("the client went away before all data had come")


def read_parameters(incoming: Incoming) -> bytes:
    """Return bound rows as an Arrow IPC stream, nothing when none were sent.

    Raises InvalidRequest for data that are not valid, LimitExceeded for too many.
    """
    schema = incoming.schema()
    if schema is None or not len(schema):
        return b""
    # Not for its own sake: Arrow 26 ends the process at a broken message behind a dictionary, and
    # everybody may bind parameters.
    if any(holds_dictionary(field.type) for field in schema):
        raise errors.Unsupported("parameters cannot be dictionaries: bind their values")
    rows, size = 0, 0
    batches: list[pa.RecordBatch] = []
    for batch in incoming:
        rows += batch.num_rows
        if rows > PARAMETER_ROWS_MAX:
            raise errors.LimitExceeded(
                f"too many rows of parameters; parameter_rows_max={PARAMETER_ROWS_MAX}"
            )
        size += batch.get_total_buffer_size()
        _bound_bytes(size)
        batches.append(_plain(sound(batch)))
        if batches[-1].schema != batches[0].schema:
            raise errors.InvalidRequest("all rows of one parameter must have one type")
    if not batches:
        return b""
    return stream_bytes(pa.Table.from_batches(batches))


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Take values out of the unions that flightsql-dbapi wraps them in."""
    if not any(pa.types.is_union(field.type) for field in batch.schema):
        return batch
    columns = [
        _unwrapped(column) if pa.types.is_union(column.type) else column for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _unwrapped(column: pa.Array[Any]) -> pa.Array[Any]:
    scalars = [scalar.value for scalar in column]
    kinds = {scalar.type for scalar in scalars if scalar is not None}
    if len(kinds) > 1:
        raise errors.InvalidRequest("all rows of one parameter must have one type")
    values, size = [], 0
    for scalar in scalars:
        values.append(None if scalar is None else scalar.as_py())
        # Rows may share one large value, which was counted once.
        size += sys.getsizeof(values[-1])
        _bound_bytes(size)
    return pa.array(values, kinds.pop() if kinds else pa.string())


def _bound_bytes(size: int) -> None:
    if size > PARAMETER_BYTES_MAX:
        raise errors.LimitExceeded(
            f"the parameters are too large; parameter_bytes_max={PARAMETER_BYTES_MAX}"
        )
