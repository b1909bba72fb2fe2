"""The actions that change tables a little, and those that keep them in shape."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from flight_server import errors
from flight_server.rpc.action_shapes import Field, Shape, UseCases, Values, Who, checked, json_time
from flight_server.rpc.border import KEY_CHARACTERS_MAX
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from flight_server.service.table_changes import Changed, Upsert
from flight_server.service.table_upkeep import Optimized
from flight_server.service.upkeep import REPORT_FILES_MAX
from flight_server.sql.commands import Column
from flight_server.sql.names import parse_time, parse_version

_COLUMN: Mapping[str, Field] = {
    "name": Field(str, "Its name"),
    "type": Field(str, "Its type, as in SQL"),
    "nullable": Field(bool, "Whether it takes NULL", is_required=False),
    "comment": Field(str, "What it holds", is_required=False),
}
_COLUMN_USAGE = '{"name", "type", "nullable"?, "comment"?}'


def _create(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    made = use_cases.tables.create(
        _keyed(request, values),
        values["table"],
        columns=[_column(each) for each in values["columns"]],
        partition_by=values.get("partition_by", []),
        comment=values.get("comment"),
        if_not_exists=values.get("if_not_exists", False),
    )
    yield {"table": made.table, "created": made.is_done, "version": made.version}


def _column(values: dict[str, Any]) -> Column:
    values = checked("a column", values, _COLUMN, usage=_COLUMN_USAGE)
    return Column(
        values["name"], values["type"], values.get("nullable", True), values.get("comment")
    )


def _drop(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    dropped = use_cases.tables.drop(
        request, values["table"], if_exists=values.get("if_exists", False)
    )
    yield {"table": dropped.table, "dropped": dropped.is_done}


def _history(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    for row in use_cases.tables.history(request, values["table"], limit=values.get("limit")):
        parameters = row["operation_parameters"]
        yield {
            **row,
            "timestamp": json_time(row["timestamp"]),
            "operation_parameters": None if parameters is None else json.loads(parameters),
        }


def _restore(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    version, timestamp = values.get("version"), values.get("timestamp")
    if (version is None) is (timestamp is None):
        raise errors.InvalidRequest("table.restore needs either 'version' or 'timestamp'")
    as_of = parse_version(str(version)) if timestamp is None else parse_time(timestamp)
    restored = use_cases.tables.restore(request, values["table"], as_of)
    yield {"table": restored.table, "version": restored.version}


def _append(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    yield _changed(
        use_cases.tables.append(
            _keyed(request, values),
            values["table"],
            values["rows"],
            merge_schema=values.get("merge_schema", False),
        )
    )


def _delete(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    keyed = _keyed(request, values)
    yield _changed(use_cases.tables.delete(keyed, values["table"], where=values["where"]))


def _update(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    yield _changed(
        use_cases.tables.update(
            _keyed(request, values), values["table"], values=values["set"], where=values["where"]
        )
    )


def _merge(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    upsert = Upsert(
        values["rows"],
        values["on"],
        matched=values.get("when_matched", "update"),
        not_matched=values.get("when_not_matched", "insert"),
    )
    yield _changed(use_cases.tables.merge(_keyed(request, values), values["table"], upsert))


def _compact(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    dry_run = values.get("dry_run", False)
    done = use_cases.upkeep.compact(
        request,
        values["table"],
        file_bytes=values.get("target_file_bytes"),
        dry_run=dry_run,
    )
    yield {**_optimized(done), "dry_run": dry_run}


def _z_order(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    yield _optimized(use_cases.upkeep.z_order(request, values["table"], values["columns"]))


def _vacuum(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    dry_run = values.get("dry_run", False)
    files = use_cases.upkeep.vacuum(
        request,
        values["table"],
        retention_hours=values.get("retention_hours"),
        dry_run=dry_run,
    )
    yield {
        "file_count": len(files),
        "files": list(files[:REPORT_FILES_MAX]),
        "dry_run": dry_run,
    }


def _changed(changed: Changed) -> Values:
    return {"rows": changed.rows, "version": changed.version}


def _optimized(done: Optimized) -> Values:
    return {
        "file_count": done.rewritten.files,
        "file_bytes": done.rewritten.size_bytes,
        "rows_removed": done.rewritten.rows,
        "tombstones_cleared": done.rewritten.tombstones or 0,
        "version": done.version,
    }


def _keyed(request: Request, values: Values) -> Request:
    """Return the request with the key of its body, which stands for that of the header."""
    key = values.get("idempotency_key")
    if key is None:
        return request
    if not (0 < len(key) <= KEY_CHARACTERS_MAX and key.isascii() and key.isprintable()):
        raise errors.InvalidRequest(
            f"an idempotency key is 1 to {KEY_CHARACTERS_MAX} printable ASCII characters"
        )
    if request.idempotency_key not in (None, key):
        raise errors.InvalidRequest(
            "the body has another idempotency key than the header x-lakehouse-idempotency-key"
        )
    return replace(request, idempotency_key=key)


_TABLE = Field(str, "The table, named as in SQL")
_KEY = Field(str, "Makes a repeat harmless, as the header does", is_required=False)
_ROWS = Field(list, "The rows, each an object of values by column", elements=dict)
_WHERE = Field(str, "An SQL condition")
_DRY_RUN = Field(bool, "Only tell what would be done", is_required=False)

TABLE_ACTIONS: Mapping[str, Shape] = {
    "table.create": Shape(
        "Make an empty table",
        Who.WRITE,
        _create,
        {
            "table": _TABLE,
            "columns": Field(list, "The columns in their order", elements=dict),
            "partition_by": Field(list, "Names of columns", is_required=False, elements=str),
            "comment": Field(str, "What the table holds", is_required=False),
            "if_not_exists": Field(bool, "Keep one that is there", is_required=False),
            "idempotency_key": _KEY,
        },
        '{"table", "created", "version"}',
    ),
    "table.drop": Shape(
        "Remove a table with its history",
        Who.WRITE,
        _drop,
        {"table": _TABLE, "if_exists": Field(bool, "None need be there", is_required=False)},
        '{"table", "dropped"}',
    ),
    "table.history": Shape(
        "List the versions of a table, newest first",
        Who.READ,
        _history,
        {"table": _TABLE, "limit": Field(int, "How many at most", is_required=False)},
        'for each version {"version", "timestamp", "operation", "user_name", "request_id",'
        ' "operation_parameters", "rows"}',
        effect=Effect.READ,
    ),
    "table.restore": Shape(
        "Make an older state the newest version",
        Who.WRITE,
        _restore,
        {
            "table": _TABLE,
            "version": Field(int, "The version, or else", is_required=False),
            "timestamp": Field(str, "the time at which it was that way", is_required=False),
        },
        '{"table", "version"}',
    ),
    "table.append": Shape(
        "Add rows to a table",
        Who.WRITE,
        _append,
        {
            "table": _TABLE,
            "rows": _ROWS,
            "idempotency_key": _KEY,
            "merge_schema": Field(bool, "Add columns that it lacks", is_required=False),
        },
        '{"rows", "version"}',
    ),
    "table.delete": Shape(
        "Remove rows from a table",
        Who.WRITE,
        _delete,
        {"table": _TABLE, "where": _WHERE, "idempotency_key": _KEY},
        '{"rows", "version"}',
    ),
    "table.update": Shape(
        "Set columns of rows of a table",
        Who.WRITE,
        _update,
        {
            "table": _TABLE,
            "set": Field(dict, 'A value for each column, or {"expression": SQL}'),
            "where": _WHERE,
            "idempotency_key": _KEY,
        },
        '{"rows", "version"}',
    ),
    "table.merge": Shape(
        "Update, delete and insert rows by their keys",
        Who.WRITE,
        _merge,
        {
            "table": _TABLE,
            "rows": _ROWS,
            "on": Field(list, "The columns that tell rows apart", elements=str),
            "when_matched": Field(
                str,
                "What a row does that is there",
                is_required=False,
                choices=("update", "delete", "ignore"),
            ),
            "when_not_matched": Field(
                str, "And one that is not", is_required=False, choices=("insert", "ignore")
            ),
            "idempotency_key": _KEY,
        },
        '{"rows", "version"}',
    ),
    "table.compact": Shape(
        "Join small files of a table, and remove for good what tombstones hide",
        Who.MAINTAIN,
        _compact,
        {
            "table": _TABLE,
            "dry_run": _DRY_RUN,
            "target_file_bytes": Field(int, "How large files become", is_required=False),
        },
        '{"file_count", "file_bytes", "rows_removed", "tombstones_cleared", "version", "dry_run"}',
    ),
    "table.z_order": Shape(
        "Sort a table along a curve through columns",
        Who.MAINTAIN,
        _z_order,
        {"table": _TABLE, "columns": Field(list, "The columns", elements=str)},
        '{"file_count", "file_bytes", "rows_removed", "tombstones_cleared", "version"}',
    ),
    "table.vacuum": Shape(
        "Remove files that no recent version needs",
        Who.MAINTAIN,
        _vacuum,
        {
            "table": _TABLE,
            "retention_hours": Field(float, "How recent", is_required=False),
            "dry_run": _DRY_RUN,
        },
        '{"file_count", "files", "dry_run"}',
    ),
}
