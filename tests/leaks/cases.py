"""Every kind of rule, as a case: the rules, who asks, and what is left of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from policies.names import Principal, Privilege, Role, TableRef
from policies.purposes import DataPart
from policies.rules import (
    NULLED,
    ColumnMask,
    ColumnPath,
    Effect,
    Grant,
    Label,
    Redaction,
    RedactionKind,
    RowFilter,
    SafeView,
)
from tests.leaks.rows import FIRST_ROWS, ROWS, SCHEMA, Hiding, is_hidden, key_of, table

BUCKET, GOVERNED, LEFT = "primary", "main", "left"
ME = Principal("id-me", "me", Role.REGISTERED, attributes=(("side", "me"),))
# Sees all rows of what is left of each table, through a filter: what fails then, fails by them.
FENCED = Principal("id-fenced", "fenced", Role.REGISTERED)
RESEARCHER = Principal("id-me", "me", Role.REGISTERED, purpose="research")
ANALYST = Principal("id-me", "me", Role.REGISTERED, purpose="analytics")

# How a value is shown, in Python; the argument is the value in the table.
Shown = Callable[[Any], Any]
# A column and what takes its place there.
Shows = Mapping[ColumnPath, Shown]


@dataclass(frozen=True, slots=True)
class Rules:
    """What somebody puts; ``tombstones`` are a column and keys, ``consents`` those who agreed."""

    filters: tuple[RowFilter, ...] = ()
    masks: tuple[ColumnMask, ...] = ()
    labels: tuple[Label, ...] = ()
    views: tuple[SafeView, ...] = ()
    grants: tuple[Grant, ...] = ()
    tombstones: tuple[str, Sequence[Any]] | None = None
    consents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of rule on one table, ``g_`` and its name, in the schema of what is governed.

    ``targets`` are the expressions of a text and of a number that statements attack. ``shows`` has
    what takes the place of values; ``columns`` are those that are seen. ``asked`` tells which name
    the caller uses: that of the table, or ``v_`` or ``w_`` for a view over it. What is left has the
    same name in another schema. ``hashes`` are columns that only the server can make the pseudonyms
    of. Without ``is_open`` nobody may read the table but as the rules say; with ``is_grouped``
    figures of groups are left and no rows.
    """

    name: str
    hiding: Hiding
    rules: Rules
    targets: tuple[tuple[str, str], ...] = (("word", "nought"), ("place['zip']", "code"))
    shows: Shows = field(default_factory=dict)
    columns: tuple[str, ...] = tuple(SCHEMA.names)
    asked: str = "g"
    who: Principal = ME
    is_open: bool = True
    keeps_keyless: bool = True
    hashes: tuple[str, ...] = ()
    is_grouped: bool = False

    @property
    def ref(self) -> TableRef:
        """The table that holds the rows."""
        return ref_of(self.name)

    @property
    def asked_ref(self) -> TableRef:
        """The table or view that the caller names."""
        return ref_of(self.name, self.asked)

    def views_before(self) -> tuple[SafeView, ...]:
        """Return the views as they were before they hid anything."""
        return tuple(_wide(view) for view in self.rules.views)

    def stored(self) -> list[pa.Table]:
        """Return what is stored as the two versions of the table."""
        parts = (range(FIRST_ROWS), range(FIRST_ROWS, ROWS))
        return [table(numbers, self.hiding) for numbers in parts]

    def left(self, shows: Shows | None = None) -> list[pa.Table]:
        """Return the same with everything hidden taken away."""
        return [self._left(rows, {**self.shows, **(shows or {})}) for rows in self.stored()]

    def _left(self, rows: pa.Table, shows: Shows) -> pa.Table:
        if self.hiding.rows:
            numbers: list[Any] = rows["id"].to_pylist()
            rows = rows.filter([not is_hidden(number) for number in numbers])
        if not self.keeps_keyless:
            rows = rows.filter(pc.is_valid(rows["key"]))
        found = [_shown(row, shows) for row in rows.to_pylist()]
        return pa.Table.from_pylist(found, schema=SCHEMA).select(list(self.columns))


def ref_of(name: str, kind: str = "g") -> TableRef:
    """Return the table of a case; ``v`` is a view over it, ``w`` a view over that."""
    return TableRef(BUCKET, GOVERNED, f"{kind}_{name}")


def _shown(row: dict[str, Any], shows: Shows) -> dict[str, Any]:
    for path, show in shows.items():
        within: Any = row
        for name in path[:-1]:
            within = within[name]
        within[path[-1]] = show(within[path[-1]])
    return row


def _wide(view: SafeView) -> SafeView:
    if view.base.table.startswith("v_"):
        return view  # over the wide one
    columns = tuple((each.name, str(each.type)) for each in SCHEMA)
    return SafeView(view.ref, view.base, columns)


def nothing(_: Any) -> None:
    """Show nothing."""


def starred(prefix: int, suffix: int) -> Shown:
    """Show stars, and the ends of long values."""

    def show(value: Any) -> Any:
        if value is None:
            return None
        if prefix + suffix == 0 or len(value) < 2 * (prefix + suffix):
            return "*" * 8
        return value[:prefix] + "*" * 8 + value[len(value) - suffix :]

    return show


def network(value: Any) -> Any:
    """Show the network of an address."""
    return f"{value.rpartition('.')[0]}.0/24"


def rounded(unit: str, kind: pa.DataType) -> Shown:
    """Show the start of a day, a month or a year."""

    def show(value: Any) -> Any:
        return pc.floor_temporal(pa.array([value], kind), unit=unit).cast(kind)[0].as_py()  # type: ignore[call-overload]  # the unit

    return show


def bucket(width: int) -> Shown:
    """Show the start of a bucket."""
    return lambda value: value - value % width


HIDDEN_IDS = [number for number in range(ROWS) if is_hidden(number)]
HIDDEN_KEYS = [key for number in HIDDEN_IDS if (key := key_of(number)) is not None]
SEEN_IDS = [number for number in range(ROWS) if not is_hidden(number)]
EMAIL, CODE = ("email",), ("code",)
ROWS_HIDDEN = Hiding(rows=True)


def masks(name: str, **redactions: tuple[ColumnPath, Redaction]) -> tuple[ColumnMask, ...]:
    """Return masks for everybody on the table of a case."""
    return tuple(ColumnMask(each, ref_of(name), *rule) for each, rule in redactions.items())


def filters(name: str, *conditions: str) -> tuple[RowFilter, ...]:
    """Return filters for everybody on the table of a case."""
    return tuple(RowFilter(f"f{n}", ref_of(name), text) for n, text in enumerate(conditions))


def view_columns(*without: str) -> tuple[tuple[str, str], ...]:
    """Return what a view shows: all but some columns, with their types."""
    return tuple((each.name, str(each.type)) for each in SCHEMA if each.name not in without)


def column_grants(name: str, columns: tuple[str, ...], *, effect: Effect) -> tuple[Grant, ...]:
    """Return a grant on columns of the table of a case."""
    resource = (BUCKET, GOVERNED, f"g_{name}")
    return (Grant(Privilege.READ, resource, user="me", effect=effect, columns=columns),)


def labels(name: str, **parts: DataPart) -> tuple[Label, ...]:
    """Return what columns of the table of a case tell."""
    return tuple(Label(ref_of(name), column, part) for column, part in parts.items())


HASHED = Redaction(RedactionKind.HASH)
MASKED = Redaction(RedactionKind.MASK)
NULL = NULLED


def generalised(to: str) -> Redaction:
    """Return what makes values coarser."""
    return Redaction(RedactionKind.GENERALISE, to=to)
