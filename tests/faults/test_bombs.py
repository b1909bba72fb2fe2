"""Queries that would take down one process: each ends in one clean error, and nobody else notices.

The shapes are those that crash or hang DataFusion 55 in a single process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.processes import zombies_of
from tests.rpc.failures import failure_of
from tests.servers import Server, wait_until

ANSWER_SECONDS_MAX = 2.0
LIMIT, TIME, INVALID = "limit_exceeded", "deadline_exceeded", "invalid_request"


def _doubling(levels: int) -> str:
    steps = ["c0 AS (SELECT 1 AS x)"] + [
        f"c{i} AS (SELECT * FROM c{i - 1} UNION ALL SELECT * FROM c{i - 1})"
        for i in range(1, levels + 1)
    ]
    return f"WITH {', '.join(steps)} SELECT count(*) FROM c{levels}"


def _chain(word: str, term: str, count: int) -> str:
    return word.join(term.format(i=i) for i in range(count))


_JOINS = " ".join(
    f"JOIN sales.orders t{i} ON t{i}.order_id = t{i - 1}.order_id" for i in range(1, 301)
)
_CUBE = ", ".join(f"order_id % {i + 2}" for i in range(22))
_MILLIONS = "(SELECT value % 2 AS k FROM generate_series(1, 3000000))"

BOMBS: dict[str, tuple[str, set[str]]] = {
    "one huge text": ("SELECT lpad('a', 2000000000)", {LIMIT}),
    "huge texts": ("SELECT repeat(customer, 10000000) FROM sales.orders", {LIMIT}),
    "nested replace": (
        "SELECT replace(replace(repeat('a', 99999), 'a', repeat('b', 9999)), 'b', repeat('c', 99))",
        {LIMIT, TIME},
    ),
    "doubling CTEs": (_doubling(24), {LIMIT, TIME}),
    "long AND chain": (
        "SELECT 1 FROM sales.orders WHERE " + _chain(" AND ", "order_id <> {i}", 8000),
        {LIMIT, TIME},
    ),
    "long UNION ALL chain": (_chain(" UNION ALL ", "SELECT {i} AS n", 4500), {LIMIT, TIME}),
    "long sum": (
        f"SELECT {_chain(' + ', 'order_id', 4500)} FROM sales.orders",
        {LIMIT, TIME},
    ),
    "many joins": (f"SELECT count(*) FROM sales.orders t0 {_JOINS}", {LIMIT, TIME}),
    "cube": (f"SELECT count(*) FROM sales.orders GROUP BY CUBE ({_CUBE})", {LIMIT, TIME}),
    "endless series": ("SELECT count(*) FROM generate_series(1, 10000000000000)", {TIME}),
    "endless recursion": (
        "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
        {LIMIT, TIME},
    ),
    "cross join": (
        (
            "SELECT count(*) FROM sales.orders a, sales.orders b, sales.orders c"
            " WHERE a.amount + b.amount + c.amount > 3"
        ),
        {TIME},
    ),
    "many long texts": ("SELECT sum(length(repeat(customer, 100000))) FROM sales.orders", {LIMIT}),
    "window over all": (
        "SELECT max(s) FROM (SELECT sum(value) OVER () AS s FROM generate_series(1, 100000000))",
        {LIMIT, TIME},
    ),
    "sort": (
        "SELECT value FROM generate_series(1, 300000000) ORDER BY value % 1003",
        {LIMIT, TIME},
    ),
    "groups": (
        (
            "SELECT count(*) FROM (SELECT value, count(*) FROM generate_series(1, 300000000)"
            " GROUP BY value)"
        ),
        {LIMIT, TIME},
    ),
    "array_agg": ("SELECT array_agg(value) FROM generate_series(1, 300000000)", {LIMIT, TIME}),
    "hash join": (
        (
            "SELECT count(*) FROM generate_series(1, 100000000) a(x)"
            " JOIN generate_series(1, 100000000) b(y) ON a.x = b.y"
        ),
        {LIMIT, TIME},
    ),
    "skewed hash join": (
        f"SELECT count(*) FROM {_MILLIONS} a JOIN {_MILLIONS} b USING (k)",
        {TIME},
    ),
    "brackets": ("SELECT " + "(" * 20_000 + "1" + ")" * 20_000, {INVALID, TIME}),
    "nested functions": ("SELECT " + "abs(" * 2000 + "1" + ")" * 2000, {INVALID}),
    "regular expression": (
        (
            "SELECT count(*) FROM sales.orders WHERE regexp_like(customer,"
            " '((((a{1,100}){1,100}){1,100}){1,100}){1,100}')"
        ),
        {INVALID, LIMIT},
    ),
    "far version": ("SELECT * FROM sales.orders VERSION AS OF 9223372036854775807", {INVALID}),
    "constant folding": (
        "SELECT length(repeat(repeat(repeat('a', 1000), 1000), 300))",
        {LIMIT, TIME},
    ),
    "large result": ("SELECT repeat('x', 1000) FROM generate_series(1, 100000000)", {LIMIT}),
}


@contextmanager
def second_session(server: Server) -> Iterator[list[float]]:
    """Ask a small query again and again; the list holds how long each took."""
    seconds: list[float] = []
    stop = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        with server.connect() as connection, connection.cursor() as cursor:
            while not stop.is_set():
                start = time.monotonic()
                try:
                    cursor.execute("SELECT 1")
                    assert cursor.fetchall() == [(1,)]
                except BaseException as error:  # noqa: BLE001  the test looks at it
                    failures.append(error)
                    return
                seconds.append(time.monotonic() - start)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        wait_until(lambda: seconds or failures, what="the second session")
        yield seconds
    finally:
        stop.set()
        thread.join()
    assert failures == []


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_clean_error_and_costs_nobody_else(patient: Server, name: str) -> None:
    sql, codes = BOMBS[name]
    with second_session(patient) as seconds:
        failure = failure_of(patient, sql)
        after = len(seconds)
        wait_until(lambda: len(seconds) > after, what="the second session")
    assert failure.code in codes, failure
    assert failure.message
    assert max(seconds) < ANSWER_SECONDS_MAX


def test_after_the_bombs_nothing_is_left(patient: Server, spill: Path) -> None:
    failure_of(patient, BOMBS["one huge text"][0])
    failure_of(patient, BOMBS["sort"][0])

    def is_clean() -> bool:
        folders = [path for path in spill.rglob("worker-*") if path.is_dir()]
        files = [path for path in spill.rglob("*") if path.is_file()]
        return len(folders) == len(patient.worker_pids()) and not files

    wait_until(is_clean, what="spilled files and folders gone")
    wait_until(lambda: not zombies_of(patient), what="no zombies")
    assert patient.fetch("SELECT count(*) AS n FROM sales.orders").to_pylist() == [{"n": 10_000}]
