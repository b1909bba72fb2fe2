"""Catalog replies are cut into messages that default clients take."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from flight_server.rpc import catalog


@given(st.lists(st.integers(0, 5_000_000), max_size=12))
def test_batches_fit_into_messages(sizes: list[int]) -> None:
    rows = pa.table({"x": pa.array([b"x" * size for size in sizes], pa.binary())})
    batches = catalog._cut(rows)
    assert pa.Table.from_batches(batches, schema=rows.schema).equals(rows)
    assert not [
        batch for batch in batches if batch.nbytes > catalog.BATCH_BYTES_MAX and batch.num_rows > 1
    ]
