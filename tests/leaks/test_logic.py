"""What conditions do to governed tables is what logic says, whichever form a plan takes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_server.engine.base import Query
from tests.leaks.cases import BUCKET, GOVERNED, LEFT, Case
from tests.leaks.kinds import CASES
from tests.leaks.rows import ROWS, SCHEMA
from tests.leaks.world import STATES, World

_COMPARED = ("=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")
_NUMBERS = ("id", "nought", "code", "price", "score", "place['deep']['level']")
_TEXTS = ("key", "owner", "grp", "word", "email", "host", "place['zip']", "place['deep']['note']")
# Of a column that a case does not show there is nothing to ask, nor of rows that do not leave.
_CASES = [
    case for case in CASES.values() if case.columns == tuple(SCHEMA.names) and not case.is_grouped
]
_operator = st.sampled_from(_COMPARED)
_number = st.integers(-2, ROWS + 2)
_word = st.sampled_from(("1", "3", "a", "b", "me", "K-0003", "********", "seen4@example.org", ""))
_pattern = st.sampled_from(("%1%", "K-00_1", "%e", "%*%", "%SECRET%", "_", "%"))


def _plain() -> st.SearchStrategy[str]:
    """Conditions that may be asked of hidden rows too."""
    return st.one_of(
        st.builds(
            "{} {} {}".format, st.sampled_from(_NUMBERS), st.sampled_from(_COMPARED), _number
        ),
        st.builds("{} {} '{}'".format, st.sampled_from(_TEXTS), st.sampled_from(_COMPARED), _word),
        st.builds("{} BETWEEN {} AND {}".format, st.sampled_from(_NUMBERS), _number, _number),
        st.builds("{} IN ('{}', '{}')".format, st.sampled_from(_TEXTS), _word, _word),
        st.builds("{} LIKE '{}'".format, st.sampled_from(_TEXTS), _pattern),
        st.builds("{} IS NULL".format, st.sampled_from((*_NUMBERS, *_TEXTS, "flag", "tags"))),
        st.sampled_from(("flag", "NOT flag", "day < DATE '2026-03-01'", "seen > '2026-01-05'")),
    )


def _telling() -> st.SearchStrategy[str]:
    """Conditions that tell of whatever they are asked of."""
    return st.one_of(
        st.builds("TRY_CAST({} AS INT) {} {}".format, st.sampled_from(_TEXTS), _operator, _number),
        st.builds("length({}) > {}".format, st.sampled_from(_TEXTS), _number),
        st.builds("{0} % 3 = {0} - {1}".format, st.sampled_from(("id", "nought")), _number),
        st.builds("coalesce({}, {}) > '{}'".format, *map(st.sampled_from, (_TEXTS, _TEXTS)), _word),
        st.builds("array_has(tags, '{}')".format, st.sampled_from(("t1", "u2", "x"))),
        st.builds("strpos({}, '{}') > 0".format, st.sampled_from(_TEXTS), _word),
        st.builds("regexp_like({}, '^[a-m]')".format, st.sampled_from(_TEXTS)),
    )


def _joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("(({}) AND ({}))".format, inner, inner),
        st.builds("(({}) OR ({}))".format, inner, inner),
        st.builds("NOT ({})".format, inner),
        st.builds("CASE WHEN ({}) THEN ({}) ELSE ({}) END".format, inner, inner, inner),
    )


conditions = st.recursive(st.one_of(_plain(), _telling()), _joined, max_leaves=5)


def rows(world: World, case: Case, sql: str, *, schema: str = GOVERNED) -> list[Any]:
    query = Query(sql, case.who, BUCKET, schema)
    found, batches = world.engine.stream(query, is_cancelled=lambda: False)
    return [tuple(row.values()) for row in pa.Table.from_batches(batches, found).to_pylist()]


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=st.sampled_from(_CASES), state=st.sampled_from(STATES), condition=conditions)
def test_every_row_is_in_one_of_three_parts(
    world: World, case: Case, state: str, condition: str
) -> None:
    table = world.name(case, state)
    asked = [f"({condition})", f"NOT ({condition})", f"({condition}) IS NULL"]
    parts = [rows(world, case, f"SELECT id, word FROM {table} WHERE {each}") for each in asked]
    whole = rows(world, case, f"SELECT id, word FROM {table}")
    assert Counter(map(repr, whole)) == Counter(map(repr, [row for part in parts for row in part]))
    # Nothing can be moved below what is computed for each row.
    counted = f"SELECT sum(CASE WHEN {condition} THEN 1 ELSE 0 END) AS n FROM {table}"
    assert rows(world, case, counted) in ([(len(parts[0]),)], [(None,)])
    (number,) = rows(world, case, f"SELECT count(*) AS n FROM {table} WHERE {condition}")
    assert number == (len(parts[0]),)
    left = f"SELECT id, word FROM {world.name(case, state, LEFT)} WHERE {condition}"
    alike = rows(world, case, left, schema=LEFT)
    assert Counter(map(repr, parts[0])) == Counter(map(repr, alike))
