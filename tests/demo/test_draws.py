"""Columns drawn by counter: reproducible, sliceable, within bounds."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from flight_server.demo import draws


def test_values_are_pinned() -> None:
    # The rows of the sample are part of what it promises; a change here needs a new format number.
    assert draws.below("pinned", draws.rows(0, 5), 1_000_000).to_pylist() == [
        123017,
        107695,
        665237,
        882564,
        18986,
    ]


@given(
    start=st.integers(0, 2**40),
    count=st.integers(0, 200),
    skip=st.integers(0, 200),
    bound=st.integers(1, 2**31 - 1),
)
def test_a_slice_equals_the_same_rows_of_the_whole(
    start: int, count: int, skip: int, bound: int
) -> None:
    whole = draws.below("c", draws.rows(start, count + skip), bound)
    assert draws.below("c", draws.rows(start + skip, count), bound) == whole.slice(skip)
    assert all(0 <= value < bound for value in whole.to_pylist())


def test_columns_are_independent() -> None:
    number = draws.rows(0, 2_000)
    pairs = set(
        zip(
            draws.below("a", number, 4).to_pylist(),
            draws.below("b", number, 4).to_pylist(),
            strict=True,
        )
    )
    assert len(pairs) == 16


def test_weights_are_kept() -> None:
    drawn = draws.weighted("w", draws.rows(0, 20_000), {"often": 9, "rarely": 1}).to_pylist()
    assert 0.08 < drawn.count("rarely") / len(drawn) < 0.12


def test_money_is_exact() -> None:
    cents = pa.array([0, 1, 99, 123_456_789], pa.int64())
    assert [str(value) for value in draws.money(cents, 10).to_pylist()] == [
        "0.00",
        "0.01",
        "0.99",
        "1234567.89",
    ]


def test_identifiers_outgrow_their_padding() -> None:
    assert draws.numbered("X-", draws.rows(98, 2), 2).to_pylist() == ["X-99", "X-100"]
