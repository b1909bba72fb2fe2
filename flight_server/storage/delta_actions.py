"""The actions of a Delta log entry, as values and as the JSON lines that hold them.

What is written follows the Delta protocol, "Actions":
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#actions
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import unquote

import pyarrow as pa
from deltalake import Schema

from flight_server.errors import SchemaMismatch
from flight_server.storage.arrow_types import plain_schema
from flight_server.storage.delta import delta_errors

Action = dict[str, Any]
COMMENT = "comment"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP_NTZ = "timestampNtz"
# Which features a writer version before 7 stands for, least version first.
_LEGACY_WRITER: tuple[tuple[int, tuple[str, ...]], ...] = (
    (2, ("appendOnly", "invariants")),
    (3, ("checkConstraints",)),
    (4, ("changeDataFeed", "generatedColumns")),
    (5, ("columnMapping",)),
    (6, ("identityColumns",)),
)


class NewFile(Protocol):
    """A data file that was written and synced, and that no commit names yet."""

    @property
    def path(self) -> str:
        """Relative to the table's folder, percent-encoded as in the log."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def rows(self) -> int:
        """How many rows it holds."""

    @property
    def partition_values(self) -> Mapping[str, str | None]:
        """The values of the partition columns, as the log spells them."""

    @property
    def stats(self) -> str:
        """The statistics, as the JSON text that the log holds."""

    @property
    def modified_ms(self) -> int:
        """When it was written, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class TableProtocol:
    """What a reader and a writer of a table must know; features are None below 3 and 7."""

    reader: int = 1
    writer: int = 2
    reader_features: frozenset[str] | None = None
    writer_features: frozenset[str] | None = None

    @property
    def features(self) -> frozenset[str]:
        """All that a writer must know, by the names of the protocol."""
        if self.writer >= 7:
            return self.writer_features or frozenset()
        return frozenset(
            name for least, names in _LEGACY_WRITER if self.writer >= least for name in names
        )


@dataclass(frozen=True, slots=True)
class TableMetadata:
    """What a table is: its identity, its columns, how it is partitioned, how it is set up.

    ``schema_text`` is the schema in the JSON form of the protocol, comments and all.
    """

    id: str
    schema_text: str
    partition_columns: tuple[str, ...] = ()
    configuration: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    description: str | None = None
    created_ms: int | None = None

    def arrow_schema(self, name: str) -> pa.Schema:
        """Return the columns in plain types, with NOT NULL and comments, at every depth."""
        with delta_errors(name):
            exported: Any = Schema.from_json(self.schema_text).to_arrow()
            return plain_schema(pa.schema(exported))


@dataclass(frozen=True, slots=True)
class ActiveFile:
    """A data file of a table's state, as the log names it.

    ``path`` is relative and percent-encoded.
    """

    path: str
    size: int
    partition_values: Mapping[str, str | None]
    stats: str | None
    modified_ms: int
    tags: Mapping[str, str | None] | None = None
    deletion_vector: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        """The path on disk, relative to the table's folder."""
        return unquote(self.path)

    @property
    def rows(self) -> int | None:
        """How many rows it holds, or None where the log does not say."""
        try:
            counted = json.loads(self.stats or "{}").get("numRecords")
        except (ValueError, AttributeError):
            return None
        return counted if isinstance(counted, int) and counted >= 0 else None


def millis(time: datetime) -> int:
    """Return a time as milliseconds since 1970."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def schema_text(schema: pa.Schema, *, before: str | None = None) -> str:
    """Return the schema of a log, for columns in plain types with their comments.

    ``before`` is the text that this one replaces: what other tools noted about columns that are
    still there is kept. Raises SchemaMismatch for a type that Delta does not have.
    """
    try:
        described: dict[str, Any] = json.loads(Schema.from_arrow(schema).to_json())
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception too
        raise SchemaMismatch(f"Delta cannot hold these columns: {_kind_named(error)}") from None
    noted = {each["name"]: each for each in json.loads(before)["fields"]} if before else {}
    for each in described["fields"]:
        old = noted.get(each["name"], {}).get("metadata", {})
        kept = {key: value for key, value in old.items() if key != COMMENT}
        each["metadata"] = {**kept, **each.get("metadata", {})}
    return json.dumps(described, separators=(",", ":"))


def _kind_named(error: Exception) -> str:
    # The library's texts name a type and no values, but they are long; the first words will do.
    return str(error).splitlines()[0][:200] if str(error) else "a type is not known"


def protocol_for(text: str, before: TableProtocol | None = None) -> TableProtocol:
    """Return the least protocol that a table with this schema needs, never below ``before``."""
    before = before or TableProtocol()
    if not _has_type(json.loads(text), "timestamp_ntz"):
        return before
    if _TIMESTAMP_NTZ in before.features and _TIMESTAMP_NTZ in (before.reader_features or ()):
        return before
    reading = before.reader_features or frozenset(["columnMapping"] if before.reader == 2 else ())
    return TableProtocol(
        reader=3,
        writer=7,
        reader_features=reading | {_TIMESTAMP_NTZ},
        writer_features=before.features | {_TIMESTAMP_NTZ},
    )


def _has_type(described: object, kind: str) -> bool:
    if isinstance(described, dict):
        return any(
            described.get(key) == kind for key in ("type", "elementType", "keyType", "valueType")
        ) or any(_has_type(value, kind) for value in described.values())
    return isinstance(described, list) and any(_has_type(value, kind) for value in described)


def protocol_action(protocol: TableProtocol) -> Action:
    """Return the action that sets the protocol."""
    action: Action = {"minReaderVersion": protocol.reader, "minWriterVersion": protocol.writer}
    if protocol.reader >= 3:
        action["readerFeatures"] = sorted(protocol.reader_features or ())
    if protocol.writer >= 7:
        action["writerFeatures"] = sorted(protocol.writer_features or ())
    return {"protocol": action}


def metadata_action(metadata: TableMetadata) -> Action:
    """Return the action that sets the metadata."""
    action: Action = {
        "id": metadata.id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": metadata.schema_text,
        "partitionColumns": list(metadata.partition_columns),
        "configuration": dict(metadata.configuration),
        "createdTime": metadata.created_ms,
        "name": metadata.name,
        "description": metadata.description,
    }
    return {"metaData": {key: value for key, value in action.items() if value is not None}}


def add_action(file: NewFile | ActiveFile, *, data_change: bool) -> Action:
    """Return the action that makes a file part of the table."""
    action: Action = {
        "path": file.path,
        "partitionValues": dict(file.partition_values),
        "size": file.size,
        "modificationTime": file.modified_ms,
        "dataChange": data_change,
    }
    if file.stats is not None:
        action["stats"] = file.stats
    if isinstance(file, ActiveFile) and file.tags is not None:
        action["tags"] = dict(file.tags)
    return {"add": action}


def remove_action(file: ActiveFile | str, *, at_ms: int, data_change: bool) -> Action:
    """Return the action that takes a file out of the table; a bare path says nothing else of it."""
    action: Action = {
        "path": file if isinstance(file, str) else file.path,
        "deletionTimestamp": at_ms,
        "dataChange": data_change,
    }
    if isinstance(file, str):
        return {"remove": action}
    action["extendedFileMetadata"] = True
    action["partitionValues"] = dict(file.partition_values)
    action["size"] = file.size
    if file.deletion_vector is not None:
        action["deletionVector"] = dict(file.deletion_vector)
    return {"remove": action}


def transaction_action(app_id: str, version: int, *, at_ms: int) -> Action:
    """Return the action that remembers that a write was made."""
    return {"txn": {"appId": app_id, "version": version, "lastUpdated": at_ms}}


def entry_bytes(actions: Iterable[Action]) -> bytes:
    """Return the content of a log entry."""
    lines = (json.dumps(action, separators=(",", ":"), allow_nan=False) for action in actions)
    return "".join(f"{line}\n" for line in lines).encode()


def protocol_of(action: Mapping[str, Any]) -> TableProtocol:
    """Return the protocol that an action sets."""
    reading, writing = action.get("readerFeatures"), action.get("writerFeatures")
    return TableProtocol(
        reader=int(action["minReaderVersion"]),
        writer=int(action["minWriterVersion"]),
        reader_features=None if reading is None else frozenset(reading),
        writer_features=None if writing is None else frozenset(writing),
    )


def metadata_of(action: Mapping[str, Any]) -> TableMetadata:
    """Return the metadata that an action sets."""
    return TableMetadata(
        id=str(action["id"]),
        schema_text=str(action["schemaString"]),
        partition_columns=tuple(action.get("partitionColumns") or ()),
        configuration={str(k): str(v) for k, v in dict(action.get("configuration") or {}).items()},
        name=action.get("name"),
        description=action.get("description"),
        created_ms=action.get("createdTime"),
    )


def file_of(action: Mapping[str, Any]) -> ActiveFile:
    """Return the file that an add action names."""
    tags, vector = action.get("tags"), action.get("deletionVector")
    return ActiveFile(
        path=str(action["path"]),
        size=int(action["size"]),
        partition_values=dict(action.get("partitionValues") or {}),
        stats=action.get("stats"),
        modified_ms=int(action.get("modificationTime") or 0),
        tags=None if tags is None else dict(tags),
        deletion_vector=None if vector is None else dict(vector),
    )
