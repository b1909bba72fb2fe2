"""The rows of a table that a statement may change: all of them, or those that its caller sees.

What the caller sees has the names and is as redacted as in a query, and lies behind a fence like
there. Beside it are the values as they are stored, under names that nobody can guess: rows go back
as they were, but for what is set. Rows that are hidden are copied by queries that hold nothing of
the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from datafusion import DataFrame, col
from datafusion.catalog import Table

from flight_server.engine import groups
from flight_server.engine.base import (
    FileScan,
    GovernedScan,
    GovernedTable,
    Narrowing,
)
from flight_server.engine.planning import Own, Planner, unguessable
from flight_server.engine.scan import frame_of_files, frame_of_numbered_files
from flight_server.engine.view import NO_LIMIT, columns_of, misfits, named, unmet, visible
from flight_server.errors import InvalidRequest, PermissionDenied, Unsupported
from flight_server.sql.commands import Assignment
from flight_server.sql.names import quoted
from policies.rules import Redaction, RedactionKind


class Changeable:
    """The rows of one state of a table, as far as the caller may change them.

    ``scan`` are its files; ``opened`` what the caller sees of that state. Raises PermissionDenied
    where nothing but aggregates may leave the table.
    """

    def __init__(self, planner: Planner, scan: FileScan, opened: GovernedTable) -> None:
        self.scan = scan
        self.schema = scan.schema
        self._planner = planner
        self._narrowing: Narrowing | None = None
        self._secret = b""
        self._stored = {name: name for name in scan.schema.names}
        self._shown = tuple(scan.schema.names)
        if isinstance(opened.scan, GovernedScan):
            if opened.scan.group_rows_min:
                raise groups.refused("no row can be changed")
            if len(opened.scan.narrowings) != 1:
                raise Unsupported("the rows of a view cannot be changed: change its tables")
            (self._narrowing,) = opened.scan.narrowings
            self._secret = opened.scan.secret
            self._stored = {name: unguessable() for name in scan.schema.names}
            self._shown = tuple(column.name for column in self._narrowing.columns)

    @property
    def is_narrowed(self) -> bool:
        """Whether the caller sees less than there is."""
        return self._narrowing is not None

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that the caller sees, in the table's order."""
        return self._shown

    def relation(self, part: FileScan) -> tuple[str, Own]:
        """Return a relation of those rows of some files that may be changed."""
        if self._narrowing is None:
            return self._planner.files(part)
        frame = frame_of_files(self._planner.ctx, part)
        return self._fenced(frame, part, self._narrowing)

    def numbered(self, part: FileScan) -> tuple[str, str, Own]:
        """Return a column and a relation that has the number of each row's group in it."""
        number = unguessable()
        frame = frame_of_numbered_files(self._planner.ctx, part, number)
        if self._narrowing is None:
            name, own = self._planner.relation(Table(frame), part)
        else:
            name, own = self._fenced(frame, part, self._narrowing, number)
        return number, name, own

    def hidden(self, part: FileScan) -> Iterator[tuple[str, Own]]:
        """Return relations of the other rows of these files, each of which is in one of them."""
        if self._narrowing is None:
            return
        left = frame_of_files(self._planner.ctx, part)
        apply = self._planner.keys.apply
        for keys in self._narrowing.keys:
            yield self._planner.relation(
                Table(apply(left, replace(keys, keeps=not keys.keeps))), part
            )
            left = apply(left, keys)
        if self._narrowing.conditions:
            yield self._planner.relation(Table(unmet(left, self._narrowing.conditions)), part)

    def selection(self, alias: str, values: Mapping[str, str] | None = None) -> str:
        """Return ``SELECT`` of the columns as they are stored, or of what takes their place."""
        columns = (
            f"(\n{values[name]}\n) AS {quoted(name)}"
            if values and name in values
            else f"{alias}.{quoted(stored)} AS {quoted(name)}"
            for name, stored in self._stored.items()
        )
        return "SELECT " + ", ".join(columns)

    def assigned(
        self, assignments: Sequence[Assignment], *, is_new: bool = False
    ) -> dict[str, str]:
        """Return the expression of each column that is set, in a new row or in one that is there.

        Raises InvalidRequest for a column that the table does not have or that is set twice,
        PermissionDenied for one that the caller does not see as it is.
        """
        values: dict[str, str] = {}
        for each in assignments:
            column = self._settable(each.column, is_new=is_new)
            if column in values:
                raise InvalidRequest(f"the column {quoted(column)} is set twice")
            values[column] = each.expression
        return values

    def _settable(self, name: str, *, is_new: bool) -> str:
        found = named_among(name, self._shown)
        if found is None:
            if len(self._shown) == len(self.schema):
                raise InvalidRequest(f"the table has no column {quoted(name)}")
            # The same of a column that is hidden and of one that there is not.
            raise may_not_set(name)
        if any(not is_new or each.kind is RedactionKind.HASH for each in self._redactions(found)):
            raise may_not_set(found)
        return found

    def _redactions(self, name: str) -> Iterator[Redaction]:
        for column in () if self._narrowing is None else self._narrowing.columns:
            if column.name == name:
                yield from (redaction for _, redaction in column.redactions)

    def _fenced(
        self, frame: DataFrame, part: FileScan, narrowing: Narrowing, *also: str
    ) -> tuple[str, Own]:
        with misfits():
            rows = visible(named(frame), narrowing, keys=self._planner.keys)
            shown = columns_of(rows, narrowing, secret=self._secret)
            stored = (col(quoted(name)).alias(hidden) for name, hidden in self._stored.items())
            others = (col(quoted(name)) for name in also)
            frame = rows.select(*shown, *stored, *others)
        fenced = Table(named(frame).limit(NO_LIMIT))
        return self._planner.relation(Table(frame), GovernedScan(part, (narrowing,)), fenced=fenced)


def named_among(name: str, names: Sequence[str]) -> str | None:
    """Return the column that a name means: in other cases too, where only one can be meant."""
    if name in names:
        return name
    found = [each for each in names if each.lower() == name.lower()]
    return found[0] if len(found) == 1 else None


def may_not_set(column: str) -> PermissionDenied:
    """Return the error for a column that the caller does not see as it is."""
    return PermissionDenied(f"you may not change the column {quoted(column)}")
