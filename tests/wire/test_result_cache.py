"""Small results that are answered again without running: the same rows, never too old."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tests.lakehouse import write
from tests.servers import Server


def test_a_repeated_query_sees_a_new_commit_at_once(server: Server, lakehouse: Path) -> None:
    table = lakehouse / "sales" / "repeated"
    for total in range(1, 4):
        write(table, pa.table({"x": [total]}))
        for _ in range(3):
            assert server.fetch("SELECT count(*) AS n FROM sales.repeated").to_pylist() == [
                {"n": total}
            ]


def test_what_is_random_or_asks_the_clock_is_run_again(server: Server) -> None:
    for sql in ("SELECT random() AS x", "SELECT uuid() AS x", "SELECT now() AS x"):
        assert server.fetch(sql) != server.fetch(sql)


def test_what_exists_is_looked_up_again(server: Server, lakehouse: Path) -> None:
    sql = "SELECT count(*) AS n FROM information_schema.tables WHERE table_schema = 'grown'"
    assert server.fetch(sql).to_pylist() == [{"n": 0}]
    write(lakehouse / "grown" / "one", pa.table({"x": [1]}))
    assert server.fetch(sql).to_pylist() == [{"n": 1}]
