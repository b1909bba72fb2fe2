from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from benchmarks import data, tpch
from benchmarks.__main__ import main
from benchmarks.data import Dataset
from benchmarks.goals import Goal, goals
from benchmarks.series import Figures, Metric
from benchmarks.session import batches, open_session
from benchmarks.targets import ALL, BARE, IN_PROCESS, LAKEFLIGHT, MEMORY
from flight_server.demo.tpch import TABLES

SCALE = 0.01


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return data.prepare(SCALE, cache=tmp_path_factory.mktemp("benchmark-data"))


def test_the_queries_give_the_answers_of_another_engine(dataset: Dataset) -> None:
    session = open_session(dataset)
    with duckdb.connect() as other:
        other.execute("CREATE SCHEMA tpch")
        for table in TABLES:
            files = [str(file) for file in dataset.files("tpch", table)]
            other.execute(f"CREATE VIEW tpch.{table} AS FROM read_parquet({files})")
        queries = tpch.queries(SCALE)
        assert len(queries) == 22
        for name, sql in queries.items():
            ours = pa.Table.from_batches(batches(session.sql(sql)))
            theirs = other.sql(sql).to_arrow_table()
            assert tpch.same(_in_floats(ours), _in_floats(theirs), tolerance=1e-4), name


def _in_floats(table: pa.Table) -> pa.Table:
    """The engines disagree about the width of decimals and the digits of their averages."""
    in_floats = {
        name: [float(x) if numeric and x is not None else x for x in column.to_pylist()]
        for name, numeric, column in zip(
            table.column_names, map(_is_number, table.schema), table.columns, strict=True
        )
    }
    return pa.table(in_floats)


def _is_number(field: pa.Field[Any]) -> bool:
    return not (pa.types.is_string(field.type) or pa.types.is_date(field.type))


def test_other_rows_are_not_the_same() -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    assert tpch.same(table, table.take([1, 0]))
    assert not tpch.same(table, table.slice(1))
    assert not tpch.same(table, pa.table({"a": [1, 2], "b": ["x", "z"]}))
    assert not tpch.same(table, table.rename_columns(["a", "c"]))
    assert tpch.same(pa.table({}), table.slice(2))


def test_ratios_pair_the_rounds() -> None:
    metric = Metric("part", "case", "time", "ms")
    figures = Figures()
    for ours, theirs in ((2.0, 1.0), (30.0, 10.0), (4.0, 1.0)):
        figures.add(metric, LAKEFLIGHT, ours)
        figures.add(metric, BARE, theirs)
    assert figures.ratio(metric, LAKEFLIGHT, to=BARE) == 3.0
    assert figures.median(metric, LAKEFLIGHT) == 4.0
    assert figures.ratio(metric, LAKEFLIGHT, to=MEMORY) is None


def test_a_goal_without_figures_is_neither_met_nor_missed() -> None:
    assert {goal.met for goal in goals(Figures())} == {None}
    assert Goal("fast", 0.9, 0.9, at_least=True).met
    assert not Goal("small", 601.0, 600.0, at_least=False).met


@pytest.mark.parametrize(
    ("part", "targets"),
    [
        ("export", (BARE, MEMORY, IN_PROCESS)),
        ("tpch", (BARE, IN_PROCESS)),
        pytest.param("export", ALL, marks=pytest.mark.slow),
        pytest.param("tpch", ALL, marks=pytest.mark.slow),
        pytest.param("lookup", ALL, marks=pytest.mark.slow),
        pytest.param("latency", (LAKEFLIGHT,), marks=pytest.mark.slow),
    ],
)
def test_one_short_round_fills_the_table(
    dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    targets: Sequence[str],
) -> None:
    file = tmp_path / "figures.json"
    options = ["--scale", str(SCALE), "--rounds", "1", "--load-seconds", "0.1"]
    places = ["--json", str(file), "--data", str(dataset.root.parent)]
    code = main([part, *options, *places, "--targets", *targets])
    printed = capsys.readouterr().out
    found = json.loads(file.read_text())
    assert found["failures"] == []
    assert code == 0
    assert f"## {part}" in printed
    assert "load average" in printed
    assert ("## Targets" in printed) == (LAKEFLIGHT in targets)
    assert {figure["part"] for figure in found["figures"]} == {part}
