"""Tables of other writers, read by the real engine: the same rows, also where it skips files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.engine.base import BatchLimits, Query
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from tests import tables as zoo
from tests.service.opened import ADMIN, Lakehouse
from tests.storage.reading import same_rows
from tests.storage.test_tables import RIGHT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "s/t"


@lru_cache(maxsize=1)
def engine_over(root: Path) -> LocalEngine:
    lake = Lakehouse({"primary": root})
    return LocalEngine(lake.tables, BatchLimits(), EngineOptions(target_partitions=2))


def ask(folder: Path, sql: str) -> pa.Table:
    engine = engine_over(folder.parent.parent)
    query = Query(sql, ADMIN, "primary", "s")
    result, batches = engine.stream(query, is_cancelled=lambda: False)
    return pa.Table.from_batches(list(batches), schema=result)


@pytest.mark.parametrize("kind", RIGHT)
def test_all_rows(kind: str, folder: Path) -> None:
    make, _ = RIGHT[kind]
    expected = make(folder)
    assert same_rows(ask(folder, "SELECT * FROM t"), expected)


def test_awkward_partition_values_as_predicates(folder: Path) -> None:
    zoo.partitioned_by_awkward_text(folder)
    for place, value in enumerate(zoo.AWKWARD_VALUES):
        text = "IS NULL" if value is None else "= '" + value.replace("'", "''") + "'"
        rows = ask(folder, f"SELECT * FROM t WHERE place {text}")
        assert rows.to_pylist() == [{"id": place, "place": value}]


def test_predicates_on_columns_that_changed(folder: Path) -> None:
    zoo.widened(folder)
    for predicate, ids in (("id = 2", [2]), ("id > 100", [2**40]), ("id < 2", [1])):
        assert ask(folder, f"SELECT id FROM t WHERE {predicate}")["id"].to_pylist() == ids


def test_predicates_on_columns_that_old_files_lack(folder: Path) -> None:
    zoo.evolved(folder)
    assert ask(folder, "SELECT id FROM t WHERE late IS NULL")["id"].to_pylist() == [1]
    assert ask(folder, "SELECT id FROM t WHERE late = 'z'")["id"].to_pylist() == [2]


def test_counts_leave_deleted_rows_out(folder: Path) -> None:
    zoo.with_deletion_vector(folder)
    assert ask(folder, "SELECT count(*) AS n FROM t")["n"].to_pylist() == [17]
    assert ask(folder, "SELECT max(id) AS n FROM t WHERE id < 4")["n"].to_pylist() == [2]
