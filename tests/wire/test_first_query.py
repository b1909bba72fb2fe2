"""One query end to end, through the official driver."""

from __future__ import annotations

import pyarrow as pa

from tests.lakehouse import ORDERS_ROWS, orders_table, write
from tests.servers import Server


def test_a_table_comes_back_as_it_was_written(server: Server) -> None:
    result = server.fetch("SELECT * FROM sales.orders ORDER BY order_id")
    assert result.equals(orders_table(ORDERS_ROWS))


def test_an_older_version_has_what_it_had(server: Server) -> None:
    result = server.fetch("SELECT count(*) AS n FROM sales.orders VERSION AS OF 0")
    assert result.to_pylist() == [{"n": ORDERS_ROWS // 2}]


def test_a_table_under_the_root_is_in_public(server: Server) -> None:
    assert server.fetch("SELECT id FROM events ORDER BY id") == pa.table({"id": [1, 2, 3]})


def test_a_new_table_appears_without_a_restart(server: Server) -> None:
    write(server.directory / "sales" / "appeared", pa.table({"x": [7]}))
    assert server.fetch("SELECT x FROM sales.appeared").to_pylist() == [{"x": 7}]
