"""DataFusion over the data files, set up as well as we know: what a careful user would do."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyarrow as pa
from datafusion import DataFrame, SessionConfig, SessionContext

from benchmarks.data import SCHEMAS, Dataset
from flight_server.demo import tpch

_BATCH_ROWS = 32_768


def open_session(dataset: Dataset) -> SessionContext:
    """Return a session with all tables of the dataset, in plain types and with pruning."""
    config = (
        SessionConfig()
        .with_batch_size(_BATCH_ROWS)
        .with_target_partitions(len(os.sched_getaffinity(0)))
        .set("datafusion.execution.parquet.pushdown_filters", "true")
        .set("datafusion.execution.parquet.schema_force_view_types", "false")
    )
    session = SessionContext(config)
    for schema in SCHEMAS:
        session.sql(f'CREATE SCHEMA "{schema}"').collect()
        for table in tpch.TABLES:
            session.register_parquet(f"{schema}.{table}", dataset.root / schema / table)
    return session


def batches(frame: DataFrame) -> Iterator[pa.RecordBatch]:
    """Run a planned query on all cores and yield its batches as they come."""
    return (batch.to_pyarrow() for batch in frame.execute_stream())
