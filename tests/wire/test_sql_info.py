"""What the server says about itself, over the wire: complete, and checked against what it does."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_server.protocol import actions, commands
from tests.lakehouse import build_lakehouse
from tests.servers import Server, running
from tests.wire.raw import RawClient, refused


def _info(raw: RawClient, *ids: int) -> dict[int, Any]:
    table = raw.fetch(commands.GetSqlInfo(ids))
    return {row["info_name"]: row["value"] for row in table.to_pylist()}


def test_sql_info_all_some_and_unknown(raw: RawClient) -> None:
    every = _info(raw)
    assert set(every) == {*range(12), *range(500, 577)}
    assert _info(raw, 504, 0) == {0: every[0], 504: every[504]}
    assert _info(raw, 0, 0, 99, 4_000_000_000) == {0: every[0]}
    assert _info(raw, 12345) == {}


def test_what_the_server_says_of_itself_is_true(raw: RawClient) -> None:
    info = _info(raw)
    assert info[9]
    assert len(raw.act(actions.CancelQuery(b""))) == 1
    assert info[557] == 256 * 1024  # the longest statement
    raw.info("SELECT '" + "x" * (256 * 1024 - 10) + "'")
    too_long = "SELECT '" + "x" * (256 * 1024 - 8) + "'"
    assert refused(lambda: raw.info(too_long)) == "limit_exceeded"


# By id: what the flag promises, as statements one after the other.
READ_ONLY, INGEST, DDL_CATALOG, DDL_SCHEMA, DDL_TABLE, BATCHES = 3, 10, 500, 501, 502, 572
WRITES = {
    READ_ONLY: ("INSERT INTO events VALUES (4, 'd')", "DELETE FROM events WHERE id = 4"),
    DDL_SCHEMA: ("CREATE SCHEMA told", "DROP SCHEMA told"),
    DDL_TABLE: (
        *("CREATE TABLE told (x BIGINT)", "ALTER TABLE told ADD COLUMN y BIGINT"),
        *("CREATE OR REPLACE TABLE told AS SELECT 1 AS z", "DROP TABLE told"),
    ),
}


def test_it_writes_as_it_says(server: Server, raw: RawClient) -> None:
    info = _info(raw)
    assert info[READ_ONLY] is False
    assert [info[n] for n in (INGEST, DDL_SCHEMA, DDL_TABLE, BATCHES)] == [True] * 4
    for statements in WRITES.values():
        for sql in statements:
            raw.info(sql)
    with server.connect() as connection, connection.cursor() as cursor:
        assert cursor.adbc_ingest("told_in_bulk", pa.table({"x": [1, 2]}), mode="create") == 2
        cursor.executemany("INSERT INTO told_in_bulk VALUES (?)", [(3,), (4,), (5,)])
        cursor.execute("SELECT count(*), max(x) FROM told_in_bulk")
        assert cursor.fetchall() == [(5, 5)]
        cursor.execute("DROP TABLE told_in_bulk")


def test_it_has_no_catalogs_to_make_and_no_transactions_as_it_says(raw: RawClient) -> None:
    info = _info(raw)
    assert info[DDL_CATALOG] is False
    assert refused(lambda: raw.info("CREATE DATABASE told")) == "unsupported"
    assert [info[n] for n in (8, 11, 558, 564, 565, 566, 573)] == [0, False, 0, 1, *[False] * 3]
    begun = commands.StatementQuery("SELECT 1", transaction_id=b"1")
    for call in (
        functools.partial(raw.act, actions.BeginTransaction()),
        functools.partial(raw.act, actions.BeginSavepoint(b"1", "s")),
        functools.partial(raw.act, actions.EndTransaction(b"1", actions.TransactionEnd.COMMIT)),
        functools.partial(raw.info, begun),
        functools.partial(raw.info, "BEGIN"),
    ):
        assert refused(call) == "unsupported"


def test_a_server_that_may_not_write_says_so_and_does_not(tmp_path: Path) -> None:
    build_lakehouse(tmp_path)
    before = _files(tmp_path)
    with running(tmp_path, read_only=True) as server, RawClient.connect(server) as raw:
        info = _info(raw)
        assert info[READ_ONLY] is True
        assert [info[n] for n in (INGEST, DDL_SCHEMA, DDL_TABLE, BATCHES)] == [False] * 4
        for statements in WRITES.values():
            assert refused(functools.partial(raw.info, statements[0])) == "unsupported"
        with server.connect() as connection, connection.cursor() as cursor:
            rows = pa.table({"x": [1]})
            assert refused(lambda: cursor.adbc_ingest("told", rows, mode="create")) == "unsupported"
        assert raw.fetch("SELECT count(*) AS n FROM events").to_pylist() == [{"n": 3}]
    assert _files(tmp_path) == before


def _files(directory: Path) -> list[Path]:
    own = directory / ".lakeflight"
    return sorted(path for path in directory.rglob("*") if own not in (path, *path.parents))


# By id: what the flag promises, as a query and its answer.
TRUTHS: list[tuple[int, str, list[Any]]] = [
    (503, "SELECT KIND FROM Public.EVENTS WHERE ID = 1", ["a"]),
    (504, 'SELECT "kind" FROM "events" WHERE "id" = 1', ["a"]),
    (506, "SELECT count(*) FROM information_schema.tables WHERE table_name = 'events'", [1]),
    (507, "SELECT kind FROM events ORDER BY kind", ["a", "b", None]),
    (507, "SELECT kind FROM events ORDER BY kind DESC", [None, "b", "a"]),
    (514, "SELECT a#b$c@d FROM (SELECT 1 AS a#b$c@d)", [1]),
    (515, "SELECT x FROM (SELECT id x FROM events) ORDER BY x LIMIT 1", [1]),
    (516, "SELECT NULL + NULL", [None]),
    (518, "SELECT e.id FROM events AS e WHERE e.id = 2", [2]),
    (520, "SELECT id FROM events ORDER BY 0 - id", [3, 2, 1]),
    (521, "SELECT kind FROM events ORDER BY id", ["a", "b", None]),
    (522, "SELECT count(*) FROM events GROUP BY id + 0, kind", [1, 1, 1]),
    (
        528,
        "SELECT f.id FROM events e FULL JOIN events f ON e.id = f.id + 9 ORDER BY 1 LIMIT 1",
        [1],
    ),
    (532, "SELECT id FROM primary.public.events WHERE id = 1", [1]),
    (538, "SELECT id FROM events WHERE id > (SELECT min(id) FROM events) ORDER BY 1", [2, 3]),
    (
        538,
        "SELECT id FROM events e WHERE EXISTS (SELECT 1 FROM events WHERE id = e.id + 2)",
        [1],
    ),
    (538, "SELECT id FROM events WHERE id IN (SELECT id + 2 FROM events)", [3]),
    (538, "SELECT id FROM events WHERE id = ANY (SELECT id + 2 FROM events)", [3]),
    (
        539,
        (
            "SELECT id FROM events e WHERE id = (SELECT max(id) FROM events WHERE kind = e.kind)"
            " ORDER BY 1"
        ),
        [1, 2],
    ),
    (540, "SELECT 1 UNION SELECT 1", [1]),
    (540, "SELECT 1 UNION ALL SELECT 1", [1, 1]),
]


@pytest.mark.parametrize(("number", "sql", "answer"), TRUTHS, ids=lambda value: str(value)[:40])
def test_what_it_says_that_it_can_do_it_does(
    raw: RawClient, number: int, sql: str, answer: list[Any]
) -> None:
    assert raw.fetch(sql).column(0).to_pylist() == answer
    assert number in _info(raw)


@pytest.mark.parametrize("number", [509, 510, 511, 512])
def test_every_function_that_it_names_exists(raw: RawClient, number: int) -> None:
    unknown = []
    for name in _info(raw, number)[number]:
        try:
            raw.info(f"SELECT {name}()")
        except fl.FlightError as error:
            if "nvalid function" in str(error):
                unknown.append(name)
    special = {"position", "overlay", "substring", "trim", "current_date", "extract"}
    assert set(unknown) <= special
