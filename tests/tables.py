"""Delta tables as other writers leave them, written by hand so that no library of ours has a say in them.

``DeltaFolder`` writes a log commit by commit; the functions below it make one table each, under
the path given, and return the rows that a right reader sees. Formats follow the Delta protocol
document (PROTOCOL.md in delta-io/delta).
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Action = dict[str, Any]

# Characters that stay as they are in the path of an add action; everything else is percent-encoded in UTF-8.
_URI_SAFE = "/=-_.!~*'()"
# Characters that writers escape in the names of partition folders (as Hive does).
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


def delta_field(column: pa.Field) -> Action:
    """Return a field as the schema string spells it; Arrow metadata becomes Delta metadata (integers as such)."""
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
        """Write a data file and return its add action; ``partition`` holds values as the log spells them."""
        partition = partition or {}
        folders = [
            f"{key}={'__HIVE_DEFAULT_PARTITION__' if value is None else quote(value, safe=_FOLDER_SAFE)}"
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
    data = _roaring_array(rows)
    padded = data + b"\0" * (-len(data) % 4)
    return {
        "storageType": "i",
        "pathOrInlineDv": base64.z85encode(padded).decode()
        if hasattr(base64, "z85encode")
        else _z85(padded),
        "sizeInBytes": len(data),
        "cardinality": len(rows),
    }


_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def _z85(data: bytes) -> str:
    """Encode four bytes as five characters (ZeroMQ RFC 32)."""
    text = []
    for (word,) in struct.iter_unpack(">I", data):
        digits = []
        for _ in range(5):
            word, digit = divmod(word, 85)
            digits.append(_Z85[digit])
        text.extend(reversed(digits))
    return "".join(text)


def _roaring_array(rows: Sequence[int]) -> bytes:
    """Rows below 65,536 as the Delta form of a portable roaring bitmap: one bitmap, one array container."""
    assert all(0 <= row < 65_536 for row in rows)
    bitmap = struct.pack("<II", 12346, 1)  # cookie without run containers, one container
    bitmap += struct.pack("<HH", 0, len(rows) - 1)  # its key and its cardinality - 1
    bitmap += struct.pack("<I", 16)  # its offset
    bitmap += struct.pack(f"<{len(rows)}H", *rows)
    return struct.pack("<IQI", 1_681_511_377, 1, 0) + bitmap


NUMBERS = pa.schema([pa.field("id", pa.int64()), pa.field("name", pa.string())])


def numbers(start: int, stop: int) -> pa.Table:
    """Rows of ``NUMBERS``: id from start to stop - 1 and a name for it."""
    ids = list(range(start, stop))
    return pa.table({"id": ids, "name": [f"n{i}" for i in ids]}, schema=NUMBERS)


def plain(path: Path, *, files: int = 2) -> pa.Table:
    """A plain table of ten rows a file, one commit for each file."""
    folder = DeltaFolder(path, NUMBERS)
    folder.create(folder.add(numbers(0, 10), "f0.parquet"))
    for i in range(1, files):
        folder.commit(folder.add(numbers(10 * i, 10 * i + 10), f"f{i}.parquet"))
    return numbers(0, 10 * files)


AWKWARD_VALUES: tuple[str | None, ...] = (
    None, "plain", "with space", "100%", "a=b", "a/b", "zürich ☃", "%20", "+", "x'y", "#?&", "c:d", "..",
)  # fmt: skip


def partitioned_by_awkward_text(path: Path) -> pa.Table:
    """A table partitioned by text with NULL and every character that paths and URLs give a meaning."""
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("place", pa.string())])
    folder = DeltaFolder(path, schema, partition_by=["place"])
    adds = [
        folder.add(pa.table({"id": [i]}), f"part-{i}.parquet", partition={"place": value})
        for i, value in enumerate(AWKWARD_VALUES)
    ]
    folder.create(*adds)
    return pa.table({"id": range(len(AWKWARD_VALUES)), "place": AWKWARD_VALUES}, schema=schema)


TYPED_PARTITIONS: tuple[tuple[pa.DataType, str, object], ...] = (
    (pa.int8(), "-7", -7),
    (pa.int16(), "300", 300),
    (pa.int32(), "70000", 70000),
    (pa.int64(), "9007199254740993", 9007199254740993),
    (pa.float32(), "1.5", 1.5),
    (pa.float64(), "-0.1", -0.1),
    (pa.bool_(), "true", True),
    (pa.date32(), "2024-02-29", date(2024, 2, 29)),
    (pa.decimal128(10, 2), "12.30", Decimal("12.30")),
    (pa.timestamp("us", tz="UTC"), "2024-01-02 03:04:05.000006", "2024-01-02T03:04:05.000006+00:00"),
    (pa.timestamp("us", tz="UTC"), "2024-01-02T03:04:05.123456Z", "2024-01-02T03:04:05.123456+00:00"),
    (pa.string(), "", None),
)  # fmt: skip


def partitioned_by_type(path: Path) -> pa.Table:
    """A table with one partition column of each type; one row of values, one of NULLs."""
    names = [f"p{i}" for i in range(len(TYPED_PARTITIONS))]
    kinds = [kind for kind, _, _ in TYPED_PARTITIONS]
    schema = pa.schema(
        [pa.field("id", pa.int64()), *(pa.field(n, k) for n, k in zip(names, kinds, strict=True))]
    )
    folder = DeltaFolder(path, schema, partition_by=names)
    spelled = {n: text for n, (_, text, _) in zip(names, TYPED_PARTITIONS, strict=True)}
    add = folder.add(pa.table({"id": [1]}), "a.parquet")
    add["add"]["partitionValues"] = spelled
    none = folder.add(pa.table({"id": [2]}), "b.parquet")
    none["add"]["partitionValues"] = dict.fromkeys(names)
    folder.create(add, none)
    rows: list[dict[str, object]] = [{"id": 1}, {"id": 2}]
    for name, (kind, _, value) in zip(names, TYPED_PARTITIONS, strict=True):
        is_time = pa.types.is_timestamp(kind) and isinstance(value, str)
        rows[0][name] = datetime.fromisoformat(str(value)) if is_time else value
    return pa.Table.from_pylist(rows, schema=schema)


def evolved(path: Path) -> pa.Table:
    """A table whose older file lacks a column, and a field inside a struct."""
    inner = pa.struct([pa.field("x", pa.int64())])
    wider = pa.struct([pa.field("x", pa.int64()), pa.field("y", pa.string())])
    old = pa.schema([pa.field("id", pa.int64()), pa.field("s", inner)])
    new = pa.schema(
        [pa.field("id", pa.int64()), pa.field("s", wider), pa.field("late", pa.string())]
    )
    folder = DeltaFolder(path, old)
    folder.create(folder.add(pa.table({"id": [1], "s": [{"x": 1}]}, schema=old), "old.parquet"))
    rows = [{"id": 2, "s": {"x": 2, "y": "b"}, "late": "z"}]
    fresh = pa.Table.from_pylist(rows, schema=new)
    folder.commit(folder.metadata(new), folder.add(fresh, "new.parquet"))
    first: list[dict[str, Any]] = [{"id": 1, "s": {"x": 1, "y": None}, "late": None}]
    return pa.Table.from_pylist(first + rows, schema=new)


def widened(path: Path, *, feature: str = "typeWidening") -> pa.Table:
    """A table whose column grew from 32 to 64 bits under the feature for it."""
    old = pa.schema([pa.field("id", pa.int32())])
    change = '[{"fromType":"integer","toType":"long","tableVersion":1}]'
    folder = DeltaFolder(
        path, old, reader_features=[feature], configuration={"delta.enableTypeWidening": "true"}
    )
    folder.create(folder.add(pa.table({"id": [1, 2]}, schema=old), "old.parquet"))
    new = pa.schema([pa.field("id", pa.int64())])
    metadata = folder.metadata(new)
    text = json.loads(metadata["metaData"]["schemaString"])
    text["fields"][0]["metadata"] = {"delta.typeChanges": json.loads(change)}
    metadata["metaData"]["schemaString"] = json.dumps(text)
    folder.commit(metadata, folder.add(pa.table({"id": [2**40]}, schema=new), "new.parquet"))
    return pa.table({"id": [1, 2, 2**40]}, schema=new)


def with_deletion_vector(path: Path, *, deleted: Sequence[int] = (1, 3, 8)) -> pa.Table:
    """A table of two files, some rows of the first deleted by a vector held in the log."""
    folder = DeltaFolder(
        path,
        NUMBERS,
        reader_features=["deletionVectors"],
        configuration={"delta.enableDeletionVectors": "true"},
    )
    vector = inline_deletion_vector(deleted) if deleted else None
    folder.create(
        folder.add(numbers(0, 10), "f0.parquet", deletion_vector=vector),
        folder.add(numbers(10, 20), "f1.parquet"),
    )
    rows = numbers(0, 20)
    return rows.filter(pc.invert(pc.is_in(rows["id"], pa.array(deleted, pa.int64()))))


def with_column_mapping(path: Path, *, mode: str = "name", partitioned: bool = False) -> pa.Table:
    """A table whose columns have other names in the files than in the schema."""

    def mapped(name: str, kind: pa.DataType, number: int) -> pa.Field:
        keys = {
            "delta.columnMapping.id": str(number),
            "delta.columnMapping.physicalName": f"col-{number}",
        }
        return pa.field(name, kind, metadata=keys)

    schema = pa.schema([mapped("id", pa.int64(), 1), mapped("name", pa.string(), 2)])
    physical = pa.schema(
        [
            pa.field(f"col-{i}", column.type, metadata={"PARQUET:field_id": str(i)})
            for i, column in enumerate(schema, 1)
        ]
    )
    folder = DeltaFolder(
        path,
        schema,
        partition_by=["name"] if partitioned else [],
        reader_version=2,
        configuration={"delta.columnMapping.mode": mode, "delta.columnMapping.maxColumnId": "2"},
    )
    if partitioned:
        rows = pa.table({"id": [1], "name": ["a"]}, schema=NUMBERS)
        data = pa.table([rows["id"]], schema=pa.schema([physical.field(0)]))
        folder.create(folder.add(data, "f0.parquet", partition={"col-2": "a"}))
        return rows
    rows = numbers(0, 10)
    folder.create(folder.add(pa.table(rows.columns, schema=physical), "f0.parquet"))
    return rows


def without_statistics(path: Path) -> pa.Table:
    """A table whose log says nothing of its files but where they are."""
    folder = DeltaFolder(path, NUMBERS)
    folder.create(
        folder.add(numbers(0, 10), "f0.parquet", statistics=False),
        folder.add(numbers(10, 20), "f1.parquet", statistics=False),
    )
    return numbers(0, 20)


def with_timestamp_ntz(path: Path) -> pa.Table:
    """A table with a time without a time zone, which is a reader feature."""
    schema = pa.schema([pa.field("at", pa.timestamp("us"))])
    rows = pa.table({"at": [datetime(2024, 5, 6, 7, 8, 9, 10), None]}, schema=schema)  # noqa: DTZ001 - it has none
    folder = DeltaFolder(path, schema, reader_features=["timestampNtz"])
    folder.create(folder.add(rows, "f0.parquet"))
    return rows


def with_unknown_feature(path: Path, feature: str = "someNewFeature") -> pa.Table:
    """A table that says that its reader must know a feature that nobody knows."""
    folder = DeltaFolder(path, NUMBERS, reader_features=[feature])
    folder.create(folder.add(numbers(0, 10), "f0.parquet"))
    return numbers(0, 10)
