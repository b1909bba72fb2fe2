from __future__ import annotations

import pytest

from flight_server.errors import Unsupported
from flight_server.sql.ignored import refuse_ignored
from flight_server.sql.lexer import heard


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t TABLESAMPLE (1 PERCENT)",
        "SELECT * FROM t SAMPLE BERNOULLI (1)",
        "SELECT * FROM t PARTITION (p0)",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM t FOR NO KEY UPDATE",
        "SELECT * FROM t FOR SHARE",
        "SELECT * FROM t PREWHERE a = 1",
        "SELECT * FROM t START WITH a = 1 CONNECT BY PRIOR a = b",
        "SELECT a FROM t GROUP BY a WITH ROLLUP",
        "SELECT a FROM t GROUP BY a WITH TOTALS ORDER BY a",
        "SELECT a FROM t SETTINGS b = 1",
        "SELECT a FROM t FORMAT JSON",
        "SELECT a INTO u FROM t",
    ],
)
def test_clauses_that_would_be_ignored(sql: str) -> None:
    with pytest.raises(Unsupported, match=r"line=1 column=\d+$"):
        refuse_ignored(sql, heard(sql))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT sample, prewhere, settings, format FROM t",
        "SELECT t.sample, t.format FROM t",
        "SELECT a FROM t FORMAT",
        "EXPLAIN FORMAT TREE SELECT 1",
        "WITH rollup AS (SELECT 1), totals (a) AS (SELECT 2) SELECT * FROM rollup",
        "SELECT sum(a) OVER (PARTITION BY b), substring(a FROM 1 FOR 2) FROM t",
        "SELECT 'FOR UPDATE' -- PREWHERE a",
        "SELECT a FROM t GROUP BY ROLLUP (a)",
    ],
)
def test_what_only_looks_like_them(sql: str) -> None:
    refuse_ignored(sql, heard(sql))
