from __future__ import annotations

import pytest

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.sql.statements import SERVER_VERSION, Statement, read_statement
from policies.names import TableRef

SESSION = {"purpose": "it's", "query_timeout_seconds": ""}


def read(sql: str) -> Statement:
    return read_statement(sql, bucket="b", schema="s", username="ann", session=SESSION)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SHOW purpose", "SELECT 'it''s' AS \"purpose\""),
        ("SHOW query_timeout_seconds;", "SELECT '' AS \"query_timeout_seconds\""),
        ("SHOW schema", "SELECT 's' AS \"schema\""),
        ("SHOW server_version", f"SELECT '{SERVER_VERSION}' AS \"server_version\""),
        ("SHOW TRANSACTION ISOLATION LEVEL", "SELECT 'none' AS \"transaction_isolation\""),
        ("SHOW TIME ZONE", "SELECT 'UTC' AS \"timezone\""),
        ("SHOW timezone", "SELECT 'UTC' AS \"timezone\""),
    ],
)
def test_options_of_the_session(sql: str, expected: str) -> None:
    statement = read(sql)
    assert statement.sql == expected
    assert not statement.is_repeatable
    assert not statement.is_timeless


def test_all_options() -> None:
    text = read("SHOW ALL").sql
    assert "('purpose', 'it''s')" in text
    assert "('catalog', 'b')" in text


@pytest.mark.parametrize(
    ("sql", "parts"),
    [
        ("SHOW DATABASES", ["catalog_name AS database_name", "ORDER BY 1"]),
        ("SHOW VIEWS IN x", ["table_type = 'VIEW'", "table_catalog = 'b'", "table_schema = 'x'"]),
        ("SHOW TABLES FROM c.x LIKE 'a%'", ["table_catalog = 'c'", "table_name LIKE 'a%'"]),
        ("SHOW SCHEMAS FROM c", ["catalog_name = 'c'"]),
        ("DESCRIBE HISTORY x.t", ['FROM "b"."x"."t@history" ORDER BY version DESC']),
        ("DESCRIBE HISTORY t LIMIT 3", ['"b"."s"."t@history" ORDER BY version DESC LIMIT 3']),
    ],
)
def test_listings(sql: str, parts: list[str]) -> None:
    text = read(sql).sql
    for part in parts:
        assert part in text


def test_tables_may_be_called_like_words_of_the_grammar() -> None:
    assert read("DESCRIBE history").must_exist == TableRef("b", "s", "history")
    assert read("DESCRIBE detail.t").must_exist == TableRef("b", "detail", "t")
    assert read("DESCRIBE table").must_exist == TableRef("b", "s", "table")


def test_queries_are_described_by_the_engine() -> None:
    assert read("DESCRIBE (SELECT ?)").sql == "DESCRIBE (SELECT $1)"


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW CREATE TABLE t",
        "SHOW FUNCTIONS",
        "SHOW GRANTS",
        "DESCRIBE DETAIL t",
        "DESCRIBE EXTENDED t",
        "DESCRIBE SCHEMA s",
        "DESCRIBE t VERSION AS OF 3",
    ],
)
def test_what_is_not_shown_says_so(sql: str) -> None:
    with pytest.raises(Unsupported):
        read(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW",
        "SHOW nothing",
        "SHOW TABLES FROM",
        "SHOW TABLES LIKE a",
        "SHOW SCHEMAS IN a.b",
        "SHOW COLUMNS",
        "SHOW purpose x",
        "DESCRIBE",
        "DESCRIBE t u",
        'DESCRIBE HISTORY "t@v1"',
        "DESCRIBE HISTORY t LIMIT x",
        "SHOW 'x'",
    ],
)
def test_what_cannot_be_read(sql: str) -> None:
    with pytest.raises(InvalidRequest):
        read(sql)


def test_placeholders_are_numbered_and_counted() -> None:
    statement = read(
        "SELECT a FROM t VERSION AS OF 3 WHERE b = ? AND c = ? FETCH FIRST ? ROWS ONLY"
    )
    assert statement.sql == 'SELECT a FROM "t@v3" AS "t" WHERE b = $1 AND c = $2 LIMIT $3 '
    assert (statement.parameters, statement.is_rewritten) == (3, True)
    assert read_statement("SELECT $2", bucket="b", schema="s", is_part=True).parameters == 2
