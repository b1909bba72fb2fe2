"""Rules that narrow what is seen, as the rows that keep them, and back.

Each ``…_of`` raises ValueError, TypeError or KeyError for a row that is no such rule.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flight_server.storage.system import Row
from policies.names import TableRef
from policies.purposes import DataPart
from policies.rules import (
    Audience,
    ColumnMask,
    ColumnPath,
    Label,
    Redaction,
    RedactionKind,
    RowFilter,
    SafeView,
)


def rule_key(table: TableRef, *names: str) -> str:
    """Return the key of a rule on a table; no name in it holds a slash but the last."""
    return "/".join((table.bucket, table.schema, table.table, *names))


def filter_row(rule: RowFilter, *, created_at: datetime, created_by: str | None) -> dict[str, Any]:
    """Return a row filter as it is stored; ``created_by`` is None for the command line."""
    return {
        **_rule_row(rule, created_at, created_by),
        "condition": rule.condition,
    }


def filter_of(row: Row) -> RowFilter:
    """Return the row filter that a row keeps."""
    return RowFilter(row["name"], _table_of(row), str(row["condition"]), _audience_of(row))


def mask_row(rule: ColumnMask, *, created_at: datetime, created_by: str | None) -> dict[str, Any]:
    """Return a column mask as it is stored."""
    return {
        **_rule_row(rule, created_at, created_by),
        "column": list(rule.column),
        **_redaction_row(rule.redaction),
    }


def mask_of(row: Row) -> ColumnMask:
    """Return the column mask that a row keeps."""
    path = tuple(row["column"])
    if not path:
        raise ValueError("a mask is on a column")
    return ColumnMask(row["name"], _table_of(row), path, _redaction_of(row), _audience_of(row))


def label_row(label: Label, *, created_at: datetime, created_by: str | None) -> dict[str, Any]:
    """Return a label as it is stored."""
    return {
        "label": rule_key(label.table, label.column, label.part.value),
        **_table_row(label.table),
        "column": label.column,
        "part": label.part.value,
        "created_at": created_at,
        "created_by": created_by,
    }


def label_of(row: Row) -> Label:
    """Return the label that a row keeps."""
    return Label(_table_of(row), row["column"], DataPart(row["part"]))


def view_row(
    view: SafeView, arrow_schema: bytes, *, created_at: datetime, created_by: str | None
) -> dict[str, Any]:
    """Return an AI-safe view as it is stored; ``arrow_schema`` is what it returns, as IPC."""
    redactions = [[list(path), _redaction_row(each)] for path, each in view.redactions]
    return {
        "view": rule_key(view.ref),
        "bucket": view.ref.bucket,
        "schema": view.ref.schema,
        "name": view.ref.table,
        "base_bucket": view.base.bucket,
        "base_schema": view.base.schema,
        "base_table": view.base.table,
        "columns": [name for name, _ in view.columns],
        "column_types": [kind for _, kind in view.columns],
        "row_filter": view.row_filter,
        "redactions": json.dumps(redactions),
        "description": view.description,
        "tags": list(view.tags),
        "arrow_schema": arrow_schema,
        "created_at": created_at,
        "created_by": created_by,
    }


def view_of(row: Row) -> SafeView:
    """Return the AI-safe view that a row keeps."""
    redactions: list[tuple[ColumnPath, Redaction]] = []
    for path, each in json.loads(row["redactions"]):
        if not path:
            raise ValueError("a redaction is of a column")
        redactions.append((tuple(path), _redaction_of(each)))
    return SafeView(
        ref=TableRef(row["bucket"], row["schema"], row["name"]),
        base=TableRef(row["base_bucket"], row["base_schema"], row["base_table"]),
        columns=tuple(zip(row["columns"], row["column_types"], strict=True)),
        row_filter=row["row_filter"],
        redactions=tuple(redactions),
        description=row["description"],
        tags=tuple(row["tags"] or ()),
    )


def _rule_row(
    rule: RowFilter | ColumnMask, created_at: datetime, created_by: str | None
) -> dict[str, Any]:
    return {
        "rule": rule_key(rule.table, rule.name),
        **_table_row(rule.table),
        "name": rule.name,
        "user": rule.to.user,
        "user_id": rule.to.user_id,
        "role": rule.to.role,
        "except_roles": sorted(rule.to.except_roles),
        "created_at": created_at,
        "created_by": created_by,
    }


def _table_row(table: TableRef) -> dict[str, str]:
    return {"bucket": table.bucket, "schema": table.schema, "table": table.table}


def _table_of(row: Row) -> TableRef:
    return TableRef(row["bucket"], row["schema"], row["table"])


def _audience_of(row: Row) -> Audience:
    return Audience(
        user=row["user"],
        role=row["role"],
        user_id=row["user_id"],
        except_roles=frozenset(row["except_roles"] or ()),
    )


def _redaction_row(redaction: Redaction) -> dict[str, Any]:
    return {
        "kind": redaction.kind.value,
        "keep_prefix": redaction.keep_prefix,
        "keep_suffix": redaction.keep_suffix,
        "domain": redaction.domain,
        "to": redaction.to,
    }


def _redaction_of(row: Mapping[str, Any]) -> Redaction:
    return Redaction(
        RedactionKind(row["kind"]),
        keep_prefix=int(row["keep_prefix"]),
        keep_suffix=int(row["keep_suffix"]),
        domain=row["domain"],
        to=row["to"],
    )
