"""When versions were made: the times that a table can be read at."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flight_server.errors import InvalidRequest, NotFound
from flight_server.storage.tables import DeltaTables
from tests import tables as zoo
from tests.service.opened import FixedClock

NAME = "primary.s.t"


@pytest.fixture
def store() -> DeltaTables:
    return DeltaTables(FixedClock())


def at(milliseconds: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def touch(folder: zoo.DeltaFolder, version: int, milliseconds: int) -> None:
    time = int(at(milliseconds).timestamp() * 1000) * 1_000_000 + 999
    os.utime(folder.commit_path(version), ns=(time, time))


def test_times_are_those_of_the_commits_files(tmp_path: Path, store: DeltaTables) -> None:
    folder = zoo.DeltaFolder(tmp_path / "t", zoo.NUMBERS).create()
    folder.commit()
    folder.commit()
    for version, time in enumerate((0, 5000, 5000)):  # two in the same millisecond follow on
        touch(folder, version, time)
    for time, version in ((0, 0), (4999, 0), (5000, 1), (5001, 2), (90_000, 2)):
        assert store.at_time(folder.path, at(time), name=NAME).version == version
    with pytest.raises(NotFound) as caught:
        store.at_time(folder.path, at(-1), name=NAME)
    assert caught.value.code == "version_not_found"


def test_times_inside_the_commits_count_where_there_are_any(
    tmp_path: Path, store: DeltaTables
) -> None:
    folder = zoo.DeltaFolder(tmp_path / "t", zoo.NUMBERS).create()
    folder.configuration = {
        "delta.enableInCommitTimestamps": "true",
        "delta.inCommitTimestampEnablementVersion": "1",
    }
    folder.commit(folder.metadata())
    folder.commit()
    for version, time in ((1, 1000), (2, 2000)):
        path = folder.commit_path(version)
        info, *rest = path.read_text().splitlines()
        line = json.loads(info)
        line["commitInfo"]["inCommitTimestamp"] = int(at(time).timestamp() * 1000)
        path.write_text("\n".join([json.dumps(line), *rest]))
    for version in range(3):
        touch(folder, version, version)  # later copying made the files' times useless
    for time, version in ((0, 0), (999, 0), (1000, 1), (1999, 1), (2000, 2), (9000, 2)):
        assert store.at_time(folder.path, at(time), name=NAME).version == version


def test_times_in_the_future_or_without_zone_are_refused(tmp_path: Path) -> None:
    zoo.plain(tmp_path / "t")
    store = DeltaTables(FixedClock(at(0)))
    for time in (at(1), at(0).replace(tzinfo=None)):
        with pytest.raises(InvalidRequest):
            store.at_time(tmp_path / "t", time, name=NAME)
