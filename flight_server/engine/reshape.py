"""ALTER TABLE … RENAME and DROP COLUMN: all files are written anew.

Delta finds the columns of a file by their names, so new names are those of new files.
"""

# ruff: noqa: S608  the texts are put together from quoted names

from __future__ import annotations

from flight_server.engine.base import FileScan, Sink, Written
from flight_server.engine.planning import Job, Planner
from flight_server.engine.rewrite import Pouring
from flight_server.engine.targets import files_of, parts_of
from flight_server.errors import Unavailable
from flight_server.sql.commands import DropColumns, RenameColumn
from flight_server.sql.names import quoted


def reshape(
    planner: Planner,
    job: Job,
    change: RenameColumn | DropColumns,
    *,
    scan: FileScan,
    sink: Sink,
) -> Written:
    """Write all rows under the names that the columns have after the change."""
    columns = _columns(change, scan.schema.names)
    selected = ", ".join(f"{quoted(old)} AS {quoted(new)}" for old, new in columns.items())
    files = files_of(scan)
    for part, _ in parts_of(scan, files):
        name, own = planner.files(part)
        into = Pouring(planner, job, sink, own)
        rows = into.count(f"FROM {quoted(name)}")
        if into.pour(f"SELECT {selected} FROM {quoted(name)}", in_order=True) != rows:
            raise Unavailable("a data file of the table is damaged", code="table_damaged")
    return Written(scan.schema, (), tuple(file.path for file in files))


def _columns(change: RenameColumn | DropColumns, names: list[str]) -> dict[str, str]:
    """Return the new name of each column that stays, by its old one."""
    if isinstance(change, RenameColumn):
        return {name: change.new if name == change.old else name for name in names}
    return {name: name for name in names if name not in change.names}
