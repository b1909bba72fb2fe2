"""Older states of the server's own tables."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_server.errors import NotFound, Unavailable
from flight_server.storage.past import NO_VERSION, PastStates, left_at
from flight_server.storage.system import Change, SystemTable
from tests.clocks import StandingClock
from tests.storage.test_system import SPEC

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def row(name: str, count: int) -> dict[str, object]:
    return {"name": name, "count": count, "tags": None, "at": NOON}


def filled(root: Path, counts: int) -> tuple[SystemTable, PastStates]:
    """Return a table that got a row in each minute from noon on."""
    clock = StandingClock()
    table = SystemTable(root, SPEC, clock=clock, random_bytes=os.urandom)
    for number in range(counts):
        table.change(lambda _, number=number: [row(str(number), number)])  # type: ignore[misc]  # mypy cannot infer it with a default
        clock.advance(60)
    return table, PastStates(root, SPEC)


def test_without_a_table_there_are_no_rows(tmp_path: Path) -> None:
    states = PastStates(tmp_path, SPEC)
    assert states.versions() == ()
    assert states.version_at(NOON) == NO_VERSION
    assert states.rows(NO_VERSION) == {}
    with pytest.raises(NotFound) as raised:
        states.rows(0)
    assert raised.value.code == "version_not_found"


def test_each_version_has_the_rows_of_its_time(tmp_path: Path) -> None:
    table, states = filled(tmp_path, 4)
    assert states.versions() == (0, 1, 2, 3)
    assert states.version_at(NOON - timedelta(milliseconds=1)) == NO_VERSION
    for version in range(4):
        begun = NOON + timedelta(minutes=version)
        assert states.time_of(version) == begun
        assert states.version_at(begun) == version
        assert states.version_at(begun + timedelta(seconds=59)) == version
        assert set(states.rows(version)) == {str(number) for number in range(version + 1)}
    assert states.rows(3) == dict(table.snapshot().rows)


def test_times_are_those_written_whenever_the_files_were_copied(tmp_path: Path) -> None:
    _, states = filled(tmp_path, 2)
    for entry in (tmp_path / SPEC.name / "_delta_log").iterdir():
        os.utime(entry, (0, 0))
    assert states.time_of(1) == NOON + timedelta(minutes=1)


def test_without_a_time_in_it_an_entry_has_that_of_its_file(tmp_path: Path) -> None:
    _, states = filled(tmp_path, 1)
    entry = tmp_path / SPEC.name / "_delta_log" / f"{0:020d}.json"
    lines = [line for line in entry.read_text().splitlines() if "commitInfo" not in line]
    entry.write_text("\n".join(lines))
    os.utime(entry, (1_000, 1_000))
    assert states.time_of(0) == datetime.fromtimestamp(1_000, UTC)


def test_a_state_that_is_gone_or_broken_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    _, states = filled(tmp_path, 3)
    log = tmp_path / SPEC.name / "_delta_log"
    added = json.loads(
        next(x for x in (log / f"{1:020d}.json").read_text().splitlines() if '"add"' in x)
    )
    (tmp_path / SPEC.name / added["add"]["path"]).unlink()
    with pytest.raises((NotFound, Unavailable)):
        states.rows(1)
    assert states.rows(0)
    (log / f"{0:020d}.json").unlink()
    with pytest.raises((NotFound, Unavailable)):
        states.version_at(NOON)
    with pytest.raises(NotFound):
        states.time_of(0)


def test_a_table_made_without_rows_can_be_read(tmp_path: Path) -> None:
    table = SystemTable(tmp_path, SPEC, clock=StandingClock(), random_bytes=os.urandom)
    table.make()
    table.make()
    states = PastStates(tmp_path, SPEC)
    assert states.versions() == (0,)
    assert states.rows(0) == {}
    assert table.snapshot().version == 0
    table.change(lambda _: [row("a", 1)])
    assert set(states.rows(1)) == {"a"}


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_it_is_found_when_rows_went(
    tmp_path_factory: pytest.TempPathFactory, ends: list[int]
) -> None:
    root = tmp_path_factory.mktemp("past")
    table = SystemTable(root, SPEC, clock=StandingClock(), random_bytes=os.urandom)
    table.change(lambda _: [row(f"r{place}", place) for place in range(len(ends))])
    for version in range(1, 6):
        gone = frozenset(f"r{place}" for place, end in enumerate(ends) if end == version)
        table.change(lambda _, gone=gone, v=version: Change([row(f"v{v}", v)], gone))  # type: ignore[misc]  # mypy cannot infer it with a default
    states = PastStates(root, SPEC)
    found = left_at(states, states.rows(0), after=0, before=5)
    assert found == {f"r{place}": end for place, end in enumerate(ends)}
