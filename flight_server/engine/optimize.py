"""OPTIMIZE: the same rows in fewer files, in their order or along a curve through several columns.

Rows that tombstones hide go with it.

The curve is the Z-order of ranks: a column's values count by their place among all values, so that
skewed ones are spread as evenly as others. Partitions are never mixed.
"""

# ruff: noqa: S608  the texts are put together from quoted names

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datafusion.catalog import Table

from flight_server.engine.base import (
    FileScan,
    GovernedScan,
    GovernedTable,
    KeyFilter,
    Narrowing,
    Sink,
    WriteTarget,
    Written,
)
from flight_server.engine.changeable import Changeable
from flight_server.engine.planning import Job, Own, Planner, unguessable
from flight_server.engine.rewrite import Pouring, column_named, selection
from flight_server.engine.scan import frame_of_files
from flight_server.engine.targets import (
    SCANS_MAX,
    TargetFile,
    file_by_file,
    files_of,
    parts_of,
    touched_files,
)
from flight_server.errors import InvalidRequest, Unavailable
from flight_server.sql.commands import Optimize
from flight_server.sql.names import quoted
from policies.lens import ShownColumn

COLUMNS_MAX = 8
_BITS_MAX = 10  # of each column: about a thousand different places
_KEY_BITS_MAX = 62


def optimize(
    planner: Planner,
    job: Job,
    command: Optimize,
    *,
    scan: FileScan,
    sink: Sink,
    target: WriteTarget,
) -> Written:
    """Write the rows of the chosen files, or of all, anew, all but finishing the sink.

    Rows that are to go for good are left out; the files that have such rows are written anew as
    well, and all are counted as deleted. Raises InvalidRequest for columns that no order can
    follow, and as ``Tables.purged`` does.
    """
    order = _checked(command.z_order, scan)
    assert target.pin is not None  # noqa: S101  the caller has opened that state
    purge = planner.tables.purged(target.pin, scan, target.purges) if target.purges else None
    files = files_of(scan, chosen=target.chosen)
    if purge is not None:
        touched = _touched(planner, job, scan, purge)
        files = files_of(scan, chosen=[each.path for each in (*files, *touched)])
    deleted = 0
    files_max = 0 if order else SCANS_MAX
    for part, _ in parts_of(scan, files, groups_max=1, files_max=files_max):
        part = part if order else file_by_file(part)  # noqa: PLW2901  the same files
        name, own = planner.files(part)
        rows = Pouring(planner, job, sink, own).count(f"FROM {quoted(name)}")
        if purge is not None:
            gone, own = _rows(planner, part, replace(purge, keeps=True))
            gone_rows = Pouring(planner, job, sink, own).count(f"FROM {quoted(gone)}")
            deleted += gone_rows
            rows -= gone_rows
            name, own = _rows(planner, part, purge)
        if target.is_dry:
            continue
        into = Pouring(planner, job, sink, own)
        alias = quoted(unguessable())
        columns = selection(part.schema, alias)
        if order:
            places = _places(order, rows)
            ranked = f"SELECT *, {', '.join(places.values())} FROM {quoted(name)}"
            key = _interleaved([f"{alias}.{place}" for place in places])
            written = into.pour(f"{columns} FROM ({ranked}) AS {alias} ORDER BY {key}")
        else:
            written = into.pour(f"{columns} FROM {quoted(name)} AS {alias}", in_order=True)
        if written != rows:  # what is replaced must be all there
            raise Unavailable("a data file of the table is damaged", code="table_damaged")
    return Written(scan.schema, (), tuple(file.path for file in files), deleted=deleted)


def _rows(planner: Planner, part: FileScan, keys: KeyFilter) -> tuple[str, Own]:
    """Return a relation of those rows of some files that a filter leaves."""
    return planner.relation(
        Table(planner.keys.apply(frame_of_files(planner.ctx, part), keys)), part
    )


def _touched(planner: Planner, job: Job, scan: FileScan, purge: KeyFilter) -> list[TargetFile]:
    """Return the files that have rows which are to go."""
    columns = tuple(ShownColumn(name) for name in scan.schema.names)
    going = Narrowing(columns, keys=(replace(purge, keeps=True),))
    assert job.query.pins  # noqa: S101  the state that is written anew is one of them
    opened = GovernedTable(job.query.pins[-1], GovernedScan(scan, (going,)))
    rows = Changeable(planner, scan, opened)
    return touched_files(planner, job, rows, files=files_of(scan), from_table="FROM {table}")


def _checked(columns: Sequence[str], scan: FileScan) -> list[str]:
    if len(columns) > COLUMNS_MAX:
        raise InvalidRequest(f"ZORDER BY takes at most {COLUMNS_MAX} columns")
    names = [column_named(column, scan.schema) for column in columns]
    for i, name in enumerate(names):
        if name in scan.partition_columns:
            raise InvalidRequest(f"ZORDER BY cannot use the partition column {quoted(name)}")
        if name in names[:i]:
            raise InvalidRequest(f"ZORDER BY names the column {quoted(name)} twice")
    return names


def _places(columns: Sequence[str], rows: int) -> dict[str, str]:
    """Return an expression for each column's rank, from 0 to a power of two, by its name."""
    scale = 1 << min(_BITS_MAX, _KEY_BITS_MAX // len(columns))
    places = {}
    for column in columns:
        place = quoted(unguessable())
        rank = f"rank() OVER (ORDER BY {quoted(column)} NULLS FIRST)"
        places[place] = f"CAST(({rank} - 1) * {scale} / {max(1, rows)} AS BIGINT) AS {place}"
    return places


def _interleaved(places: Sequence[str]) -> str:
    """Return an expression that takes a bit of each place in turn."""
    bits = min(_BITS_MAX, _KEY_BITS_MAX // len(places))
    return " + ".join(
        f"((({place} >> {bit}) & 1) << {bit * len(places) + i})"
        for bit in range(bits)
        for i, place in enumerate(places)
    )
