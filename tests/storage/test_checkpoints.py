from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from deltalake import DeltaTable

from flight_server.storage.checkpoints import make_checkpoint
from tests.delta_log import numbers
from tests.storage.writing import NAME, Written


@pytest.fixture
def table(tmp_path: Path) -> Written:
    table = Written(tmp_path / "s" / "t").create(numbers(0, 1))
    for n in range(1, 4):
        table.append(n, n + 1)
    return table


def make(table: Written, version: int) -> bool:
    return make_checkpoint(table.path, version, name=NAME, random_bytes=os.urandom)


def test_a_checkpoint_of_an_older_version_is_made_beside_later_ones(table: Written) -> None:
    assert make(table, 3)
    assert make(table, 1)
    assert make(table, 1)
    table.append(4, 5)
    assert table.ids() == [0, 1, 2, 3, 4]
    assert table.ids(version=1) == [0, 1]
    assert [each.name for each in table.path.parent.iterdir()] == ["t"]


def test_a_failure_is_logged_and_leaves_the_table_as_it_was(
    table: Written, caplog: pytest.LogCaptureFixture
) -> None:
    before = sorted((table.path / "_delta_log").iterdir())
    with caplog.at_level(logging.WARNING):
        assert not make(table, 9)
    assert "no checkpoint" in caplog.text
    assert sorted((table.path / "_delta_log").iterdir()) == before
    assert [each.name for each in table.path.parent.iterdir()] == ["t"]
    assert DeltaTable(str(table.path)).version() == 3
