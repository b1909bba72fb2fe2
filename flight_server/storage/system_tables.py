"""The columns and keys of the server's own tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One of the server's own tables: its folder below the system folder, its columns, its key.

    Of its history, at least ``history_versions_min`` versions are kept; None keeps all.
    """

    name: str
    key: str
    schema: pa.Schema
    history_versions_min: int | None = None


def rows_by_key(table: pa.Table, spec: TableSpec) -> dict[str, Mapping[str, Any]]:
    """Return the rows of a state of one of these tables by their keys, in all its columns."""
    rows: dict[str, Mapping[str, Any]] = {}
    for row in table.to_pylist():
        # A column that this version of the server added is missing from older tables.
        full = {name: row.get(name) for name in spec.schema.names}
        rows[str(full[spec.key])] = MappingProxyType(full)
    return rows


_TIME = pa.timestamp("us", tz="UTC")


def _columns(*fields: pa.Field[Any]) -> list[pa.Field[Any]]:
    return list(fields)


USERS = TableSpec(
    name="auth/users",
    key="user_id",
    schema=pa.schema(
        _columns(
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("username", pa.string(), nullable=False),
            pa.field("email", pa.string()),
            pa.field("password_hash", pa.string(), nullable=False),
            pa.field("role", pa.string(), nullable=False),
            pa.field("custom_roles", pa.list_(pa.string())),
            pa.field("subscription_tier", pa.string(), nullable=False),
            pa.field("is_active", pa.bool_(), nullable=False),
            pa.field("created_at", _TIME, nullable=False),
            pa.field("updated_at", _TIME, nullable=False),
            # Whose account it is at another system, and what that system said of them last.
            pa.field("external_id", pa.string()),
            pa.field("external_claims", pa.string()),
            # What was asked for at registration.
            pa.field("requested_tier", pa.string()),
            # A JSON object of texts by name, which row filters may ask for.
            pa.field("attributes", pa.string()),
        )
    ),
)

# One row for each sign-in. ``token_hash`` is that of the refresh token, whose number is
# ``generation``: an earlier one that comes again was stolen, by whoever sends it or from them.
SESSIONS = TableSpec(
    name="auth/sessions",
    key="session_id",
    schema=pa.schema(
        _columns(
            pa.field("session_id", pa.string(), nullable=False),
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("token_hash", pa.string()),
            pa.field("generation", pa.int64(), nullable=False),
            pa.field("expires_at", _TIME, nullable=False),
            pa.field("created_at", _TIME, nullable=False),
            pa.field("ip_address", pa.string()),
            pa.field("user_agent", pa.string()),
            pa.field("revoked_at", _TIME),
            pa.field("revoked_reason", pa.string()),
        )
    ),
    # Every sign-in is a version; who signed in when is in the audit log.
    history_versions_min=1000,
)

# Personal access tokens, and the ids of other tokens that were revoked one by one.
TOKENS = TableSpec(
    name="auth/tokens",
    key="token_id",
    schema=pa.schema(
        _columns(
            pa.field("token_id", pa.string(), nullable=False),
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("name", pa.string()),
            pa.field("token_hash", pa.string()),
            pa.field("created_at", _TIME, nullable=False),
            pa.field("expires_at", _TIME, nullable=False),
            pa.field("revoked_at", _TIME),
        )
    ),
)

GRANTS = TableSpec(
    name="policy/grants",
    key="grant_id",
    schema=pa.schema(
        _columns(
            pa.field("grant_id", pa.string(), nullable=False),
            pa.field("privilege", pa.string(), nullable=False),
            pa.field("resource", pa.string(), nullable=False),
            pa.field("user", pa.string()),
            pa.field("role", pa.string()),
            pa.field("effect", pa.string(), nullable=False),
            pa.field("created_at", _TIME, nullable=False),
            pa.field("created_by", pa.string()),
            # Names of accounts that are gone may be taken again; ids are not.
            pa.field("user_id", pa.string()),
            pa.field("columns", pa.list_(pa.string())),
            pa.field("purposes", pa.list_(pa.string())),
        )
    ),
)

# The table or view that a rule is on, and whom it is for.
_RULE = _columns(
    pa.field("rule", pa.string(), nullable=False),  # bucket/schema/table/name: none holds a slash
    pa.field("bucket", pa.string(), nullable=False),
    pa.field("schema", pa.string(), nullable=False),
    pa.field("table", pa.string(), nullable=False),
    pa.field("name", pa.string(), nullable=False),
    pa.field("user", pa.string()),
    pa.field("user_id", pa.string()),
    pa.field("role", pa.string()),
    pa.field("except_roles", pa.list_(pa.string())),
    pa.field("created_at", _TIME, nullable=False),
    pa.field("created_by", pa.string()),
)
_REDACTION = _columns(
    pa.field("kind", pa.string(), nullable=False),
    pa.field("keep_prefix", pa.int64(), nullable=False),
    pa.field("keep_suffix", pa.int64(), nullable=False),
    pa.field("domain", pa.string()),
    pa.field("to", pa.string()),
)

FILTERS = TableSpec(
    name="policy/filters",
    key="rule",
    schema=pa.schema([*_RULE, pa.field("condition", pa.string(), nullable=False)]),
)

MASKS = TableSpec(
    name="policy/masks",
    key="rule",
    schema=pa.schema([*_RULE, pa.field("column", pa.list_(pa.string())), *_REDACTION]),
)

LABELS = TableSpec(
    name="policy/labels",
    key="label",
    schema=pa.schema(
        _columns(
            pa.field("label", pa.string(), nullable=False),  # bucket/schema/table/column/part
            pa.field("bucket", pa.string(), nullable=False),
            pa.field("schema", pa.string(), nullable=False),
            pa.field("table", pa.string(), nullable=False),
            pa.field("column", pa.string(), nullable=False),
            pa.field("part", pa.string(), nullable=False),
            pa.field("created_at", _TIME, nullable=False),
            pa.field("created_by", pa.string()),
        )
    ),
)

SAFE_VIEWS = TableSpec(
    name="policy/views",
    key="view",
    schema=pa.schema(
        _columns(
            pa.field("view", pa.string(), nullable=False),  # bucket/schema/name
            pa.field("bucket", pa.string(), nullable=False),
            pa.field("schema", pa.string(), nullable=False),
            pa.field("name", pa.string(), nullable=False),
            pa.field("base_bucket", pa.string(), nullable=False),
            pa.field("base_schema", pa.string(), nullable=False),
            pa.field("base_table", pa.string(), nullable=False),
            pa.field("columns", pa.list_(pa.string())),
            pa.field("column_types", pa.list_(pa.string())),
            pa.field("row_filter", pa.string()),
            pa.field("redactions", pa.string(), nullable=False),  # JSON, by path
            pa.field("description", pa.string()),
            pa.field("tags", pa.list_(pa.string())),
            pa.field("arrow_schema", pa.binary(), nullable=False),
            pa.field("created_at", _TIME, nullable=False),
            pa.field("created_by", pa.string()),
        )
    ),
)

VIEWS = TableSpec(
    name="catalog/views",
    key="view",
    schema=pa.schema(
        _columns(
            pa.field("view", pa.string(), nullable=False),  # bucket/schema/name: none holds a slash
            pa.field("bucket", pa.string(), nullable=False),
            pa.field("schema", pa.string(), nullable=False),
            pa.field("name", pa.string(), nullable=False),
            pa.field("definition", pa.string(), nullable=False),
            pa.field("default_bucket", pa.string(), nullable=False),
            pa.field("default_schema", pa.string(), nullable=False),
            pa.field("columns", pa.list_(pa.string())),
            pa.field("arrow_schema", pa.binary(), nullable=False),
            pa.field("comment", pa.string()),
            pa.field("owner_id", pa.string(), nullable=False),
            pa.field("created_at", _TIME, nullable=False),
        )
    ),
)
