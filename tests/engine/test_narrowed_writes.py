"""Statements that change rows, by somebody who sees a part of them: as on a copy of that part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_server.engine.base import GovernedScan
from flight_server.engine.changeable import Changeable
from flight_server.engine.planning import Job
from flight_server.errors import InvalidRequest, LakeflightError, PermissionDenied
from policies.rules import ColumnPath, Redaction, RedactionKind
from tests.engine.changing import bound
from tests.engine.governed import narrowing, only, without
from tests.engine.lake import ADMIN, READER, never, query
from tests.engine.narrowed import GovernedLake, Reading, Rows, T, counted, outcome, worlds

HIDDEN = "HIDDEN"
NAMES = ("id", "owner", "word", "nought", "mail", "p")
_FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()),
    pa.field("owner", pa.string()),
    pa.field("word", pa.string()),
    pa.field("nought", pa.int64()),
    pa.field("mail", pa.string()),
    pa.field("p", pa.int32()),
]
SCHEMA = pa.schema(_FIELDS)
MASK: dict[ColumnPath, Redaction] = {("mail",): Redaction(RedactionKind.MASK, keep_prefix=1)}
GONE = tuple(range(0, 40, 3))


def rows(start: int, count: int = 10) -> pa.Table:
    """One row in two is the reader's; each of the others breaks what is done with it."""
    ids = range(start, start + count)
    mine = [number % 2 == 0 for number in ids]
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "owner": [
                "me" if own else "other" if n % 3 else None
                for n, own in zip(ids, mine, strict=True)
            ],
            "word": ["7" if own else f"{HIDDEN}{n}" for n, own in zip(ids, mine, strict=True)],
            "nought": pa.array([int(own) for own in mine], pa.int64()),
            "mail": [f"person{n}@example.org" for n in ids],
            "p": pa.array([n % 3 for n in ids], pa.int32()),
        },
        schema=SCHEMA,
    )


PARTS = (rows(0), rows(10), rows(20))
# Rows that are hidden whatever narrows are those of others; the keys are all of theirs too.
_OTHERS = pa.array([n for n in range(40) if n % 2], pa.int64())
_MINE = pa.array([n for n in range(40) if n % 2 == 0], pa.int64())
NARROWINGS = {
    "filter": narrowing(NAMES, "owner = 'me'"),
    "two filters": narrowing(NAMES, "owner = 'me'", "p <> 1 -- not these"),
    "tombstones": narrowing(NAMES, keys=[without("id", _OTHERS)]),
    "consents": narrowing(NAMES, keys=[only("id", _MINE)]),
    "mask": narrowing(NAMES, "owner = 'me'", redactions=MASK),
    "columns": narrowing(("id", "word", "nought", "p"), "owner = 'me'"),
    "all": narrowing(
        ("id", "owner", "word", "nought", "mail"),
        "owner = 'me'",
        keys=[without("id", pa.array(GONE, pa.int64())), only("id", _MINE)],
        redactions=MASK,
    ),
}
# Each would fail on a hidden row, or tell of one, were it asked of any.
HOSTILE = (
    "CAST(word AS INT) = 7",
    "CASE WHEN nought = 0 THEN CAST(word AS INT) ELSE 7 END = 7",
    "1 / nought = 1",
    "CAST(word AS INT) / nought = 7 AND id > 4",
    "id IN (SELECT CAST(word AS INT) + 1 FROM t)",
    "id NOT IN (SELECT 1 / nought FROM t)",
    "EXISTS (SELECT 1 FROM t b WHERE b.id = t.id + 2 AND 1 / b.nought = 1)",
    "id > (SELECT avg(CAST(word AS INT)) FROM t)",
    "word LIKE '7%' OR 1 / nought = 2",
    "coalesce(try_cast(word AS INT), 1 / nought) = 7",
    "length(word) > 1",
    "id = 3",
    "nought = 0",
    "TRUE",
    "id < 0",
    "nope = 1",
    "own = 1 AND own_ = 2",
)
STATEMENTS = (
    *(f"DELETE FROM t WHERE {where}" for where in HOSTILE),
    *(f"UPDATE t SET nought = nought + 10 WHERE {where}" for where in HOSTILE),
    "DELETE FROM t",
    "UPDATE t SET word = word || '!'",
    "UPDATE t SET nought = CAST(word AS BIGINT) / nought",
    "UPDATE t SET nought = (SELECT sum(b.nought) FROM t b)",
    "UPDATE t SET word = (SELECT max(b.word) FROM t b WHERE 1 / b.nought = 1) WHERE id > 3",
    "INSERT INTO t (id, word) SELECT id + 100, word FROM t WHERE 1 / nought = 1 AND FALSE",
    (
        "MERGE INTO t USING (VALUES (2), (3), (4), (99)) AS s(i) ON t.id = s.i AND 1 / t.nought = 1"
        " WHEN MATCHED AND CAST(t.word AS INT) = 7 THEN UPDATE SET nought = 5"
    ),
    (
        "MERGE INTO t USING (VALUES (2), (3), (2)) AS s(i) ON t.id = s.i"
        " WHEN MATCHED THEN UPDATE SET nought = 5"
    ),
    (
        "MERGE INTO t USING (VALUES (1), (3), (3)) AS s(i) ON t.id = s.i"
        " WHEN MATCHED THEN UPDATE SET nought = 5"
    ),
    (
        "MERGE INTO t USING (SELECT * FROM t) AS s ON CAST(t.word AS INT) + t.id = s.id"
        " WHEN MATCHED THEN DELETE"
    ),
    (
        "MERGE INTO t USING (VALUES (2), (3)) AS s(i) ON t.id = s.i WHEN MATCHED THEN DELETE"
        " WHEN NOT MATCHED BY SOURCE AND 1 / t.nought = 1 THEN UPDATE SET nought = -1"
    ),
    (
        "MERGE INTO t USING (VALUES (2), (3)) AS s(i) ON t.id = s.i"
        " WHEN NOT MATCHED BY SOURCE THEN DELETE"
    ),
)


def hidden_rows(stored: Rows, seen: Rows) -> Rows:
    ids = {row["id"] for row in seen}
    return [row for row in stored if row["id"] not in ids]


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        (kind, sql)
        for number, sql in enumerate(STATEMENTS)
        for place, kind in enumerate(NARROWINGS)
        # Each statement under three kinds, each kind with a part of the statements of each sort.
        if (place - number) % 7 in (0, 3, 5)
    ],
)
def test_it_does_what_it_would_do_to_a_copy_of_what_is_seen(kind: str, sql: str) -> None:
    with worlds(PARTS, NARROWINGS[kind]) as (ours, copy):
        stored = ours.stored()
        hidden = hidden_rows(stored, ours.seen())
        assert outcome(ours, sql) == outcome(copy, sql)
        assert counted(ours.seen()) == counted(copy.seen())
        after = ours.stored()
        # What is hidden is as it was, and no value that is masked or unseen has changed.
        assert counted(hidden_rows(after, ours.seen())) == counted(hidden)
        before = {row["id"]: row for row in stored}
        for row in after:
            assert row["mail"] == before[row["id"]]["mail"]
            assert row["owner"] == before[row["id"]]["owner"]


@pytest.mark.parametrize("kind", ["filter", "all"])
def test_it_does_so_in_a_table_with_partitions(kind: str) -> None:
    names = tuple(name for name in NAMES if name != "p")
    narrowed = narrowing((*names, "p"), "owner = 'me'", redactions=MASK)
    if kind == "all":
        narrowed = replace(narrowed, keys=NARROWINGS["all"].keys)
    for sql in STATEMENTS[::6]:
        with worlds(PARTS, narrowed, "p") as (ours, copy):
            hidden = hidden_rows(ours.stored(), ours.seen())
            assert outcome(ours, sql) == outcome(copy, sql), sql
            assert counted(ours.seen()) == counted(copy.seen())
            assert counted(hidden_rows(ours.stored(), ours.seen())) == counted(hidden)


_NUMBER = st.integers(-2, 32).map(str)
_CONDITIONS = st.recursive(
    st.one_of(
        st.builds("id = {}".format, _NUMBER),
        st.builds("id > {}".format, _NUMBER),
        st.builds("1 / nought = {}".format, st.integers(0, 2).map(str)),
        st.builds("CAST(word AS INT) > {}".format, _NUMBER),
        st.builds("p = {}".format, st.integers(0, 2).map(str)),
        st.builds("id IN (SELECT id FROM t WHERE nought > {})".format, _NUMBER),
        st.just("owner IS NULL"),
        st.just("mail LIKE 'p%'"),
    ),
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
        st.builds("CASE WHEN {} THEN {} ELSE FALSE END".format, inner, inner),
    ),
    max_leaves=4,
)
_SETS = st.sampled_from(
    ["nought = nought + 1", "word = word || 'x'", "p = 2", "owner = 'me'", "nought = id / nought"]
)


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    where=_CONDITIONS,
    assignment=st.none() | _SETS,
    kind=st.sampled_from(["filter", "two filters", "tombstones", "consents"]),
)
def test_random_conditions(where: str, assignment: str | None, kind: str) -> None:
    sql = f"DELETE FROM t WHERE {where}"
    if assignment is not None:
        sql = f"UPDATE t SET {assignment} WHERE {where}"
    with worlds(PARTS, NARROWINGS[kind]) as (ours, copy):
        before = ours.stored()
        hidden = hidden_rows(before, ours.seen())
        heard, expected = outcome(ours, sql), outcome(copy, sql)
        passes = all(row["p"] != 1 for row in copy.stored()) or kind != "two filters"
        if passes:
            assert heard == expected
            assert counted(ours.seen()) == counted(copy.seen())
        assert counted(hidden_rows(ours.stored(), ours.seen())) == counted(hidden)


@pytest.mark.parametrize("partition_by", [(), ("p",)])
@pytest.mark.parametrize(
    "condition",
    [
        "x.id = s.i AND s.i IN (SELECT id FROM t)",
        "x.id = s.i AND s.i IN (SELECT b.id FROM t b WHERE 1 / b.nought = 1)",
        "x.id = s.i AND 1 / x.nought = 1 AND s.i IN (SELECT id FROM t)",
        "x.id = s.i AND x.id IN (SELECT b.id FROM t b)",
        "x.id = s.i AND EXISTS (SELECT 1 FROM t b WHERE b.id = s.i)",
        "x.mail = s.i || '' AND x.mail IN (SELECT mail FROM t)",
    ],
)
def test_subqueries_in_the_condition_of_a_join(
    partition_by: tuple[str, ...], condition: str
) -> None:
    """Columns of the subquery have the names of those that it is compared with."""
    narrowed = narrowing(NAMES, "owner = 'me'", redactions=MASK)
    merge = f"MERGE INTO t AS x USING (VALUES (0), (4)) AS s(i) ON {condition}"
    with worlds(PARTS, narrowed, *partition_by) as (ours, copy):
        sql = f"SELECT x.id FROM t x JOIN (VALUES (0), (4)) AS s(i) ON {condition} ORDER BY x.id"
        heard = []
        for world in (ours, copy):
            try:
                heard.append(str(world.session.rows(sql, principal=READER).to_pylist()))
            except LakeflightError as error:
                heard.append(repr(error))
        assert heard[0] == heard[1]
        sql = f"{merge} WHEN MATCHED THEN UPDATE SET nought = 3"
        assert outcome(ours, sql) == outcome(copy, sql)


_ON = st.sampled_from(
    [
        "t.id = s.i",
        "t.id = s.i AND 1 / t.nought = 1",
        "CAST(t.word AS INT) + t.id = s.i + 7",
        "t.p = s.i",
        "t.id = s.i AND s.i IN (SELECT id FROM t)",
    ]
)
_CLAUSES = st.lists(
    st.sampled_from(
        [
            "WHEN MATCHED AND 1 / t.nought = 1 THEN UPDATE SET nought = nought + 1",
            "WHEN MATCHED AND t.id > 12 THEN DELETE",
            "WHEN MATCHED THEN UPDATE SET word = t.word || 'm', p = s.i",
            "WHEN NOT MATCHED THEN INSERT (id, owner, word) VALUES (s.i + 1000, 'me', '7')",
            "WHEN NOT MATCHED AND s.i > 20 THEN INSERT (id, owner) VALUES (s.i + 2000, 'me')",
            "WHEN NOT MATCHED BY SOURCE AND CAST(t.word AS INT) = 7 THEN UPDATE SET p = -1",
            "WHEN NOT MATCHED BY SOURCE AND t.id < 9 THEN DELETE",
        ]
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    numbers=st.lists(st.integers(-1, 31), min_size=1, max_size=8),
    on=_ON,
    clauses=_CLAUSES,
    kind=st.sampled_from(["filter", "consents"]),
)
def test_random_merges(numbers: list[int], on: str, clauses: list[str], kind: str) -> None:
    source = ", ".join(f"({number})" for number in numbers)
    sql = f"MERGE INTO t USING (VALUES {source}) AS s(i) ON {on} {' '.join(clauses)}"
    narrowed = NARROWINGS[kind]
    if kind == "consents":  # and rows that come in are those of somebody who has agreed
        agreed = pa.array([*_MINE.to_pylist(), *range(990, 2040)], pa.int64())
        narrowed = narrowing(NAMES, keys=[only("id", agreed)])
    with worlds(PARTS, narrowed) as (ours, copy):
        hidden = hidden_rows(ours.stored(), ours.seen())
        assert outcome(ours, sql) == outcome(copy, sql)
        assert counted(ours.seen()) == counted(copy.seen())
        assert counted(hidden_rows(ours.stored(), ours.seen())) == counted(hidden)


# New rows


def denied(ours: Reading, sql: object, *, code: str = "permission_denied") -> str:
    """Run what is refused; return the message, once nothing has changed by it."""
    before = counted(ours.stored())
    folder = ours.folder(T)
    files = {path for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(PermissionDenied) as raised:
        ours.run(sql)  # type: ignore[arg-type]  # a text or a query
    assert raised.value.code == code
    assert counted(ours.stored()) == before
    assert {path for path in folder.rglob("*") if path.is_file()} == files
    return raised.value.message


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET owner = 'other'",
        "UPDATE t SET owner = 'other' WHERE id = 6",
        "UPDATE t SET owner = NULL WHERE id = 6",
        "UPDATE t SET p = 1 WHERE id = 6",
        "INSERT INTO t VALUES (100, 'other', 'x', 1, 'm', 0)",
        "INSERT INTO t VALUES (100, 'me', 'x', 1, 'm', 0), (101, NULL, 'x', 1, 'm', 0)",
        "INSERT INTO t (id) VALUES (100)",
        "INSERT INTO t (id, owner, p) VALUES (100, 'me', 0.6)",  # 1 when it is stored
        "INSERT INTO t (id, owner, p) SELECT id, owner, 1 FROM t",
        (
            "MERGE INTO t USING (VALUES (6)) AS s(i) ON t.id = s.i"
            " WHEN MATCHED THEN UPDATE SET owner = 'other'"
        ),
        (
            "MERGE INTO t USING (VALUES (3)) AS s(i) ON t.id = s.i"
            " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, owner) VALUES (s.i, 'x')"
        ),
        (
            "MERGE INTO t USING (VALUES (6)) AS s(i) ON t.id = s.i"
            " WHEN NOT MATCHED BY SOURCE THEN UPDATE SET owner = 'o'"
        ),
        bound("UPDATE t SET owner = $2 WHERE id = $1", a=[2, 6], b=["me", "you"]),
        bound("INSERT INTO t (id, owner, p) VALUES ($1, $2, 0)", a=[100, 101], b=["me", "you"]),
    ],
)
def test_new_rows_that_their_writer_would_not_see_are_refused(sql: object) -> None:
    with worlds(PARTS, NARROWINGS["two filters"]) as (ours, _):
        message = denied(ours, sql, code="row_filter_check")
        assert "other" not in message


def test_new_rows_that_their_writer_would_see_are_taken() -> None:
    with worlds(PARTS, NARROWINGS["two filters"]) as (ours, _):
        assert outcome(ours, "INSERT INTO t VALUES (100, 'me', 'x', 1, 'm', 0.4)") == (1, 0, 0)
        assert outcome(ours, "UPDATE t SET p = 2 WHERE id = 100") == (0, 1, 0)
        merge = (
            "MERGE INTO t USING (VALUES (100), (3)) AS s(i) ON t.id = s.i"
            " WHEN MATCHED THEN UPDATE SET word = 'w'"
            " WHEN NOT MATCHED THEN INSERT (id, owner, p) VALUES (s.i, 'me', 0)"
        )
        # The row 3 is there and hidden: to who does not see it, it is not there.
        assert outcome(ours, merge) == (1, 1, 0)
        assert sum(row["id"] == 3 for row in ours.stored()) == 2


def test_a_table_made_of_rows_is_held_to_the_filters_of_its_name() -> None:
    with worlds(PARTS, NARROWINGS["filter"]) as (ours, _):
        lake = ours.session.lake
        assert isinstance(lake, GovernedLake)
        new = replace(T, table="n")
        lake.narrowed[new] = narrowing(("id", "owner"), "owner = 'you'")
        with pytest.raises(PermissionDenied) as raised:
            ours.run("CREATE TABLE n AS SELECT id, owner FROM t")
        assert raised.value.code == "row_filter_check"
        lake.narrowed[new] = narrowing(("id", "owner"), "colour = 'red'")
        ours.folder(new).rmdir()
        with pytest.raises(InvalidRequest) as misfit:
            ours.run("CREATE TABLE n AS SELECT id, owner FROM t")
        assert misfit.value.code == "policy_misfit"
        assert "colour" not in misfit.value.message


# Columns


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET mail = 'x'",
        "UPDATE t SET MAIL = mail WHERE id = 4",
        "UPDATE t SET word = 'a', mail = NULL WHERE FALSE",
        (
            "MERGE INTO t USING (VALUES (4)) AS s(i) ON t.id = s.i"
            " WHEN MATCHED THEN UPDATE SET mail = 'x'"
        ),
        "MERGE INTO t USING (SELECT * FROM t) AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET *",
        bound("UPDATE t SET mail = $2 WHERE id = $1", a=[2, 4], b=["me", "you"]),
    ],
)
def test_a_masked_column_is_not_set(sql: object) -> None:
    with worlds(PARTS, NARROWINGS["mask"]) as (ours, _):
        assert '"mail"' in denied(ours, sql)


@pytest.mark.parametrize("name", ["mail", "owner", "nowhere"])
def test_a_hidden_column_is_like_one_that_is_not_there(name: str) -> None:
    texts = (
        f"UPDATE t SET {name} = 'x'",
        f"INSERT INTO t (id, {name}) VALUES (1, 'me')",
        f"INSERT INTO t BY NAME SELECT 1 AS id, 'me' AS {name}",
        (
            f"MERGE INTO t USING (VALUES (4)) AS s(i) ON t.id = s.i"
            f" WHEN NOT MATCHED THEN INSERT (id, {name}) VALUES (s.i, 'x')"
        ),
    )
    with worlds(PARTS, NARROWINGS["columns"]) as (ours, copy):
        for sql in texts:
            assert denied(ours, sql) == f'you may not change the column "{name}"'
        for sql in (
            f"UPDATE t SET word = {name}",
            f"DELETE FROM t WHERE {name} = 'x'",
            f"DELETE FROM t WHERE t.{name} = 'x'",
            f"UPDATE t SET word = (SELECT max(b.{name}) FROM t b)",
        ):
            assert outcome(ours, sql) == outcome(copy, sql), sql


def test_rows_go_to_the_columns_that_are_seen() -> None:
    narrowed = narrowing(("id", "word"))
    with worlds(PARTS, narrowed) as (ours, copy):
        for sql in (
            "INSERT INTO t VALUES (100, 'a')",
            "INSERT INTO t SELECT id + 100, word FROM t",
            "INSERT INTO t VALUES (100, 'a', 1)",
            (
                "MERGE INTO t USING (VALUES (1000)) AS s(i) ON t.id = s.i"
                " WHEN NOT MATCHED THEN INSERT VALUES (s.i, 'x')"
            ),
            (
                "MERGE INTO t USING (SELECT id + 50 AS id, word FROM t) AS s ON t.id = s.id"
                " WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
            ),
        ):
            assert outcome(ours, sql) == outcome(copy, sql), sql
        assert counted(ours.seen()) == counted(copy.seen())
        assert all(row["mail"] is None for row in ours.stored() if row["id"] >= 100)
        assert all(row["mail"] is not None for row in ours.stored() if row["id"] < 30)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM t WHERE 'HIDDEN1' IN (SELECT d FROM (SELECT t.*) AS s(a, b, c, d))",
        "DELETE FROM t WHERE (SELECT max(c) FROM (SELECT t.*) AS s(a, b, c, d, e, f)) = 'x'",
        "UPDATE t SET word = (SELECT max(f) FROM (SELECT t.*) AS s(a, b, c, d, e, f))",
        "UPDATE t SET word = concat(t.*)",
        "UPDATE t SET word = struct(*)",
        "DELETE FROM t WHERE EXISTS (SELECT 1 FROM (SELECT 1) q, LATERAL (SELECT t.*) AS s)",
    ],
)
def test_no_star_reaches_what_is_stored(sql: str) -> None:
    with worlds(PARTS, NARROWINGS["columns"]) as (ours, _):
        before = counted(ours.stored())
        with pytest.raises(LakeflightError) as raised:
            ours.run(sql)
        assert HIDDEN not in raised.value.message
        assert "own_" not in raised.value.message
        assert counted(ours.stored()) == before


def test_what_could_be_meant_is_what_is_seen() -> None:
    """Also where so many columns could be meant that the message is cut."""
    many = [f"a_rather_long_name_of_a_column_{number}" for number in range(60)]
    parts = [pa.table({"id": [1, 2], **{name: [1, 1] for name in many}})]
    narrowed = narrowing(("id", *many[:12]), "id = 1")
    with worlds(parts, narrowed) as (ours, copy):
        for sql in (
            "DELETE FROM t WHERE nope = 1",
            "DELETE FROM t WHERE own = 1",
            'UPDATE t AS "My t" SET id = "My t".own_',
            "UPDATE t SET id = a_rather_long_name_of_a_column_40",
            "DELETE FROM t WHERE t = 1",
            "MERGE INTO t USING (VALUES (1)) AS s(i) ON t.nope = s.i WHEN MATCHED THEN DELETE",
        ):
            assert outcome(ours, sql) == outcome(copy, sql), sql


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.string()])
def test_rows_without_a_key_are_hidden_or_seen_like_others(keeps: bool, kind: pa.DataType) -> None:
    numbers: list[float | None] = [1, 2, None, 4, -0.0, 0.0, None]
    if kind == pa.float64():
        numbers.append(float("nan"))
    keys = pa.array(numbers, pa.float64()).cast(kind)
    parts = [pa.table({"k": keys, "v": list(range(len(keys)))})]
    wanted = [1, 4, 0.0, -0.0] if kind == pa.float64() else [1, 4, 0.0]
    chosen = pa.array(wanted, pa.float64()).cast(kind)
    which = only("k", chosen) if keeps else without("k", chosen)
    with worlds(parts, narrowing(("k", "v"), "v <> 3", keys=[which])) as (ours, copy):
        before = {row["v"]: repr(row["k"]) for row in ours.stored()}
        seen = {row["v"] for row in ours.seen()}
        assert outcome(ours, "UPDATE t SET v = v + 100") == outcome(
            copy, "UPDATE t SET v = v + 100"
        )
        after = {row["v"]: repr(row["k"]) for row in ours.stored()}
        assert after == {v + 100 * (v in seen): k for v, k in before.items()}
        assert outcome(ours, "DELETE FROM t") == outcome(copy, "DELETE FROM t") == (0, 0, len(seen))
        assert {row["v"] for row in ours.stored()} == set(before) - seen


def test_nested_columns_stay_whole_beside_a_redacted_field() -> None:
    places = [{"city": "Oslo", "zip": "0150"}, None, {"city": None, "zip": "1"}, {"city": "Rome"}]
    kind = pa.struct([("city", pa.string()), ("zip", pa.string())])
    rows = pa.table(
        {"id": [1, 2, 3, 4], "at": pa.array(places, kind), "tags": [["a"], None, [], ["b"]]}
    )
    redacted: dict[ColumnPath, Redaction] = {("at", "zip"): Redaction(RedactionKind.NULL)}
    narrowed = narrowing(("id", "at", "tags"), "id <> 4", redactions=redacted)
    with worlds([rows], narrowed) as (ours, _):
        assert outcome(ours, "UPDATE t SET id = id + 10, tags = NULL WHERE at['zip'] IS NULL") == (
            0,
            3,
            0,
        )
        stored = {row["id"]: row["at"] for row in ours.stored()}
        assert stored == {
            11: places[0],
            12: None,
            13: places[2],
            4: {"city": "Rome", "zip": None},
        }
        assert outcome(ours, "DELETE FROM t WHERE at['zip'] = '0150'") == (0, 0, 0)
        assert '"at"' in denied(ours, "UPDATE t SET at = NULL")


def test_the_plan_has_a_fence_and_no_filter_from_running() -> None:
    with worlds(PARTS, NARROWINGS["filter"]) as (ours, _):
        planner = ours.session.engine._planner
        opened = ours.session.lake.open(T, READER, as_of=None, pin=None)
        scan = ours.session.lake.files(opened.pin, ADMIN)
        name, own = Changeable(planner, scan, opened).relation(scan)
        text = (
            f"SELECT a.id FROM {name} a JOIN (SELECT max(id) AS m FROM {name}) b ON a.id = b.m"
            " WHERE CAST(a.word AS INT) = 7"
        )
        job = Job(query("", READER), {}, never)
        plan = planner.plan(text, job, own=own).frame.execution_plan().display_indent()
        assert "9223372036854775807" in plan
        assert "DynamicFilter" not in plan
        # What can tell nothing of a hidden row is asked of the files themselves.
        plain = planner.plan(f"SELECT id FROM {name} WHERE id = 7", job, own=own)
        assert "9223372036854775807" not in plain.frame.execution_plan().display_indent()


def test_who_sees_aggregates_only_changes_no_row() -> None:
    with worlds(PARTS, NARROWINGS["filter"]) as (ours, _):

        class Grouped(GovernedLake):
            def open(self, *args: object, **options: object) -> object:  # type: ignore[override]  # passes all on
                opened = GovernedLake.open(self, *args, **options)  # type: ignore[arg-type]
                if isinstance(opened.scan, GovernedScan):
                    return replace(opened, scan=replace(opened.scan, group_rows_min=10))
                return opened

        ours.session.lake.__class__ = Grouped
        denied(ours, "DELETE FROM t WHERE id = 2", code="aggregates_only")
