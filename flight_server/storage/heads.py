"""A table opened for writing: what a change may build on, and which tables are not written here.

What each feature asks of a writer is said in the Delta protocol, "Requirements for Writers":
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#requirements-for-writers
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flight_server.errors import Unsupported
from flight_server.storage.delta_actions import ActiveFile, TableMetadata, TableProtocol
from flight_server.storage.replay import LogState
from flight_server.storage.snapshots import damaged

# Features that ask nothing of a writer as long as a table's columns and settings do not use them.
_WHILE_UNUSED = frozenset(
    {
        *("appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns"),
        *("columnMapping", "identityColumns", "allowColumnDefaults", "inCommitTimestamp"),
    }
)
# Features that ask for nothing more than what is done here anyway.
_HONOURED = frozenset({"timestampNtz", "deletionVectors", "vacuumProtocolCheck"})
KNOWN_FEATURES = _WHILE_UNUSED | _HONOURED
# What a column's own notes in the schema ask of whoever writes it.
_COLUMN_RULES = {
    "delta.invariants": "a column with a condition on its values",
    "delta.generationExpression": "a generated column",
    "delta.identity.start": "an identity column",
    "CURRENT_DEFAULT": "a column with a default value",
    "delta.columnMapping.physicalName": "mapped column names",
    "__CHAR_VARCHAR_TYPE_STRING": "a column of bounded length (char or varchar)",
}
# What a table's settings ask, unless they are off.
_SETTING_RULES = {
    "delta.columnMapping.mode": "mapped column names",
    "delta.enableInCommitTimestamps": "commits that carry their own times",
    "delta.enableRowTracking": "rows that are tracked",
}
_CHANGE_FEED = "delta.enableChangeDataFeed"
_APPEND_ONLY = "delta.appendOnly"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """The newest state of a table that may be written.

    ``schema`` is in plain types with NOT NULL and comments; ``files`` are the active ones, or None
    where they were not asked for.
    """

    version: int
    schema: pa.Schema
    metadata: TableMetadata
    protocol: TableProtocol
    files: tuple[ActiveFile, ...] | None = None

    @property
    def table_id(self) -> str:
        """What tells this table from another of the same name."""
        return self.metadata.id

    @property
    def partition_columns(self) -> tuple[str, ...]:
        """The names of the partition columns, in their order."""
        return self.metadata.partition_columns

    @property
    def configuration(self) -> Mapping[str, str]:
        """The table's own settings, ``delta.…``."""
        return self.metadata.configuration


def head_of(state: LogState, name: str) -> Head:
    """Return the head at a state, without files; raises as ``check_writable`` does."""
    protocol, metadata = definition(state, name)
    check_writable(protocol, metadata, name=name)
    return Head(
        version=state.version,
        schema=metadata.arrow_schema(name),
        metadata=metadata,
        protocol=protocol,
    )


def definition(state: LogState, name: str) -> tuple[TableProtocol, TableMetadata]:
    """Return what the table is; raises Unavailable (``table_damaged``) when the log lacks it."""
    if state.protocol is None or state.metadata is None:
        raise damaged(name, "its log does not say what the table is")
    return state.protocol, state.metadata


def check_writable(protocol: TableProtocol, metadata: TableMetadata, *, name: str) -> None:
    """Check that nothing about a table asks for what this writer does not do.

    Raises Unsupported, which says what it is.
    """
    if protocol.writer > 7 or protocol.reader > 3:
        raise _refused(name, "it is of a newer version of Delta than this server knows")
    if unknown := sorted(protocol.features - KNOWN_FEATURES):
        raise _refused(name, f"its writers must know {', '.join(unknown)}")
    settings = metadata.configuration
    if any(key.startswith("delta.constraints.") for key in settings):
        raise _refused(name, "it has CHECK constraints")
    for key, what in _SETTING_RULES.items():
        if settings.get(key, "none").strip().lower() not in ("none", "false"):
            raise _refused(name, f"it has {what}")
    try:
        described = json.loads(metadata.schema_text)
    except ValueError:
        raise damaged(name, "its schema cannot be read") from None
    for noted in _notes(described):
        for key, what in _COLUMN_RULES.items():
            if key in noted:
                raise _refused(name, f"it has {what}")


def check_removal(state: LogState, *, data_change: bool, name: str) -> None:
    """Check that files of a table may be replaced.

    Raises Unsupported for rows of an append-only table, for a table that records its changes, and
    while rows are deleted by vectors.
    """
    _, metadata = definition(state, name)
    if data_change and _is_on(metadata.configuration, _APPEND_ONLY):
        raise _refused(name, "it is append-only (delta.appendOnly)", only="appended to")
    if data_change and _is_on(metadata.configuration, _CHANGE_FEED):
        raise _refused(name, "it records its changes (change data feed)", only="appended to")
    if any(file.deletion_vector is not None for file in (state.files or {}).values()):
        raise _refused(name, "it has deletion vectors", only="appended to")


def keeps_rows(metadata: TableMetadata) -> bool:
    """Whether the settings of a table forbid to take rows out of it here."""
    return _is_on(metadata.configuration, _APPEND_ONLY) or _is_on(
        metadata.configuration, _CHANGE_FEED
    )


def _is_on(settings: Mapping[str, str], key: str) -> bool:
    return settings.get(key, "false").strip().lower() == "true"


def _refused(name: str, why: str, *, only: str = "") -> Unsupported:
    what = f"can only be {only}" if only else "cannot be written here"
    return Unsupported(f"the table {name} {what}: {why}")


def _notes(described: Any) -> Iterator[Mapping[str, Any]]:
    """Give the notes of every column, at every depth."""
    if isinstance(described, list):
        for each in described:
            yield from _notes(each)
    elif isinstance(described, dict):
        for key, value in described.items():
            if key == "metadata" and isinstance(value, dict):
                yield value
            else:
                yield from _notes(value)
