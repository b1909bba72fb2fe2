from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable

from flight_server.storage import retention, system
from flight_server.storage.retention import forget_versions
from flight_server.storage.system import SystemTable
from tests.clocks import StandingClock
from tests.storage.test_system import SPEC, log_folder, put, remove, stored

FOREVER = 10**12


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "CHECKPOINT_VERSIONS", 5)
    monkeypatch.setattr(system, "FILES_MAX", 4)


def open_table(root: Path, *, history_versions_min: int | None) -> SystemTable:
    spec = replace(SPEC, history_versions_min=history_versions_min)
    return SystemTable(root, spec, clock=StandingClock(), random_bytes=os.urandom)


def fill(table: SystemTable, count: int, *, start: int = 0) -> None:
    for number in range(start, start + count):
        put(table, f"n{number % 7}", number)
        if number % 6 == 5:
            remove(table, f"n{(number - 1) % 7}")


def count(root: Path) -> int:
    return sum(1 for path in (root / SPEC.name).rglob("*") if path.is_file())


def test_a_table_of_many_versions_stays_small(tmp_path: Path) -> None:
    table = open_table(tmp_path, history_versions_min=10)
    clock = table._clock
    assert isinstance(clock, StandingClock)
    clock.advance(FOREVER / 1000)  # so that no file is young
    sizes = []
    for turn in range(10):
        fill(table, 12, start=12 * turn)
        sizes.append(count(tmp_path))
        again = open_table(tmp_path, history_versions_min=10)
        assert again.snapshot().rows == table.snapshot().rows
        assert stored(tmp_path) == {
            name: row["count"] for name, row in again.snapshot().rows.items()
        }
    assert max(sizes[3:]) <= max(sizes[:4]) + 10
    newest = table.snapshot().version
    kept = [int(path.stem) for path in log_folder(tmp_path).glob("*[0-9].json")]
    assert newest - 30 <= min(kept) <= newest - 10
    # What is kept can be read, at every version.
    for version in range(newest - 9, newest + 1):
        assert DeltaTable(str(tmp_path / SPEC.name), version=version).to_pyarrow_table() is not None


def test_all_is_kept_where_history_counts(tmp_path: Path) -> None:
    table = open_table(tmp_path, history_versions_min=None)
    fill(table, 30)
    kept = {int(path.stem) for path in log_folder(tmp_path).glob("*[0-9].json")}
    assert kept == set(range(table.snapshot().version + 1))


def test_what_is_just_being_written_is_left_alone(tmp_path: Path) -> None:
    table = open_table(tmp_path, history_versions_min=None)
    fill(table, 12)
    snapshot = table.snapshot()
    stranger = tmp_path / SPEC.name / "part-of-another-writer.parquet"
    stranger.write_bytes(b"not committed yet")
    at = stranger.stat().st_mtime

    def forget(after: float) -> int:
        return forget_versions(
            tmp_path / SPEC.name,
            10,
            active=snapshot.files,
            now_seconds=at + after,
            name="test.counters",
        )

    assert forget(retention.UNNAMED_SECONDS_MIN - 1) > 0
    assert stranger.exists()
    forget(retention.UNNAMED_SECONDS_MIN + 1)
    assert not stranger.exists()
    assert open_table(tmp_path, history_versions_min=None).snapshot().rows == snapshot.rows


def test_a_log_that_cannot_be_read_keeps_every_data_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = open_table(tmp_path, history_versions_min=None)
    fill(table, 12)
    files = set((tmp_path / SPEC.name).glob("*.parquet"))
    (log_folder(tmp_path) / f"{table.snapshot().version:020d}.json").write_text("torn")
    forget_versions(tmp_path / SPEC.name, 5, active=(), now_seconds=FOREVER, name="test.counters")
    assert set((tmp_path / SPEC.name).glob("*.parquet")) == files
    assert "test.counters" in caplog.text
