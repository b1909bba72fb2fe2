"""Makes log entries of changes: what each may do to the state it meets, and the actions for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as version_of
from typing import Any
from urllib.parse import unquote

from flight_server.errors import Conflict
from flight_server.storage.arrow_types import without_metadata
from flight_server.storage.changes import Change, remembered
from flight_server.storage.delta_actions import (
    Action,
    ActiveFile,
    NewFile,
    TableMetadata,
    TableProtocol,
    add_action,
    metadata_action,
    protocol_action,
    protocol_for,
    remove_action,
    transaction_action,
)
from flight_server.storage.heads import Head, check_removal, check_writable, definition
from flight_server.storage.replay import ENGINE, LogState

_ENGINE_INFO = ENGINE + version_of("lakeflight")
_FILE_SCHEME = "file://"


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A change as it applies to one state: which files come and go, and what the table becomes."""

    change: Change
    adds: tuple[NewFile | ActiveFile, ...]
    removes: tuple[ActiveFile, ...] = ()
    metadata: TableMetadata | None = None
    protocol: TableProtocol | None = None


def prepare(state: LogState, head: Head, change: Change, *, name: str) -> Prepared:
    """Check a change against the newest state of its table, and say what it does to it.

    Raises Conflict when the table is no longer what the change was made for, Unsupported for what
    may not be done to it.
    """
    if change.table_id is not None and change.table_id != head.table_id:
        raise Conflict(f"the table {name} was replaced by another one meanwhile")
    _check_columns(head, change, name)
    _check_reads(state, change, name)
    if change.is_append:
        return Prepared(change, change.adds)
    removes = _removes(state, change, name)
    if removes or change.removes_all or change.restores:
        check_removal(state, data_change=change.data_change, name=name)
    active = state.files or {}
    restored = tuple(file for file in change.restores if file.key not in active)
    described, needed = _definition(state, change, name)
    return Prepared(change, (*change.adds, *restored), removes, described, needed)


def _check_columns(head: Head, change: Change, name: str) -> None:
    after = change.metadata
    partitioned = head.partition_columns if after is None else after.partition_columns
    if any(set(file.partition_values) != set(partitioned) for file in change.adds):
        raise Conflict(f"the table {name} is partitioned in another way by now")
    if after is not None or change.schema is None:
        return
    there = {column.name: column for column in without_metadata(head.schema)}
    fitted = without_metadata(change.schema)
    for column in fitted:
        now = there.pop(column.name, None)
        if now is None or now.type != column.type or (column.nullable and not now.nullable):
            raise Conflict(f"the columns of the table {name} were changed column={column.name}")
    for left in there.values():
        if not left.nullable:
            raise Conflict(f"the table {name} has a new column column={left.name}")


def _check_reads(state: LogState, change: Change, name: str) -> None:
    """Check that nothing but appends came in since the version that the change was made from."""
    read = change.read_version
    if read is None:
        return
    came = [state.last_definition]
    if change.data_change:
        came.append(state.last_data if change.removes_all else state.last_removal)
    if read > state.version or max(came) > read:
        raise Conflict(f"the table {name} was changed by another writer meanwhile")


def _removes(state: LogState, change: Change, name: str) -> tuple[ActiveFile, ...]:
    active = state.files or {}
    if change.removes_all:
        kept = {file.key for file in change.restores}
        return tuple(file for key, file in active.items() if key not in kept)
    found: list[ActiveFile] = []
    for path in dict.fromkeys(change.removes):
        file = active.get(_key(state.root, path))
        if file is None:
            raise Conflict(f"rows of the table {name} were changed by another writer meanwhile")
        found.append(file)
    return tuple(found)


def _key(root: str, path: str) -> str:
    """Return the path below the table's folder that a log path or a file URI means."""
    if path.startswith(_FILE_SCHEME):
        return unquote(path.removeprefix(_FILE_SCHEME)).removeprefix(f"{root}/")
    return unquote(path)


def _definition(
    state: LogState, change: Change, name: str
) -> tuple[TableMetadata | None, TableProtocol | None]:
    protocol, before = definition(state, name)
    after = change.metadata
    if after is None or after == before:
        return None, None
    needed = protocol_for(after.schema_text, protocol)
    check_writable(needed, after, name=name)
    return after, None if needed == protocol else needed


def actions_of(version: int, group: Sequence[Prepared], *, at_ms: int) -> list[Action]:
    """Return the actions of the entry after ``version`` that makes all changes of a group."""
    actions: list[Action] = [_commit_info(version, group, at_ms=at_ms)]
    for each in group:
        change = each.change
        if each.protocol is not None:
            actions.append(protocol_action(each.protocol))
        if each.metadata is not None:
            actions.append(metadata_action(each.metadata))
        if change.app_id is not None:
            actions.append(transaction_action(change.app_id, remembered(change.rows), at_ms=at_ms))
        actions += [
            remove_action(file, at_ms=at_ms, data_change=change.data_change)
            for file in each.removes
        ]
        actions += [add_action(file, data_change=change.data_change) for file in each.adds]
    return actions


def _commit_info(version: int, group: Sequence[Prepared], *, at_ms: int) -> Action:
    """Return what the history says.

    Never values or conditions of users: they would outlive an erasure.
    """
    change = group[0].change
    info: Action = {
        "timestamp": at_ms,
        "operation": change.operation,
        "operationParameters": dict(change.parameters),
        "isBlindAppend": all(each.change.is_append for each in group),
        "engineInfo": _ENGINE_INFO,
        "operationMetrics": _metrics(group),
    }
    read = version if change.read_version is None else change.read_version
    if read >= 0:
        info["readVersion"] = read
    if len(group) == 1:
        info.update(_author(change))
    else:
        info["writes"] = [{**_author(each.change), "rows": each.change.rows} for each in group]
    return {"commitInfo": info}


def _author(change: Change) -> dict[str, Any]:
    author = change.author
    return {
        "userId": author.user_id,
        "userName": author.user_name,
        "requestId": author.request_id,
    }


def _metrics(group: Sequence[Prepared]) -> dict[str, str]:
    adds = [file for each in group for file in each.adds]
    counted = {
        "numFiles": len(adds),
        "numRemovedFiles": sum(len(each.removes) for each in group),
        "numOutputRows": sum(file.rows or 0 for file in adds),
        "numOutputBytes": sum(file.size for file in adds),
        "numAffectedRows": sum(max(each.change.rows, 0) for each in group),
    }
    return {key: str(count) for key, count in counted.items()}


def first_actions(
    change: Change, metadata: TableMetadata, *, name: str, at_ms: int
) -> list[Action]:
    """Return the actions of version 0 of a table that ``change`` fills."""
    protocol = protocol_for(metadata.schema_text)
    check_writable(protocol, metadata, name=name)
    made = Prepared(
        replace(change, metadata=metadata), change.adds, metadata=metadata, protocol=protocol
    )
    return actions_of(-1, [made], at_ms=at_ms)
