"""Conditions: what they may hold, where a mistake is, and what stands for whoever asks."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from datafusion import SessionContext
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest
from flight_server.sql.conditions import (
    CONDITION_CHARACTERS_MAX,
    FUNCTIONS,
    PARENTHESES_DEPTH_MAX,
    bound,
    check_condition,
    column_names,
    mentions,
    sample,
)
from flight_server.sql.names import literal
from policies.names import Principal, Role

ANN = Principal(
    "1", "ann", Role.REGISTERED, purpose="research", attributes=(("team", "O'Neil"), ("x", ""))
)
NOBODY = Principal("2", "bob", Role.REGISTERED)
ROWS = pa.table(
    {
        "id": [1, 2],
        "name": ["ann", "bob"],
        "since": pa.array([0, 1], pa.date32()),
        "at": pa.array([{"city": "Oslo"}, {"city": "Rome"}]),
        "tags": [["a"], ["b"]],
        "Odd name": ["x", "y"],
        "date": ["1", "2"],
    }
)


@pytest.mark.parametrize(
    ("condition", "columns"),
    [
        ("true", set()),
        ("id = 1", {"id"}),
        ("ID = 1 -- the first\n", {"id"}),
        ("\"Odd name\" LIKE 'x%'", {"Odd name"}),
        ("name = current_user", {"name"}),
        ("name <> attribute('team') OR attribute ( 'team' ) IS NULL", {"name"}),
        ("current_purpose IN ('research', 'analytics')", set()),
        ("id BETWEEN 1 AND 2 AND NOT (id IN (3, 4) OR id IS NOT NULL)", {"id"}),
        ("CASE WHEN id > 1 THEN lower(name) = 'a' ELSE false END", {"id", "name"}),
        ("name IS NOT DISTINCT FROM upper(name)", {"name"}),
        ("since >= DATE '2020-01-01'", {"since"}),
        ("extract(year FROM since) = 1970", {"since"}),
        ("date_part('year', since) = 1970", {"since"}),
        ("substring(name FROM 1 FOR 1) = 'a' AND trim(BOTH 'a' FROM name) = ''", {"name"}),
        ("TRY_CAST(name AS BIGINT) IS NULL AND CAST(id AS DECIMAL(10, 2)) > 1", {"id", "name"}),
        ("id::DOUBLE PRECISION > 1.5e0", {"id"}),
        ("\"at\".city = 'Oslo' OR \"at\"['city'] = 'Rome'", {"at"}),
        ("array_has(tags, 'a')", {"tags"}),
        ("date = '1'", {"date"}),
        ("CASE CASE id WHEN 1 THEN 2 END WHEN 2 THEN true END", {"id"}),
        ('true IS NOT UNKNOWN AND "at".city IS NOT NULL', {"at"}),
        ("name ~ '^a' AND name !~* 'b' AND name || 'x' <> ''", {"name"}),
        ("name = E'a\\'nn' OR name = $$ann$$", {"name"}),
    ],
)
def test_what_a_condition_may_be(condition: str, columns: set[str]) -> None:
    check_condition(condition)
    assert column_names(condition) == columns
    frame = SessionContext().from_arrow(ROWS)
    for text in (bound(condition, ANN), bound(condition, NOBODY), sample(condition)):
        frame.filter(frame.parse_sql_expr(text)).collect()


@pytest.mark.parametrize(
    ("condition", "place", "word"),
    [
        ("", "line=1 column=1", "expected"),
        ("  -- nothing", "line=1 column=1", "expected"),
        ("id = 1; DROP TABLE t", "line=1 column=7", "semicolon"),
        ("id = ?", "line=1 column=6", "parameters"),
        ("id = $1", "line=1 column=6", "parameters"),
        ("id = 1, id = 2", "line=1 column=7", "one expression"),
        ("id = 1) OR (true", "line=1 column=7", "closes nothing"),
        ("(id = 1", "line=1 column=1", "not closed"),
        ("id[1) = 2", "line=1 column=5", "closes nothing"),
        ("id IN (SELECT id FROM t)", "line=1 column=8", "SELECT"),
        ("id =\n (WITH x AS (SELECT 1) SELECT 1)", "line=2 column=3", "WITH"),
        ("EXISTS (TABLE t)", "line=1 column=1", "EXISTS"),
        ("id = ANY(VALUES (1))", "line=1 column=6", "ANY"),
        ("id = 1 UNION ALL SELECT 2", "line=1 column=8", "UNION"),
        ("id = 1 ORDER BY id", "line=1 column=8", "ORDER"),
        ("count(*) > 1", "line=1 column=1", "count"),
        ("sum(id) > 1", "line=1 column=1", "sum"),
        ("row_number() OVER () = 1", "line=1 column=1", "row_number"),
        ("lower(name) OVER () = 'a'", "line=1 column=13", "OVER"),
        ("random() > 0.5", "line=1 column=1", "random"),
        ("since < now()", "line=1 column=9", "now"),
        ("since < current_date", "line=1 column=9", "CURRENT_DATE"),
        ("since < CURRENT_TIMESTAMP ", "line=1 column=9", "CURRENT_TIMESTAMP"),
        ("name = session_user", "line=1 column=8", "SESSION_USER"),
        ("name = user", "line=1 column=8", "USER"),
        ("name = current_user()", "line=1 column=8", "without parentheses"),
        ("no_such(name)", "line=1 column=1", "no_such"),
        ('"lower"(name) = "Upper"(name)', "line=1 column=17", "Upper"),
        ("pg_catalog.lower(name) = 'a'", "line=1 column=12", "qualified"),
        ("arrow_cast(id, 'Utf8') = '1'", "line=1 column=1", "arrow_cast"),
        ("name = attribute(name)", "line=1 column=8", "plain string"),
        ("name = attribute('a', 'b')", "line=1 column=8", "plain string"),
        ("name = attribute(E'a')", "line=1 column=8", "plain string"),
        ("name = attribute()", "line=1 column=8", "plain string"),
        ("CAST(id AS STRUCT<a INT>) = 1", "line=1 column=9", "plain type"),
        ("id::no_type = 1", "line=1 column=3", "plain type"),
        ("id = 1 AS x", "line=1 column=8", "AS"),
        ("id FROM t", "line=1 column=4", "FROM"),
        ("id = @x", "line=1 column=6", "@x"),
        ("{fn lower(name)} = 'a'", "line=1 column=1", "{"),
        ("name COLLATE \"C\" = 'x'", "line=1 column=6", "COLLATE"),
        ("name = 'open", "line=1 column=8", "not closed"),
        ("/* open", "line=1 column=1", "not closed"),
        ("id =", "line=1 column=5", "the end"),
        ("id = 1 AND\n", "line=2 column=1", "the end"),
        ("NOT", "line=1 column=4", "the end"),
        ("id > 1 +", "line=1 column=9", "the end"),
        ("id = CASE WHEN true THEN 1", "line=1 column=6", "no END"),
    ],
)
def test_what_a_condition_must_not_hold_is_told_with_its_place(
    condition: str, place: str, word: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_condition(condition)
    assert raised.value.message.endswith(place), raised.value.message
    assert word in raised.value.message


def test_conditions_have_limits() -> None:
    deep = PARENTHESES_DEPTH_MAX
    check_condition("(" * deep + "true" + ")" * deep)
    with pytest.raises(InvalidRequest, match="parentheses_depth_max"):
        check_condition("(" * (deep + 1) + "true" + ")" * (deep + 1))
    with pytest.raises(InvalidRequest, match="condition_characters_max"):
        check_condition(" " * CONDITION_CHARACTERS_MAX + "true")


def test_the_functions_are_there_and_settled_by_their_arguments() -> None:
    ctx = SessionContext()
    ctx.sql("SET datafusion.catalog.information_schema = true").collect()
    rows = ctx.sql(
        "SELECT routine_name FROM information_schema.routines"
        " WHERE function_type = 'SCALAR' AND is_deterministic"
    ).to_arrow_table()
    assert set(rows["routine_name"].to_pylist()) >= FUNCTIONS


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("name = current_user", "name = 'ann'"),
        ("name = CURRENT_USER -- current_user", "name = 'ann' -- current_user"),
        ("\"current_user\" = 'current_user'", "\"current_user\" = 'current_user'"),
        ('"at".current_user = 1', '"at".current_user = 1'),
        ("name = E'current_user\\''", "name = E'current_user\\''"),
        ("name = attribute('team')", "name = 'O''Neil'"),
        ("name = Attribute /* of */ ( 'team' )", "name = 'O''Neil'"),
        ("name = attribute('x')", "name = ''"),
        ("name = attribute('it''s')", "name = CAST(NULL AS VARCHAR)"),
        ("name = \"attribute\"('team')", "name = \"attribute\"('team')"),
        ("name = attribute(E'team')", "name = attribute(E'team')"),
        ("current_purpose = 'research'", "'research' = 'research'"),
        ("attribute = 'x'", "attribute = 'x'"),
    ],
)
def test_what_stands_for_whoever_asks(condition: str, text: str) -> None:
    assert bound(condition, ANN) == text


def test_what_there_is_none_of_is_null() -> None:
    assert bound("name = attribute('team') OR current_purpose = 'x'", NOBODY) == (
        "name = CAST(NULL AS VARCHAR) OR CAST(NULL AS VARCHAR) = 'x'"
    )


@given(st.text())
def test_no_value_ends_its_place(value: str) -> None:
    who = Principal("1", "ann", Role.REGISTERED, attributes=(("team", value),))
    text = bound("name = attribute('team') AND true", who)
    assert text == f"name = {literal(value)} AND true"


@given(
    st.lists(
        st.sampled_from(
            ["current_user", "attribute('a')", "id", "=", "\n", "current_purpose", "'x'", " "]
        )
    )
)
def test_a_sample_keeps_every_place(pieces: list[str]) -> None:
    condition = " ".join(pieces)
    text = sample(condition)
    assert len(text) == len(condition)
    assert [m.start() for m in re.finditer(r"\n|\bid\b", text)] == [
        m.start() for m in re.finditer(r"\n|\bid\b", condition)
    ]


@given(st.text(alphabet="id=()[],.'\"?$;-/*\\ \nxE1@{}"))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        check_condition(text)
    except InvalidRequest as error:
        assert "line=" in error.message  # noqa: PT017 - not every text is refused


def test_mentions_are_found_whatever_they_mean() -> None:
    condition = "name = 'id' AND lower(\"Odd name\") = 'x' -- since"
    assert mentions(condition, "name")
    assert mentions(condition, "Odd name")
    assert mentions(condition, "lower")
    for other in ("id", "since", "odd name", "Name"):
        assert not mentions(condition, other)
