from __future__ import annotations

import pytest

from flight_server.sql.aliases import with_aliases


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("SELECT 0, 0", 'SELECT 0 AS "column 0", 0 AS "column 1"'),
        (
            "SELECT -1, NULL, $1 FROM t",
            'SELECT -1 AS "column 0", NULL AS "column 1", $1 AS "column 2" FROM t',
        ),
        ('SELECT t.id, "a".b.c FROM t', 'SELECT t.id AS "column 0", "a".b.c AS "column 1" FROM t'),
    ],
)
def test_plain_items_are_named_by_place(text: str, named: str) -> None:
    assert with_aliases(text) == named


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a AS b, a b, a + 1, f(a, 1), (SELECT 1, 1), [1, 1], * FROM t",
        "SELECT t.* FROM t WHERE a IN (1, 1)",
        "VALUES (1, 1)",
        "WITH q AS (SELECT 1 a) SELECT a + 0 FROM q",
        "",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert with_aliases(text) == text
