from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.sql.statements import StatementKind, read_statement
from policies.names import TableRef

_TEXT = (
    "SELECT WITH x AS ( ) INSERT INTO t VALUES , ; EXPLAIN ANALYZE VERBOSE FORMAT SHOW"
    " TABLES COLUMNS FROM LIKE DESCRIBE TABLESAMPLE PARTITION SAMPLE VERSION TIMESTAMP OF FOR"
    " 5 'a' \"b\" . * UNION DROP COPY SET -1"
)
WORDS = st.sampled_from(_TEXT.split())


@given(st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=14).map(" ".join)))
def test_any_text_is_a_statement_or_refused(sql: str) -> None:
    try:
        statement = read_statement(sql, bucket="b", schema="s")
    except (InvalidRequest, Unsupported):
        return
    assert statement.is_rewritten or statement.sql == sql


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select 1;",
        " /* c */ -- d\n SELECT 1 ; ; ",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "VALUES (1)",
        "((SELECT 1)) UNION SELECT 2",
        "FROM t SELECT a",
        "SELECT ';'",
        "SELECT insert, tablesample FROM t",
        "WITH update AS (SELECT 1) SELECT * FROM update",
        "SELECT sum(a) OVER (PARTITION BY b) FROM t",
        "SELECT * FROM sample",
    ],
)
def test_queries_are_left_alone(sql: str) -> None:
    statement = read_statement(sql, bucket="b", schema="s")
    assert (statement.kind, statement.sql) == (StatementKind.QUERY, sql)
    assert not statement.is_rewritten


REFUSED = [
    "COPY t TO '/tmp/x'",
    "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
    "CREATE VIEW v AS SELECT 1",
    "CREATE TABLE x AS SELECT 1",
    "CREATE FUNCTION f() RETURNS INT RETURN 1",
    "DROP TABLE t",
    "ALTER TABLE t ADD COLUMN a INT",
    "TRUNCATE t",
    "INSERT INTO t VALUES (1)",
    "insert into t select 1",
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "MERGE INTO t USING u ON TRUE WHEN MATCHED THEN DELETE",
    "SET a = 1",
    "RESET a",
    "USE x",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "BEGIN",
    "START TRANSACTION",
    "COMMIT",
    "ROLLBACK",
    "GRANT SELECT ON t TO x",
    "VACUUM t",
    "CALL f()",
    "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
    "WITH x AS (SELECT 1) DELETE FROM t",
    "EXPLAIN COPY t TO '/tmp/x'",
    "EXPLAIN ANALYZE COPY t TO '/tmp/x'",
    "EXPLAIN ANALYZE VERBOSE INSERT INTO t VALUES (1)",
    "EXPLAIN WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
    "SELECT * FROM t TABLESAMPLE (1 PERCENT)",
    "SELECT * FROM t TABLESAMPLE BERNOULLI (1)",
    "SELECT * FROM t SAMPLE (1)",
    "SELECT * FROM t PARTITION (p0)",
    "SHOW CREATE TABLE t",
    "SHOW FUNCTIONS",
    "DESCRIBE DETAIL t",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_everything_else_is_refused_in_words(sql: str) -> None:
    with pytest.raises(Unsupported):
        read_statement(sql, bucket="b", schema="s")


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "  ;",
        "-- only a comment",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE t",
        "selec 1",
        "1",
        "'x'",
        "EXPLAIN",
        "EXPLAIN EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE",
        "SELECT 'a",
        "SHOW COLUMNS",
        "SHOW TABLES FROM",
        "DESCRIBE",
        "DESCRIBE t u",
    ],
)
def test_what_is_no_statement_is_invalid(sql: str) -> None:
    with pytest.raises(InvalidRequest):
        read_statement(sql, bucket="b", schema="s")


def test_a_wrong_word_is_named_with_its_place() -> None:
    with pytest.raises(InvalidRequest, match="found selec line=2 column=3"):
        read_statement("\n  selec 1", bucket="b", schema="s")


def test_explain_is_its_own_kind() -> None:
    for sql in (
        "EXPLAIN SELECT 1",
        "explain analyze verbose select 1",
        "EXPLAIN FORMAT TREE SELECT 1",
    ):
        assert read_statement(sql, bucket="b", schema="s").kind is StatementKind.EXPLAIN


@pytest.mark.parametrize(
    ("sql", "ref"),
    [
        ("DESCRIBE t", TableRef("b", "s", "t")),
        ("desc TABLE x.T", TableRef("b", "x", "t")),
        ('SHOW COLUMNS FROM y.x."T q"', TableRef("y", "x", "T q")),
    ],
)
def test_describing_opens_the_table(sql: str, ref: TableRef) -> None:
    statement = read_statement(sql, bucket="b", schema="s")
    assert statement.must_exist == ref
    assert f"table_name = '{ref.table}'" in statement.sql


def test_show_lists_with_its_filters() -> None:
    text = read_statement("SHOW TABLES FROM x LIKE 'a''%'", bucket="b", schema="s").sql
    assert "table_catalog = 'b' AND table_schema = 'x' AND table_name LIKE 'a''%'" in text
    assert "WHERE" not in read_statement("SHOW SCHEMAS", bucket="b", schema="s").sql
    text = read_statement("SHOW SCHEMAS IN x", bucket="b", schema="s").sql
    assert "catalog_name = 'x'" in text
