"""The cache of small results: one entry for one query on one state, and never too many bytes."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from flight_server.engine.base import Pin, Query
from flight_server.engine.cache import ENTRY_BYTES_MAX, Result, ResultCache
from policies.names import Principal, Role, TableRef

ANN = Principal("1", "ann", Role.REGISTERED)
QUERY = Query("SELECT 1", ANN, "primary", "public", (Pin(TableRef("a", "b", "c"), 1, "s"),))
ROWS = pa.record_batch({"x": [1]})
RESULT = Result(ROWS.schema, (ROWS,), ROWS.nbytes)


def test_a_result_comes_back_to_the_same_query() -> None:
    cache = ResultCache(1_000_000)
    cache.put(QUERY, RESULT)
    assert cache.get(replace(QUERY)) is RESULT


def test_any_difference_is_another_query() -> None:
    cache = ResultCache(1_000_000)
    cache.put(QUERY, RESULT)
    others = [
        replace(QUERY, sql="SELECT 2"),
        replace(QUERY, bucket="other"),
        replace(QUERY, schema="other"),
        replace(QUERY, principal=replace(ANN, user_id="2")),
        replace(QUERY, principal=replace(ANN, role=Role.TRADER)),
        replace(QUERY, principal=replace(ANN, custom_roles=frozenset({"analyst"}))),
        replace(QUERY, pins=()),
        replace(QUERY, pins=(replace(QUERY.pins[0], version=2),)),
        replace(QUERY, pins=(replace(QUERY.pins[0], stamp="t"),)),
    ]
    assert not [other for other in others if cache.get(other) is not None]


def test_zero_bytes_keep_nothing() -> None:
    cache = ResultCache(0)
    cache.put(QUERY, RESULT)
    assert cache.get(QUERY) is None


def test_a_large_result_is_not_kept() -> None:
    cache = ResultCache(10**9)
    cache.put(QUERY, Result(ROWS.schema, (ROWS,), ENTRY_BYTES_MAX + 1))
    assert cache.get(QUERY) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, ENTRY_BYTES_MAX)), max_size=60))
def test_the_least_recently_used_go_first(puts: list[tuple[int, int]]) -> None:
    cache = ResultCache(200_000)
    for number, size in puts:
        query = replace(QUERY, sql=f"SELECT {number}")
        cache.put(query, Result(ROWS.schema, (ROWS,), size))
        assert cache.get(query) is not None
    kept = [
        result.size
        for number in range(21)
        if (result := cache.get(replace(QUERY, sql=f"SELECT {number}"))) is not None
    ]
    assert sum(kept) <= 200_000
