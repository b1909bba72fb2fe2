"""UPDATE and DELETE: the files that hold rows to change are written anew, and only those.

First the files are asked whether they hold such rows; then the rows of those that do are read,
those that stay as they are and those that change, and go to new files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from flight_server.engine.base import FileScan, Sink, Written
from flight_server.engine.planning import Job, Own, Planner
from flight_server.engine.targets import files_of, parts_of, touched_files
from flight_server.errors import InvalidRequest, Unsupported
from flight_server.sql.commands import Assignment, Delete, Update
from flight_server.sql.names import quoted
from flight_server.sql.volatile import names_volatile


def rewrite(
    planner: Planner, job: Job, command: Update | Delete, *, scan: FileScan, sink: Sink
) -> Written:
    """Execute an UPDATE or a DELETE, all but finishing the sink.

    Raises Unsupported for conditions that are evaluated differently each time, InvalidRequest and
    SchemaMismatch for columns that the table does not have and values that do not fit it.
    """
    refuse_volatile(command.where)
    alias = quoted(command.alias)
    values: Mapping[str, str] | None = None
    if isinstance(command, Update):
        values = assigned(command.assignments, scan.schema)
    files = files_of(scan)
    if command.where is not None:
        from_table = f"FROM {{table}} AS {alias} WHERE (\n{command.where}\n)"
        files = touched_files(planner, job, scan, files=files, from_table=from_table)
    before = kept = updated = 0
    for part, _ in parts_of(scan, files):
        name, own = planner.files(part)
        into = Pouring(planner, job, sink, own)
        table = f"FROM {quoted(name)} AS {alias}"
        if command.where is not None:
            rest = f"{table} WHERE (\n{command.where}\n) IS NOT TRUE"
            kept += into.pour(f"{selection(part.schema, alias)} {rest}")
        if values is None:
            before += into.count(table)
        else:
            matching = "" if command.where is None else f" WHERE (\n{command.where}\n)"
            updated += into.pour(f"{selection(part.schema, alias, values)} {table}{matching}")
    removed = tuple(file.path for file in files)
    deleted = 0 if values is not None else before - kept
    return Written(scan.schema, (), removed, updated=updated, deleted=deleted)


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


def selection(schema: pa.Schema, alias: str, values: Mapping[str, str] | None = None) -> str:
    """Return ``SELECT`` of a table's columns, or of the expressions that take their place."""
    columns = (
        f"(\n{values[name]}\n) AS {quoted(name)}"
        if values and name in values
        else f"{alias}.{quoted(name)} AS {quoted(name)}"
        for name in schema.names
    )
    return "SELECT " + ", ".join(columns)


def assigned(assignments: Sequence[Assignment], schema: pa.Schema) -> dict[str, str]:
    """Return the expression of each column that is set.

    Raises InvalidRequest for a column that the table does not have or that is set twice.
    """
    values: dict[str, str] = {}
    for each in assignments:
        column = column_named(each.column, schema)
        if column in values:
            raise InvalidRequest(f"the column {quoted(column)} is set twice")
        values[column] = each.expression
    return values


def column_named(name: str, schema: pa.Schema) -> str:
    """Return the column that a name means: in other cases too, where only one can be meant.

    Raises InvalidRequest for any other name.
    """
    names = [name] if name in schema.names else []
    names = names or [each for each in schema.names if each.lower() == name.lower()]
    if len(names) != 1:
        raise InvalidRequest(f"the table has no column {quoted(name)}")
    return names[0]


def refuse_volatile(*texts: str | None) -> None:
    """Raise Unsupported for conditions that ask for chance: they are evaluated more than once."""
    for text in texts:
        if text is not None and names_volatile(text):
            raise Unsupported(
                "a condition of a statement that changes rows is evaluated more than once: it"
                " cannot use random() or uuid()"
            )
