"""Governed scans for tests: what a principal may see of a table, in few words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from flight_server.engine.base import GovernedScan, KeyFilter, Narrowing, TableScan
from policies.lens import ShownColumn
from policies.rules import ColumnPath, Redaction

SECRET = b"the key of all hashes"


def without(column: str, keys: pa.Array[Any]) -> KeyFilter:
    """Rows whose key is not among these."""
    return _keys(column, keys, keeps=False)


def only(column: str, keys: pa.Array[Any]) -> KeyFilter:
    """Rows whose key is among these."""
    return _keys(column, keys, keeps=True)


def _keys(column: str, keys: pa.Array[Any], *, keeps: bool) -> KeyFilter:
    stamp = hashlib.sha256(repr((column, keys.to_pylist())).encode()).hexdigest()
    return KeyFilter(column, keys, keeps, stamp)


def narrowing(
    columns: Sequence[str],
    *conditions: str,
    keys: Sequence[KeyFilter] = (),
    redactions: Mapping[ColumnPath, Redaction] | None = None,
) -> Narrowing:
    """Some columns and rows; ``redactions`` are by column and field within."""
    by_path = redactions or {}
    shown = tuple(
        ShownColumn(
            name, tuple(sorted((path[1:], to) for path, to in by_path.items() if path[0] == name))
        )
        for name in columns
    )
    return Narrowing(shown, tuple(conditions), tuple(keys))


def governed(source: TableScan, *narrowings: Narrowing) -> GovernedScan:
    """What these narrowings leave, the first one next to the source."""
    return GovernedScan(source, narrowings, secret=SECRET)
