"""How much longer a query is planned when there are rules on a thousand tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.data import Dataset
from flight_server.catalog.rule_rows import filter_row, mask_row, view_row
from flight_server.catalog.rulebook import Rulebook
from flight_server.clock import SystemClock
from flight_server.engine.base import BatchLimits, Query
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.service.governed import build, open_rulebook
from flight_server.storage.locations import locate_all
from policies.names import Principal, Privilege, Role, TableRef
from policies.rules import (
    Audience,
    ColumnMask,
    Grant,
    Redaction,
    RedactionKind,
    RowFilter,
    SafeView,
)

WHAT = "planning by a large book"
TABLES, VIEWS, ROLES = 1_000, 200, 50
_QUERIES = 60
_ROLES = [f"role{number}" for number in range(ROLES)]
_WHO = Principal("u-1", "reader", Role.REGISTERED, frozenset(_ROLES))
_LINEITEM = TableRef("primary", "tpch", "lineitem")


def extra_milliseconds(dataset: Dataset, folder: Path, *, rounds: int) -> Iterator[float]:
    """Yield for each round what planning a lookup takes on top, in milliseconds, as a median.

    Each query is another text. Without the large book the reader has one grant.
    """
    large, small = (_engine(dataset, folder / name, is_large=name == "large") for name in _NAMES)
    for number in range(rounds + 1):
        times: dict[LocalEngine, list[float]] = {large: [], small: []}
        for each in range(_QUERIES):
            key = number * _QUERIES + each
            for engine in (large, small) if each % 2 else (small, large):
                start = perf_counter()
                engine.describe(_query(key), is_cancelled=lambda: False)
                times[engine].append((perf_counter() - start) * 1e3)
        if number:  # the first round warms
            yield median(times[large]) - median(times[small])


_NAMES = ("large", "small")


def _query(key: int) -> Query:
    sql = f"SELECT * FROM tpch.lineitem WHERE l_orderkey = {key}"
    return Query(sql, _WHO, "primary", "public")


def _engine(dataset: Dataset, system: Path, *, is_large: bool) -> LocalEngine:
    system.mkdir()
    clock = SystemClock()
    buckets = locate_all({"primary": dataset.root, "system": system})
    fixed = [Grant(Privilege.READ, ("primary",), user=_WHO.username)]
    if is_large:
        fixed += [
            Grant(Privilege.READ, ("primary", "tpch", f"t{number}"), role=_ROLES[number % ROLES])
            for number in range(TABLES)
        ]
    rules = open_rulebook(fixed, buckets, clock)
    if is_large:
        _fill(rules)
    governed = build(buckets, rules.book, clock, narrowing=rules.narrowing)
    return LocalEngine(governed.tables, BatchLimits(), EngineOptions())


def _fill(rules: Rulebook) -> None:
    """Put a filter and a mask on each table, a view over some, and a filter on the one asked."""
    narrowing = rules.narrowing
    assert narrowing is not None
    made: dict[str, Any] = {"created_at": datetime.now(UTC), "created_by": None}
    tables = [TableRef("primary", "tpch", f"t{number}") for number in range(TABLES)]
    masked = Redaction(RedactionKind.MASK)
    filters = [
        RowFilter("f", table, "l_orderkey > 0", Audience(role=_ROLES[number % ROLES]))
        for number, table in enumerate([*tables, _LINEITEM])
    ]
    masks = [ColumnMask("m", table, ("l_comment",), masked) for table in tables]
    views = [
        SafeView(TableRef("primary", "tpch", f"v{number}"), table, (("l_orderkey", "int64"),))
        for number, table in enumerate(tables[:VIEWS])
    ]
    narrowing.filters.change(lambda _: [filter_row(each, **made) for each in filters])
    narrowing.masks.change(lambda _: [mask_row(each, **made) for each in masks])
    narrowing.views.change(lambda _: [view_row(each, b"", **made) for each in views])
