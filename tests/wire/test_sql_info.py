"""What the server says about itself, over the wire: complete, and checked against what it does."""

from __future__ import annotations

import functools
from typing import Any

import pyarrow.flight as fl
import pytest

from flight_server.protocol import actions, commands
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
    assert info[3] is False  # read only
    assert not info[8]
    assert refused(functools.partial(raw.act, actions.BeginTransaction())) == "unsupported"
    assert info[9]
    assert len(raw.act(actions.CancelQuery(b""))) == 1
    assert info[557] == 256 * 1024  # the longest statement
    raw.info("SELECT '" + "x" * (256 * 1024 - 10) + "'")
    too_long = "SELECT '" + "x" * (256 * 1024 - 8) + "'"
    assert refused(lambda: raw.info(too_long)) == "limit_exceeded"


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
