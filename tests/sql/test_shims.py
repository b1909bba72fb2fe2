from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import Unsupported
from flight_server.sql.edits import apply
from flight_server.sql.lexer import heard
from flight_server.sql.shims import Known, shim_edits

KNOWN = Known("b'1", "s", "ann", "v")


def shimmed(sql: str) -> str:
    return apply(sql, shim_edits(sql, heard(sql), KNOWN))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT current_catalog()", "SELECT 'b''1' AS \"current_catalog\""),
        ("SELECT a, Current_Schema FROM t", "SELECT a, 's' AS \"current_schema\" FROM t"),
        ("SELECT user", "SELECT 'ann' AS \"user\""),
        ("SELECT current_user AS me", "SELECT 'ann' AS me"),
        ("SELECT f(current_user)", "SELECT f('ann')"),
        ("SELECT f(a, database())", "SELECT f(a, 'b''1')"),
        ("SELECT a FROM t WHERE b IN (c, current_user)", "SELECT a FROM t WHERE b IN (c, 'ann')"),
        ("SELECT a FROM t GROUP BY a, current_user", "SELECT a FROM t GROUP BY a, 'ann'"),
        ("SELECT (SELECT version())", "SELECT (SELECT 'v' AS \"version\")"),
        ("SELECT a FETCH FIRST 3 ROWS ONLY", "SELECT a LIMIT 3 "),
        ("SELECT a FETCH NEXT ROW ONLY", "SELECT a LIMIT 1 "),
        ("SELECT a FETCH FIRST $1 ROWS ONLY", "SELECT a LIMIT $1 "),
        ("SELECT a FETCH FIRST (2) ROW ONLY", "SELECT a LIMIT (2) "),
        ("TABLE t", "SELECT * FROM t"),
        ("(TABLE t) UNION ALL TABLE u", "(SELECT * FROM t) UNION ALL SELECT * FROM u"),
        ("FROM t WHERE a", "SELECT * FROM t WHERE a"),
        ("FROM t SELECT a", "FROM t SELECT a"),
        ("SELECT 1 FROM dual", "SELECT 1 FROM (SELECT 'X' AS dummy) AS dual"),
        ("SELECT 1 FROM dual d", "SELECT 1 FROM (SELECT 'X' AS dummy) d"),
        ("SELECT {fn ucase(a)}", "SELECT  upper(a)"),
        ("SELECT {fn year({d '2020-01-01'})}", "SELECT  date_part('year', {d '2020-01-01'})"),
        ("SELECT * FROM {oj a LEFT JOIN b ON c}", "SELECT * FROM  a LEFT JOIN b ON c"),
        ("SELECT a LIKE 'b' {escape '|'}", "SELECT a LIKE 'b' escape '|'"),
        ("SELECT gen_random_uuid()", "SELECT uuid()"),
    ],
)
def test_what_is_rewritten(sql: str, expected: str) -> None:
    assert shimmed(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'current_user', \"current_user\", t.current_user -- current_user\n/* user */",
        "SELECT a AS current_user, b AS user FROM t",
        "SELECT user FROM t",
        "SELECT version, database, schema FROM t",
        'SELECT "a" current_user FROM t',
        "SELECT current_user.a FROM current_user.b",
        "SELECT fetch FROM t",
        "SELECT a FETCH FIRST 3 ROWS",
        "SELECT top, dual, table_name FROM t",
        'SELECT 1 FROM "dual"',
        "SELECT {'fn': 1, 'd': 2}, {fn: 1}, {d '2020-01-01'}, {ts '2020-01-01 00:00:00'}",
        "SELECT regclass, pg_class FROM t",
        "SELECT pg_class.a FROM t AS pg_class",
    ],
)
def test_what_only_looks_like_it_stays(sql: str) -> None:
    assert shimmed(sql) == sql


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT * FROM pg_catalog.pg_class", "information_schema"),
        ("SELECT 1 FROM t JOIN pg_attribute ON TRUE", "information_schema"),
        ("SELECT pg_get_userbyid(1)", "information_schema"),
        ("SELECT pg_typeof(1)", "arrow_typeof"),
        ("SELECT 'a'::regclass, 1", "information_schema"),
        ("SELECT CAST('a' AS regtype)", "information_schema"),
        ("SELECT connection_id()", "query_tag"),
        ('SELECT "INPUT_file_name"()', "not shown"),
        ("SELECT TOP 3 a", "LIMIT"),
        ("SELECT DISTINCT TOP (3) a", "LIMIT"),
        ("SELECT a FETCH FIRST 3 ROWS WITH TIES", "rank"),
        ("SELECT a FETCH FIRST 3 PERCENT ROWS ONLY", "LIMIT"),
        ("SELECT {call f()}", "procedures"),
    ],
)
def test_what_is_refused_says_what_to_use(sql: str, words: str) -> None:
    with pytest.raises(Unsupported, match=rf"{words}.* line=1 column=\d+$"):
        shimmed(sql)


PIECES = st.sampled_from(
    [
        "SELECT",
        "FROM",
        "current_user",
        "user",
        "()",
        "(",
        ")",
        ",",
        "FETCH",
        "FIRST",
        "3",
        "ROWS",
        "ONLY",
        "TABLE",
        "t",
        "dual",
        "{",
        "}",
        "fn",
        "ucase",
        "oj",
        "'x'",
        '"current_user"',
        ".",
        "AS",
        "TOP",
        "pg_catalog",
        "::",
        "regclass",
        "/* user */",
        "$1",
        "version",
    ]
)


@given(st.lists(PIECES, max_size=14).map(" ".join))
def test_any_words_are_rewritten_or_refused_and_quotes_stay(sql: str) -> None:
    try:
        result = shimmed(sql)
    except Unsupported:
        return
    for kept in ("/* user */", "'x'"):
        assert result.count(kept) == sql.count(kept)
