from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest, LimitExceeded, Unsupported
from flight_server.sql.lexer import heard
from flight_server.sql.placeholders import (
    PARAMETERS_MAX,
    count_parameters,
    number_placeholders,
    parameter_count,
)

SILENT = st.sampled_from(["'?'", '"?"', "-- ?\n", "/* ? */", "$$ ? $1 $$", "E'\\'?'", "a", "1"])


@given(st.lists(st.one_of(st.just("?"), SILENT), max_size=12))
def test_marks_are_numbered_outside_of_quotes_and_comments(pieces: list[str]) -> None:
    sql = " , ".join(pieces)
    numbers = iter(range(1, 99))
    expected = " , ".join(f"${next(numbers)}" if piece == "?" else piece for piece in pieces)
    count = pieces.count("?")
    assert number_placeholders(sql, heard(sql)) == (expected, count)
    assert count_parameters(sql) == count_parameters(expected) == count


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("SELECT $2, $1, $1", 2),
        ("SELECT a::int, {a: b}, x[1:2], x[a:b], x[:b]", 0),
        ("SELECT '$5', \"$6\" -- $7", 0),
        ("SELECT a$1 FROM t", 0),
    ],
)
def test_numbers_are_counted(sql: str, count: int) -> None:
    assert number_placeholders(sql, heard(sql)) == (sql, count)


@pytest.mark.parametrize(
    "sql",
    ["SELECT ?, $1", "SELECT $1, ?", "SELECT $2", "SELECT $1, $3", "SELECT $0", "SELECT $1e3"],
)
def test_what_cannot_be_counted(sql: str) -> None:
    with pytest.raises(InvalidRequest):
        count_parameters(sql)


@pytest.mark.parametrize("sql", ["SELECT :name", "SELECT a = :b", "SELECT f(:b)", "SELECT $name"])
def test_names_are_refused(sql: str) -> None:
    with pytest.raises(Unsupported, match="no names"):
        count_parameters(sql)


def test_a_part_of_a_statement_may_leave_numbers_out() -> None:
    assert parameter_count("a = $3", heard("a = $3"), has_gaps=True) == 3


def test_there_is_a_limit() -> None:
    assert count_parameters("SELECT " + ",".join("?" * PARAMETERS_MAX)) == PARAMETERS_MAX
    for sql in ("SELECT " + ",".join("?" * (PARAMETERS_MAX + 1)), "SELECT $999999999"):
        with pytest.raises(LimitExceeded, match="parameters_max=10000"):
            count_parameters(sql)
