from __future__ import annotations

import gc
import os
import resource
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.storage.encoding import Encoder, FileLayout
from flight_server.storage.statistics import FileStatistics
from tests.clocks import StandingClock
from tests.storage.committing import leftovers


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_cannot_even_be_closed_is_abandoned_in_silence(tmp_path: Path) -> None:
    rows = pa.table({f"c{index}": range(10) for index in range(50)})
    statistics = FileStatistics(rows.schema, columns_max=32)
    layout = FileLayout(
        tmp_path,
        rows.schema,
        partition_columns=(),
        statistics=statistics,
        file_bytes_target=2**30,
        open_files_max=1,
    )
    encoder = Encoder(layout, clock=StandingClock(), random_bytes=os.urandom)
    encoder.write((), rows)
    (path,) = leftovers(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
    try:
        encoder.abandon()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    gc.collect()
    assert leftovers(tmp_path) == []
