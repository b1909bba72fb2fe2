"""The sample lakehouse as a whole: same rows each time, all or nothing, other data untouched."""

from __future__ import annotations

import fcntl
import hashlib
import json
import sysconfig
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from flight_server.demo import SCHEMAS, build, is_complete
from flight_server.demo.build import MARKER
from flight_server.errors import AlreadyExists, Conflict, InvalidRequest, Unsupported

SCALE = 0.001
ROWS = {
    "tpch/region": 5,
    "tpch/nation": 25,
    "tpch/supplier": 10,
    "tpch/customer": 150,
    "tpch/part": 200,
    "tpch/partsupp": 800,
    "tpch/orders": 1_500,
    "tpch/lineitem": 6_005,
    "staffing/candidates": 1_000,
    "staffing/placements": 10_000,
}


@pytest.fixture(scope="module")
def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demo")
    assert build(directory, scale=SCALE)
    return directory


def read(directory: Path, name: str, version: int | None = None) -> pa.Table:
    table = DeltaTable(directory / name, version=version).to_pyarrow_table()
    return table.sort_by([(column, "ascending") for column in table.column_names])


def digest(directory: Path) -> str:
    """Digest every row of every version of every table."""
    seen = hashlib.sha256()
    for name in sorted(ROWS):
        for version in range(DeltaTable(directory / name).version() + 1):
            for batch in read(directory, name, version).combine_chunks().to_batches():
                seen.update(batch.serialize().to_pybytes())
    for file in sorted(directory.glob("files/**/*.parquet")):
        for batch in pq.read_table(file).to_batches():
            seen.update(batch.serialize().to_pybytes())
    return seen.hexdigest()


def test_every_table_has_its_rows(lakehouse: Path) -> None:
    assert {name: DeltaTable(lakehouse / name).count() for name in ROWS} == ROWS
    assert {path.name for path in lakehouse.iterdir() if path.name[0] != "."} == set(SCHEMAS)
    assert {path.name for path in (lakehouse / "files").iterdir()} == {
        "cities.parquet",
        "clients.parquet",
        "targets",
    }
    assert is_complete(lakehouse)


def test_files_hold_plain_types(lakehouse: Path) -> None:
    for name in ROWS:
        schema = pq.read_schema(DeltaTable(lakehouse / name).file_uris()[0])
        assert not any("view" in str(kind) or "large" in str(kind) for kind in schema.types)
    prices = pq.read_schema(DeltaTable(lakehouse / "tpch/lineitem").file_uris()[0])
    assert prices.field("l_extendedprice").type == pa.decimal128(15, 2)


def test_history_shows_a_table_that_grew(lakehouse: Path) -> None:
    counts = [DeltaTable(lakehouse / "staffing/candidates", version=v).count() for v in range(4)]
    assert counts == [900, 900, 1_000, 1_000]
    counts = [DeltaTable(lakehouse / "staffing/placements", version=v).count() for v in range(3)]
    assert counts == [6_000, 9_000, 10_000]
    first = read(lakehouse, "staffing/candidates", 0)
    second = read(lakehouse, "staffing/candidates", 1)
    assert first["candidate_id"] == second["candidate_id"]
    assert first["status"] != second["status"]


def test_placements_refer_to_candidates(lakehouse: Path) -> None:
    people = read(lakehouse, "staffing/candidates")["candidate_id"]
    jobs = read(lakehouse, "staffing/placements")["candidate_id"]
    assert pc.all(pc.is_in(jobs, value_set=people.combine_chunks())).as_py()
    assert len(pc.unique(people)) == len(people)


def test_two_builds_hold_the_same_rows(lakehouse: Path, tmp_path: Path) -> None:
    build(tmp_path, scale=SCALE)
    assert digest(tmp_path) == digest(lakehouse)


def test_a_second_build_changes_nothing(lakehouse: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in lakehouse.glob("*/**/*"))
    assert not build(lakehouse, scale=SCALE)
    assert sorted((path, path.stat().st_mtime_ns) for path in lakehouse.glob("*/**/*")) == before


def test_progress_ends_at_all_of_each_step(tmp_path: Path) -> None:
    seen: dict[str, float] = {}

    def note(step: str, share: float) -> None:
        assert seen.get(step, 0) <= share <= 1
        seen[step] = share

    build(tmp_path, scale=SCALE, progress=note)
    assert seen == dict.fromkeys(("TPC-H", "staffing", "files"), pytest.approx(1))


@pytest.mark.parametrize("step", ["TPC-H", "files"])
def test_a_crash_leaves_a_folder_that_the_next_build_completes(tmp_path: Path, step: str) -> None:
    def crash(at: str, share: float) -> None:
        if at == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, scale=SCALE, progress=crash)
    assert not is_complete(tmp_path)
    assert not any((tmp_path / schema).exists() for schema in SCHEMAS)
    (tmp_path / "tpch").mkdir()  # as if the crash came between two renames
    assert build(tmp_path, scale=SCALE)
    assert is_complete(tmp_path)
    assert DeltaTable(tmp_path / "tpch/nation").count() == 25


def test_force_replaces_the_sample_and_keeps_the_rest(tmp_path: Path) -> None:
    build(tmp_path, scale=SCALE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "tpch" / "stray").mkdir()
    assert build(tmp_path, scale=SCALE, force=True)
    assert (tmp_path / "mine").exists()
    assert not (tmp_path / "tpch" / "stray").exists()


def test_another_scale_needs_force(lakehouse: Path) -> None:
    with pytest.raises(AlreadyExists, match="--force"):
        build(lakehouse, scale=0.002)
    assert is_complete(lakehouse)


@pytest.mark.parametrize("force", [False, True])
def test_data_of_somebody_else_is_never_replaced(tmp_path: Path, force: bool) -> None:
    (tmp_path / "staffing").mkdir()
    with pytest.raises(AlreadyExists, match="staffing"):
        build(tmp_path, scale=SCALE, force=force)
    assert list((tmp_path / "staffing").iterdir()) == []


def test_an_older_format_is_remade(tmp_path: Path) -> None:
    (tmp_path / "tpch").mkdir()
    (tmp_path / MARKER).write_text(json.dumps({"state": "complete", "scale": SCALE, "format": 0}))
    assert not is_complete(tmp_path)
    assert build(tmp_path, scale=SCALE)


def test_two_builders_do_not_meet(tmp_path: Path) -> None:
    with (tmp_path / ".lakeflight-demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict):
            build(tmp_path, scale=SCALE)


@pytest.mark.parametrize("scale", [0.0, -1.0, 100.5, float("nan")])
def test_a_senseless_scale_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(InvalidRequest, match="scale"):
        build(tmp_path, scale=scale)


def test_a_missing_generator_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match=r"pip install 'lakeflight\[demo\]'"):
        build(tmp_path / "new", scale=SCALE)
    assert not any((tmp_path / "new").glob("[!.]*"))
