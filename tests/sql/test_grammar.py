from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest, LakeflightError, Unsupported
from flight_server.sql.commands import (
    Assignment,
    Command,
    Delete,
    Insert,
    Merge,
    MergeInsert,
    MergeUpdate,
    Truncate,
    Update,
)
from flight_server.sql.grammar import COMMAND_WORDS, is_query, read_command
from policies.names import TableRef

T = TableRef("b", "s", "t")


def read(sql: str) -> Command | None:
    return read_command(sql, bucket="b", schema="s")


# Expressions that nest everything in which a word or a comma means nothing.
ATOMS = st.sampled_from(
    [
        "a",
        "1.5e3",
        "'it''s, WHERE'",
        "E'\\' WHEN'",
        '"THEN ""x"""',
        "$$ , ; ) $$",
        "t.where",
        "x -- , WHERE )\n + 1",
        "x + /* ( /* ' */ */ y",
        "a IS DISTINCT FROM b",
        "`WHEN`",
    ]
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"f({', '.join(parts)})"),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        inner.map(lambda part: f"{{'k': {part}, 'WHERE': 1}}"),
        st.tuples(inner, inner).map(lambda two: f"CASE WHEN {two[0]} THEN {two[1]} END"),
        st.tuples(inner, inner).map(lambda two: f"(SELECT {two[0]} FROM u WHERE {two[1]})"),
        st.tuples(inner, inner).map(" + ".join),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS, EXPRESSIONS, EXPRESSIONS)
def test_the_expressions_of_update_are_cut_out_exactly(one: str, two: str, where: str) -> None:
    command = read(f"UPDATE t SET a = {one}, b={two} WHERE {where} ;")
    assert isinstance(command, Update)
    assert [(each.column, each.expression) for each in command.assignments] == [
        ("a", one),
        ("b", two),
    ]
    assert command.where == where


@given(EXPRESSIONS, EXPRESSIONS, EXPRESSIONS)
def test_the_expressions_of_merge_are_cut_out_exactly(one: str, two: str, three: str) -> None:
    command = read(
        f"MERGE INTO t USING (SELECT {one}) AS u ON {two} WHEN MATCHED AND {three} THEN UPDATE SET"
        f" a = {one}, t.b = {two} WHEN NOT MATCHED THEN INSERT (a, b) VALUES ({three}, {one})"
    )
    assert isinstance(command, Merge)
    first, second = command.clauses
    assert (command.source, command.on) == (f"(SELECT {one})", two)
    assert first.condition == three
    assert first.action == MergeUpdate((Assignment("a", one), Assignment("b", two)))
    assert second.action == MergeInsert(("a", "b"), (three, one))


@given(EXPRESSIONS)
def test_the_query_of_an_insert_is_cut_out_exactly(one: str) -> None:
    query = f"SELECT {one} FROM u JOIN v ON u.x = v.x"
    command = read(f" insert INTO t(a)\n{query}  -- done\n;")
    assert command == Insert(T, query, ("a",))


WORDS = st.sampled_from(
    [
        *sorted(COMMAND_WORDS),
        "INTO",
        "TABLE",
        "VIEW",
        "SCHEMA",
        "IF",
        "NOT",
        "EXISTS",
        "t",
        "a",
        "b.c",
        '"q"',
        "(",
        ")",
        ",",
        "=",
        "VALUES",
        "SELECT",
        "WITH",
        "AS",
        "WHERE",
        "WHEN",
        "MATCHED",
        "THEN",
        "CASE",
        "END",
        "ON",
        "USING",
        "INT",
        "1",
        "'x'",
        ".",
        "*",
        "ADD",
        "COLUMN",
        "TO",
        "RENAME",
        "BY",
        "PARTITIONED",
        "COMMENT",
        "FROM",
        "OF",
        "VERSION",
        "[",
        "]",
        "<",
        ">",
        ";",
        "?",
        "$1",
        "-",
    ]
)


@settings(max_examples=500)
@given(st.lists(WORDS, max_size=16).map(" ".join))
def test_any_words_are_a_command_a_query_or_refused(sql: str) -> None:
    try:
        command = read(sql)
    except (InvalidRequest, Unsupported):
        command = Truncate(T)  # anything that is no query
    assert (command is None) is is_query(sql)


@given(st.text(max_size=60))
def test_any_text_is_a_command_a_query_or_refused(sql: str) -> None:
    try:
        assert (read(sql) is None) is is_query(sql)
    except (InvalidRequest, Unsupported):
        return


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        " \n select 1",
        "((select 1)) union select 2",
        "-- INSERT\nVALUES (1)",
        "/* a /* INSERT */ */ SELECT 1",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "WITH x AS (SELECT 'insert') SELECT delete FROM x",
        "TABLE t",
        "FROM t",
        "EXPLAIN SELECT 1",
        "SHOW TABLES",
        "DESC t",
        "/* a */ WITH x AS (SELECT 1) SELECT * FROM x",
    ],
)
def test_queries(sql: str) -> None:
    assert is_query(sql)
    assert read(sql) is None


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t SELECT 1",
        "/* c */ DELETE FROM t",
        "WITH x AS (SELECT 1) INSERT INTO t TABLE x",
        "",
        "selec 1",
        "/* never",
        "'x'",
        "WITHOUT x",
    ],
)
def test_what_is_no_query(sql: str) -> None:
    assert not is_query(sql)


def test_rows_of_values_keep_their_text_and_number_their_placeholders() -> None:
    command = read("INSERT INTO x.t (a, B) VALUES (?, 'what?'), (-1, ?) -- ?\n")
    source = "VALUES ($1, 'what?'), (-1, $2)"
    assert command == Insert(TableRef("b", "x", "t"), source, ("a", "b"))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("INSERT INTO t TABLE u", Insert(T, "TABLE u")),
        ("INSERT INTO t (SELECT 1)", Insert(T, "(SELECT 1)")),
        ("INSERT INTO t (a) ((SELECT 1))", Insert(T, "((SELECT 1))", ("a",))),
        (
            'INSERT INTO t ("values", table) VALUES (1, 2)',
            Insert(T, "VALUES (1, 2)", ("values", "table")),
        ),
        ("INSERT INTO TABLE t FROM u", Insert(T, "FROM u")),
        ("INSERT INTO t BY NAME SELECT 1 AS a", Insert(T, "SELECT 1 AS a", by_name=True)),
        ("INSERT OVERWRITE t VALUES (1)", Insert(T, "VALUES (1)", overwrite=True)),
        ("INSERT OVERWRITE TABLE t SELECT 1", Insert(T, "SELECT 1", overwrite=True)),
        (
            "WITH x AS (SELECT $1), y AS (SELECT 2) INSERT INTO t SELECT * FROM x, y",
            Insert(T, "WITH x AS (SELECT $1), y AS (SELECT 2) SELECT * FROM x, y"),
        ),
        ("UPDATE t q SET q.a = 1", Update(T, (Assignment("a", "1"),), "q")),
        ("UPDATE ONLY t SET t.a = 1", Update(T, (Assignment("a", "1"),), "t")),
        ("UPDATE s.t SET s.t.a = 1", Update(T, (Assignment("a", "1"),), "t")),
        ("DELETE FROM t", Delete(T, "t")),
        ("DELETE FROM t AS q WHERE q.a = ?;", Delete(T, "q", "q.a = $1")),
        ("TRUNCATE t", Truncate(T)),
        ("truncate table t", Truncate(T)),
    ],
)
def test_statements_that_change_rows(sql: str, expected: Command) -> None:
    assert read(sql) == expected


def test_a_source_of_merge_may_name_its_columns_and_a_version() -> None:
    command = read(
        "MERGE INTO t USING (VALUES (1, 'a')) AS s(id, \"v,w\") ON TRUE WHEN MATCHED THEN DELETE"
    )
    assert isinstance(command, Merge)
    assert command.source == '(SELECT * FROM (VALUES (1, \'a\')) AS "s" ("id", "v,w"))'
    command = read("MERGE INTO t USING u FOR VERSION AS OF 3 ON TRUE WHEN MATCHED THEN DO NOTHING")
    assert isinstance(command, Merge)
    assert (command.source, command.source_alias) == ("u FOR VERSION AS OF 3", "u")
    assert command.clauses[0].action is None


UNSUPPORTED = [
    ("INSERT INTO t DEFAULT VALUES", "no defaults"),
    ("INSERT INTO t VALUES (1, DEFAULT)", "no defaults"),
    ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "MERGE"),
    ("INSERT INTO t SELECT 1 FROM a JOIN b ON a.x = b.x ON DUPLICATE KEY UPDATE a = 1", "MERGE"),
    ("INSERT INTO t SELECT 1 RETURNING a", "RETURNING"),
    ("INSERT OR REPLACE INTO t VALUES (1)", "MERGE"),
    ("INSERT INTO t PARTITION (a = 1) SELECT 1", "PARTITION"),
    ("REPLACE INTO t VALUES (1)", "MERGE"),
    ("WITH x AS (SELECT 1) UPDATE t SET a = 1", "WITH before UPDATE"),
    ("WITH x AS (SELECT 1) DELETE FROM t", "WITH before DELETE"),
    ("UPDATE t SET a = 1 FROM u", "MERGE"),
    ("UPDATE t SET (a, b) = (1, 2)", "SET a = …, b = …"),
    ("UPDATE t SET a = DEFAULT", "no defaults"),
    ("UPDATE t SET a = 1 RETURNING a", "RETURNING"),
    ("UPDATE t SET a = 1 ORDER BY a LIMIT 1", "WHERE"),
    ("DELETE FROM t USING u WHERE TRUE", "MERGE"),
    ("MERGE INTO t USING f(1) AS s ON TRUE WHEN MATCHED THEN DELETE", "USING"),
    ("BEGIN", "committed by itself"),
    ("START TRANSACTION", "committed by itself"),
    ("COMMIT", "nothing is left to commit"),
    ("ROLLBACK TO SAVEPOINT x", "rolled back"),
    ("SAVEPOINT x", "rolled back"),
    ("GRANT SELECT ON t TO x", "rights"),
    ("COPY t FROM 'x'", "bulk ingest"),
    ("PREPARE p AS SELECT 1", "driver"),
    ("ANALYZE t", "ANALYZE"),
]


@pytest.mark.parametrize(("sql", "words"), UNSUPPORTED)
def test_what_is_not_done_says_what_to_use(sql: str, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        read(sql)


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        ("INSERT t VALUES (1)", 8),
        ("INSERT INTO t (a, a) VALUES (1, 2)", 15),
        ("INSERT INTO t (a b) VALUES (1)", 18),
        ("INSERT INTO t", 14),
        ("INSERT INTO t VALUES (1", 22),
        ("INSERT INTO t VALUES (1]", 24),
        ("INSERT INTO t SELECT 1)", 23),
        ("INSERT INTO a.b.c.d SELECT 1", 13),
        ('INSERT INTO "t@v5" SELECT 1', 13),
        ('INSERT INTO "t@history" SELECT 1', 13),
        ("UPDATE t VERSION AS OF 3 SET a = 1", 8),
        ("UPDATE t SET", 13),
        ("UPDATE t SET a = WHERE b", 18),
        ("UPDATE t SET u.a = 1", 14),
        ("UPDATE t SET a = 1, a = 2", 14),
        ("UPDATE t SET a = 1 WHERE", 25),
        ("DELETE t", 8),
        ("DELETE FROM t WHERE a b) c", 24),
        ("MERGE INTO t USING u ON a", 26),
        ("MERGE INTO t USING (SELECT 1) ON a WHEN MATCHED THEN DELETE", 31),
        ("MERGE INTO t USING u ON a WHEN MATCHED THEN INSERT *", 45),
        ("MERGE INTO t USING u ON a WHEN NOT MATCHED THEN DELETE", 49),
        ("MERGE INTO t USING u ON a WHEN NOT MATCHED THEN INSERT (a) VALUES (1, 2)", 56),
        ("MERGE INTO t USING t ON a WHEN MATCHED THEN DELETE", 22),
        ("TRUNCATE t u", 12),
        ("DELETE FROM t; DELETE FROM t", 14),
        ("selec 1", 1),
    ],
)
def test_what_cannot_be_read_says_where(sql: str, column: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"line=1 column={column}$"):
        read(sql)


def test_an_error_never_repeats_a_string() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read("INSERT INTO t VALUES (1) 'my secret'\n)")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES " + ", ".join(f"({i}, 'x y', NULL)" for i in range(14_000)),
        "DELETE FROM t WHERE a IN (" + ",".join(map(str, range(50_000))) + ")",
        "DELETE FROM t WHERE " + " OR ".join(f"a = {i}" for i in range(25_000)),
        "DELETE FROM t WHERE " + "(" * 100_000,
        "INSERT INTO t SELECT " + "CASE " * 50_000,
        "UPDATE t SET " + ", ".join(f"c{i} = ?" for i in range(20_000)),
        "SELECT '" + "''" * 100_000,
        "DELETE FROM t WHERE " + "a ON " * 50_000,
    ],
    ids=range(8),
)
def test_long_statements_take_time_in_proportion(sql: str) -> None:
    start = time.perf_counter()
    with suppress(LakeflightError):
        read(sql)
    assert time.perf_counter() - start < 2  # a quarter of a megabyte takes a tenth of it, idle
