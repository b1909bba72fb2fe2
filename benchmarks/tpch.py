"""The 22 queries of TPC-H, and how to tell whether two answers are the same."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

_FILE = Path(__file__).parent / "tpch.sql"


def queries(scale: float) -> dict[str, str]:
    """Return the queries by name, ``q1`` to ``q22``."""
    text = _FILE.read_text().replace("{fraction}", f"{Decimal('0.0001') / Decimal(str(scale)):f}")
    parts = re.split(r"^-- (q\d+)\n", text, flags=re.MULTILINE)[1:]
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


def same(left: pa.Table, right: pa.Table, *, tolerance: float = 1e-9) -> bool:
    """Tell whether two answers hold the same rows; order is free, since some queries leave it open.

    Column names and values must be equal, floats but for a relative ``tolerance``.
    """
    if left.num_rows == right.num_rows == 0:
        return True  # a stream without batches brings no columns
    if left.column_names != right.column_names or left.num_rows != right.num_rows:
        return False
    pairs = zip(_rows(left), _rows(right), strict=True)
    return all(_same_row(one, other, tolerance=tolerance) for one, other in pairs)


def _rows(table: pa.Table) -> list[tuple[object, ...]]:
    columns = [column.to_pylist() for column in table.columns]
    return sorted(zip(*columns, strict=True), key=repr)


def _same_row(left: tuple[object, ...], right: tuple[object, ...], *, tolerance: float) -> bool:
    return all(
        math.isclose(one, other, rel_tol=tolerance)
        if isinstance(one, float) and isinstance(other, float)
        else one == other
        for one, other in zip(left, right, strict=True)
    )
