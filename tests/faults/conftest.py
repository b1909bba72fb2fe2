"""A server of its own for the tests that ill-treat it, with small limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server, running, wait_until

SMALL = {
    "LAKEFLIGHT_WORKERS__MEMORY_BYTES_MAX": "512MiB",
    "LAKEFLIGHT_WORKERS__SPILL_BYTES_MAX": "32MiB",
    "LAKEFLIGHT_WORKERS__COUNT_MIN": "3",
    "LAKEFLIGHT_WORKERS__COUNT_MAX": "4",
    "LAKEFLIGHT_LIMITS__RESULT_BYTES_MAX": "100MiB",
    "LAKEFLIGHT_WORKERS__CANCEL_GRACE_SECONDS_MAX": "0.3",
}


@pytest.fixture(scope="module")
def spill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spill")


@pytest.fixture(scope="module")
def victim(lakehouse: Path, spill: Path) -> Iterator[Server]:
    """Return a server with a short time limit for each query."""
    with running(
        lakehouse,
        read_only=True,
        environment={
            **SMALL,
            "LAKEFLIGHT_LIMITS__QUERY_SECONDS_MAX": "1",
            "LAKEFLIGHT_WORKERS__SPILL_DIRECTORY": str(spill),
        },
    ) as server:
        yield server


@pytest.fixture
def patient(victim: Server) -> Server:
    """Return the same server once its workers are complete again; one may still be starting."""
    wait_until(lambda: len(victim.worker_pids()) >= 3, what="three workers")
    return victim
