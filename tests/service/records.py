"""An audit table with records that tests write themselves: the chain in it is made up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from flight_server.audit.columns import SCHEMA

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_numbers = iter(range(1, 10**9))


def record(user: str | None = "bob", action: str = "query", **values: Any) -> dict[str, Any]:
    """Return a record of a call that went well; the user ``bob`` has the id ``id-bob``."""
    number = next(_numbers)
    made: dict[str, Any] = {
        "audit_id": f"audit-{number}",
        "sequence": number,
        "timestamp": NOON,
        "user_id": None if user is None else f"id-{user}",
        "username": user,
        "session_id": f"session-{user}",
        "action": action,
        "resource": "primary.public.orders",
        "purpose": None,
        "outcome": "success",
        "details": '{"statement":"SELECT ?"}',
        "row_count": 10,
        "byte_count": 1000,
        "engine_ms": 250.0,
        "duration_ms": 300.0,
        "table_versions": '{"primary.public.orders":3}',
        "policy_version": "1",
        "request_id": f"request-{number}",
        "ip_address": "203.0.113.77",
        "user_agent": f"agent of {user}",
        "prev_hash": "0" * 64,
        "hash": "f" * 64,
        **values,
    }
    made["date_partition"] = made["timestamp"].date()
    return made


def write(system: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Append records to the audit table below the folder of the server's state."""
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    path = system / "audit/audit_log"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(str(path), table, mode="append", partition_by=["date_partition"])
