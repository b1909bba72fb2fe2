"""Every client does what the table in the documentation says that it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.clients import matrix, pending
from tests.clients.cases import COLUMNS, Case
from tests.clients.rows import ROWS, Row
from tests.clients.running import Running

Clients = Callable[[Row], Running]


def every_case() -> list[Any]:
    """Return each case of each row, as a parameter."""
    return [
        pytest.param(row, case, id=f"{row.key}-{case.name}") for row in ROWS for case in row.cases()
    ]


@pytest.mark.parametrize(("row", "case"), every_case())
def test_client(row: Row, case: Case, clients: Clients, request: pytest.FixtureRequest) -> None:
    again = getattr(request.node, "execution_count", 1) > 1
    error = clients(row).run(case, anew=again)
    reason = pending.why(row.key, case.name, case.needs)
    if reason is None and error is not None:
        pytest.fail(error, pytrace=False)
    if reason is not None:
        assert error is not None, f"it passes: take it out of tests.clients.pending ({reason})"
        pytest.xfail(reason)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_the_documented_table_is_what_came_out(row: Row, clients: Clients) -> None:
    line = matrix.line_of(row, clients(row))
    documented = matrix.documented()[row.key]
    if set(documented.versions.values()).isdisjoint(line.versions.values()):
        pytest.skip(f"the table is about another version than {dict(line.versions)}")
    assert documented.cells == line.cells


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_every_cell_has_a_case_or_a_reason(row: Row) -> None:
    covered = {case.column for case in row.cases()}
    assert covered.isdisjoint(row.cannot())
    assert covered | set(row.cannot()) == set(COLUMNS)


def test_pending_names_what_cases_need() -> None:
    needs = {need for row in ROWS for case in row.cases() for need in case.needs}
    assert set(pending.FEATURES) <= needs
    cases = {(row.key, case.name) for row in ROWS for case in row.cases()}
    assert set(pending.FAULTS) <= cases
