"""What a worker knows of a planned query, and the memory of the most recent ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import pyarrow as pa
from datafusion import DataFrame
from datafusion.plan import LogicalPlan

from flight_server.engine.base import FileScan, GovernedScan, GovernedTable, Pin, Scan, ViewScan
from flight_server.engine.lookup import Key
from flight_server.sql.statements import Statement

Value = TypeVar("Value")
# The nodes of logical plans that make no rows beyond those of their input or of the statement.
_NO_LARGER = frozenset(
    {"Projection", "EmptyRelation", "SubqueryAlias", "Filter", "Limit", "Values"}
)
# How an expression shows a query within it, which is no input of its node.
_SUBQUERY = "<subquery>"
# There may be hundreds of plans at the same time, each with keys of its own moment.
KEPT_KEYS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Planned:
    """A query that is ready to run: what it returns, and the tables it was planned on.

    ``parameters`` are the types of its placeholders, None where the plan leaves one open; there are
    none when values were bound to them.
    """

    frame: DataFrame
    schema: pa.Schema
    statement: Statement
    opened: dict[Key, GovernedTable]
    pins: tuple[Pin, ...]
    is_small: bool
    is_constant: bool
    is_repeatable: bool
    is_timeless: bool
    parameters: tuple[pa.DataType | None, ...] = ()


class Recent(Generic[Value]):
    """The most recently used values, up to a number."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """Return the value put under this key, now the most recent one; None when it is gone."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value, and drop the least recently used ones beyond the number."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._entries_max:
            self._values.popitem(last=False)


def is_lasting(opened: Mapping[Key, GovernedTable]) -> bool:
    """Return whether tables at their pins hold what they held: rows made for one call do not.

    A view at its pin says what it said; what it reads is among the tables.
    """
    return all(is_lasting_scan(table.scan) for table in opened.values())


def is_lasting_scan(scan: Scan) -> bool:
    """Return whether a scan reads again what it reads now."""
    # What narrows a governed scan is part of its pin.
    source = scan.source if isinstance(scan, GovernedScan) else scan
    return isinstance(source, FileScan | ViewScan)


def is_light(scan: Scan) -> bool:
    """Return whether what is made of a scan may be kept: keys that hide rows can be millions."""
    narrowings = scan.narrowings if isinstance(scan, GovernedScan) else ()
    return sum(len(each.keys) for step in narrowings for each in step.keys) <= KEPT_KEYS_MAX


def is_no_larger_than_its_text(plan: LogicalPlan) -> bool:
    """Return whether a plan gives no more rows than its statement spells out.

    No table, no table function, no join, nothing that unnests: what is left is ``SELECT 1`` and its
    like, which drivers and tools send all day.
    """
    node, _, expressions = plan.display().partition(":")
    if node not in _NO_LARGER or _SUBQUERY in expressions:
        return False
    return all(map(is_no_larger_than_its_text, plan.inputs()))


def is_constant(plan: LogicalPlan) -> bool:
    """Return whether an optimized plan is a row of expressions over no input.

    The optimizer has replaced those that it could compute by their values.
    """
    nodes = [plan, *plan.inputs()]
    return [node.display().partition(":")[0] for node in nodes] == ["Projection", "EmptyRelation"]
