"""The table of what each client can do: from the outcomes of a run to ``docs/clients.md``.

``python -m tests.clients.matrix --write`` writes the table of the last run of the tests.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.clients import environments, pending
from tests.clients.cases import COLUMNS
from tests.clients.rows import ABSENT, ROWS, Row
from tests.clients.running import Running

PAGE = environments.ROOT / "docs" / "clients.md"
RESULTS = environments.FOLDER / "results.json"
BEGIN = "<!-- client matrix: begin; written by `python -m tests.clients.matrix --write` -->"
END = "<!-- client matrix: end -->"
YES, PARTLY, PENDING, NO, FAILS = "yes", "partly", "pending", "\N{EN DASH}", "FAILS"


@dataclass(frozen=True, slots=True)
class Line:
    """A row as it came out: the versions, and a state for each column."""

    key: str
    versions: Mapping[str, str]
    cells: Mapping[str, str]


def line_of(row: Row, client: Running) -> Line:
    """Run what has not run of a row, and sum it up."""
    cells: dict[str, str] = {}
    outcomes: dict[str, set[str]] = {column: set() for column in COLUMNS}
    for case in row.cases():
        if pending.why(row.key, case.name, case.needs):
            state = PENDING
        else:
            state = FAILS if client.run(case) else YES
        outcomes[case.column].add(state)
    for column in COLUMNS:
        cells[column] = _summed_up(outcomes[column])
    return Line(row.key, client.versions, cells)


def _summed_up(states: set[str]) -> str:
    if not states:
        return NO
    if len(states) == 1:
        return next(iter(states))
    return FAILS if FAILS in states else PARTLY


def save(clients: Mapping[str, Running]) -> None:
    """Keep the outcomes of the rows of which all cases ran."""
    lines = {}
    for row in ROWS:
        client = clients.get(row.key)
        if client is not None and all(case.name in client.outcomes for case in row.cases()):
            line = line_of(row, client)
            lines[row.key] = {"versions": dict(line.versions), "cells": dict(line.cells)}
    if lines:
        environments.FOLDER.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({**_saved(), **lines}, indent=1), encoding="utf-8")


def _saved() -> dict[str, dict[str, dict[str, str]]]:
    if not RESULTS.exists():
        return {}
    found: dict[str, dict[str, dict[str, str]]] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def table(lines: Iterable[Line]) -> str:
    """Return the lines as a table in Markdown, with its footnotes."""
    notes: dict[str, int] = {}
    rows = [["Client", "Version", *COLUMNS]]
    found = {line.key: line for line in lines}
    for row in ROWS:
        line = found[row.key]
        cells = []
        for column, state in line.cells.items():
            numbers = [notes.setdefault(why, len(notes) + 1) for why in _reasons(row, column)]
            cells.append(" ".join([state, *(f"({number})" for number in numbers)]))
        rows.append([row.title, next(iter(line.versions.values())), *cells])
    head, *body = (f"| {' | '.join(cells)} |" for cells in rows)
    text = [head, "|" + "---|" * len(rows[0]), *body, ""]
    text += [f"{number}. {reason}" for reason, number in notes.items()]
    return "\n".join(text)


def _reasons(row: Row, column: str) -> list[str]:
    """Return why a cell is not simply a yes."""
    if column in (cannot := row.cannot()):
        return [cannot[column]]
    found = [
        reason
        for case in row.cases()
        if case.column == column and (reason := pending.why(row.key, case.name, case.needs))
    ]
    return list(dict.fromkeys(found))


def documented() -> dict[str, Line]:
    """Return the lines of the table in the documentation, by row."""
    text = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    found = [
        [re.sub(r"( \(\d+\))+$", "", cell.strip()) for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ][1:]
    return {
        row.key: Line(row.key, {"": cells[1]}, dict(zip(COLUMNS, cells[2:], strict=True)))
        for row, cells in zip(ROWS, found, strict=True)
    }


def absent() -> str:
    """Return the sentences about clients that cannot be run here."""
    return "\n".join(f"- {name} {reason}." for name, reason in ABSENT.items())


def write() -> None:
    """Put the table of the last run into the documentation."""
    saved = _saved()
    missing = [row.key for row in ROWS if row.key not in saved]
    if missing:
        sys.exit(f"no results for {', '.join(missing)}: run `make clients`, then the tests")
    lines = [Line(key, found["versions"], found["cells"]) for key, found in saved.items()]
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page = f"{before}{BEGIN}\n\n{table(lines)}\n\n{absent()}\n\n{END}{after}"
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    """Show the table of the last run, or write it into the documentation."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    write()


if __name__ == "__main__":
    main()
