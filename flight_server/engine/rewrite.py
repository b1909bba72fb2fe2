"""UPDATE and DELETE: the files that hold rows to change are written anew, and only those.

First the files are asked whether they hold such rows; then the rows of those that do are read,
those that stay as they are and those that change, and go to new files.
"""

# ruff: noqa: S608  the texts are put together from quoted names and parts of one statement

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from flight_server.engine.base import FileScan, Sink, Written
from flight_server.engine.changeable import Changeable, named_among
from flight_server.engine.faults import DAMAGED
from flight_server.engine.planning import Job, Own, Planner
from flight_server.engine.targets import files_of, parts_of, touched_files
from flight_server.errors import InvalidRequest, Unavailable, Unsupported
from flight_server.sql.commands import Delete, Update
from flight_server.sql.names import quoted
from flight_server.sql.volatile import names_volatile


def rewrite(
    planner: Planner, job: Job, command: Update | Delete, *, rows: Changeable, sinks: Pair
) -> Written:
    """Execute an UPDATE or a DELETE, all but finishing the sink.

    Raises Unsupported for conditions that are evaluated differently each time, InvalidRequest and
    SchemaMismatch for columns that the table does not have and values that do not fit it,
    PermissionDenied for columns that the caller does not see as they are.
    """
    refuse_volatile(command.where)
    alias = quoted(command.alias)
    values: Mapping[str, str] | None = None
    if isinstance(command, Update):
        values = rows.assigned(command.assignments)
    files = files_of(rows.scan)
    if command.where is not None:
        from_table = f"FROM {{table}} AS {alias} WHERE (\n{command.where}\n)"
        files = touched_files(planner, job, rows, files=files, from_table=from_table)
    before = kept = updated = 0
    for part, _ in parts_of(rows.scan, files):
        name, own = rows.relation(part)
        into = Pouring(planner, job, sinks.kept, own)
        table = f"FROM {quoted(name)} AS {alias}"
        if values is None or rows.is_narrowed:
            seen = into.count(table)
            keep_hidden(planner, job, rows, part=part, sink=sinks.kept, seen=seen)
            before += seen
        if command.where is not None:
            rest = f"{table} WHERE (\n{command.where}\n) IS NOT TRUE"
            kept += into.pour(f"{rows.selection(alias)} {rest}")
        if values is not None:
            changed = Pouring(planner, job, sinks.new, own)
            matching = "" if command.where is None else f" WHERE (\n{command.where}\n)"
            updated += changed.pour(f"{rows.selection(alias, values)} {table}{matching}")
    removed = tuple(file.path for file in files)
    deleted = 0 if values is not None else before - kept
    return Written(rows.schema, (), removed, updated=updated, deleted=deleted)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two ways into the files of one write: for rows as they are, and for new or changed ones."""

    kept: Sink
    new: Sink


def keep_hidden(
    planner: Planner, job: Job, rows: Changeable, *, part: FileScan, sink: Sink, seen: int
) -> None:
    """Write those rows of some files as they are that the caller does not see.

    ``seen`` is how many there are of the others. Raises Unavailable (``table_damaged``) when rows
    are neither among these nor among those.
    """
    if not rows.is_narrowed:
        return
    total = seen
    columns = ", ".join(map(quoted, part.schema.names))
    for name, own in rows.hidden(part):
        total += Pouring(planner, job, sink, own).pour(f"SELECT {columns} FROM {quoted(name)}")
    name, own = planner.files(part)
    if Pouring(planner, job, sink, own).count(f"FROM {quoted(name)}") != total:
        raise Unavailable(DAMAGED, code="table_damaged")


class Pouring:
    """Queries over relations of a write whose rows go to its sink."""

    def __init__(self, planner: Planner, job: Job, sink: Sink, own: Own) -> None:
        self._planner = planner
        self._job = job
        self._sink = sink
        self._own = own

    def pour(self, text: str, *, in_order: bool = False) -> int:
        """Write the rows of a query, whose columns are named as the table's; count them."""
        source = self._planner.plan(text, self._job, own=self._own)
        total = 0
        for batch in self._planner.rows(source, self._job, in_order=in_order):
            self._sink.write(batch)
            total += batch.num_rows
        return total

    def count(self, from_table: str) -> int:
        """Return how many rows a query gives, by its text from FROM on."""
        text = f"SELECT count(*) AS c {from_table}"
        ((rows,),) = self._planner.numbers(text, self._job, own=self._own)
        return rows


def selection(schema: pa.Schema, alias: str) -> str:
    """Return ``SELECT`` of columns by their names."""
    columns = (f"{alias}.{quoted(name)} AS {quoted(name)}" for name in schema.names)
    return "SELECT " + ", ".join(columns)


def column_named(name: str, schema: pa.Schema) -> str:
    """Return the column that a name means: in other cases too, where only one can be meant.

    Raises InvalidRequest for any other name.
    """
    found = named_among(name, schema.names)
    if found is None:
        raise InvalidRequest(f"the table has no column {quoted(name)}")
    return found


def refuse_volatile(*texts: str | None) -> None:
    """Raise Unsupported for conditions that ask for chance: they are evaluated more than once."""
    for text in texts:
        if text is not None and names_volatile(text):
            raise Unsupported(
                "a condition of a statement that changes rows is evaluated more than once: it"
                " cannot use random() or uuid()"
            )
