"""Rows that are read several times come back the same, from memory and from disk."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.engine.base import Query
from flight_server.engine.kept import kept
from flight_server.engine.planning import Job, Planner
from flight_server.errors import InvalidRequest, Unsupported
from flight_server.sql.names import quoted
from tests.engine.lake import Session, never, query, session


def planner_of(made: Session, spill: Path) -> Planner:
    engine = made.engine
    return Planner(
        engine._ctx,
        engine._views,
        made.lake,
        engine._register,
        keys=engine._keys,
        spill_directory=str(spill),
    )


def job_of(asked: Query) -> Job:
    return Job(asked, {}, never)


_SQL = "SELECT value AS n, 'x' || value AS s, NULL AS nothing FROM generate_series(1, 40000)"


@pytest.mark.parametrize(("memory", "is_on_disk"), [(2**30, False), (0, True)])
def test_rows_come_back_each_with_a_number(tmp_path: Path, memory: int, is_on_disk: bool) -> None:
    planner, job = planner_of(session(tmp_path), tmp_path), job_of(query("SELECT 1"))
    source = planner.plan(_SQL, job)
    with kept(planner, source, job, memory_bytes_max=memory) as rows:
        assert bool(list(tmp_path.rglob("*.parquet"))) is is_on_disk
        assert rows.schema == source.schema
        text = (
            f"SELECT count(*), count(DISTINCT {quoted(rows.number)}), sum(n), count(nothing)"
            f" FROM {quoted(rows.name)} WHERE s = 'x' || n"
        )
        found = planner.numbers(text, job, own=rows.own)
        assert found == [(40000, 40000, 40000 * 40001 // 2, 0)]
    assert list(tmp_path.iterdir()) == []


def test_rows_that_fail_leave_nothing(tmp_path: Path) -> None:
    planner, job = planner_of(session(tmp_path), tmp_path), job_of(query("SELECT 1"))
    source = planner.plan("SELECT 1 / (30000 - value) AS a FROM generate_series(1, 40000)", job)
    with (
        pytest.raises(InvalidRequest, match="division by zero"),
        kept(planner, source, job, memory_bytes_max=0),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_type_that_no_file_holds_is_refused(tmp_path: Path) -> None:
    planner, job = planner_of(session(tmp_path), tmp_path), job_of(query("SELECT 1"))
    source = planner.plan("SELECT INTERVAL '1 month' AS i FROM generate_series(1, 9)", job)
    with (
        pytest.raises(Unsupported, match="cannot be kept"),
        kept(planner, source, job, memory_bytes_max=0),
    ):
        pass
    with kept(planner, source, job) as rows:
        assert rows.schema.types == [pa.month_day_nano_interval()]
