"""The staffing tables: shape, references, and nothing that could be a real person's."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.demo import staffing


@pytest.fixture(scope="module")
def people() -> pa.Table:
    return staffing.candidates(0, 3_000, revision=2).read_all()


@pytest.fixture(scope="module")
def jobs() -> pa.Table:
    return staffing.placements(0, 5_000, candidate_count=3_000).read_all()


def test_candidates_have_fifteen_plain_columns(people: pa.Table) -> None:
    people.validate(full=True)
    assert people.num_columns == 15
    assert people["candidate_id"][0].as_py() == "CAND-000001"
    assert people["candidate_id"][-1].as_py() == "CAND-003000"
    assert all(field.type != pa.string_view() for field in people.schema)


def test_addresses_and_numbers_are_fictional(people: pa.Table) -> None:
    rows = people.select(["email", "phone"]).to_pylist()
    assert all(re.fullmatch(r"[a-z.]+\d+@example\.(com|org|net)", row["email"]) for row in rows)
    phones = [row["phone"] for row in rows if row["phone"] is not None]
    assert 0 < len(phones) < len(rows)
    assert all(re.fullmatch(r"\(\d{3}\) 555-01\d\d", phone) for phone in phones)
    assert len({row["email"] for row in rows}) == len(rows)


def test_a_rewrite_changes_status_and_nothing_else(people: pa.Table) -> None:
    before = staffing.candidates(0, 3_000, revision=0).read_all()
    same = [
        name
        for name in people.column_names
        if name not in {"status", "updated_at", "available_from"}
    ]
    assert before.select(same) == people.select(same)
    changed = [
        old.as_py() != new.as_py()
        for old, new in zip(before["updated_at"], people["updated_at"], strict=True)
    ]
    assert 0.15 < sum(changed) / len(changed) < 0.3


def test_each_placement_fits_its_candidate(people: pa.Table, jobs: pa.Table) -> None:
    home = {
        row["candidate_id"]: (row["vertical"], row["city"], row["state"])
        for row in people.to_pylist()
    }
    for row in jobs.to_pylist():
        assert home[row["candidate_id"]] == (row["vertical"], row["city"], row["state"])
        assert (row["end_date"] is None) == (row["status"] == "active")
        assert row["end_date"] is None or row["start_date"] < row["end_date"]
        assert row["created_at"].date() < row["start_date"]
        assert 0 < row["pay_rate"] < row["bill_rate"]


def test_slices_join_to_the_whole(jobs: pa.Table) -> None:
    parts = [
        staffing.placements(low, high, candidate_count=3_000).read_all()
        for low, high in ((0, 1), (1, 2_500), (2_500, 5_000))
    ]
    assert pa.concat_tables(parts).combine_chunks() == jobs.combine_chunks()


def test_small_tables_are_valid() -> None:
    for table in (staffing.cities(), staffing.clients(), staffing.targets(2025)):
        table.validate(full=True)
        assert table.num_rows > 0
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
