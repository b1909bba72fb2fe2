"""A small lakehouse of known content, for tests that go over the wire."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flight_server.storage.write import Mode, append

ORDERS_ROWS = 10_000


def build_lakehouse(directory: Path) -> None:
    """Write the tables.

    Delta: ``sales.orders`` (10,000 rows, version 0 holds the first 5,000), ``sales.regions``
    partitioned by ``zone``, ``sales.empty`` without rows, ``events`` directly under the root.
    Parquet: ``files.cities``.
    """
    orders = orders_table(ORDERS_ROWS)
    half = ORDERS_ROWS // 2
    write(directory / "sales" / "orders", orders.slice(0, half))
    write(directory / "sales" / "orders", orders.slice(half))
    write(directory / "sales" / "regions", regions_table(), partition_by=("zone",))
    write(directory / "sales" / "empty", orders.slice(0, 0))
    write(directory / "events", pa.table({"id": [1, 2, 3], "kind": ["a", "b", None]}))
    (directory / "files").mkdir()
    pq.write_table(pa.table({"city": ["Oslo", "Rome"]}), directory / "files" / "cities.parquet")


def orders_table(rows: int) -> pa.Table:
    """Return orders 1 to ``rows``."""
    return pa.table(
        {
            "order_id": pa.array(range(1, rows + 1), pa.int64()),
            "customer": [f"customer-{i % 97:03d}" for i in range(rows)],
            "amount": pa.array([Decimal(i % 500) / 4 for i in range(rows)], pa.decimal128(12, 2)),
            "ordered_on": pa.array([date(2026, 1, 1 + i % 28) for i in range(rows)], pa.date32()),
            "note": pa.array([None if i % 3 else f"note {i}" for i in range(rows)], pa.string()),
        }
    )


def regions_table() -> pa.Table:
    """Return regions in three zones, one of them NULL."""
    return pa.table(
        {
            "region": ["North", "South", "East", "West"],
            "zone": ["cold zone", "a/b=c%20", None, "cold zone"],
        }
    )


def write(
    path: Path, table: pa.Table, *, mode: Mode = Mode.APPEND, partition_by: tuple[str, ...] = ()
) -> None:
    """Append a table as one commit."""
    append(path, table.to_reader(), mode=mode, partition_by=partition_by)
