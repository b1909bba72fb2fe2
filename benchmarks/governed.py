"""What rules cost: lookups and exports through them and without, in turns."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from statistics import median
from time import perf_counter
from typing import Any

import pyarrow.flight as fl

from benchmarks.run import Run
from benchmarks.series import Metric
from benchmarks.targets import LAKEFLIGHT, Target

PART = "governed"
_EXPORT = ["SELECT * FROM {}"]
# The same table for those who may read it without its tombstones; no other rule is on it.
RAW = "raw"
TOMBSTONES = 100_000
KEYS_PER_ROUND = 40

_TABLE = "tpch.lineitem"
_RAW = 'tpch."__raw__lineitem"'
_FILTERED = "tpch.lineitem_filtered"
_MASKED = "tpch.lineitem_masked"
# TPC-H uses 8 of every 32 order keys: these hide nothing, so that both sides send the same rows.
_UNUSED_KEYS = [number // 8 * 32 + 8 + number % 8 for number in range(TOMBSTONES)]
_FIRST_DAY = date(1992, 3, 1)
_RANGE_DAYS = 30
_RANGE_KEYS = 100_000

POINT = Metric(PART, "row filter", "one order, p50", "ms")
RANGE = Metric(PART, "row filter", f"{_RANGE_KEYS:,} keys, p50", "ms")
# Of columns that are few and of rows that are far apart: what the filter reads on top counts most.
DAYS = Metric(PART, "row filter", f"four columns of {_RANGE_DAYS} days, p50", "ms")
EXPORT = Metric(PART, "masks", "export", "ms")
TOMBSTONE_POINT = Metric(PART, f"{TOMBSTONES:,} tombstones", "one order, p50", "ms")
TOMBSTONE_EXPORT = Metric(PART, f"{TOMBSTONES:,} tombstones", "export", "ms")


def measure(run: Run) -> None:
    """Put rules on lineitem, ask with and without them in turns, and take them back."""
    target = next((each for each in run.targets if each.name == LAKEFLIGHT), None)
    if target is None:
        return
    # One kind of rule at a time: what a view costs says nothing of tombstones.
    for rules, ask in ((_views, _through_views), (_tombstones, _beside_tombstones)):
        with run.noting_failure(target, PART), rules(_actions(target)):
            for number in range(run.rounds + 1):
                # The first round warms.
                add = run.figures.add if number else _forget
                with run.noting_failure(target, PART):
                    ask(run, target, number, add)


Add = Callable[[Metric, str, float], None]


def _forget(_: Metric, __: str, ___: float) -> None:
    """Add nothing."""


def _through_views(run: Run, target: Target, number: int, add: Add) -> None:
    drawn = random.Random(number)
    keys = _keys(run, drawn)
    days = [_FIRST_DAY + timedelta(days=day) for day in drawn.sample(range(2_200), KEYS_PER_ROUND)]
    ranges = [
        f"l_shipdate BETWEEN DATE '{day}' AND DATE '{day + timedelta(days=_RANGE_DAYS)}'"
        for day in days
    ]
    starts = [key // 2 for key in keys]
    whole = [
        f"SELECT * FROM {{}} WHERE l_orderkey BETWEEN {start} AND {start + _RANGE_KEYS}"
        for start in starts
    ]
    _compare(target, whole, (_FILTERED, _RAW), add, RANGE)
    chosen = "l_orderkey, l_shipdate, l_quantity, l_extendedprice"
    _compare(target, _points(keys), (_FILTERED, _RAW), add, POINT)
    texts = [f"SELECT {chosen} FROM {{}} WHERE {text}" for text in ranges]
    _compare(target, texts, (_FILTERED, _RAW), add, DAYS)
    _compare(target, _EXPORT, (_MASKED, _RAW), add, EXPORT, turn=number)


def _beside_tombstones(run: Run, target: Target, number: int, add: Add) -> None:
    # Texts that were never sent before, or the answers would be kept ones.
    points = [f"{text} AND l_linenumber > 0" for text in _points(_keys(run, random.Random(number)))]
    _compare(target, points, (_TABLE, _RAW), add, TOMBSTONE_POINT)
    _compare(target, _EXPORT, (_TABLE, _RAW), add, TOMBSTONE_EXPORT, turn=number)


def _keys(run: Run, drawn: random.Random) -> list[int]:
    orders = range(1, int(1_500_000 * run.dataset.scale))
    return [order // 8 * 32 + order % 8 for order in drawn.sample(orders, KEYS_PER_ROUND)]


def _points(keys: list[int]) -> list[str]:
    return [f"SELECT * FROM {{}} WHERE l_orderkey = {key}" for key in keys]


def _compare(
    target: Target,
    texts: list[str],
    tables: tuple[str, str],
    add: Add,
    metric: Metric,
    *,
    turn: int = 0,
) -> None:
    """Ask each statement of both tables, the first one in turns, and add the medians."""
    times: dict[str, list[float]] = {table: [] for table in tables}
    for at, text in enumerate(texts, turn):
        rows = set()
        for table in tables if at % 2 else tables[::-1]:
            start = perf_counter()
            rows.add(sum(batch.num_rows for batch in target.stream(text.format(table))))
            times[table].append((perf_counter() - start) * 1e3)
        if len(rows) > 1:
            raise RuntimeError("the rules hide rows: the times cannot be compared")
    for table, name in zip(tables, (LAKEFLIGHT, RAW), strict=True):
        add(metric, name, median(times[table]))


@contextlib.contextmanager
def _views(act: Callable[..., None]) -> Iterator[None]:
    """Put views over lineitem; take them back on leaving."""
    columns = [
        *("l_orderkey", "l_partkey", "l_suppkey", "l_linenumber", "l_quantity", "l_extendedprice"),
        *("l_discount", "l_tax", "l_returnflag", "l_linestatus", "l_shipdate", "l_commitdate"),
        *("l_receiptdate", "l_shipinstruct", "l_shipmode", "l_comment"),
    ]
    view = {"base": _TABLE, "columns": columns}
    try:
        act("view.put", name=_FILTERED, row_filter="l_returnflag <> 'X'", **view)
        act(
            "view.put",
            name=_MASKED,
            redactions={
                "l_comment": {"kind": "mask", "keep_prefix": 3},
                "l_shipinstruct": {"kind": "null"},
            },
            **view,
        )
        yield
    finally:
        for name in (_MASKED, _FILTERED):
            act("view.drop", name=name, if_exists=True)


@contextlib.contextmanager
def _tombstones(act: Callable[..., None]) -> Iterator[None]:
    """Hide keys of lineitem that no row has; take them back on leaving."""
    keys = {"table": _TABLE, "row_key_values": _UNUSED_KEYS}
    try:
        act("tombstone.add", row_key_column="l_orderkey", reason="a benchmark", **keys)
        yield
    finally:
        act("tombstone.remove", **keys)


def _actions(target: Target) -> Callable[..., None]:
    login = target.login
    assert login.uri is not None
    client = fl.FlightClient(login.uri)
    header = client.authenticate_basic_token(login.user, login.password)
    options = fl.FlightCallOptions(headers=[header])

    def act(name: str, /, **body: Any) -> None:
        list(client.do_action(fl.Action(name, json.dumps(body).encode()), options))

    return act
