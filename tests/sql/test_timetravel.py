from __future__ import annotations

import pytest

from flight_server.errors import InvalidRequest
from flight_server.sql.edits import apply
from flight_server.sql.lexer import heard
from flight_server.sql.timetravel import time_travel_edits


def rewritten(sql: str) -> str:
    return apply(sql, time_travel_edits(sql, heard(sql)))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("FROM t VERSION AS OF 5", 'FROM "t@v5" AS "t"'),
        ("FROM T FOR version as of 5 WHERE a", 'FROM "t@v5" AS "t" WHERE a'),
        ("FROM t VERSION AS OF '5' x", 'FROM "t@v5" x'),
        ("FROM t VERSION AS OF 5 AS x", 'FROM "t@v5" AS x'),
        ('FROM t VERSION AS OF 5 "X"', 'FROM "t@v5" "X"'),
        ("FROM t FOR SYSTEM_VERSION AS OF 5", 'FROM "t@v5" AS "t"'),
        ('FROM b.s."T ""q" VERSION AS OF 0', 'FROM "b"."s"."T ""q@v0" AS "T ""q"'),
        (
            "FROM s . t TIMESTAMP AS OF '2026-02-01T13:00:00+01:00'",
            'FROM "s"."t@2026-02-01T12:00:00Z" AS "t"',
        ),
        ("FROM t FOR SYSTEM_TIME AS OF '2026-02-01'", 'FROM "t@2026-02-01T00:00:00Z" AS "t"'),
        (
            "FROM t VERSION AS OF 1 JOIN t VERSION AS OF 2 AS u ON TRUE",
            'FROM "t@v1" AS "t" JOIN "t@v2" AS u ON TRUE',
        ),
        ("FROM t/* c */VERSION -- d\nAS OF 5, u", 'FROM "t@v5" AS "t", u'),
    ],
)
def test_clauses_become_names(sql: str, expected: str) -> None:
    assert rewritten(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 't VERSION AS OF 5'",
        "SELECT 1 -- t VERSION AS OF 5",
        "SELECT /* t VERSION AS OF 5 */ 1",
        'SELECT "t VERSION AS OF 5"',
        "SELECT version AS of FROM t",
        "SELECT t.version AS v FROM t",
        "SELECT timestamp FROM t",
        "VERSION AS OF 5",
    ],
)
def test_anything_else_stays(sql: str) -> None:
    assert rewritten(sql) == sql


@pytest.mark.parametrize(
    "sql",
    [
        "FROM t VERSION AS OF 1.5",
        "FROM t VERSION AS OF -1",
        "FROM t VERSION AS OF 'x'",
        "FROM t VERSION AS OF (1)",
        "FROM t TIMESTAMP AS OF 5",
        "FROM t TIMESTAMP AS OF 'yesterday'",
        "FROM t VERSION AS OF 99999999999999999999",
    ],
)
def test_bad_versions_say_where(sql: str) -> None:
    with pytest.raises(InvalidRequest, match=r"line=1 column=\d+$"):
        rewritten(sql)
