"""MERGE, and UPDATE and DELETE for several rows of parameters.

The source is computed once and kept. Its rows are paired with those of the table: what is to be
changed is written anew together with what stays in the same files, and rows of the source without a
partner are added.
"""

# ruff: noqa: S608  the texts are put together from quoted names and parts of one statement

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from flight_server.engine.base import ONE_BY_ONE, FileScan, Sink, Written
from flight_server.engine.changeable import Changeable
from flight_server.engine.kept import Kept, kept
from flight_server.engine.parameters import with_placeholders
from flight_server.engine.planning import NOTHING_OWN, Job, Own, Planner, unguessable
from flight_server.engine.rewrite import Pair, Pouring, keep_hidden, refuse_volatile
from flight_server.engine.targets import TargetFile, files_of, parts_of, touched_files
from flight_server.errors import InvalidRequest, Unsupported
from flight_server.sql.commands import (
    Assignment,
    Delete,
    Matched,
    Merge,
    MergeClause,
    MergeDelete,
    MergeInsert,
    MergeUpdate,
    Update,
)
from flight_server.sql.lexer import Kind, heard
from flight_server.sql.names import quoted

# The code of the error for rows that several rows of the source would change.
AMBIGUOUS = "merge_ambiguous"
_NAMES = (Kind.WORD, Kind.QUOTED)


def merge(
    planner: Planner,
    job: Job,
    command: Merge,
    *,
    rows: Changeable,
    sinks: Pair,
    own: Own = NOTHING_OWN,
) -> Written:
    """Execute a MERGE, all but finishing the sink; ``own`` are relations that its texts may name.

    Raises InvalidRequest when several rows of the source would change one row of the table, and
    as ``rewrite`` does.
    """
    refuse_volatile(command.on, *(clause.condition for clause in command.clauses))
    source = planner.plan(
        f"SELECT * FROM {command.source} AS {quoted(command.source_alias)}", job, own=own
    )
    with kept(planner, source, job) as partners:
        merging = _Merging(planner, job, command, rows, sinks, partners)
        merging.check_single()
        changed = merging.rewrite()
        return replace(changed, inserted=merging.insert())


def merge_of_rows(planner: Planner, command: Update | Delete, rows: pa.Table) -> tuple[Merge, Own]:
    """Return an UPDATE or DELETE for several rows of parameters as a MERGE with these as source.

    It stands for running the statement for one row after the other. Raises Unsupported for an
    UPDATE of columns that its own condition may ask for, where the order would matter.
    """
    name, own = planner.memory(rows.to_batches(), rows.schema)
    alias = unguessable()

    def bound(text: str) -> str:
        return with_placeholders(text, lambda number: f"{quoted(alias)}.{quoted(number)}")

    action: MergeUpdate | MergeDelete = MergeDelete()
    if isinstance(command, Update):
        names = {each.name for each in heard(command.where or "") if each.kind in _NAMES}
        if not names.isdisjoint(each.column for each in command.assignments):
            raise Unsupported(
                "an UPDATE whose condition asks for a column that it sets runs with one row of"
                " parameters at a time",
                code=ONE_BY_ONE,
            )
        action = MergeUpdate(
            tuple(Assignment(each.column, bound(each.expression)) for each in command.assignments)
        )
    merging = Merge(
        target=command.target,
        alias=command.alias,
        source=quoted(name),
        source_alias=alias,
        on="TRUE" if command.where is None else bound(command.where),
        clauses=(MergeClause(Matched.BOTH, None, action),),
    )
    return merging, own


def merge_from_rows(planner: Planner, command: Merge, rows: pa.Table) -> tuple[Merge, Own]:
    """Return a MERGE with these rows of parameters as its source, in place of the one it names."""
    name, own = planner.memory(rows.to_batches(), rows.schema)
    return replace(command, source=quoted(name)), own


@dataclass(frozen=True, slots=True)
class _Acting:
    """A clause that acts, and the whole condition under which no earlier one does."""

    action: MergeUpdate | MergeDelete | MergeInsert
    condition: str


class _Merging:
    """One MERGE over a source that is kept."""

    def __init__(
        self,
        planner: Planner,
        job: Job,
        command: Merge,
        rows: Changeable,
        sinks: Pair,
        source: Kept,
    ) -> None:
        self._planner = planner
        self._job = job
        self._rows = rows
        self._sinks = sinks
        self._source = source
        self._alias = quoted(command.alias)
        self._source_alias = quoted(command.source_alias)
        self._on = f"(\n{command.on}\n)"
        self._both = _acting(command.clauses, Matched.BOTH)
        self._target_only = _acting(command.clauses, Matched.TARGET_ONLY)
        self._source_only = _acting(command.clauses, Matched.SOURCE_ONLY)
        self._files = files_of(rows.scan)
        self._touched = self._find_touched()

    def check_single(self) -> None:
        """Raise InvalidRequest when several rows of the source would change one of the table."""
        if all(isinstance(each.action, MergeDelete) for each in self._both):
            return  # removed twice is removed
        number = quoted(unguessable())
        for _, name, own in self._parts():
            into = self._into(self._sinks.kept, own)
            once = f"(SELECT *, row_number() OVER () AS {number} FROM {name}) AS {self._alias}"
            changes = f"SELECT {number} FROM {once} {self._join()} WHERE {_any(self._both)}"
            found = into.count(
                f"FROM (SELECT {number} FROM ({changes}) GROUP BY {number} HAVING count(*) > 1)"
            )
            if found:
                raise InvalidRequest(
                    "several rows of the source match one row of the table", code=AMBIGUOUS
                )

    def rewrite(self) -> Written:
        """Write the rows of the touched files that stay, and those that change."""
        before = stays = updated = 0
        for part, name, own in self._parts():
            into, changed = self._into(self._sinks.kept, own), self._into(self._sinks.new, own)
            target = f"FROM {name} AS {self._alias}"
            seen = into.count(target)
            keep_hidden(
                self._planner, self._job, self._rows, part=part, sink=self._sinks.kept, seen=seen
            )
            before += seen
            stays += sum(map(into.pour, self._staying(name)))
            for acting, kind in ((self._both, ""), (self._target_only, "LEFT ANTI")):
                for each in acting:
                    if isinstance(each.action, MergeUpdate):
                        rows = f"{self._set(each.action)} {target} {self._join(kind)}"
                        updated += changed.pour(f"{rows} WHERE {each.condition}")
        return Written(
            self._rows.schema,
            (),
            tuple(file.path for file in self._touched),
            updated=updated,
            deleted=before - stays - updated,
        )

    def insert(self) -> int:
        """Write the rows of the source that no row of the whole table matches."""
        if not self._source_only:
            return 0
        number = quoted(self._source.number)
        source = f"FROM {quoted(self._source.name)} AS {self._source_alias}"
        own = self._source.own
        matched = list(self._matched(f"SELECT {self._source_alias}.{number} AS n {source}"))
        if matched:
            name, rows = self._planner.memory(matched, matched[0].schema)
            own = own | rows
            other = quoted(name)
            source += f" LEFT ANTI JOIN {other} ON {self._source_alias}.{number} = {other}.n"
        into = self._into(self._sinks.new, own)
        return sum(
            into.pour(f"{self._values(each.action)} {source} WHERE {each.condition}")
            for each in self._source_only
            if isinstance(each.action, MergeInsert)
        )

    def _find_touched(self) -> list[TargetFile]:
        if self._target_only:
            return self._files
        if not self._both:
            return []
        from_table = f"FROM {{table}} AS {self._alias} {self._join()} WHERE {_any(self._both)}"
        return touched_files(
            self._planner,
            self._job,
            self._rows,
            files=self._files,
            from_table=from_table,
            own=self._source.own,
        )

    def _parts(self) -> Iterator[tuple[FileScan, str, Own]]:
        """Return the touched files in parts, each with its rows: a quoted name, and relations."""
        for part, _ in parts_of(self._rows.scan, self._touched):
            name, own = self._rows.relation(part)
            yield part, quoted(name), self._source.own | own

    def _into(self, sink: Sink, own: Own) -> Pouring:
        return Pouring(self._planner, self._job, sink, own)

    def _staying(self, name: str) -> Iterator[str]:
        """Return the queries for rows that no clause changes, each of which comes once."""
        columns = self._rows.selection(self._alias)
        target = f"{name} AS {self._alias}"
        if not self._target_only:
            yield f"{columns} FROM {target} {self._join('LEFT ANTI', also=_any(self._both))}"
            return
        matched = f"SELECT {self._alias}.* FROM {target} {self._join('LEFT SEMI')}"
        unchanged = self._join("LEFT ANTI", also=_any(self._both)) if self._both else ""
        yield f"{columns} FROM ({matched}) AS {self._alias} {unchanged}"
        alone = f"{columns} FROM {target} {self._join('LEFT ANTI')}"
        yield f"{alone} WHERE ({_any(self._target_only)}) IS NOT TRUE"

    def _matched(self, numbers: str) -> Iterator[pa.RecordBatch]:
        """Return the numbers of the source's rows that have a partner anywhere in the table."""
        for part, _ in parts_of(self._rows.scan, self._files):
            name, own = self._rows.relation(part)
            semi = f"LEFT SEMI JOIN {quoted(name)} AS {self._alias} ON {self._on}"
            found = self._planner.plan(f"{numbers} {semi}", self._job, own=self._source.own | own)
            yield from self._planner.rows(found, self._job)

    def _join(self, kind: str = "", *, also: str | None = None) -> str:
        condition = self._on if also is None else f"{self._on} AND ({also})"
        source = f"{quoted(self._source.name)} AS {self._source_alias}"
        return f"{kind} JOIN {source} ON {condition}"

    def _set(self, action: MergeUpdate) -> str:
        assignments = action.assignments or self._all_by_name("UPDATE SET *")
        return self._rows.selection(self._alias, self._rows.assigned(assignments))

    def _values(self, action: MergeInsert) -> str:
        names = action.columns or self._rows.shown
        if not action.values:
            return self._inserted(self._all_by_name("INSERT *"))
        if len(names) != len(action.values):
            raise InvalidRequest(f"the table has {len(names)} columns, not {len(action.values)}")
        pairs = zip(names, action.values, strict=True)
        return self._inserted([Assignment(*pair) for pair in pairs])

    def _inserted(self, assignments: Sequence[Assignment]) -> str:
        values = self._rows.assigned(assignments, is_new=True)
        columns = (f"(\n{value}\n) AS {quoted(name)}" for name, value in values.items())
        return "SELECT " + ", ".join(columns)

    def _all_by_name(self, what: str) -> list[Assignment]:
        """Return an assignment to each column from the source's column of the same name."""
        for name in self._rows.shown:
            if name not in self._source.schema.names:
                raise InvalidRequest(f"{what}: the source has no column {quoted(name)}")
        return [
            Assignment(name, f"{self._source_alias}.{quoted(name)}") for name in self._rows.shown
        ]


def _acting(clauses: Sequence[MergeClause], matched: Matched) -> list[_Acting]:
    """Return the clauses of a kind that act, each with the whole condition for it."""
    found: list[_Acting] = []
    earlier: list[str] = []
    for clause in clauses:
        if clause.matched is matched:
            condition = "TRUE" if clause.condition is None else f"(\n{clause.condition}\n)"
            if clause.action is not None:
                found.append(_Acting(clause.action, " AND ".join([*earlier, condition])))
            earlier.append(f"{condition} IS NOT TRUE")
    return found


def _any(acting: Sequence[_Acting]) -> str:
    return "(" + " OR ".join(f"({each.condition})" for each in acting) + ")"
