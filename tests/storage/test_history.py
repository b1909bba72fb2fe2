"""The history of a table, as its log tells it, whoever wrote it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from flight_server.clock import SystemClock
from flight_server.errors import Unavailable
from flight_server.storage import history as history_module
from flight_server.storage.history import COLUMNS, history
from flight_server.storage.tables import DeltaTables

ROWS = pa.table({"a": [1, 2, 3], "p": ["x", "y", "x"]})


def commit(path: Path, version: int, *lines: object) -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (path / "_delta_log" / f"{version:020d}.json").write_text(text + "\n")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t"
    write_deltalake(str(path), ROWS, partition_by=["p"])
    write_deltalake(str(path), ROWS, mode="append")
    delta = DeltaTable(str(path))
    delta.delete("a = 1")
    delta.update(updates={"a": "9"}, predicate="p = 'secret-y' OR a = 2")
    return path


def test_versions_newest_first(table: Path) -> None:
    rows = history(table, name="t")
    assert rows.schema == COLUMNS
    assert rows["version"].to_pylist() == [3, 2, 1, 0]
    assert rows["operation"].to_pylist() == ["UPDATE", "DELETE", "WRITE", "WRITE"]
    assert rows["rows"].to_pylist() == [2, 2, 3, 3]
    assert set(rows["user_name"].to_pylist()) == {None}
    (first,) = rows.slice(3).to_pylist()
    assert json.loads(first["operation_parameters"])["partitionBy"] == '["p"]'


def test_no_condition_of_anybody_is_shown(table: Path) -> None:
    merge = DeltaTable(str(table)).merge(ROWS, "s.a = t.a AND t.p = 'secret-x'", "s", "t")
    merge.when_not_matched_insert_all("s.p = 'secret-z'").execute()
    assert "secret" not in str(history(table, name="t").to_pylist())


def test_a_commit_that_says_nothing_keeps_its_number(table: Path) -> None:
    commit(table, 4, {"txn": {"appId": "a", "version": 1}})
    commit(table, 5, {"commitInfo": {"operation": "X", "operationMetrics": {"numOutputRows": "7"}}})
    commit(table, 6, '{"commitInfo": nonsense')
    commit(table, 7, {"commitInfo": ["nonsense"]})
    rows = history(table, name="t").to_pylist()
    assert [row["version"] for row in rows] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert [row["operation"] for row in rows[:4]] == [None, None, "X", None]
    assert [row["rows"] for row in rows[:4]] == [None, None, 7, None]


def test_our_own_commits_say_who_and_why(table: Path) -> None:
    author = {"userName": "bob", "requestId": "r1"}
    other = {"userName": "eve", "requestId": "r2"}
    own = {"engineInfo": "lakeflight/1", "operation": "WRITE", "operationParameters": {"any": 1}}
    commit(
        table, 4, {"commitInfo": {**own, **author, "operationMetrics": {"numAffectedRows": "5"}}}
    )
    commit(table, 5, {"commitInfo": {**own, "writes": [author, other, author]}})
    group, single = history(table, name="t").slice(0, 2).to_pylist()
    assert (single["user_name"], single["request_id"], single["rows"]) == ("bob", "r1", 5)
    assert json.loads(single["operation_parameters"]) == {"any": 1}
    assert (group["user_name"], group["request_id"]) == ("bob, eve", "r1, r2")


def test_times_are_those_of_time_travel(table: Path) -> None:
    start = datetime(2026, 2, 1, tzinfo=UTC)
    log = table / "_delta_log"
    for version in range(4):
        at = (start + timedelta(hours=min(version, 2))).timestamp()  # the last two at one time
        os.utime(log / f"{version:020d}.json", (at, at))
    rows = history(table, name="t").to_pylist()
    tables = DeltaTables(SystemClock())
    for row in rows:
        assert tables.at_time(table, row["timestamp"], name="t").version == row["version"]


def test_it_is_bounded(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "HISTORY_VERSIONS_MAX", 2)
    assert history(table, name="t")["version"].to_pylist() == [3, 2]


def test_a_table_without_a_log_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "t/_delta_log").mkdir(parents=True)
    with pytest.raises(Unavailable):
        history(tmp_path / "t", name="t")
