"""Writes results to files and pipes, batch by batch: CSV, JSON lines, Parquet and Arrow."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from flight_server.client.cells import is_number, plain, texts, visible
from flight_server.errors import AlreadyExists, InvalidRequest, Unsupported

_ROW_GROUP_BYTES_TARGET: Final = 64 * 1024 * 1024
_ROW_GROUP_ROWS_MAX: Final = 1_048_576


class Format(StrEnum):
    """How a result is written."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    ARROW = "arrow"


SUFFIXES: Final = {
    ".csv": Format.CSV,
    ".json": Format.JSON,
    ".jsonl": Format.JSON,
    ".ndjson": Format.JSON,
    ".parquet": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
}


class Sink(Protocol):
    """Something that takes the batches of one result; ``close`` completes it."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch."""
        ...

    def close(self) -> None:
        """Complete the output; the stream below stays open."""
        ...


def sink(form: Format, stream: IO[bytes], *, schema: pa.Schema, seekable: bool = True) -> Sink:
    """Return a sink that writes results of ``schema`` in a format.

    CSV: a line of names, NULL is nothing and an empty text is ``""``; lists and structs are JSON.
    JSON: one object for each line; decimals, times and bytes are texts. Arrow: the file format, or
    the stream format where the output cannot seek. Raises Unsupported for types that the format
    cannot hold.
    """
    try:
        match form:
            case Format.CSV:
                return _Csv(stream, schema)
            case Format.JSON:
                return _Json(stream)
            case Format.PARQUET:
                return _Parquet(stream, schema)
            case Format.ARROW:
                return _Arrow(stream, schema, seekable=seekable)
    except pa.ArrowException as error:
        raise Unsupported(f"the format cannot hold these columns: {error} format={form}") from None


@contextmanager
def replacing(target: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name when the block ends well, whole, and else not at all.

    Raises AlreadyExists when the file is there and ``force`` is false, InvalidRequest when it
    cannot be written.
    """
    if target.exists() and not force:
        raise AlreadyExists(f"{target} exists; --force replaces it")
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        stream = partial.open("xb")
    except OSError as error:
        raise InvalidRequest(f"cannot write {target}: {error.strerror}") from None
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _publish(partial, target, force=force)
    finally:
        partial.unlink(missing_ok=True)


def _publish(partial: Path, target: Path, *, force: bool) -> None:
    if force:
        partial.replace(target)
        return
    try:
        # Unlike a rename, a link never replaces a file that appeared meanwhile.
        target.hardlink_to(partial)
    except FileExistsError:
        raise AlreadyExists(f"{target} exists; --force replaces it") from None
    except OSError:  # a file system without links
        partial.replace(target)


class _Csv:
    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        self._schema = pa.schema([(field.name, _csv_type(field.type)) for field in schema])
        options = pyarrow.csv.WriteOptions(quoting_style="needed")
        self._writer = pyarrow.csv.CSVWriter(stream, self._schema, write_options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [
            column if column.type == field.type else pa.array(texts(column), pa.string())
            for column, field in zip(batch.columns, self._schema, strict=True)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _csv_type(kind: pa.DataType) -> pa.DataType:
    """Return the type itself where Arrow writes it, which is quick, else text."""
    types = pa.types
    native = (
        types.is_string(kind)
        or types.is_boolean(kind)
        or is_number(kind)
        or types.is_date(kind)
        or types.is_time(kind)
        or types.is_timestamp(kind)
    )
    return kind if native and not types.is_float16(kind) else pa.string()


class _Json:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [_json_values(column) for column in batch.columns]
        rows = zip(*columns, strict=True) if columns else [()] * batch.num_rows
        lines = [
            json.dumps(dict(zip(batch.schema.names, row, strict=True)), ensure_ascii=False)
            for row in rows
        ]
        self._stream.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))

    def close(self) -> None:
        self._stream.flush()


def _json_values(column: Any) -> list[Any]:
    types = pa.types
    kind = column.type
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_string(kind):
        return column.to_pylist()  # type: ignore[no-any-return]  # arrays are Any
    if types.is_floating(kind) or types.is_nested(kind) or types.is_dictionary(kind):
        return [plain(value) for value in column]
    return list(texts(column))


class _Parquet:
    """Gathers batches into row groups: one group for each small batch would make a poor file."""

    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(stream, schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        self._rows += batch.num_rows
        if self._bytes >= _ROW_GROUP_BYTES_TARGET or self._rows >= _ROW_GROUP_ROWS_MAX:
            self._flush()

    def close(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._bytes, self._rows = [], 0, 0


class _Arrow:
    def __init__(self, stream: Any, schema: pa.Schema, *, seekable: bool) -> None:
        new = pa.ipc.new_file if seekable else pa.ipc.new_stream
        self._writer = new(stream, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()


class Harmless:
    """A text stream for a terminal: passes bytes on with control characters spelled out."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any) -> int:
        """Take UTF-8 bytes; a character that is cut at the end waits for its rest."""
        whole = bytes(data)
        lines = self._decoder.decode(whole).split("\n")
        self._stream.write("\n".join(visible(line) for line in lines).encode())
        return len(whole)

    def flush(self) -> None:
        """Pass on what waits in the stream below."""
        with suppress(ValueError):
            self._stream.flush()

    @property
    def closed(self) -> bool:
        """Whether the stream below is closed."""
        return self._stream.closed
