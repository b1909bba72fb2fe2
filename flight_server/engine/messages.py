"""What frames between gateway and worker carry: queries, descriptions, errors, as bytes.

JSON, and Arrow IPC for schemas. Both ends are of one version, so nothing here is a format to keep.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from flight_server import errors
from flight_server.engine.account import Work
from flight_server.engine.base import (
    NO_PARAMETERS,
    Description,
    FileGroup,
    FileScan,
    Pin,
    Query,
    Temporary,
    WriteTarget,
    Written,
)
from flight_server.sql.names import AsOf
from policies.names import Principal, Role, TableRef

_VALUES = struct.Struct("<BI")
_LENGTHS = struct.Struct("<II")
_COUNT = struct.Struct("<q")


class WorkerFault(Exception):
    """A worker failed in a way that is ours to explain; its text is for the log only."""


def encode_query(query: Query) -> bytes:
    """Write a query as the payload of a DESCRIBE or STREAM frame.

    JSON; bound values come before it, behind a NUL, which starts no JSON, and their length.
    """
    principal, temporary = query.principal, query.temporary
    text = json.dumps(
        {
            "sql": query.sql,
            "bucket": query.bucket,
            "schema": query.schema,
            "pins": [pin_to_json(pin) for pin in query.pins],
            "principal": {
                "user_id": principal.user_id,
                "username": principal.username,
                "role": principal.role,
                "custom_roles": sorted(principal.custom_roles),
                "purpose": principal.purpose,
                "attributes": principal.attributes,
            },
            "temporary": temporary and [temporary.schema, sorted(temporary.tables)],
        }
    ).encode()
    if not query.parameters:
        return text
    return _VALUES.pack(0, len(query.parameters)) + query.parameters + text


def decode_query(payload: bytes) -> Query:
    """Read what ``encode_query`` wrote."""
    values = b""
    if payload[0] == 0:
        _, length = _VALUES.unpack_from(payload)
        end = _VALUES.size + length
        values, payload = payload[_VALUES.size : end], payload[end:]
    data = json.loads(payload)
    who, temporary = data["principal"], data["temporary"]
    return Query(
        sql=data["sql"],
        bucket=data["bucket"],
        schema=data["schema"],
        pins=tuple(pin_from_json(pin) for pin in data["pins"]),
        principal=Principal(
            user_id=who["user_id"],
            username=who["username"],
            role=Role(who["role"]),
            custom_roles=frozenset(who["custom_roles"]),
            purpose=who["purpose"],
            attributes=tuple((name, value) for name, value in who["attributes"]),
        ),
        parameters=values,
        temporary=temporary and Temporary(temporary[0], frozenset(temporary[1])),
    )


def encode_description(description: Description) -> bytes:
    """Write a description: two lengths, the pins as JSON, the parameters and the schema as IPC."""
    pins = json.dumps([pin_to_json(pin) for pin in description.pins]).encode()
    parameters = b""
    if len(description.parameters):
        parameters = description.parameters.serialize().to_pybytes()
    schema = description.schema.serialize().to_pybytes()
    return _LENGTHS.pack(len(pins), len(parameters)) + pins + parameters + schema


def decode_description(payload: bytes) -> Description:
    """Read what ``encode_description`` wrote."""
    pins, parameters, schema = _parts(payload)
    return Description(
        schema=pa.ipc.read_schema(pa.py_buffer(schema)),
        pins=tuple(pin_from_json(pin) for pin in json.loads(pins)),
        parameters=pa.ipc.read_schema(pa.py_buffer(parameters)) if parameters else NO_PARAMETERS,
    )


def encode_end(work: Work, *, are_repeatable: bool = False) -> bytes:
    """Write the payload of an END frame: what the work came to.

    ``are_repeatable`` says that the same query would give the same rows again.
    """
    return (b"\x01" if are_repeatable else b"\x00") + work.encode()


def decode_end(payload: bytes) -> bool:
    """Return whether the same query would give the same rows again."""
    return payload[0] == 1


def work_at_end(payload: bytes) -> Work:
    """Return what the work came to, from the payload of an END frame."""
    return Work.decode(payload[1:])


def encode_write(query: Query, target: WriteTarget) -> bytes:
    """Write a statement and its target as the payload of a WRITE frame."""
    schema = b"" if target.schema is None else target.schema.serialize().to_pybytes()
    where = json.dumps(
        {
            "folder": target.folder,
            "has_schema": target.schema is not None,
            "partition_columns": target.partition_columns,
            "pin": target.pin and pin_to_json(target.pin),
            "chosen": target.chosen,
            "file_bytes": target.file_bytes,
            "rows_are_source": target.rows_are_source,
            "checks": target.checks,
            "columns": target.columns,
            "purges": target.purges,
            "is_dry": target.is_dry,
        }
    ).encode()
    return _LENGTHS.pack(len(schema), len(where)) + schema + where + encode_query(query)


def decode_write(payload: bytes) -> tuple[Query, WriteTarget]:
    """Read what ``encode_write`` wrote."""
    schema, where, rest = _parts(payload)
    data = json.loads(where)
    target = WriteTarget(
        folder=data["folder"],
        schema=pa.ipc.read_schema(pa.py_buffer(schema)) if data["has_schema"] else None,
        partition_columns=tuple(data["partition_columns"]),
        pin=data["pin"] and pin_from_json(data["pin"]),
        chosen=None if data["chosen"] is None else tuple(data["chosen"]),
        file_bytes=data["file_bytes"],
        rows_are_source=data["rows_are_source"],
        checks=tuple(data["checks"]),
        columns=None if data["columns"] is None else tuple(data["columns"]),
        purges=data["purges"],
        is_dry=data["is_dry"],
    )
    return decode_query(rest), target


def encode_check(scan: FileScan, checks: tuple[str, ...]) -> bytes:
    """Write files and what their rows are held to as the payload of a CHECK frame.

    The partition values of the groups are the rows of a batch.
    """
    columns = [scan.schema.field(name) for name in scan.partition_columns]
    values = [
        pa.array([group.partition[place].as_py() for group in scan.groups], field.type)
        for place, field in enumerate(columns)
    ]
    schema = scan.schema.serialize().to_pybytes()
    what = json.dumps(
        {
            "checks": checks,
            "partition_columns": scan.partition_columns,
            "paths": [group.paths for group in scan.groups],
        }
    ).encode()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema(columns)) as writer:
        if columns:
            writer.write_batch(pa.RecordBatch.from_arrays(values, schema=pa.schema(columns)))
    partitions = sink.getvalue().to_pybytes()
    return _LENGTHS.pack(len(schema), len(what)) + schema + what + partitions


def decode_check(payload: bytes) -> tuple[FileScan, tuple[str, ...]]:
    """Read what ``encode_check`` wrote."""
    schema, what, partitions = _parts(payload)
    data = json.loads(what)
    columns = pa.ipc.open_stream(partitions).read_all().columns
    groups = (
        FileGroup(tuple(column[place] for column in columns), tuple(paths))
        for place, paths in enumerate(data["paths"])
    )
    scan = FileScan(
        pa.ipc.read_schema(pa.py_buffer(schema)),
        tuple(data["partition_columns"]),
        tuple(groups),
    )
    return scan, tuple(data["checks"])


def encode_count(rows: int) -> bytes:
    """Write a number of rows as the payload of a COUNT frame."""
    return _COUNT.pack(rows)


def decode_count(payload: bytes) -> int:
    """Read what ``encode_count`` wrote."""
    return int(_COUNT.unpack(payload)[0])


def encode_written(written: Written) -> bytes:
    """Write what a write made as the payload of a WRITTEN frame."""
    schema = written.schema.serialize().to_pybytes()
    made = json.dumps(
        {
            "files": written.files,
            "removed": written.removed,
            "inserted": written.inserted,
            "updated": written.updated,
            "deleted": written.deleted,
            "read": [[ref.bucket, ref.schema, ref.table] for ref in written.read],
        }
    ).encode()
    return _LENGTHS.pack(len(schema), len(made)) + schema + made


def decode_written(payload: bytes) -> Written:
    """Read what ``encode_written`` wrote."""
    schema, made, _ = _parts(payload)
    data = json.loads(made)
    return Written(
        schema=pa.ipc.read_schema(pa.py_buffer(schema)),
        files=tuple(data["files"]),
        removed=tuple(data["removed"]),
        inserted=data["inserted"],
        updated=data["updated"],
        deleted=data["deleted"],
        read=tuple(TableRef(*names) for names in data["read"]),
    )


def _parts(payload: bytes) -> tuple[bytes, bytes, bytes]:
    first, second = _LENGTHS.unpack_from(payload)
    middle = _LENGTHS.size + first
    return (
        payload[_LENGTHS.size : middle],
        payload[middle : middle + second],
        payload[middle + second :],
    )


def pin_to_json(pin: Pin) -> list[Any]:
    """Write a pin as a JSON list."""
    as_of: list[Any] | None = None
    if pin.as_of is not None:
        time = pin.as_of.time
        as_of = [pin.as_of.version, None if time is None else time.isoformat()]
    names = (pin.ref.bucket, pin.ref.schema, pin.ref.table)
    return [*names, pin.version, pin.stamp, as_of, pin.policy]


def pin_from_json(data: list[Any]) -> Pin:
    """Read what ``pin_to_json`` wrote."""
    bucket, schema, table, version, stamp, as_of, policy = data
    moment = None
    if as_of is not None:
        time = None if as_of[1] is None else datetime.fromisoformat(as_of[1])
        moment = AsOf(version=as_of[0], time=time)
    ref = TableRef(bucket, schema, table)
    return Pin(ref=ref, version=version, stamp=stamp, as_of=moment, policy=policy)


_ERRORS: Mapping[str, type[errors.LakeflightError]] = {
    cls.__name__: cls
    for cls in vars(errors).values()
    if isinstance(cls, type)
    and issubclass(cls, errors.LakeflightError)
    and cls not in (errors.LakeflightError, errors.Internal)
}


def encode_error(error: errors.LakeflightError, work: Work | None = None) -> bytes:
    """Write one of our errors as the payload of an ERROR frame, with what was worked until then."""
    return json.dumps(
        {
            "work": work,
            "class": type(error).__name__,
            "message": error.message,
            "code": error.code,
            "retry_after_seconds": error.retry_after_seconds,
        }
    ).encode()


def encode_fault(text: str) -> bytes:
    """Write a fault that is not one of our errors; the text is for the log of the gateway alone."""
    return json.dumps({"class": None, "message": text}).encode()


def work_at_error(payload: bytes) -> Work | None:
    """Return what was worked until an error, from the payload of its frame, if it says so."""
    numbers = json.loads(payload).get("work")
    return None if numbers is None else Work(*numbers)


def decode_error(payload: bytes) -> Exception:
    """Read what ``encode_error`` or ``encode_fault`` wrote.

    A fault comes back as ``WorkerFault``.
    """
    data = json.loads(payload)
    cls = _ERRORS.get(data["class"])
    if cls is None:
        return WorkerFault(data["message"])
    return cls(data["message"], code=data["code"], retry_after_seconds=data["retry_after_seconds"])
