"""Many connections at once, and changes that everybody sees at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from flight_server.protocol import commands
from tests.lakehouse import ORDERS_ROWS, orders_table, write
from tests.servers import Server
from tests.wire.raw import RawClient, refused

_CONNECTIONS = 32
_ROUNDS = 6


def _export(client: RawClient) -> None:
    rows = client.fetch("SELECT * FROM sales.orders ORDER BY order_id")
    assert rows.equals(orders_table(ORDERS_ROWS))


def _aggregate(client: RawClient) -> None:
    (row,) = client.fetch("SELECT count(*) AS n, sum(order_id) AS s FROM sales.orders").to_pylist()
    assert row == {"n": ORDERS_ROWS, "s": ORDERS_ROWS * (ORDERS_ROWS + 1) // 2}


def _point(client: RawClient) -> None:
    rows = client.fetch("SELECT order_id FROM sales.orders WHERE order_id = 4711")
    assert rows.to_pydict() == {"order_id": [4711]}


def _old(client: RawClient) -> None:
    rows = client.fetch("SELECT max(order_id) AS m FROM sales.orders VERSION AS OF 0")
    assert rows.to_pylist() == [{"m": ORDERS_ROWS // 2}]


def _small(client: RawClient) -> None:
    assert client.fetch("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def _broken(client: RawClient) -> None:
    assert refused(lambda: client.fetch("SELECT * FROM nothing")) == "table_not_found"
    assert refused(lambda: client.fetch("SELECT 1 / (order_id - order_id) FROM sales.orders")) == (
        "invalid_request"
    )


def _catalog(client: RawClient) -> None:
    command = commands.GetTables("primary", "sales", None, (), include_schema=True)
    names = client.fetch(command)["table_name"].to_pylist()
    assert {"empty", "orders", "regions"} <= set(names)


def _prepared(client: RawClient) -> None:
    handle = client.prepare("SELECT zone, count(*) AS n FROM sales.regions GROUP BY 1")
    command = commands.PreparedStatementQuery(handle.prepared_statement_handle)
    rows = client.fetch(command).to_pylist()
    assert {(row["zone"], row["n"]) for row in rows} == {
        ("cold zone", 2),
        ("a/b=c%20", 1),
        (None, 1),
    }


_WORK: tuple[Callable[[RawClient], None], ...] = (
    *(_export, _aggregate, _point, _old, _small, _broken, _catalog, _prepared),
)


def test_thirty_two_connections_at_once_all_get_their_own_answers(server: Server) -> None:
    def work(start: int) -> int:
        with RawClient.connect(server) as client:
            jobs = itertools.islice(itertools.cycle(_WORK), start, start + _ROUNDS)
            return sum(1 for job in jobs if job(client) is None)

    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        assert list(threads.map(work, range(_CONNECTIONS))) == [_ROUNDS] * _CONNECTIONS


def test_many_calls_over_one_connection(raw: RawClient) -> None:
    with ThreadPoolExecutor(16) as threads:
        done = list(threads.map(lambda i: _WORK[i % len(_WORK)](raw), range(48)))
    assert done == [None] * 48


def test_a_new_version_is_seen_at_once_by_everybody(server: Server, lakehouse: Path) -> None:
    folder = lakehouse / "concurrency" / "growing"
    clients = [RawClient.connect(server) for _ in range(8)]
    with ThreadPoolExecutor(len(clients)) as threads:
        for version in range(5):
            write(folder, pa.table({"x": [version]}))

            def count(client: RawClient, rows: int = version + 1) -> bool:
                found = client.fetch("SELECT count(*) AS n FROM concurrency.growing").to_pylist()
                listed = client.fetch(commands.GetTables("primary", "concurrency", "growing"))
                return found == [{"n": rows}] and listed.num_rows == 1

            assert all(threads.map(count, clients))
    for client in clients:
        client.client.close()


def test_a_table_comes_and_goes_at_once_for_everybody(server: Server, lakehouse: Path) -> None:
    folder = lakehouse / "concurrency" / "fleeting"
    clients = [RawClient.connect(server) for _ in range(8)]
    sql = "SELECT x FROM concurrency.fleeting"

    def is_absent(client: RawClient) -> bool:
        return refused(lambda: client.fetch(sql)) == "table_not_found"

    with ThreadPoolExecutor(len(clients)) as threads:
        assert all(threads.map(is_absent, clients))
        for i in range(3):
            write(folder, pa.table({"x": [i]}))
            answers = threads.map(lambda client: client.fetch(sql).to_pydict(), clients)
            assert list(answers) == [{"x": [i]}] * len(clients)
            folder.rename(lakehouse / "concurrency" / f"gone_{i}")
            assert all(threads.map(is_absent, clients))
    for client in clients:
        client.client.close()


def test_readers_see_whole_versions_while_somebody_writes(server: Server, lakehouse: Path) -> None:
    folder = lakehouse / "concurrency" / "busy"
    step = 100
    write(folder, pa.table({"x": [0] * step}))

    def read(_: int) -> list[int]:
        with RawClient.connect(server) as client:
            sql = "SELECT count(*) AS n FROM concurrency.busy"
            return [client.fetch(sql).to_pylist()[0]["n"] for _ in range(10)]

    with ThreadPoolExecutor(5) as threads:
        readers = threads.map(read, range(4))
        for version in range(1, 11):
            write(folder, pa.table({"x": [version] * step}))
        for counts in readers:
            assert all(count % step == 0 for count in counts)
            assert counts == sorted(counts)  # nobody goes back in time
