"""The DataFusion session of a worker: its settings, its memory and disk limits, and its runtime.

One session serves a worker's queries one after the other, because the runtime, with its cache of
Parquet footers, belongs to the session in DataFusion's Python API. It never holds a name: each
query brings its own catalog, and every statement that could change a session is refused before it
gets here and by ``READ_ONLY`` once more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from datafusion import DataFrame, RuntimeEnvBuilder, SessionConfig, SessionContext, SQLOptions

from flight_server.sql.names import DEFAULT

READ_ONLY = (
    SQLOptions()
    .with_allow_ddl(allow=False)
    .with_allow_dml(allow=False)
    .with_allow_statements(allow=False)
)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How much a worker's engine may use, and how it cuts its work.

    ``spill_directory`` None is the system's folder for temporary files. Threads beyond
    ``target_partitions`` gain nothing; ``batch_rows`` is the unit of work inside the engine.
    Values bound to a statement are bounded in rows and in bytes of their stream.
    """

    target_partitions: int = os.cpu_count() or 1
    batch_rows: int = 16_384
    memory_pool_bytes_max: int = 1024**3
    spill_bytes_max: int = 10 * 1024**3
    spill_directory: str | None = None
    cached_plans_max: int = 128
    cached_tables_max: int = 256
    parameter_rows_max: int = 1_000_000
    parameters_bytes_max: int = 32 * 1024 * 1024


# They tell where a table's files are.
_TELLING_FUNCTIONS = ("input_file_name", "file_row_index")


def open_session(options: EngineOptions) -> SessionContext:
    """Return a session in which nothing has a name, with the limits of ``options``."""
    runtime = RuntimeEnvBuilder().with_fair_spill_pool(options.memory_pool_bytes_max)
    if options.spill_directory is None:
        runtime = runtime.with_disk_manager_os()
    else:
        runtime = runtime.with_disk_manager_specified(options.spill_directory)
    ctx = SessionContext(_config(options), runtime)
    for name in _TELLING_FUNCTIONS:
        ctx.deregister_udf(name)
    # Only a statement sets this one; it is ours, and the last one that may.
    kibibytes = max(1, options.spill_bytes_max // 1024)
    ctx.sql(f"SET datafusion.runtime.max_temp_directory_size = '{kibibytes}K'")
    return ctx


# With these, joins and sorts send no filter down to their scans as they run.
NO_FILTERS_FROM_RUNNING: Mapping[str, str] = {
    "datafusion.optimizer.enable_join_dynamic_filter_pushdown": "false",
    "datafusion.optimizer.enable_topk_dynamic_filter_pushdown": "false",
}
_COLLECTED_BYTES = "datafusion.optimizer.hash_join_single_partition_threshold"
_COLLECTED_BYTES_MIN = 1024 * 1024
# The settings that a query can have of its own, as all others have them.
_USUAL: Mapping[str, str] = {
    **dict.fromkeys(NO_FILTERS_FROM_RUNNING, "true"),
    _COLLECTED_BYTES: str(_COLLECTED_BYTES_MIN),
}


def collecting(key_bytes: int) -> Mapping[str, str]:
    """Return settings with which so many bytes of keys are looked up by all threads in one place.

    Else the rows of the table would be dealt out anew by their keys: a fifth of an export's time.
    """
    collected = 2 * key_bytes
    return {_COLLECTED_BYTES: str(collected)} if collected > _COLLECTED_BYTES_MIN else {}


def with_settings(ctx: SessionContext, frame: DataFrame, settings: Mapping[str, str]) -> DataFrame:
    """Return the same query with settings of its own.

    A frame keeps the settings of the moment when it was made, and only those.
    """
    try:
        for name, value in settings.items():
            ctx.sql(f"SET {name} = '{value}'")
        return ctx.create_dataframe_from_logical_plan(frame.logical_plan())
    finally:
        for name in settings:
            ctx.sql(f"SET {name} = '{_USUAL[name]}'")


def _config(options: EngineOptions) -> SessionConfig:
    return (
        SessionConfig(
            {
                "datafusion.execution.batch_size": str(options.batch_rows),
                "datafusion.execution.target_partitions": str(options.target_partitions),
                "datafusion.execution.collect_statistics": "true",
                # Each of these at the same time is a thread, and each thread some 10 to 30 MiB of
                # the address space that is limited; see ``scan.LISTED_FILES_MAX``.
                "datafusion.execution.planning_concurrency": "1",
                "datafusion.execution.meta_fetch_concurrency": "8",
                "datafusion.execution.time_zone": "+00:00",
                "datafusion.execution.parquet.pushdown_filters": "true",
                # Wrong rows: with it, min and max over several partitions now and then miss the
                # rows of one (6 of 400 runs over a union of nine scans, DataFusion 55.0.0).
                "datafusion.optimizer.enable_aggregate_dynamic_filter_pushdown": "false",
                # Wrong rows, and values that a mask hides: moving the fields of a struct below a
                # projection drops one that gives another column its old name (DataFusion 55.0.0).
                "datafusion.optimizer.enable_leaf_expression_pushdown": "false",
                # String views would send whole shared buffers with every slice of a result.
                "datafusion.execution.parquet.schema_force_view_types": "false",
                "datafusion.sql_parser.map_string_types_to_utf8view": "false",
            }
        )
        .with_information_schema(enabled=False)
        .with_create_default_catalog_and_schema(enabled=False)
        .with_default_catalog_and_schema(DEFAULT, DEFAULT)
    )
