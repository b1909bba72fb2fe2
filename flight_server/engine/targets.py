"""The files of the table that a statement changes: which of them it touches, and their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from flight_server.engine.base import FileGroup, FileScan
from flight_server.engine.changeable import Changeable
from flight_server.engine.planning import NOTHING_OWN, Job, Own, Planner
from flight_server.sql.names import quoted

# Scans in one plan: each file that is asked by itself, and each tuple of partition values, is one;
# planning takes longer than in proportion to their number.
SCANS_MAX = 128
# Files that are asked together whether there is one among them.
_FILES_ASKED_MAX = 1024


@dataclass(frozen=True, slots=True)
class TargetFile:
    """A data file of the table, in the group that it belongs to."""

    group: int
    path: str


def files_of(scan: FileScan, *, chosen: Sequence[str] | None = None) -> list[TargetFile]:
    """Return the files of a table, group by group; only those ``chosen`` when they are given."""
    wanted = None if chosen is None else frozenset(chosen)
    return [
        TargetFile(i, path)
        for i, group in enumerate(scan.groups)
        for path in group.paths
        if wanted is None or path in wanted
    ]


def parts_of(
    scan: FileScan, files: Sequence[TargetFile], *, groups_max: int = SCANS_MAX, files_max: int = 0
) -> Iterator[tuple[FileScan, list[TargetFile]]]:
    """Return files in parts that one plan can scan, each as a scan and as the files in it."""
    part: list[TargetFile] = []
    groups = 0
    for _, each in groupby(files, key=lambda file: file.group):
        for some in _slices(list(each), files_max):
            if part and (groups == groups_max or 0 < files_max < len(part) + len(some)):
                yield _scan_of(scan, part), part
                part, groups = [], 0
            part = part + some
            groups += 1
    if part:
        yield _scan_of(scan, part), part


def touched_files(
    planner: Planner,
    job: Job,
    rows: Changeable,
    *,
    files: Sequence[TargetFile],
    from_table: str,
    own: Own = NOTHING_OWN,
) -> list[TargetFile]:
    """Return the files of which rows that may be changed are rows of a query.

    ``from_table`` is its text from FROM on, with ``{table}`` for the name of the relation that has
    the rows of the files.
    """
    found: list[TargetFile] = []
    if not files:
        # What is wrong with the text is said all the same: whether there is a file, which may hold
        # nothing but hidden rows, is not to be heard.
        name, relation = rows.relation(replace(rows.scan, groups=()))
        planner.plan(
            f"SELECT 1 {from_table.replace('{table}', quoted(name))}", job, own=own | relation
        )
    for part, asked in parts_of(rows.scan, files, files_max=_FILES_ASKED_MAX):
        if len(asked) > SCANS_MAX:
            name, relation = rows.relation(part)
            text = f"SELECT 1 {from_table.replace('{table}', quoted(name))}\nLIMIT 1"
            if not planner.numbers(text, job, own=own | relation):
                continue
        for some in _slices(asked, SCANS_MAX):
            number, name, relation = rows.numbered(_alone(rows.scan, some))
            from_files = from_table.replace("{table}", quoted(name))
            text = f"SELECT DISTINCT {quoted(number)} {from_files}"
            found += [some[i] for (i,) in sorted(planner.numbers(text, job, own=own | relation))]
    return found


def file_by_file(scan: FileScan) -> FileScan:
    """Return a scan whose parts are single files in their order, for at most ``SCANS_MAX`` files.

    The engine is free to read the files of one group in any order.
    """
    groups = (FileGroup(each.partition, (path,)) for each in scan.groups for path in each.paths)
    return FileScan(scan.schema, scan.partition_columns, tuple(groups))


def _alone(scan: FileScan, files: Sequence[TargetFile]) -> FileScan:
    """Return a scan of files, each of which is a group of its own."""
    alone = tuple(FileGroup(scan.groups[each.group].partition, (each.path,)) for each in files)
    return FileScan(scan.schema, scan.partition_columns, alone)


def _scan_of(scan: FileScan, files: Sequence[TargetFile]) -> FileScan:
    groups = tuple(
        FileGroup(scan.groups[group].partition, tuple(file.path for file in each))
        for group, each in groupby(files, key=lambda file: file.group)
    )
    return FileScan(scan.schema, scan.partition_columns, groups)


def _slices(files: list[TargetFile], length: int) -> Iterator[list[TargetFile]]:
    step = length or max(1, len(files))
    for start in range(0, len(files), step):
        yield files[start : start + step]
