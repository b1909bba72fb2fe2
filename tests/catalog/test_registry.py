"""What is discovered in folders, by listing and by name, and what stays invisible."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.catalog.folders import Kind, is_name
from flight_server.catalog.registry import Registry
from flight_server.errors import InvalidRequest, Unavailable
from flight_server.storage.locations import locate_all
from policies.names import TableRef
from tests import tables as zoo


def registry(**buckets: Path) -> Registry:
    return Registry(locate_all(dict(buckets)))


def parquet(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(zoo.numbers(0, 1), path)


def delta(path: Path) -> None:
    (path / "_delta_log").mkdir(parents=True)


def listed(found: Registry, bucket: str = "primary") -> dict[str, Kind]:
    """Names and kinds as listed, each of them also found by name."""
    entries = found.tables(bucket)
    for entry in entries:
        assert found.find(entry.ref) == entry
    return {f"{entry.ref.schema}.{entry.ref.table}": entry.kind for entry in entries}


def test_delta_tables_in_schemas_and_under_the_root(tmp_path: Path) -> None:
    for name in ("sales/orders", "events", "events/inner", "public/shared", "shared"):
        delta(tmp_path / name)
    found = registry(primary=tmp_path)
    assert set(listed(found)) == {
        "sales.orders",
        "public.events",
        "events.inner",
        "public.shared",
    }
    entry = found.find(TableRef("primary", "public", "shared"))
    assert entry is not None
    assert entry.path == tmp_path / "public/shared"


def test_parquet_files_and_folders(tmp_path: Path) -> None:
    for name in (
        "one.parquet",
        "sales/orders.parquet",
        "sales/items/a.parquet",
        "sales/years/year=2024/a.parquet",
        "parts/part-00000-x.parquet",
        "numbered/0.parquet",
        "numbered/1.parquet",
        "hive/k=1/a.parquet",
        "done/a.parquet",
        "uuids/0b5e9a52-3f5c-4d6e-8a3f-0c1f8f9d2b11.parquet",
        "spark/x-c000.snappy.parquet",
    ):
        parquet(tmp_path / name)
    (tmp_path / "done/_SUCCESS").touch()
    names = listed(registry(primary=tmp_path))
    assert set(names) == {
        "public.one",
        "sales.orders",
        "sales.items",
        "sales.years",
        "public.parts",
        "public.numbered",
        "public.hive",
        "public.done",
        "public.uuids",
        "public.spark",
    }
    assert set(names.values()) == {Kind.PARQUET}


def test_delta_wins_over_parquet_of_the_same_name(tmp_path: Path) -> None:
    delta(tmp_path / "s/t")
    parquet(tmp_path / "s/t.parquet")
    delta(tmp_path / "u")
    parquet(tmp_path / "u.parquet")
    found = listed(registry(primary=tmp_path))
    assert found == {"s.t": Kind.DELTA, "public.u": Kind.DELTA}


def test_files_of_a_table_are_no_tables_themselves(tmp_path: Path) -> None:
    """Else a deny on the table could be walked around."""
    zoo.plain(tmp_path / "root_table")
    zoo.with_many_partitions(tmp_path / "s/partitioned", count=2)
    zoo.with_many_partitions(tmp_path / "partitioned", count=2)
    parquet(tmp_path / "parts/part-0.parquet")
    parquet(tmp_path / "parts/k=1/part-0.parquet")
    found = registry(primary=tmp_path)
    assert set(listed(found)) == {
        "public.root_table",
        "s.partitioned",
        "public.partitioned",
        "public.parts",
    }
    for schema, table in (
        ("root_table", "f0"),
        ("partitioned", "p=0"),
        ("parts", "part-0"),
        ("parts", "k=1"),
        ("public", "s"),
    ):
        assert found.find(TableRef("primary", schema, table)) is None


def test_a_root_that_is_a_table_shows_none_of_its_files(tmp_path: Path) -> None:
    zoo.with_many_partitions(tmp_path / "t", count=2)
    found = registry(primary=tmp_path / "t")
    assert listed(found) == {}
    assert found.find(TableRef("primary", "public", "p=0")) is None


def test_hidden_names_are_invisible(tmp_path: Path) -> None:
    for name in ("_x", ".x", "s/_x", "s/.x", "_s/x"):
        delta(tmp_path / name)
    parquet(tmp_path / "_f.parquet")
    (tmp_path / "empty").mkdir()
    found = registry(primary=tmp_path)
    assert listed(found) == {}
    for schema, table in (("public", "_x"), ("s", ".x"), ("_s", "x"), ("public", "_f")):
        assert found.find(TableRef("primary", schema, table)) is None


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../t", "a/b", "a\\b", "a\0b", "a..b", "x" * 256, "\ud800", "/etc"]
)
def test_names_that_never_reach_the_disk(name: str, tmp_path: Path) -> None:
    assert not is_name(name)
    found = registry(primary=tmp_path)
    assert found.find(TableRef("primary", name, "t")) is None
    assert found.find(TableRef("primary", "public", name)) is None


@given(st.text(), st.text())
def test_no_name_leaves_the_root(schema: str, table: str) -> None:
    for name in (schema, table):
        if is_name(name):
            assert os.path.normpath(f"/r/{name}") == f"/r/{name}"


def test_case_is_exact(tmp_path: Path) -> None:
    delta(tmp_path / "Sales/Orders")
    assert registry(primary=tmp_path).find(TableRef("primary", "sales", "orders")) is None


def test_new_tables_appear_by_themselves(tmp_path: Path) -> None:
    found = registry(primary=tmp_path)
    assert listed(found) == {}
    delta(tmp_path / "s/t")
    assert set(listed(found)) == {"s.t"}


def test_a_broken_bucket_says_so_and_others_go_on(tmp_path: Path) -> None:
    delta(tmp_path / "good/s/t")
    (tmp_path / "file").write_text("")
    found = registry(primary=tmp_path / "good", gone=tmp_path / "gone", file=tmp_path / "file")
    assert set(listed(found)) == {"s.t"}
    for bucket in ("gone", "file"):
        for ask in (
            lambda name=bucket: found.tables(name),
            lambda name=bucket: found.find(TableRef(name, "s", "t")),
        ):
            with pytest.raises(Unavailable) as caught:
                ask()
            assert str(tmp_path) not in caught.value.message


def test_a_bucket_inside_another_is_seen_under_its_own_name_only(tmp_path: Path) -> None:
    delta(tmp_path / "inner/s/t")
    delta(tmp_path / "inner/direct")
    parquet(tmp_path / "inner/s/u/a.parquet")
    delta(tmp_path / "x/deep/t")
    delta(tmp_path / ".state/s/t")
    found = registry(
        primary=tmp_path,
        inner=tmp_path / "inner",
        deep=tmp_path / "x/deep",
        own=tmp_path / ".state",
    )
    assert listed(found) == {}
    assert found.find(TableRef("primary", "inner", "direct")) is None
    assert set(listed(found, "inner")) == {"s.t", "s.u", "public.direct"}
    assert set(listed(found, "deep")) == {"public.t"}
    assert set(listed(found, "own")) == {"s.t"}
    with pytest.raises(InvalidRequest):
        registry(primary=tmp_path, inner=tmp_path / "a/b/c")


def test_a_thousand_tables_are_listed_at_once(tmp_path: Path) -> None:
    for i in range(1000):
        delta(tmp_path / f"s{i % 10}/t{i}")
    found = registry(primary=tmp_path)
    found.tables("primary")
    start = time.perf_counter()
    assert len(found.tables("primary")) == 1000
    assert time.perf_counter() - start < 0.5  # about 20 ms; room for a busy machine
