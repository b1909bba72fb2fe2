"""The parameters of statements that change rows: what a client may bind to each placeholder.

A placeholder that is the whole value of a column has the column's type; any other has the type that
the plan of its part of the statement gives it, and none where that leaves it open.
"""

# ruff: noqa: S608  the texts are put together from quoted names and parts of one statement

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from flight_server.engine.base import Query
from flight_server.engine.parameters import Types, placeholder_types, renumbered
from flight_server.engine.planning import Job, Planner
from flight_server.errors import LakeflightError, Unsupported
from flight_server.sql.commands import (
    Assignment,
    Command,
    CreateTable,
    Delete,
    Insert,
    Merge,
    MergeInsert,
    MergeUpdate,
    Update,
)
from flight_server.sql.grammar import read_command
from flight_server.sql.lexer import heard
from flight_server.sql.names import DEFAULT, quoted, written_name
from flight_server.sql.placeholders import count_parameters
from policies.names import TableRef

_PLACEHOLDER = re.compile(r"\s*\(*\s*\$(\d+)\s*\)*\s*")
Found = dict[int, pa.DataType]


def parameter_types(planner: Planner, job: Job) -> Types:
    """Return the type of each placeholder of a statement that changes rows, None for open ones.

    Raises Unsupported for a statement that takes none, and what reading it raises.
    """
    query = job.query
    command = read_command(query.sql, bucket=DEFAULT, schema=DEFAULT)
    count = count_parameters(query.sql)
    if not count:
        return ()
    if not isinstance(command, Insert | Update | Delete | Merge | CreateTable):
        raise Unsupported("this statement takes no parameters")
    columns = _columns(planner, query, command.target)
    found: Found = {}
    for number, column in _direct(command, list(columns)):
        if column in columns:
            found.setdefault(number, columns[column])
    for text in _texts(command):
        for number, kind in _planned(planner, job, text, count).items():
            found.setdefault(number, kind)
    return tuple(found.get(number) for number in range(1, count + 1))


def _columns(planner: Planner, query: Query, ref: TableRef) -> Mapping[str, pa.DataType]:
    """Return the columns of the target; none when there is none yet, or it may not be read."""
    try:
        schema = planner.plan(
            f"SELECT * FROM {written_name(ref)}", Job(query, {}, lambda: False)
        ).schema
    except LakeflightError:
        return {}
    return {field.name: field.type for field in schema}


def _direct(command: Command, columns: Sequence[str]) -> Iterable[tuple[int, str]]:
    """Give the placeholders that are the whole value of a column, with that column."""
    if isinstance(command, Insert):
        for row in _rows_of_values(command.source):
            yield from _pairs(command.columns or columns, row)
    elif isinstance(command, Update):
        yield from _assigned(command.assignments)
    elif isinstance(command, Merge):
        for clause in command.clauses:
            if isinstance(clause.action, MergeUpdate):
                yield from _assigned(clause.action.assignments)
            elif isinstance(clause.action, MergeInsert):
                yield from _pairs(clause.action.columns or columns, clause.action.values)


def _assigned(assignments: Iterable[Assignment]) -> Iterable[tuple[int, str]]:
    for each in assignments:
        yield from _pairs([each.column], [each.expression])


def _pairs(columns: Sequence[str], values: Sequence[str]) -> Iterable[tuple[int, str]]:
    for column, value in zip(columns, values, strict=False):
        if match := _PLACEHOLDER.fullmatch(value):
            yield int(match[1]), column


def _rows_of_values(text: str) -> Iterable[list[str]]:
    """Give the values of each row of ``VALUES (…), (…)``; nothing for any other source."""
    found = heard(text)
    if not found or found[0].upper != "VALUES":
        return
    depth, start = 0, 0
    row: list[str] = []
    for token in found[1:]:
        if token.text == "(":
            depth += 1
            if depth == 1:
                row, start = [], token.end
        elif token.text == ")":
            depth -= 1
            if depth == 0:
                yield [*row, text[start : token.start]]
        elif token.text == "," and depth == 1:
            row.append(text[start : token.start])
            start = token.end


def _texts(command: Insert | Update | Delete | Merge | CreateTable) -> Iterable[str]:
    """Give queries that hold the parts of a statement where a plan can tell types."""
    if isinstance(command, Insert):
        yield command.source
    elif isinstance(command, CreateTable):
        if command.source is not None:
            yield command.source
    elif isinstance(command, Merge):
        source = f"{command.source} AS {quoted(command.source_alias)}"
        yield f"SELECT 1 FROM {source}"
        joined = f"FROM {_named(command)} CROSS JOIN {source}"
        yield f"SELECT 1 {joined} WHERE (\n{command.on}\n)"
        for clause in command.clauses:
            if clause.condition is not None:
                yield f"SELECT 1 {joined} WHERE (\n{clause.condition}\n)"
    else:
        if command.where is not None:
            yield f"SELECT 1 FROM {_named(command)} WHERE (\n{command.where}\n)"
        if isinstance(command, Update):
            for each in command.assignments:
                yield f"SELECT (\n{each.expression}\n) FROM {_named(command)}"


def _named(command: Update | Delete | Merge) -> str:
    return f"{written_name(command.target)} AS {quoted(command.alias)}"


def _planned(planner: Planner, job: Job, text: str, count: int) -> Found:
    """Return what the plan of one part says; nothing when it cannot be planned unbound."""
    numbers = {str(number): str(number) for number in range(1, count + 1)}
    renamed, old = renumbered(text, numbers)
    if not old:
        return {}
    try:
        frame = planner.plan(renamed, job).frame
        plans = (frame.logical_plan(), frame.optimized_logical_plan())
    except (LakeflightError, ValueError):
        return {}
    found = placeholder_types(plans, len(old))
    return {int(old[str(place)]): kind for place, kind in enumerate(found, 1) if kind is not None}
