"""Every limit can be reached; then the error names it, and the server goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.processes import busy_worker
from tests.faults.test_ends import EXPORT, QUERIES, Background
from tests.rpc.failures import Failure, failure_of
from tests.servers import Server, running, wait_until


@pytest.fixture(scope="module")
def strict(lakehouse: Path) -> Iterator[Server]:
    """Return a server with small limits of every kind but time."""
    with running(
        lakehouse,
        read_only=True,
        environment={
            "LAKEFLIGHT_LIMITS__SQL_BYTES_MAX": "2KiB",
            "LAKEFLIGHT_LIMITS__RESULT_BYTES_MAX": "3MiB",
            "LAKEFLIGHT_LIMITS__CONCURRENT_QUERIES_MAX": "1",
            "LAKEFLIGHT_LIMITS__QUEUE_LENGTH_MAX": "1",
            "LAKEFLIGHT_LIMITS__QUEUE_SECONDS_MAX": "1",
            "LAKEFLIGHT_LIMITS__BATCH_BYTES_TARGET": "64KiB",
            "LAKEFLIGHT_LIMITS__BATCH_BYTES_MAX": "128KiB",
            "LAKEFLIGHT_WORKERS__COUNT_MIN": "2",
            "LAKEFLIGHT_WORKERS__SPILL_BYTES_MAX": "1MiB",
            "LAKEFLIGHT_WORKERS__MEMORY_BYTES_MAX": "256MiB",
            "LAKEFLIGHT_WORKERS__CANCEL_GRACE_SECONDS_MAX": "0.3",
        },
    ) as server:
        yield server


def assert_limit(failure: Failure, name: str) -> None:
    assert failure.code == "limit_exceeded"
    assert failure.body["retryable"] is True
    assert re.search(name, failure.message), failure.message


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("sql_bytes_max", f"SELECT '{'x' * 2048}'"),
        ("result_bytes_max", EXPORT),
        ("batch_bytes_max", "SELECT repeat('x', 200000)"),
        ("spill_bytes_max", "SELECT value FROM generate_series(1, 30000000) ORDER BY value % 1003"),
        # Memory ends here or the spill that makes room for it: which comes first is up to chance.
        (
            "memory_bytes_max|spill_bytes_max",
            "SELECT array_agg(value) FROM generate_series(1, 300000000)",
        ),
        ("memory_bytes_max", "SELECT lpad('a', 2000000000)"),
    ],
)
def test_a_limit_names_itself(strict: Server, name: str, sql: str) -> None:
    assert_limit(failure_of(strict, sql), name)
    assert strict.fetch("SELECT 1 AS n").to_pylist() == [{"n": 1}]


def test_the_largest_statement_is_served(strict: Server) -> None:
    text = "x" * (2048 - len("SELECT ''"))
    assert strict.fetch(f"SELECT '{text}'").column(0).to_pylist() == [text]


def test_waiting_has_limits_in_number_and_time(strict: Server) -> None:
    wait_until(lambda: len(strict.worker_pids()) >= 2, what="two workers")
    running_query = Background(strict, QUERIES["aggregation"])
    busy_worker(strict)
    waiting = Background(strict, "SELECT 1")
    full: list[Failure] = []

    def is_full() -> bool:
        full.append(failure_of(strict, "SELECT 2"))
        return "queue_length_max=1" in full[-1].message

    # The second query may still be on its way to the queue; then the third stands in its place.
    wait_until(is_full, what="a full queue")
    assert_limit(full[-1], "queue_length_max=1")
    assert full[-1].body["retry_after_seconds"] > 0
    waiting.join()
    assert "queue_seconds_max=1" in str(waiting.error) or "queue_length_max=1" in str(waiting.error)
    failure = failure_of(strict, "SELECT 3")
    assert_limit(failure, "queue_seconds_max=1")
    assert failure.body["retry_after_seconds"] > 0
    running_query.cursor.adbc_cancel()
    running_query.ended()
    assert strict.fetch("SELECT 4 AS n").to_pylist() == [{"n": 4}]
