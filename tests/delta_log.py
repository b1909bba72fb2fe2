"""Writes a Delta log by hand, commit by commit; formats follow PROTOCOL.md in delta-io/delta."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

Action = dict[str, Any]

# Characters that stay as they are in the path of an add action; the rest is percent-encoded.
_URI_SAFE = "/=-_.!~*'()"
LOG = "_delta_log"
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
# Characters that writers do not escape in the names of partition folders (as Hive does).
_FOLDER_SAFE = "-_.!~*'() ,;&$@+<>|"

_PRIMITIVES: dict[pa.DataType, str] = {
    pa.string(): "string",
    pa.binary(): "binary",
    pa.bool_(): "boolean",
    pa.int8(): "byte",
    pa.int16(): "short",
    pa.int32(): "integer",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
    pa.timestamp("us", tz="UTC"): "timestamp",
    pa.timestamp("us"): "timestamp_ntz",
}


def delta_type(kind: pa.DataType) -> object:
    """Return a type as the schema string of a Delta log spells it."""
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_list(kind):
        return {
            "type": "array",
            "elementType": delta_type(kind.value_type),
            "containsNull": kind.value_field.nullable,
        }
    if pa.types.is_map(kind):
        return {
            "type": "map",
            "keyType": delta_type(kind.key_type),
            "valueType": delta_type(kind.item_type),
            "valueContainsNull": kind.item_field.nullable,
        }
    if pa.types.is_struct(kind):
        return {"type": "struct", "fields": [delta_field(child) for child in kind.fields]}
    raise AssertionError(kind)


def delta_field(column: pa.Field[Any]) -> Action:
    """Return a field as the schema string spells it; Arrow metadata becomes Delta metadata."""
    metadata = {
        key.decode(): int(value) if value.isdigit() else value.decode()
        for key, value in (column.metadata or {}).items()
    }
    return {
        "name": column.name,
        "type": delta_type(column.type),
        "nullable": column.nullable,
        "metadata": metadata,
    }


@dataclass
class DeltaFolder:
    """A Delta table written one commit at a time; ``version`` is that of the newest commit."""

    path: Path
    schema: pa.Schema
    partition_by: Sequence[str] = ()
    configuration: Mapping[str, str] = field(default_factory=dict)
    reader_features: Sequence[str] = ()
    reader_version: int = 1
    table_id: str = "11111111-2222-3333-4444-555555555555"
    version: int = -1

    def create(self, *actions: Action) -> DeltaFolder:
        """Write version 0: protocol, metadata, and the actions given."""
        self.log.mkdir(parents=True)
        self.commit(self.protocol(), self.metadata(), *actions)
        return self

    @property
    def log(self) -> Path:
        """The folder of the log."""
        return self.path / "_delta_log"

    def commit_path(self, version: int) -> Path:
        """Where the commit of that version lies."""
        return self.log / f"{version:020d}.json"

    def protocol(self) -> Action:
        """The protocol action that fits the features."""
        if self.reader_features:
            features = list(self.reader_features)
            return {
                "protocol": {
                    "minReaderVersion": 3,
                    "minWriterVersion": 7,
                    "readerFeatures": features,
                    "writerFeatures": features,
                }
            }
        writer = 5 if self.reader_version > 1 else 2
        return {"protocol": {"minReaderVersion": self.reader_version, "minWriterVersion": writer}}

    def metadata(self, schema: pa.Schema | None = None) -> Action:
        """The metadata action; another schema makes it an evolution."""
        self.schema = schema or self.schema
        return {
            "metaData": {
                "id": self.table_id,
                "format": {"provider": "parquet", "options": {}},
                "schemaString": json.dumps(
                    {"type": "struct", "fields": [delta_field(column) for column in self.schema]}
                ),
                "partitionColumns": list(self.partition_by),
                "configuration": dict(self.configuration),
                "createdTime": 1_700_000_000_000,
            }
        }

    def commit(self, *actions: Action) -> int:
        """Write the next commit and return its version."""
        self.version += 1
        info = {"commitInfo": {"timestamp": 1_700_000_000_000 + self.version, "operation": "WRITE"}}
        lines = [json.dumps(action) for action in (info, *actions)]
        self.commit_path(self.version).write_text("\n".join(lines) + "\n")
        return self.version

    def add(
        self,
        rows: pa.Table,
        name: str,
        *,
        partition: Mapping[str, str | None] | None = None,
        deletion_vector: Action | None = None,
        statistics: bool = True,
    ) -> Action:
        """Write a data file and return its add action.

        ``partition`` holds values as the log spells them.
        """
        partition = partition or {}
        folders = [
            f"{key}={HIVE_NULL if value is None else quote(value, safe=_FOLDER_SAFE)}"
            for key, value in partition.items()
        ]
        target = self.path.joinpath(*folders, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, target)
        add: Action = {
            "path": quote("/".join([*folders, name]), safe=_URI_SAFE),
            "partitionValues": dict(partition),
            "size": target.stat().st_size,
            "modificationTime": 1_700_000_000_000,
            "dataChange": True,
        }
        if statistics:
            add["stats"] = json.dumps({"numRecords": rows.num_rows})
        if deletion_vector is not None:
            add["deletionVector"] = deletion_vector
        return {"add": add}


def inline_deletion_vector(positions: Iterable[int]) -> Action:
    """A deletion vector held in the log itself: those row positions of the file are deleted."""
    rows = sorted(positions)
    data = roaring_array(rows)
    padded = data + b"\0" * (-len(data) % 4)
    return {
        "storageType": "i",
        "pathOrInlineDv": z85(padded),
        "sizeInBytes": len(data),
        "cardinality": len(rows),
    }


_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def z85(data: bytes) -> str:
    """Encode four bytes as five characters (ZeroMQ RFC 32)."""
    text: list[str] = []
    for (word,) in struct.iter_unpack(">I", data):
        digits = [_Z85[word // 85**power % 85] for power in range(4, -1, -1)]
        text.extend(digits)
    return "".join(text)


def roaring_array(rows: Sequence[int]) -> bytes:
    """Rows below 65,536 as the Delta form of a roaring bitmap: one bitmap, one array container."""
    assert all(0 <= row < 65_536 for row in rows)
    bitmap = struct.pack("<II", 12346, 1)  # cookie without run containers, one container
    bitmap += struct.pack("<HH", 0, len(rows) - 1)  # its key and its cardinality - 1
    bitmap += struct.pack("<I", 16)  # its offset
    bitmap += struct.pack(f"<{len(rows)}H", *rows)
    return struct.pack("<IQI", 1_681_511_377, 1, 0) + bitmap


def schema(**fields: pa.DataType) -> pa.Schema:
    """Return a schema of nullable fields."""
    return pa.schema([pa.field(name, kind) for name, kind in fields.items()])


NUMBERS = schema(id=pa.int64(), name=pa.string())


def numbers(start: int, stop: int) -> pa.Table:
    """Rows of ``NUMBERS``: id from start to stop - 1 and a name for it."""
    ids = list(range(start, stop))
    return pa.table({"id": ids, "name": [f"n{i}" for i in ids]}, schema=NUMBERS)


def _struct(**fields: pa.DataType) -> pa.DataType:
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


_TEXTS = pa.map_(pa.string(), pa.string())
_METADATA = _struct(
    id=pa.string(),
    format=_struct(provider=pa.string(), options=_TEXTS),
    schemaString=pa.string(),
    partitionColumns=pa.list_(pa.string()),
    configuration=_TEXTS,
    createdTime=pa.int64(),
)
_ADD = _struct(
    path=pa.string(),
    partitionValues=_TEXTS,
    size=pa.int64(),
    modificationTime=pa.int64(),
    dataChange=pa.bool_(),
    stats=pa.string(),
)
_CHECKPOINT = pa.schema(
    [
        pa.field("protocol", _struct(minReaderVersion=pa.int32(), minWriterVersion=pa.int32())),
        pa.field("metaData", _METADATA),
        pa.field("add", _ADD),
        pa.field("remove", _struct(path=pa.string(), deletionTimestamp=pa.int64())),
    ]
)


def checkpoint_rows(actions: Iterable[Action]) -> pa.Table:
    """Actions as rows of a checkpoint: maps become lists of pairs."""

    def paired(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            key: list(inner.items())
            if key in ("options", "configuration", "partitionValues")
            else paired(inner)
            for key, inner in value.items()
        }

    return pa.Table.from_pylist([paired(action) for action in actions], schema=_CHECKPOINT)
