"""Reads a Delta table's state, once opened by the Delta library, into a snapshot of plain data."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from flight_server.errors import LakeflightError, Unsupported
from flight_server.storage.arrow_types import commented, plain_schema, without_metadata
from flight_server.storage.log import Mark
from flight_server.storage.snapshots import (
    PARTITION_TUPLES_MAX,
    FileSet,
    Reading,
    Snapshot,
    damaged,
    file_uri,
    no_version,
)

# Rows under deletion vectors come through memory whole, so only tables of this size are served.
DELETION_VECTOR_TABLE_BYTES_MAX = 64 * 1024 * 1024

# Reader features, by what they ask of somebody who reads the Parquet files of a known list.
_LOG_ONLY = frozenset({"v2Checkpoint", "vacuumProtocolCheck"})
_IN_THE_SCHEMA = frozenset(
    {"timestampNtz", "variantType", "variantType-preview", "variantShredding-preview"}
)
_WIDENING = frozenset({"typeWidening", "typeWidening-preview"})
_VECTORS = "deletionVectors"
_MAPPING = "columnMapping"
_KNOWN = _LOG_ONLY | _IN_THE_SCHEMA | _WIDENING | {_VECTORS, _MAPPING}
# The Delta library opens tables with these and then refuses to scan them.
_LIBRARY_CANNOT_SCAN = _WIDENING | {"vacuumProtocolCheck"}
_ENCODED = re.compile(r"%[0-9a-fA-F]{2}")
_REFUSALS = ("unsupported", "not supported", "catalog-managed", "max catalog version")


@contextmanager
def delta_errors(name: str) -> Iterator[None]:
    """Turn whatever the Delta library raises into our errors.

    Its texts hold paths and pieces of the log.
    """
    try:
        yield
    except LakeflightError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception too
        raise _translated(name, error) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a panic of the library's Rust code
            raise
        raise _translated(name, error) from None


def _translated(name: str, error: BaseException) -> LakeflightError:
    text = str(error).lower()
    if any(word in text for word in _REFUSALS):
        return Unsupported(f"the table {name} uses a feature of Delta that this server cannot read")
    return damaged(name, "its log or its files cannot be read")


def read_snapshot(
    table: DeltaTable, root: str, *, mark: Mark, name: str, known: frozenset[str] = frozenset()
) -> Snapshot:
    """Read the state that ``table`` stands at.

    ``root`` is the table's absolute folder, ``mark`` that of the version's file in the log, and
    ``known`` are paths that need not be looked for again. Raises Unavailable
    (``table_damaged``), NotFound (``version_not_found``) when a data file is missing, which is
    a version's end after a vacuum.
    """
    with delta_errors(name):
        metadata = table.metadata()
        described = table.schema()
        exported: Any = described.to_arrow()  # by the Arrow C interface, which the stubs lack
        schema = commented(plain_schema(pa.schema(exported)), metadata.description)
        adds = pa.table(table.get_add_actions())
        features = _features(table, metadata.configuration)
        partition_columns = tuple(metadata.partition_columns)
        paths = [_local_path(root, path, name) for path in adds["path"].to_pylist() if path]
        sets = _file_sets(schema, partition_columns, adds, paths)
        reading, refusal = _reading(
            table, features, sets, bytes_total=pc.sum(adds["size_bytes"]).as_py() or 0
        )
        if reading in (Reading.PROVIDER, Reading.ROWS) and _has_empty_text(table):
            reading, refusal = Reading.REFUSED, "it has an empty text as a partition value"
        if _has_variant(json.loads(described.to_json())):
            reading, refusal = Reading.REFUSED, "it has a column of type variant"
        version = table.version()
    _look_for(paths, known, name)
    return Snapshot(
        version=version,
        stamp=stamp_of(str(metadata.id), mark),
        schema=schema,
        partition_columns=partition_columns,
        file_sets=sets,
        reading=reading,
        refusal=refusal,
        table_id=str(metadata.id),
        configuration={k: str(v) for k, v in metadata.configuration.items()},
        paths=frozenset(paths),
    )


def stamp_of(table_id: str, mark: Mark) -> str:
    """Return a digest that differs between two tables that had the same name and version."""
    text = f"{table_id}\0{mark.inode}\0{mark.mtime_ns}\0{mark.size}"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _features(table: DeltaTable, configuration: dict[str, str]) -> frozenset[str]:
    """Return the reader features in force, by the names of the protocol."""
    protocol = table.protocol()
    features = set(protocol.reader_features or ())
    if configuration.get("delta.columnMapping.mode", "none").lower() != "none":
        features.add(_MAPPING)
    else:
        features.discard(_MAPPING)
    return frozenset(features)


def _has_variant(described: object) -> bool:
    if isinstance(described, dict):
        return any(
            value == "variant" if key in ("type", "elementType", "keyType", "valueType") else False
            for key, value in described.items()
        ) or any(_has_variant(value) for value in described.values())
    return isinstance(described, list) and any(_has_variant(value) for value in described)


def _local_path(root: str, logged: str, name: str) -> str:
    """Return the absolute path of a data file.

    A log that points out of its own folder would read what is not the table's.
    """
    path = unquote(logged)
    if path.startswith("/") or "://" in path or ".." in path.split("/") or "\0" in path:
        raise Unsupported(f"the table {name} refers to files outside of its folder")
    return f"{root}/{path}"


def _file_sets(
    schema: pa.Schema, partition_columns: tuple[str, ...], adds: pa.Table, paths: list[str]
) -> tuple[FileSet, ...]:
    """Group the files by their partition values, an empty text being NULL, in the log's order."""
    if not partition_columns:
        return (FileSet((), tuple(map(file_uri, paths))),) if paths else ()
    values: list[pa.Array[Any]] = []
    codes: list[list[int]] = []
    for column in partition_columns:
        array = pc.struct_field(adds["partition"], column).combine_chunks()
        array = array.cast(schema.field(column).type)
        encoded = pc.dictionary_encode(array, null_encoding="encode")
        values.append(encoded.dictionary)
        codes.append(encoded.indices.to_pylist())
    grouped: dict[tuple[int, ...], list[str]] = {}
    for key, path in zip(zip(*codes, strict=True), paths, strict=True):
        grouped.setdefault(key, []).append(file_uri(path))
    return tuple(
        FileSet(tuple(v[code] for v, code in zip(values, key, strict=True)), tuple(uris))
        for key, uris in grouped.items()
    )


def _has_empty_text(table: DeltaTable) -> bool:
    """Whether an empty string is a partition value: NULL by the protocol, text when scanned."""
    return any("" in partition.values() for partition in table.partitions())


def _reading(
    table: DeltaTable, features: frozenset[str], sets: tuple[FileSet, ...], *, bytes_total: int
) -> tuple[Reading, str]:
    """Who reads the table right, and if nobody, why not."""
    if unknown := sorted(features - _KNOWN):
        return Reading.REFUSED, f"its reader must know {', '.join(unknown)}"
    has_vectors = _VECTORS in features and _has_deletion_vectors(table)
    many = len(sets) > PARTITION_TUPLES_MAX
    if not has_vectors and not many and _MAPPING not in features:
        return Reading.NATIVE, ""
    if blocking := sorted(features & _LIBRARY_CANNOT_SCAN):
        return Reading.REFUSED, f"its features do not go together here: {', '.join(blocking)}"
    if not has_vectors:
        return Reading.PROVIDER, ""
    if bytes_total > DELETION_VECTOR_TABLE_BYTES_MAX:
        limit = f"deletion_vector_table_bytes_max={DELETION_VECTOR_TABLE_BYTES_MAX}"
        return Reading.REFUSED, f"it has deletion vectors and is larger than {limit}"
    return Reading.ROWS, ""


def _has_deletion_vectors(table: DeltaTable) -> bool:
    """Whether any active file has one; the feature may be on and not used."""
    return any(
        batch.num_rows for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors())
    )


def _look_for(paths: list[str], known: frozenset[str], name: str) -> None:
    for path in paths:
        if path not in known and not os.path.exists(path):  # noqa: PTH110 - one for each of thousands of files
            raise no_version(name, "lacks data files")


def open_delta(root: str, version: int | None, name: str) -> DeltaTable:
    """Open a table at a version that is known to be there, or at its newest.

    Raises Unsupported when the folder's name looks percent-encoded: the library decodes it, and
    would read the table in another folder.
    """
    if _ENCODED.search(root):
        raise Unsupported(
            f"the folder of the table {name} has a percent sign before two hex digits"
        )
    with delta_errors(name):
        return DeltaTable(root, version=version)


def scan_provider(root: str, snapshot: Snapshot, name: str) -> object:
    """Return the Delta library's own table provider at exactly this state.

    Raises NotFound (``version_not_found``) when another table has taken the place meanwhile.
    """
    return _reopened(root, snapshot, name)


def scan_rows(root: str, snapshot: Snapshot, name: str) -> pa.Table:
    """Return all rows of this state, deleted ones left out; bounded by the size of the files."""
    table = _reopened(root, snapshot, name)
    with delta_errors(name):
        return pa.table(table.scan()).cast(without_metadata(snapshot.schema))


def _reopened(root: str, snapshot: Snapshot, name: str) -> DeltaTable:
    table = open_delta(root, snapshot.version, name)
    with delta_errors(name):
        if str(table.metadata().id) != snapshot.table_id:
            raise no_version(name, "was replaced by another one")
    return table


def table_folder(path: Path) -> str:
    """Return a table's folder as the absolute text that paths in the log are joined to."""
    return str(path.absolute())
