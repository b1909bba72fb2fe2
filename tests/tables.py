"""Delta tables as other writers leave them, written by hand: no library of ours has a say.

The functions make one table each, under the path given, and return the rows that a right reader
sees. ``DeltaFolder`` writes others.
"""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tests.delta_log import (
    HIVE_NULL,
    LOG,
    NUMBERS,
    Action,
    DeltaFolder,
    checkpoint_rows,
    inline_deletion_vector,
    numbers,
    roaring_array,
    schema,
    z85,
)

__all__ = ["HIVE_NULL", "NUMBERS", "DeltaFolder", "numbers", "schema"]


def plain(path: Path, *, files: int = 2) -> pa.Table:
    """A plain table of ten rows a file, one commit for each file."""
    folder = DeltaFolder(path, NUMBERS)
    folder.create(folder.add(numbers(0, 10), "f0.parquet"))
    for i in range(1, files):
        folder.commit(folder.add(numbers(10 * i, 10 * i + 10), f"f{i}.parquet"))
    return numbers(0, 10 * files)


AWKWARD_VALUES: tuple[str | None, ...] = (
    *(None, "plain", "with space", "100%", "a=b", "a/b", "zürich ☃", "%20", "+", "x'y", "#?&"),
    *("c:d", "..", "*", "[x]"),
)


def partitioned_by_awkward_text(path: Path) -> pa.Table:
    """A table partitioned by text: NULL, and what paths and URLs give a meaning."""
    columns = schema(id=pa.int64(), place=pa.string())
    folder = DeltaFolder(path, columns, partition_by=["place"])
    adds = [
        folder.add(pa.table({"id": [i]}), f"part-{i}.parquet", partition={"place": value})
        for i, value in enumerate(AWKWARD_VALUES)
    ]
    folder.create(*adds)
    return pa.table({"id": range(len(AWKWARD_VALUES)), "place": AWKWARD_VALUES}, schema=columns)


_UTC = pa.timestamp("us", tz="UTC")
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
    (_UTC, "2024-01-02 03:04:05.000006", datetime(2024, 1, 2, 3, 4, 5, 6, UTC)),
    (_UTC, "2024-01-02T03:04:05.123456Z", datetime(2024, 1, 2, 3, 4, 5, 123456, UTC)),
    (pa.string(), "", None),
)


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
    for name, (_, _, value) in zip(names, TYPED_PARTITIONS, strict=True):
        rows[0][name] = value
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


def _mapped(name: str, kind: pa.DataType, number: int) -> pa.Field[Any]:
    """A field of the schema that is called ``col-<number>`` in the files."""
    keys = {
        "delta.columnMapping.id": str(number),
        "delta.columnMapping.physicalName": f"col-{number}",
    }
    return pa.field(name, kind, metadata=keys)


def _physical(kind: pa.DataType, number: int) -> pa.Field[Any]:
    """The same field as the files have it."""
    return pa.field(f"col-{number}", kind, metadata={"PARQUET:field_id": str(number)})


def _mapping(mode: str) -> dict[str, str]:
    return {"delta.columnMapping.mode": mode, "delta.columnMapping.maxColumnId": "9"}


def with_column_mapping(
    path: Path, *, mode: str = "name", partitioned: bool = False, deleted: Sequence[int] = ()
) -> pa.Table:
    """A table whose columns have other names in the files than in the schema."""
    logical = pa.schema([_mapped("id", pa.int64(), 1), _mapped("name", pa.string(), 2)])
    physical = pa.schema([_physical(pa.int64(), 1), _physical(pa.string(), 2)])
    folder = DeltaFolder(
        path,
        logical,
        partition_by=["name"] if partitioned else [],
        reader_version=2,
        reader_features=["columnMapping", "deletionVectors"] if deleted else [],
        configuration=_mapping(mode),
    )
    if partitioned:
        rows = pa.table({"id": [1], "name": ["a"]}, schema=NUMBERS)
        data = pa.table([rows["id"]], schema=pa.schema([physical.field(0)]))
        folder.create(folder.add(data, "f0.parquet", partition={"col-2": "a"}))
        return rows
    rows = numbers(0, 10)
    data = pa.table(rows.columns, schema=physical)
    vector = inline_deletion_vector(deleted) if deleted else None
    folder.create(folder.add(data, "f0.parquet", deletion_vector=vector))
    return rows.filter(pc.invert(pc.is_in(rows["id"], pa.array(deleted, pa.int64()))))


def with_nested_column_mapping(path: Path) -> pa.Table:
    """A table whose nested fields have other names in the files than in the schema."""
    logical = pa.schema([_mapped("s", pa.struct([_mapped("x", pa.int64(), 2)]), 1)])
    physical = pa.schema([_physical(pa.struct([_physical(pa.int64(), 2)]), 1)])
    folder = DeltaFolder(path, logical, reader_version=2, configuration=_mapping("name"))
    data = pa.Table.from_pylist([{"col-1": {"col-2": 7}}, {"col-1": None}], schema=physical)
    folder.create(folder.add(data, "f0.parquet"))
    plain_type = pa.struct([pa.field("x", pa.int64())])
    return pa.Table.from_pylist([{"s": {"x": 7}}, {"s": None}], schema=schema(s=plain_type))


def without_statistics(path: Path) -> pa.Table:
    """A table whose log says nothing of its files but where they are."""
    folder = DeltaFolder(path, NUMBERS)
    folder.create(
        folder.add(numbers(0, 10), "f0.parquet", statistics=False),
        folder.add(numbers(10, 20), "f1.parquet", statistics=False),
    )
    return numbers(0, 20)


def with_int96(path: Path) -> pa.Table:
    """A table whose times are stored in the old 96-bit form that Spark writes unless told."""
    columns = schema(at=_UTC)
    rows = pa.table({"at": [datetime(y, 2, 3, 4, 5, 6, 7, UTC) for y in (1677, 2024, 2500)]})
    folder = DeltaFolder(path, columns)
    add = folder.add(rows.cast(columns), "f0.parquet")
    pq.write_table(rows.cast(columns), path / "f0.parquet", use_deprecated_int96_timestamps=True)
    add["add"]["size"] = (path / "f0.parquet").stat().st_size
    folder.create(add)
    return rows.cast(columns)


def with_relative_deletion_vector(path: Path) -> pa.Table:
    """A table whose first two rows are deleted by a vector in a file of its own."""
    folder = DeltaFolder(path, NUMBERS, reader_features=["deletionVectors"])
    identity = uuid.UUID("c7d0a0a9-5bd1-4dbd-a8a7-3f7b7b3f4a10")
    data = roaring_array([0, 1])
    vector = {
        "storageType": "u",
        "pathOrInlineDv": z85(identity.bytes),
        "offset": 1,
        "sizeInBytes": len(data),
        "cardinality": 2,
    }
    folder.create(folder.add(numbers(0, 10), "f0.parquet", deletion_vector=vector))
    content = b"\x01" + struct.pack(">I", len(data)) + data + struct.pack(">I", zlib.crc32(data))
    (path / f"deletion_vector_{identity}.bin").write_bytes(content)
    return numbers(2, 10)


def with_multipart_checkpoint(path: Path) -> pa.Table:
    """A table whose first two commits exist only in a checkpoint of two parts."""
    rows = plain(path, files=2)
    folder = path / LOG
    actions = [
        json.loads(line)
        for version in (0, 1)
        for line in (folder / f"{version:020d}.json").read_text().splitlines()
    ]
    kept = [action for action in actions if "commitInfo" not in action]
    first, second = kept[:2], kept[2:]
    for part, lines in enumerate((first, second), 1):
        name = f"{1:020d}.checkpoint.{part:010d}.{2:010d}.parquet"
        pq.write_table(checkpoint_rows(lines), folder / name)
    last = {"version": 1, "size": len(kept), "parts": 2}
    (folder / "_last_checkpoint").write_text(json.dumps(last))
    for version in (0, 1):
        (folder / f"{version:020d}.json").unlink()
    return rows


def with_v2_checkpoint(path: Path) -> pa.Table:
    """A table whose commits exist only in a version 2 checkpoint, as JSON with a sidecar file."""
    folder = DeltaFolder(path, NUMBERS, reader_features=["v2Checkpoint"])
    add = folder.add(numbers(0, 10), "f0.parquet")
    folder.create(add)
    sidecars = folder.log / "_sidecars"
    sidecars.mkdir()
    side = sidecars / "3a0d65cd-4056-49b8-937b-95f9e3ee90e5.parquet"
    pq.write_table(checkpoint_rows([add]).select(["add", "remove"]), side)
    actions: list[Action] = [
        {"checkpointMetadata": {"version": 0}},
        folder.protocol(),
        folder.metadata(),
        {"sidecar": {"path": side.name, "sizeInBytes": side.stat().st_size, "modificationTime": 1}},
    ]
    name = f"{0:020d}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json"
    (folder.log / name).write_text("\n".join(map(json.dumps, actions)) + "\n")
    folder.commit(folder.add(numbers(10, 20), "f1.parquet"))
    folder.commit_path(0).unlink()
    return numbers(0, 20)


def with_many_partitions(path: Path, *, count: int) -> pa.Table:
    """A table with that many partitions of one row each."""
    columns = schema(id=pa.int64(), p=pa.int64())
    folder = DeltaFolder(path, columns, partition_by=["p"])
    adds = [
        folder.add(pa.table({"id": [i]}), "f.parquet", partition={"p": str(i)})
        for i in range(count)
    ]
    folder.create(*adds)
    return pa.table({"id": range(count), "p": range(count)}, schema=columns)


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
