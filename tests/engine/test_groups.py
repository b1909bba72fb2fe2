"""Aggregates over enough rows, and nothing else: what leaves is compared, the rest is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.engine.base import GovernedScan, RowScan, ViewScan, WriteTarget
from flight_server.errors import InvalidRequest, LakeflightError, PermissionDenied, Unsupported
from flight_server.storage.arrow_types import stream_bytes
from tests.engine.governed import governed, narrowing
from tests.engine.lake import READER, Session, never, query, session
from tests.engine.test_fence import wire

MIN = 10
SECRET = "HIDDENVALUE"
NAMES = ("id", "ward", "age", "pay", "note")


def rows() -> pa.Table:
    """Wards of 40, 10, 9 and 1 people; of the 10 in ``b``, 9 have no pay."""
    wards = ["a"] * 40 + ["b"] * 10 + ["c"] * 9 + [f"{SECRET}-ward"]
    count = len(wards)
    pay = [float(n) for n in range(40)] + [None] * 9 + [777.0] + [5.0] * 9 + [999.0]
    return pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "ward": wards,
            "age": pa.array([20 + n % 50 for n in range(count)], pa.int64()),
            "pay": pa.array(pay, pa.float64()),
            "note": [f"{SECRET}-{n}" for n in range(count)],
        }
    )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """``t`` shows aggregates alone, ``v`` and ``w`` are views of it, ``free`` is not narrowed."""
    made = session(tmp_path_factory.mktemp("groups"))
    scan = made.lake.write("stored", rows().slice(0, 33), rows().slice(33), row_group_size=7)
    made.lake.add("free", scan)
    made.lake.add("t", only_groups(governed(scan, narrowing(NAMES))))
    made.lake.add("few", only_groups(governed(scan, narrowing(NAMES, "ward IN ('c', 'b')"))))
    made.lake.add(
        "v", ViewScan("SELECT ward, age AS years, pay FROM t WHERE age > 20", "lake", "main")
    )
    made.lake.add("w", ViewScan("SELECT ward, count(*) AS n FROM t GROUP BY ward", "lake", "main"))
    made.lake.add("x", ViewScan("SELECT * FROM t LIMIT 50", "lake", "main"))
    return made


def only_groups(scan: GovernedScan) -> GovernedScan:
    return replace(scan, group_rows_min=MIN)


def told(house: Session, sql: str, **how: Any) -> list[tuple[object, ...]]:
    schema, batches = house.batches(sql, principal=READER, **how)
    assert SECRET.encode() not in wire(schema, batches)
    return [tuple(row.values()) for row in pa.Table.from_batches(batches, schema).to_pylist()]


ANSWERED: tuple[tuple[str, list[tuple[object, ...]]], ...] = (
    ("SELECT count(*) FROM t", [(60,)]),
    ("SELECT ward, count(*) AS n FROM t GROUP BY ward ORDER BY ward", [("a", 40), ("b", 10)]),
    ("SELECT count(*) AS n FROM t GROUP BY ward ORDER BY n DESC, ward LIMIT 1", [(40,)]),
    ("SELECT ward FROM t GROUP BY ward ORDER BY avg(age) LIMIT 1 OFFSET 1", [("b",)]),
    ("SELECT ward FROM t GROUP BY 1 HAVING count(*) < 40", [("b",)]),
    ("SELECT ward, count(pay), sum(pay) FROM t GROUP BY ward ORDER BY 1",
     [("a", 40, 780.0), ("b", None, None)]),
    ("SELECT coalesce(sum(pay), -1) AS s FROM t WHERE ward = 'b'", [(-1.0,)]),
    ("SELECT sum(pay) / count(*) AS m FROM t WHERE ward = 'a'", [(19.5,)]),
    ("SELECT avg(age), stddev(age), var_pop(age), count(DISTINCT ward) FROM t WHERE id < 10",
     [(24.5, 3.0276503540974917, 8.25, 1)]),
    ("SELECT var(age), stddev_pop(age), stddev_samp(age), var_samp(age) FROM t WHERE id < 10",
     [(9.166666666666666, 2.8722813232690143, 3.0276503540974917, 9.166666666666666)]),
    ("SELECT count(*) FROM t WHERE ward = 'c'", []),
    ("SELECT count(*), sum(pay) FROM t WHERE ward LIKE 'HIDDEN%'", []),
    ("SELECT 1 AS one, count(*) + 1 AS n FROM t WHERE id = 3", []),
    ("SELECT id, count(*) FROM t GROUP BY id", []),
    ("SELECT note, sum(pay) FROM t GROUP BY note", []),
    ("SELECT ward, count(*) FROM t GROUP BY ward HAVING count(*) < 10", []),
    ("SELECT ward, 1 / (count(*) - 9), 1 / (count(*) - 1) FROM t GROUP BY ward ORDER BY 1",
     [("a", 0, 0), ("b", 1, 0)]),
    ("SELECT ward FROM t GROUP BY ward HAVING 1 / (count(*) - 9) >= 0 AND sum(pay) <> 999",
     [("a",)]),
    ("SELECT CAST(ward AS INT) AS w FROM t GROUP BY ward HAVING ward = '1'", []),
    ("SELECT upper(ward) AS u, count(*) FROM t GROUP BY upper(ward) ORDER BY u",
     [("A", 40), ("B", 10)]),
    ("SELECT age % 2 AS k, count(*) FROM t GROUP BY k ORDER BY k", [(0, 30), (1, 30)]),
    ("SELECT count(*) FROM (SELECT ward AS w, age FROM t WHERE age < 60) AS q WHERE q.w = 'a'",
     [(40,)]),
    ("WITH q AS (SELECT ward, age FROM t) SELECT ward, count(*) FROM q GROUP BY ward ORDER BY 1",
     [("a", 40), ("b", 10)]),
    ("SELECT * FROM (SELECT ward, count(*) AS n FROM t GROUP BY ward) AS \"Q q\" WHERE n > 20",
     [("a", 40)]),
    ("SELECT ward, count(*), avg(years) FROM v WHERE years < 60 GROUP BY ward", [("a", 39, 40.0)]),
    ("SELECT n FROM w ORDER BY n", [(10,), (40,)]),
    ("SELECT ward, count(*) FROM few GROUP BY ward", [("b", 10)]),
    ("SELECT count(*) FROM few WHERE ward = 'a'", []),
    ("SELECT 1 AS x", [(1,)]),
    ("SELECT ward, count(*) AS n FROM t GROUP BY ALL ORDER BY 1", [("a", 40), ("b", 10)]),
)  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), ANSWERED, ids=range(len(ANSWERED)))
def test_groups_of_enough_rows_leave(
    house: Session, sql: str, expected: list[tuple[object, ...]]
) -> None:
    assert told(house, sql) == expected


REFUSED = (
    # no aggregate, or something beside it
    "SELECT * FROM t",
    "SELECT id FROM t LIMIT 1",
    "SELECT DISTINCT ward FROM t",
    "SELECT DISTINCT ward, count(*) FROM t GROUP BY ward",
    "SELECT DISTINCT ON (ward) ward FROM t",
    "SELECT row_number() OVER (ORDER BY id) FROM t",
    "SELECT ward, count(*), rank() OVER (ORDER BY count(*)) FROM t GROUP BY ward",
    "SELECT ward, sum(pay) OVER () FROM t",
    "SELECT ward FROM t UNION ALL SELECT ward FROM t",
    "SELECT count(*) FROM t UNION ALL SELECT count(*) FROM t",
    "SELECT count(*) FROM t EXCEPT SELECT 1",
    "SELECT count(*) FROM t INTERSECT SELECT 60",
    "SELECT unnest(make_array(1, 2)), count(*) FROM t",
    "SELECT n FROM w UNION ALL SELECT 1",
    # functions that show a value of one row
    *(
        f"SELECT {call} FROM t"
        for call in (
            "min(pay)", "max(note)", "median(pay)", "array_agg(note)", "string_agg(note, ',')",
            "first_value(note)", "last_value(note)", "nth_value(note, 3)", "approx_distinct(note)",
            "approx_median(pay)", "approx_percentile_cont(pay, 0.5)", "bit_xor(id)",
            "bool_or(pay > 5)",
            "corr(age, pay)", "covar_samp(age, pay)", "regr_slope(age, pay)", "sum(DISTINCT pay)",
            "avg(DISTINCT pay)", "count(DISTINCT ward, note)", "grouping(ward)",
        )
    ),
    # aggregates that pick rows
    "SELECT sum(CASE WHEN id = 5 THEN pay END) FROM t",
    "SELECT sum(pay * 1) FROM t",
    "SELECT count(nullif(id, 5)) FROM t",
    "SELECT sum(pay) FILTER (WHERE id = 5) FROM t",
    "SELECT count(*) FILTER (WHERE id = 5) FROM t",
    "SELECT sum(pay ORDER BY id) FROM t",
    "SELECT sum(x) FROM (SELECT CASE WHEN id = 5 THEN pay END AS x FROM t) AS q",
    "SELECT sum(x) FROM (SELECT pay * (id / 5) AS x FROM t) AS q",
    "SELECT count(NULL) FROM t",
    # other rows than those of the table, as often as they are there
    "SELECT count(*) FROM (SELECT * FROM t LIMIT 1) AS q",
    "SELECT count(*) FROM (SELECT * FROM t ORDER BY pay DESC LIMIT 20) AS q",
    "SELECT count(*) FROM (SELECT DISTINCT ward FROM t) AS q",
    "SELECT count(*) FROM (SELECT * FROM t UNION ALL SELECT * FROM t) AS q",
    "SELECT count(*) FROM (SELECT unnest(make_array(1, 2, 3, 4)) AS u, ward FROM t) AS q",
    "SELECT sum(n) FROM (SELECT ward, count(*) AS n FROM t GROUP BY ward) AS q",
    "SELECT avg(n) FROM w",
    "SELECT count(*) FROM x",
    "SELECT count(*) FROM t a JOIN t b ON a.ward = b.ward",
    "SELECT count(*) FROM t a CROSS JOIN t b WHERE a.id = 5",
    "SELECT count(*) FROM t, (VALUES (1), (2), (3)) AS k(n) WHERE t.id = 5",
    "SELECT count(*) FROM t, generate_series(1, 20) AS g(n) WHERE t.id = 5",
    "SELECT count(*) FROM t JOIN free ON t.id = free.id",
    "SELECT a.ward, count(*) FROM t a LEFT JOIN few b ON a.id = b.id GROUP BY a.ward",
    "SELECT count(*) FROM t CROSS JOIN LATERAL (SELECT t.pay AS p) AS q",
    # subqueries
    "SELECT count(*) FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE u.pay = 999)",
    "SELECT count(*) FROM t WHERE id IN (SELECT id FROM t WHERE pay = 999)",
    "SELECT count(*) FROM t WHERE pay = (SELECT max(pay) FROM t)",
    "SELECT count(*) FROM t WHERE pay >= ALL (SELECT pay FROM t)",
    "SELECT (SELECT max(pay) FROM t), count(*) FROM t",
    "SELECT count(*) FROM t HAVING (SELECT max(pay) FROM t) = 999",
    "SELECT count(*) FROM t ORDER BY (SELECT max(pay) FROM t)",
    "SELECT (SELECT count(*) FROM t WHERE pay = 999) AS n",
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM t WHERE pay = 999)",
    "SELECT count(*) FROM free WHERE id IN (SELECT id FROM t)",
    "WITH q AS (SELECT * FROM t) SELECT count(*) FROM q WHERE EXISTS (SELECT 1 FROM q)",
    (
        "WITH RECURSIVE r AS (SELECT count(*) AS n FROM t UNION ALL"
        " SELECT n + 1 FROM r WHERE n < 62) SELECT * FROM r"
    ),
    # several sets of groups
    "SELECT ward, count(*) FROM t GROUP BY ROLLUP (ward)",
    "SELECT ward, age, count(*) FROM t GROUP BY CUBE (ward, age)",
    "SELECT ward, count(*) FROM t GROUP BY GROUPING SETS ((ward), ())",
    # what fails for some rows tells of them
    "SELECT count(*) FROM t WHERE 1 / (pay - 999) > 0 OR CAST(note AS INT) = 1",
    "SELECT count(*) FROM t WHERE 1 / (id - 59) = 0",
    "SELECT count(*) FROM t WHERE CASE WHEN pay = 999 THEN 1 / (id - id) ELSE 1 END = 1",
    "SELECT CAST(note AS INT) AS k, count(*) FROM t GROUP BY k",
    "SELECT 1 / (id - 59) AS k, count(*) FROM t GROUP BY k",
    "SELECT count(*) FROM t WHERE random() < 0.5",
)  # fmt: skip


@pytest.mark.parametrize("sql", REFUSED)
def test_all_else_is_refused(house: Session, sql: str) -> None:
    for attempt in (house.rows, house.describe):
        with pytest.raises(LakeflightError) as raised:
            attempt(sql, principal=READER)
        assert SECRET not in raised.value.message
        assert "own_" not in raised.value.message
        if not isinstance(raised.value, InvalidRequest):  # some are no SQL of the engine
            assert isinstance(raised.value, PermissionDenied)
            assert raised.value.code == "aggregates_only"


def test_columns_of_one_text_are_not_taken_for_one_another(house: Session) -> None:
    """The count of the dense column must not stand in for that of the sparse one."""
    sql = (
        'SELECT ward, sum("t.age") AS s, count(t.age) AS n FROM (SELECT ward, pay AS "t.age", t.age'
        " FROM t) GROUP BY ward"
    )
    try:
        found = told(house, sql)
    except LakeflightError:
        return
    assert ("b", None, 10) in found
    assert all(row[0] in ("a", "b") for row in found)


def test_values_may_be_bound(house: Session) -> None:
    sql = "SELECT ward, count(*) AS n FROM t WHERE age > $1 GROUP BY ward HAVING count(*) > $2"
    described = house.describe(sql, principal=READER)
    assert len(described.parameters) == 2

    def bound(*values: tuple[int, int]) -> list[dict[str, Any]]:
        table = pa.table({"1": [each[0] for each in values], "2": [each[1] for each in values]})
        asked = replace(query(sql, READER), parameters=stream_bytes(table))
        schema, batches = house.engine.stream(asked, is_cancelled=never)
        found: list[dict[str, Any]] = pa.Table.from_batches(list(batches), schema).to_pylist()
        return found

    assert bound((20, 20)) == [{"ward": "a", "n": 39}]
    assert bound((20, 20), (59, 0)) == [{"ward": "a", "n": 39}, {"ward": "b", "n": 10}]
    assert bound((60, 0)) == []


def test_nothing_is_written_of_it(house: Session) -> None:
    schema = rows().select(["ward", "id"]).schema
    target = WriteTarget(str(house.lake.folder / "written"), schema)
    for source in ("SELECT ward, count(*) FROM t GROUP BY ward", "SELECT ward, id FROM t"):
        with pytest.raises(PermissionDenied) as raised:
            house.engine.write(
                query(f"INSERT INTO elsewhere {source}", READER), target, is_cancelled=never
            )
        assert raised.value.code == "aggregates_only"


def test_plans_are_explained_without_the_table(house: Session) -> None:
    shown = told(house, "EXPLAIN SELECT ward, count(*) FROM t WHERE id = 59 GROUP BY ward")
    assert not re.search(r"rows|files|parquet", str(shown))
    with pytest.raises(Unsupported):
        house.rows("EXPLAIN ANALYZE SELECT count(*) FROM t WHERE pay = 999", principal=READER)


def test_rows_in_memory_and_no_rows_at_all(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = session(tmp_path_factory.mktemp("memory"))
    for name, table in (("t", rows()), ("empty", rows().slice(0, 0))):
        made.lake.add(name, only_groups(governed(RowScan(table), narrowing(NAMES))))
    assert told(made, "SELECT count(*) FROM t") == [(60,)]
    assert told(made, "SELECT count(*) FROM empty") == []
    assert told(made, "SELECT ward, sum(pay) FROM empty GROUP BY ward") == []


def test_small_groups_are_gone_before_anything_is_asked_of_them(house: Session) -> None:
    """The limit that is the fence stands between the two conditions in the plan that runs."""
    plan = house.physical_plan(
        "SELECT ward FROM t GROUP BY ward HAVING 1 / (count(*) - 9) >= 0", principal=READER
    )
    asked, fence = plan.index("/"), re.search(r"GlobalLimitExec|fetch=9223372036854775807", plan)
    assert fence is not None
    assert asked < fence.start() < plan.index(">= 10")


def test_one_row_more_makes_a_group_leave(house: Session) -> None:
    """What stays possible: two answers tell of what lies between them. The docs say so."""
    assert told(house, "SELECT count(*), sum(age) FROM t WHERE id < 40") == [(40, 1580)]
    assert told(house, "SELECT count(*), sum(age) FROM t WHERE id < 41") == [(41, 1640)]


KEYS = ("ward", "age % 7", "upper(ward)", "id % 2 = 0", "CASE WHEN age > 40 THEN ward END", "id")
WHERE = (
    "true", "id < 45", "ward <> 'a'", "pay > 3", "age BETWEEN 25 AND 60", "ward LIKE '%a%'",
    "pay IS NULL OR id IN (1, 2, 3, 50)", "NOT (id % 3 = 0)",
)  # fmt: skip
FIGURES = (
    *(
        (f"{name}({column})", column)
        for name in ("count", "sum", "avg", "var", "stddev_pop")
        for column in ("pay", "age")
    ),
    ("count(DISTINCT ward)", "ward"),
    ("count(*)", "*"),
)


@given(
    keys=st.lists(st.sampled_from(KEYS), max_size=2, unique=True),
    figures=st.lists(st.sampled_from(FIGURES), min_size=1, max_size=3, unique=True),
    where=st.sampled_from(WHERE),
    nested=st.booleans(),
)
def test_any_figures_are_those_of_the_groups_that_are_large_enough(
    house: Session, keys: list[str], figures: list[tuple[str, str]], where: str, *, nested: bool
) -> None:
    named = [f"{key} AS k{number}" for number, key in enumerate(keys)]
    asked = [f"{figure} AS f{number}" for number, (figure, _) in enumerate(figures)]
    expected = [
        f"CASE WHEN count({column}) >= {MIN} THEN {figure} END AS f{number}"
        for number, (figure, column) in enumerate(figures)
    ]
    by = f" GROUP BY {', '.join(keys)}" if keys else ""
    source = "(SELECT id, ward AS ward, pay, age FROM {}) AS q" if nested else "{}"
    found, reference = (
        house.rows(
            f"SELECT {', '.join([*named, *columns])} FROM {source.format(table)}"
            f" WHERE {where}{by}{having}",
            principal=READER,
        )
        for table, columns, having in (
            ("t", asked, ""),
            ("free", expected, f" HAVING count(*) >= {MIN}"),
        )
    )
    assert found.schema.names == reference.schema.names
    rounded = [sorted(map(str, map(_rounded, each.to_pylist()))) for each in (found, reference)]
    assert rounded[0] == rounded[1]


def _rounded(row: dict[str, Any]) -> list[object]:
    """Return the values of a row; parts of a table are added up in any order."""
    return [round(each, 6) if isinstance(each, float) else each for each in row.values()]
